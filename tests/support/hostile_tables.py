"""Values that a hostile server may give: names, texts, sizes, headers, bodies, buckets."""

from __future__ import annotations

import gzip

from lying_proxy import HEADERS as ODD_HEADERS
from lying_proxy import NUMBERS, TEXTS

MIB = 1024**2

NAMES = [
    *TEXTS,
    *("/", "//", "/etc/passwd", "../x", "a/../../../../../../tmp/x", "..\\x", "C:\\x", "~", "~root", "$HOME",
      "`id`", "-rf"),
    *("--help", ".alyxfs", ".alyxfs/status.json", ".schema.json", ".help.md", "x.json", "x.json~",
      ".x.json.swp", "new"),
    *("con", "nul", "a:b", "a*b", "a?b", "a|b", "a\tb", "a\r\nb", "a\x7fb", "\x9b2J", "\x1b]0;x\x07",
      "\u202e\u2066x"),
    *("\u200b", "\ufeffx", "\U000e0041", "\u0301", "a\u0301", "\u00e1", "A", "a", "%2e%2e", "%2F", "%00",
      "%25", "100%"),
    *("[bold]x[/bold]", "[red]", "{x}", "%s%n", "<script>", "' OR 1=1 --", "&amp;", "n" * 255, "n" * 256,
      "n" * 100_000),
    *("\u00e9" * 128, "\U0001f600" * 64, " ", " x", "x ", "\n", ".a", "..a", "a.", "...", "#", "##",
      "#2024-01-01#", "~1f3a"),
]  # fmt: skip
"""Of records, files, folders and labs."""

WORDS = [
    *("\x1b[2J\x1b[31mall is well", "\x07" * 50, "\x9b2J", "\u202egnirts", "\u200b" * 20, "\U000e0041tag",
      "a\rb", "a\nb: c"),
    *("[bold red]x[/]", "[link=file:///etc/passwd]x[/link]", "%s %d %n", "{0} {password}", "x" * 2_000_000, "\ud800"),
    *("<html><h1>" + "y" * 5000, "<![foo bar]]>", "&#27;[31m", "&#x202e;", "Invalid token.",
      "http://user:secret@x/y", ""),
    *("Traceback (most recent call last):", "2026-01-01 00:00:00,000 ERROR alyxfs: not of the drive", "\0", "\ufeff"),
]  # fmt: skip
"""Of refusals."""

SIZES = [
    *(value for value in NUMBERS if value == value and abs(value) != float("inf")),  # noqa: PLR0124 - NaN is no JSON
    *("5", "", None, True, [], {}, [10], 3, 9, 11, 10**9, 10**15, 2**62, 2**62 - 1),
]
"""Of a file that has 10 bytes."""

HEADERS = [
    *ODD_HEADERS,
    ("Content-Type", "text/html; charset=utf-7"),
    ("Content-Type", "multipart/byteranges; boundary=x"),
    ("Content-Type", "x" * 60_000),
    ("Content-Encoding", "deflate"),
    ("Content-Encoding", "identity, gzip"),
    ("Transfer-Encoding", "gzip"),
    ("Transfer-Encoding", "chunked, chunked"),
    ("Content-Range", "bytes 0-9/*"),
    ("Content-Range", "bytes 0-99999999999/99999999999"),
    ("Content-Range", "items 0-9/10"),
    ("Content-Range", "bytes 9-0/10"),
    ("Content-Range", "bytes 00000000000000000000-9/10"),
    ("Content-Range", "bytes \u0660-9/10"),
    ("Location", "file:///etc/passwd"),
    ("Location", "//other.example.org/x"),
    ("Refresh", "0; url=http://127.0.0.1/"),
    ("Link", "<http://127.0.0.1/>; rel=preload"),
    ("Set-Cookie", "sessionid=" + "x" * 30_000),
    ("WWW-Authenticate", 'Basic realm="alyx"'),
    ("Proxy-Authenticate", "NTLM"),
    ("Alt-Svc", 'h2="127.0.0.1:9"'),
    ("Upgrade", "h2c"),
    ("Strict-Transport-Security", "max-age=-1"),
    ("ETag", 'W/"\x01"'),
    ("ETag", '"' + "e" * 60_000),
    ("Content-Length", "+10"),
    ("Content-Length", "10, 10"),
    ("Content-Length", "10, 11"),
    ("Content-Length", "0x0a"),
    ("Content-Length", "9" * 60),
    ("Content-Length", "-1"),
    ("Retry-After", "1e9"),
    ("Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT"),
    ("Date", "\u0663"),
    ("X-\u00e9", "y"),
    ("A b", "y"),
    ("", "y"),
]
"""Names and values of headers that come instead of the usual, or with them."""

