"""nginx with the configuration of ``scripts/cluster``, for the file servers of a test."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

CLUSTER = Path(__file__).resolve().parents[2] / "scripts" / "cluster"


def _has_slices() -> bool:
    if shutil.which("nginx") is None:
        return False
    return "http_slice" in subprocess.run(["nginx", "-V"], capture_output=True, text=True, check=False).stderr


needs_nginx = pytest.mark.skipif(not _has_slices(), reason="nginx with its slice module is not here (nginx)")


@dataclass
class CachingProxy:
    """It listens at ``url``, for records at ``records_url``, and keeps everything in ``folder``."""

    url: str
    folder: Path
    records_url: str

    def log(self) -> list[list[str]]:
        """Of each request: client, status, what the cache had, bytes, range, address."""
        return [line.split(" ", 5) for line in (self.folder / "access.log").read_text().splitlines()]

    def errors(self) -> str:
        """What went wrong."""
        return (self.folder / "error.log").read_text()


@contextlib.contextmanager
def caching_proxy(
    folder: Path,
    *origins: str,
    certificates: Path | None = None,
    held: str = "",
    valid: str = "1h",
    also_at: str | None = None,
    alyx: str | None = None,
):
    """A proxy that may ask these servers; ``held`` is its Authorization for them, ``also_at`` its second address.

    ``alyx``: the one of which it keeps records.
    """
    with socket.socket() as probe, socket.socket() as other:
        probe.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        port, records_port = probe.getsockname()[1], other.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "temporary").mkdir(exist_ok=True)
    listens = " ".join(f"listen {address}:{port};" for address in ("127.0.0.1", also_at) if address)
    text = (CLUSTER / "nginx.conf").read_text().replace("listen 8080;", listens)
    text = text.replace("listen 8081;", f"listen 127.0.0.1:{records_port};")
    text = text.replace("proxy_cache_valid 200 206 1h;", f"proxy_cache_valid 200 206 {valid};")
    if certificates is not None:
        text = text.replace("/etc/ssl/certs/ca-certificates.crt", str(certificates))
    (folder / "nginx.conf").write_text(text)
    upstreams, servers, secrets = "", "", ""
    for number, origin in enumerate(origins):
        parts = urlsplit(origin)
        upstreams += f"upstream origin_{number} {{ server 127.0.0.1:{parts.port}; keepalive 32; }}\n"
        servers += f"    {parts.scheme}://{parts.netloc} {parts.scheme}://origin_{number};\n"
        secrets += f'    {parts.scheme}://{parts.netloc} "{held}";\n'
    maps = f'map $origin $origin_server {{\n    default "";\n{servers}}}\n'
    maps += f'map $origin $held_authorization {{\n    default "";\n{secrets}}}\n'
    kept = ""
    if alyx is not None:
        parts = urlsplit(alyx)
        upstreams += f"upstream alyx {{ server 127.0.0.1:{parts.port}; keepalive 8; }}\n"
        kept = f"    {alyx} {parts.scheme}://alyx;\n"
    maps += f'map $origin $alyx_server {{\n    default "";\n{kept}}}\n'
    (folder / "origins.conf").write_text(upstreams + maps)
    command = ["nginx", "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    user = "user root;" if os.geteuid() == 0 else ""  # whose folder it is
    process = subprocess.Popen(
        [*command, "-g", f"daemon off; {user}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        ends = time.monotonic() + 20
        while True:
            assert process.poll() is None, process.stdout.read().decode()
            assert time.monotonic() < ends
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
        yield CachingProxy(f"http://127.0.0.1:{port}", folder, f"http://127.0.0.1:{records_port}")
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()
