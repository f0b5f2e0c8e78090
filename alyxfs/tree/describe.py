"""``.schema.json`` and ``.help.md`` of an endpoint: what the server says it offers, for programs and for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alyxfs.alyx.quirks.reading import FAILS, FILTERS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alyxfs.alyx.schema.read import Endpoint, Field, Filter


def schema_document(endpoint: Endpoint) -> dict[str, Any]:
    """The content of ``.schema.json``."""
    return {
        "endpoint": endpoint.name,
        "description": endpoint.description,
        "look_up": endpoint.lookup,
        "listed": endpoint.listed,
        "methods": {"list": sorted(endpoint.list_methods), "record": sorted(endpoint.detail_methods)},
        "fields": {
            field.name: {
                "type": field.kind,
                "required": field.required,
                "read_only": field.read_only,
                "nullable": field.nullable,
                "choices": list(field.choices) if field.choices is not None else None,
                "description": field.description,
            }
            for field in endpoint.fields.values()
        },
        "filters": {
            name: {
                "type": offered.kind,
                "description": offered.description,
                "remark": FILTERS.get((endpoint.name, name)),
            }
            for name, offered in endpoint.filters.items()
        },
    }


def help_document(endpoint: Endpoint) -> str:
    """The content of ``.help.md``."""
    return "\n".join([*_about(endpoint), *_filters(endpoint), *_fields(endpoint.fields.values()), ""])


def _about(endpoint: Endpoint) -> Iterable[str]:
    yield f"# {endpoint.name}"
    yield ""
    if not endpoint.listed:
        yield "These records cannot be listed: open one by its name."
    elif endpoint.lookup is None:
        yield "These records have no address of their own: the files show the rows of the list."
    if endpoint.lookup is not None:
        yield f"A record is `{endpoint.name}/<{endpoint.lookup}>.json`."
    methods = ", ".join(sorted(endpoint.list_methods)) or "none"
    yield f"Methods of the list: {methods}; of a record: {', '.join(sorted(endpoint.detail_methods)) or 'none'}."
    if endpoint.description:
        yield from ("", "## What the server says", "", endpoint.description.strip())


def _filters(endpoint: Endpoint) -> Iterable[str]:
    if not endpoint.listed:
        return
    yield from ("", "## Queries", "")
    if not endpoint.filters:
        yield f"The server filters nothing here; `{endpoint.name}/<field>=<value>/` compares a field of the records."
        return
    yield f"`{endpoint.name}/<filter>=<value>/` holds the records that the server selects; nested directories mean"
    yield '"and". A `/` in a value is written `%2F`, a `%` as `%25`.'
    failing = sorted(name for name in endpoint.filters if FILTERS.get((endpoint.name, name)) == FAILS)
    yield from ("", "| filter | type | |", "|---|---|---|")
    for name, offered in sorted(endpoint.filters.items()):
        if name not in failing:
            yield f"| {name} | {offered.kind} | {_remark(endpoint, name, offered)} |"
    if failing:
        yield from ("", f"The server names these, too, and fails on each value of them: {', '.join(failing)}.")


def _remark(endpoint: Endpoint, name: str, offered: Filter) -> str:
    remark = FILTERS.get((endpoint.name, name)) or ""
    words = " ".join(offered.description.split()).replace("|", "\\|")
    return "; ".join(part for part in (words, remark) if part)


def _fields(fields: Iterable[Field]) -> Iterable[str]:
    yield from ("", "## Fields", "", "| field | type | | description |", "|---|---|---|---|")
    for field in fields:
        marks = [
            "required" if field.required else "",
            "read-only" if field.read_only else "",
            "one of " + ", ".join(str(choice) for choice in field.choices) if field.choices else "",
        ]
        words = " ".join(field.description.split()).replace("|", "\\|")
        yield f"| {field.name} | {field.kind} | {'; '.join(mark for mark in marks if mark)} | {words} |"
