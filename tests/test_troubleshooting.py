"""``troubleshooting.md`` quotes what the code says, and leaves out no kind of error and no exit code."""

from __future__ import annotations

import ast
import errno
import os
import re
from pathlib import Path

import pytest

from alyxfs import errors
from alyxfs.cli import EXIT_CODES
from alyxfs.kernel.failures import errno_of
from alyxfs.tree.dot_alyxfs import help_text

PACKAGE = Path(errors.__file__).parent
TEXT = help_text("troubleshooting.md").decode()
SECTIONS = dict(section.split("\n", 1) for section in TEXT.split("\n### ")[1:])
QUOTED = {heading: re.findall(r"^\| `([^`]+)` \|", body, re.MULTILINE) for heading, body in SECTIONS.items()}
MESSAGES = [(heading, message) for heading, messages in QUOTED.items() for message in messages]
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.AlyxfsError)]


def text_of(node: ast.AST) -> str | None:
    """A text of the code, with … for what differs."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def said_by_the_code():
    """Each text of the program, with the name of the error that it is given to where it is."""
    for path in PACKAGE.rglob("*.py"):
        if "demo" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (text := text_of(node)) is not None:
                yield None, text
            if isinstance(node, ast.Call) and node.args and (text := text_of(node.args[0])) is not None:
                yield getattr(node.func, "attr", None) or getattr(node.func, "id", None), text


@pytest.fixture(scope="module")
def said():
    return set(said_by_the_code())


def is_quoted_by(message: str, text: str) -> bool:
    return re.search(".*".join(re.escape(part) for part in message.split("…")), text, re.DOTALL) is not None


def test_each_message_stands_in_the_code(said):
    assert len(MESSAGES) > 50
    assert [message for _, message in MESSAGES if not any(is_quoted_by(message, text) for _, text in said)] == []


def heading_of(kind: type[errors.AlyxfsError]) -> str:
    """The first errno of a heading is that of its section; what ends a command only is told by its exit code."""
    if kind in {errors.AlyxfsError, errors.ConfigurationError}:
        return f"Exit code {next(code for each, code in EXIT_CODES if each is kind)}"
    name = errno.errorcode[errno_of(kind(""))]
    (heading,) = (each for each in SECTIONS if re.search(r"\((\w+)\)|$", each)[1] == name)
    return heading


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_kind_of_error_is_explained_where_its_errno_is(said, kind):
    messages = QUOTED[heading_of(kind)]
    assert messages
    texts = [text for name, text in said if name == kind.__name__]
    assert not texts or any(is_quoted_by(message, text) for message in messages for text in texts)


def test_each_errno_has_the_words_that_programs_show():
    for heading in SECTIONS:
        for words, name in re.findall(r"([A-Z][a-z/ -]+) \((E[A-Z]+)\)", heading):
            assert words == os.strerror(getattr(errno, name))


def test_each_exit_code_is_explained():
    codes = {int(code) for code in re.findall(r"^### Exit code (\d)$", TEXT, re.MULTILINE)}
    assert codes == {0, 2, *(code for _, code in EXIT_CODES)}
