"""Writes down each request as it is answered, for tests that count them."""

import json
import threading
from pathlib import Path
from typing import Any


class RequestLog:
    """One JSON object a line. Lines are written before the last bytes of the answer go out, so that whoever has
    the answer finds its line.
    """

    def __init__(self, path: Path | None) -> None:
        self.file = path.open("a", encoding="utf-8") if path else None
        self.lock = threading.Lock()

    def write(self, line: dict[str, Any]) -> None:
        """Append one line, at once."""
        if self.file:
            with self.lock:
                self.file.write(json.dumps(line, ensure_ascii=False) + "\n")
                self.file.flush()
