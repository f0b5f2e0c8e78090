"""Commands that believe to have a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
from dataclasses import dataclass, field

from mounted import environment, until


@dataclass
class Terminal:
    """What a command shows on its terminal so far."""

    process: subprocess.Popen
    parts: list[bytes] = field(default_factory=list)

    @property
    def text(self):
        return b"".join(self.parts).decode(errors="replace")

    def wait_for(self, words):
        until(lambda: words in self.text or self.process.poll() is not None, words)
        assert words in self.text, self.text


@contextlib.contextmanager
def on_terminal(home, *arguments, columns=80, lines=100, **extra):
    """Run alyxfs with a terminal for all it says and hears; it is ended with the block."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    variables = environment(home, TERM="xterm", **extra)
    for name in ("COLUMNS", "LINES"):
        variables.pop(name, None)
    command = [sys.executable, "-m", "alyxfs", *arguments]
    process = subprocess.Popen(command, env=variables, stdin=its, stdout=its, stderr=its, start_new_session=True)
    os.close(its)
    terminal = Terminal(process)

    def read():
        with contextlib.suppress(OSError):  # the terminal ends with its last user
            while part := os.read(ours, 65536):
                terminal.parts.append(part)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield terminal
    finally:
        process.kill()
        process.wait()
        reader.join(10)
        os.close(ours)