HTML = b"<!DOCTYPE html><title>Log in</title><form action=/login>Welcome</form>" * 20
BODIES = {
    "HTML": HTML,
    "nothing": b"",
    "one byte": b"0",
    "one byte more": b"0123456789a",
    "other bytes": b"9876543210",
    "zeros": b"\0" * 10,
    "compressed": gzip.compress(b"0123456789"),
    "20 MB of zeros": b"\0" * (20 * MIB),
    "a bomb": gzip.compress(b"\0" * (20 * MIB)),
    "brackets": b"[" * 100_000,
    "a signature and nothing": b"\x89PNG",
    "a picture of 4 billion pixels": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff\xff\xff\xff\xff\xff\xff\xff\x08\x06\0\0\0",
    "SVG": b"<svg onload='x'/>",
    "an array of 10^18": b"\x93NUMPY\x01\0v\0{'descr': '<f8', 'fortran_order': False, 'shape': (99999999,99999999)}\n",
    "a pickle": b"\x80\x04cposix\nsystem\n(S'touch /tmp/x'\ntR.",
    "an array of objects": b"\x93NUMPY\x01\0v\0{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n\x80\x04N.",
    "a header of code": b"\x93NUMPY\x01\0v\0{'descr': __import__('os').system('x'), 'shape': ()}\n",
    "a zip": b"PK\x03\x04" + b"\0" * 30,
}

KEYS = {"Access key ID": "AKIAEXAMPLE", "Secret access key": "secret/of+the=bucket"}
BUCKETS = [
    *(None, [], 5, "x", {}, {"bucket_name": None}, {"bucket_name": 5}, {"bucket_name": ["x"]}),
    *({"bucket_name": name, **KEYS} for name in (*TEXTS, "evil.example.org/x", "a@b", "a:80", "a?b", "a#b",
    "-", "UP", "a.b")),
    *({"bucket_name": "example-private", "region_name": name, **KEYS} for name in ("x/y", "@evil", "\r\n", 5,
    [], "e" * 64)),
    {"bucket_name": "example-private", "region_name": "eu-west-2", **KEYS},
    {"bucket_name": "example-private", "region_name": "eu-west-2", "endpoint_url": "http://127.0.0.1/", **KEYS},
    {"bucket_name": "example-private", "region_name": "eu-west-2", "Access key ID": "AKIA\r\nX: y",
    "Secret access key": "x"},
    {"bucket_name": "example-private", "region_name": "eu-west-2", "Access key ID": {"a": 1},
    "Secret access key": [1]},
    {"bucket_name": "example-private", "region_name": "eu-west-2", "Access key ID": "A" * 10_000,
    "Secret access key": "x"},
]  # fmt: skip
"""What stands in the ``json`` of a data repository."""

VALUES = [
    *(None, True, 0, -1, 2**63, 10**30, 1e308, "", "x" * 100_000, "\ud800", "\x1b[31m", [], {}, [[]],
      {"a": {}}, ["x"] * 9999),
    *({"": ""}, {"../x": 1}, {"a\n": "b"}, {"$ref": "#"}, "0001-01-01T00:00:00", "9999-12-31", [{"id": "../x"}]),
]  # fmt: skip
"""Of any field of a record."""
