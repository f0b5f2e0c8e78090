"""Errors that are remembered: whatever the functions held that one came through would stay as long as it does."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import alyxfs
from alyxfs import errors

SOURCES = sorted(Path(alyxfs.__file__).parent.rglob("*.py"))


def kept_as_they_are(text):
    """Lines that put an error which was caught into an object that outlives the function, traceback and all."""
    found = []
    for handler in ast.walk(ast.parse(text)):
        if not (isinstance(handler, ast.ExceptHandler) and handler.name):
            continue
        for node in ast.walk(handler):
            if not isinstance(node, ast.Assign):
                continue
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            is_error = any(isinstance(value, ast.Name) and value.id == handler.name for value in values)
            holders = [target.value if isinstance(target, ast.Subscript) else target for target in node.targets]
            if is_error and any(isinstance(holder, ast.Attribute) for holder in holders):
                found.append(node.lineno)
    return found


def test_no_error_is_kept_with_its_traceback():
    found = {str(path): kept_as_they_are(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert {path: lines for path, lines in found.items() if lines} == {}, "keep error.again()"


def test_such_lines_are_found():
    text = "try:\n    f()\nexcept E as error:\n    self.failure = error\n    self.x[1] = error, 2\n    local = error\n"
    assert kept_as_they_are(text) == [4, 5]
    assert kept_as_they_are(text.replace("= error", "= error.again()")) == []


def test_the_same_failure_again_has_no_traceback():
    def fails():
        raise errors.NotFound("It is not there.", status=404, url="http://x/1")

    with pytest.raises(errors.NotFound) as raised:
        fails()
    again = raised.value.again()
    assert (type(again), str(again), again.status, again.url) == (
        errors.NotFound,
        "It is not there.",
        404,
        "http://x/1",
    )
    assert (again.__traceback__, again.__context__, again.__cause__) == (None, None, None)
    assert str(raised.value.again("More.")) == "More."
