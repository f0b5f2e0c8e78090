"""One run of the demo: the built data, Django, and the web server in front."""

import argparse
import gc
import shutil
import threading
from pathlib import Path

from .control import Control
from .request_log import RequestLog
from .seed.build import built
from .settings import configure
from .web_server import Front, Server


class Run:
    """Everything that serves; building comes first where there is nothing yet."""

    def __init__(self, options: argparse.Namespace, directory: Path, scratch: Path) -> None:
        source = built(directory, options.scale, options.largest_file_mb)
        home = copy_of(source, scratch) if options.fresh else source
        configure(home, throttle=options.throttle, core_api=options.core_api)
        from django.core.wsgi import get_wsgi_application  # noqa: PLC0415 - only once Django is set up

        front = Front(
            application=get_wsgi_application(),
            files=source / "files",
            uploads=home / "uploaded",
            file_user=options.file_auth,
            log=RequestLog(options.request_log),
            control=Control() if options.control else None,
        )
        self.server = Server(options.host, options.port, front)
        self.url = f"http://{options.host}:{self.server.server_address[1]}"

    def serve(self) -> None:
        """Answer requests until told to stop."""
        # What is loaded by now stays: looking through it for garbage again and again would slow down large pages.
        gc.collect()
        gc.freeze()
        self.server.serve_forever(poll_interval=0.05)
        self.server.server_close()

    def stop(self) -> None:
        """Stop serving; from another thread, for the one that serves must be free to notice."""
        threading.Thread(target=self.server.shutdown, daemon=True).start()


def copy_of(source: Path, scratch: Path) -> Path:
    """Copy what can be changed, so that the original stays as it was built."""
    shutil.copyfile(source / "alyx.sqlite3", scratch / "alyx.sqlite3")
    shutil.copytree(source / "uploaded", scratch / "uploaded")
    (scratch / "tables").symlink_to(source / "tables")
    return scratch
