"""What DEVELOPING.md names is there, and the house keeps to its rules: no circles, no long modules, texts for rooms."""

from __future__ import annotations

import ast
import graphlib
import re
from pathlib import Path

import grimp
import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "alyxfs"
TEXT = (PACKAGE / "DEVELOPING.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)(?::([\w.]+))?`", TEXT)))


def defined(path):
    """The classes and functions of a module, methods with the name of their class."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{node.name}.{inner.name}"


def test_the_ways_name_many_places():
    assert sum(1 for _, name in NAMED if name) > 20


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_what_is_named_exists(file, name):
    root = PACKAGE.parent if file.startswith(("tests/", "alyxfs/")) else PACKAGE
    path = root / file if "/" in file or (root / file).exists() else PACKAGE.parent / "tests" / "support" / file
    assert path.exists(), file
    assert not name or name in set(defined(path)), f"{file} has no {name}"


def test_every_room_is_in_the_table():
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert {room for room in rooms if f"| `{room}/` |" not in TEXT} == set()


def test_every_promise_names_tests_that_there_are():
    table = TEXT.split("## What the README promises")[1].split("##")[0]
    rows = [line.rsplit("|", 2) for line in table.splitlines() if line.startswith("| ")][1:]
    there = {
        name
        for path in PACKAGE.parent.glob("tests/**/test_*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert len(rows) > 15
    for promise, tests, _ in rows:
        named = re.findall(r"`(\w+)`", tests)
        assert named, promise
        assert set(named) <= there, promise


def test_every_room_says_what_it_is_for_what_it_promises_and_what_it_needs():
    areas = set((PACKAGE / "demo").glob("*/__init__.py"))
    for room in sorted(set(PACKAGE.glob("**/__init__.py")) - areas - {PACKAGE / "__init__.py"}):
        text = ast.get_docstring(ast.parse(room.read_text(encoding="utf-8"))) or ""
        assert re.fullmatch(r".+\n\nPromises: (.|\n)+\nNeeds: (.|\n)+", text), room
        assert len(text.splitlines()) < 10, room


def test_no_module_is_too_long_to_be_read_at_a_sitting():
    long = {
        str(path.relative_to(PACKAGE.parent))
        for path in PACKAGE.glob("**/*.py")
        if "demo" not in path.parts and len(path.read_text(encoding="utf-8").splitlines()) > 400
    }
    assert not long


def test_no_modules_import_each_other_in_a_circle_not_even_for_types():
    graph = grimp.build_graph(PACKAGE.name)
    text = (PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8")
    waiting = {pair for pair in re.findall(r'"([\w.]+) -> ([\w.]+)"', text) if ".demo." not in pair[0]}
    imports = {
        module: {other for other in graph.find_modules_directly_imported_by(module) if (module, other) not in waiting}
        for module in graph.modules
    }
    assert len(imports) > 200
    graphlib.TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle
