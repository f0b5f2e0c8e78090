"""``.alyxfs/errors.log``: what went wrong, a line for each sentence, which tells how often it was said."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass

from alyxfs.visible_text import one_line

MOST_LINES = 1000
"""Of either kind."""
OF_READING = frozenset({"getattr", "getxattr", "listing", "listxattr", "lookup", "open", "opendir", "read", "readdir"})
"""Operations whose errors never push out those of the others: who lost no work can try again."""


@dataclass
class Line:
    """One sentence, said for the first and for the last time at these moments (Unix seconds)."""

    text: str
    first: float
    last: float
    count: int = 1

    def __str__(self) -> str:
        """As it stands in the file."""
        often = f" ({self.count:,} times since {_moment(self.first)})" if self.count > 1 else ""
        return f"{_moment(self.last)} {self.text}{often}"


class ErrorLog:
    """See the module. State: changes in :meth:`note` alone, which never awaits."""

    def __init__(self) -> None:
        self.count = 0
        """Errors of this mount."""
        self._reading: OrderedDict[str, Line] = OrderedDict()
        self._others: OrderedDict[str, Line] = OrderedDict()

    def note(self, operation: str, path: str, sentence: str) -> None:
        """Remember an error."""
        # Of the clock that programs ask: the one that strftime takes by itself is some milliseconds behind it.
        self._add(operation, f"{operation} {path}: {sentence}", time.time())
        self.count += 1

    def note_earlier(self, operation: str, path: str, sentence: str, moment: float) -> None:
        """Remember an error of an earlier mount (Unix seconds)."""
        self._add(operation, f"{operation} {path}: {sentence}", moment)

    def _add(self, operation: str, text: str, moment: float) -> None:
        lines = self._reading if operation in OF_READING else self._others
        text = one_line(text)
        line = lines.get(text)
        if line is None:
            lines[text] = Line(text, moment, moment)
            if len(lines) > MOST_LINES:
                lines.popitem(last=False)
        else:
            line.last, line.count = moment, line.count + 1
            lines.move_to_end(text)

    def lines(self) -> list[str]:
        """All that is remembered, what was said last at the end."""
        return [str(line) for line in sorted([*self._reading.values(), *self._others.values()], key=_said_last)]


def _said_last(line: Line) -> float:
    return line.last


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds))
