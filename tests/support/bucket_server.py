"""A small S3: public buckets for all, private ones for requests whose signature is right."""

from __future__ import annotations

import contextlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

REGION = "eu-west-2"
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>\w+)/\d{8}/(?P<region>[\w-]+)/s3/aws4_request, "
    r"SignedHeaders=(?P<headers>[\w;-]+), Signature=(?P<signature>\w+)"
)


class BucketServer:
    """Its buckets, open to tests: contents by bucket and key, keys of private buckets, what was asked."""

    def __init__(self):
        self.contents = {}
        self.keys = {}
        """Access key and secret of private buckets."""
        self.moved = {}
        """Addresses to which keys lead."""
        self.asked = []
        """Bucket, key, headers and status."""
        self.url = ""

    def answer(self, handler):
        path = unquote(urlsplit(handler.path).path)
        bucket, _, key = path.removeprefix("/").partition("/")
        if bucket in self.keys and not self.is_signed(handler, path, *self.keys[bucket]):
            return bucket, key, 403, {}, b"<Error><Code>SignatureDoesNotMatch</Code></Error>"
        if (bucket, key) in self.moved:
            return bucket, key, 307, {"Location": self.moved[bucket, key]}, b""
        content = self.contents.get((bucket, key))
        if content is None:
            return bucket, key, 404, {}, b"<Error><Code>NoSuchKey</Code></Error>"
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
        if wanted is None:
            return bucket, key, 200, {}, content
        first, last = int(wanted[1]), min(int(wanted[2] or len(content)), len(content) - 1)
        headers = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
        return bucket, key, 206, headers, content[first : last + 1]

    @staticmethod
    def is_signed(handler, path, access_key, secret_key):
        given = _AUTHORIZATION.fullmatch(handler.headers.get("Authorization", ""))
        if given is None or (given["key"], given["region"]) != (access_key, REGION):
            return False
        signed = {name: handler.headers[name] for name in given["headers"].split(";")}
        address = f"http://{handler.headers['Host']}{quote(path, safe='/~')}"
        request = AWSRequest(handler.command, address, headers=signed)
        request.context["timestamp"] = handler.headers["X-Amz-Date"]
        signer = S3SigV4Auth(Credentials(access_key, secret_key), "s3", REGION)
        words = signer.string_to_sign(request, signer.canonical_request(request))
        return {"host", "x-amz-date"} <= signed.keys() and signer.signature(words, request) == given["signature"]


@contextlib.contextmanager
def bucket_server():
    """A running server."""
    buckets = BucketServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            bucket, key, status, headers, body = buckets.answer(self)
            buckets.asked.append((bucket, key, dict(self.headers), status))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    buckets.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield buckets
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
