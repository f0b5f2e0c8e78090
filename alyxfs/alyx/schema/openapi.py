"""Endpoints out of an OpenAPI 3 document, as Alyx 3 gives it at /api/schema."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from alyxfs.alyx.schema.model import NO_DETAIL, NOT_RESOURCES, PAGE_PARAMETERS, Endpoint, Field, Filter
from alyxfs.alyx.schema.shapes import choices, is_name, mapping, mappings, text, texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_METHODS = ("get", "post", "put", "patch", "delete")
_DETAIL_PATH = re.compile(r"/([^/{}]+)/\{([^/{}]+)\}/?")
_LIST_PATH = re.compile(r"/([^/{}]+)/?")
_MAXIMUM_REFERENCES = 8
"""References that lead to references: more than this many is a circle."""


def endpoints(document: Mapping[str, Any]) -> dict[str, Endpoint]:
    """The resources of the document, in its own order."""
    lists: dict[str, Mapping[str, Any]] = {}
    details: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for path, offered in document["paths"].items():
        operations = mapping(offered)
        if match := _DETAIL_PATH.fullmatch(path):
            details[match[1]] = (match[2], operations)
        elif match := _LIST_PATH.fullmatch(path):
            lists[match[1]] = operations
    names = dict.fromkeys([*lists, *details])
    return {
        name: _endpoint(document, name, lists.get(name, {}), *details.get(name, (None, {})))
        for name in names
        if name not in NOT_RESOURCES and is_name(name)
    }


def filter_descriptions(description: str) -> dict[str, str]:
    """What the description of a list says of each filter: bullets of the form ``- **name**: words``."""
    bullets = re.split(r"^[ \t]*-[ \t]+(?=\*\*)", description, flags=re.MULTILINE)[1:]
    found = {}
    for bullet in bullets:
        if match := re.match(r"((?:\*\*\w+\*\*,?\s*)+):?\s*(.*)", bullet.split("\n\n")[0], re.DOTALL):
            found.update(dict.fromkeys(re.findall(r"\w+", match[1]), " ".join(match[2].split())))
    return found


def _endpoint(
    document: Mapping[str, Any],
    name: str,
    on_list: Mapping[str, Any],
    lookup: str | None,
    on_detail: Mapping[str, Any],
) -> Endpoint:
    list_get, detail_get, post = (
        mapping(on_list.get("get")),
        mapping(on_detail.get("get")),
        mapping(on_list.get("post")),
    )
    listed = _answers_with_list(list_get)
    detailed = "get" in on_detail and not _answers_with_list(detail_get) and name not in NO_DETAIL
    description = text((list_get or detail_get or post).get("description")).strip()
    return Endpoint(
        name=name,
        lookup=lookup if detailed else None,
        listed=listed,
        detailed=detailed,
        list_methods=_methods(on_list),
        detail_methods=_methods(on_detail) if detailed else frozenset(),
        filters=dict(_filters(list_get)) if listed else {},
        fields=_fields(document, list_get, detail_get if detailed else {}, post),
        row_fields=_shown(_row_schema(document, list_get)) if listed else (),
        description=description,
        action=not listed and not detailed and "post" in on_list,
    )


def _methods(operations: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(method.upper() for method in _METHODS if method in operations)


def _answers_with_list(operation: Mapping[str, Any]) -> bool:
    return any(text(parameter.get("name")) in PAGE_PARAMETERS for parameter in mappings(operation.get("parameters")))


def _filters(operation: Mapping[str, Any]) -> Iterator[tuple[str, Filter]]:
    described = filter_descriptions(text(operation.get("description")))
    for parameter in mappings(operation.get("parameters")):
        name = text(parameter.get("name"))
        if parameter.get("in") != "query" or name in PAGE_PARAMETERS:
            continue
        schema = mapping(parameter.get("schema"))
        words = text(parameter.get("description")) or described.get(name, "")
        if allowed := choices(schema.get("enum")):
            words = f"{words} One of {', '.join(map(str, allowed))}.".strip()
        yield name, Filter(name, words, _kind(schema) or "string")


def _kind(schema: Mapping[str, Any]) -> str:
    return text(schema.get("format")) or text(schema.get("type"))


def _fields(
    document: Mapping[str, Any],
    list_get: Mapping[str, Any],
    detail_get: Mapping[str, Any],
    post: Mapping[str, Any],
) -> dict[str, Field]:
    """Fields of the detail, else of a row, else of what is posted; required is what a POST must hold."""
    posted = _resolved(document, _body_schema(mapping(post.get("requestBody"))))
    shown = _answer_schema(document, detail_get) or _row_schema(document, list_get) or posted
    required = set(texts(posted.get("required")))
    properties = {**mapping(shown.get("properties")), **_writable_only(posted)}
    return {name: _field(document, name, mapping(schema), required) for name, schema in properties.items()}


def _writable_only(schema: Mapping[str, Any]) -> dict[str, Any]:
    properties = mapping(schema.get("properties"))
    return {name: field for name, field in properties.items() if mapping(field).get("writeOnly")}


def _shown(schema: Mapping[str, Any]) -> tuple[str, ...]:
    properties = mapping(schema.get("properties"))
    return tuple(name for name, field in properties.items() if not mapping(field).get("writeOnly"))


def _field(document: Mapping[str, Any], name: str, schema: Mapping[str, Any], required: set[str]) -> Field:
    parts = [_resolved(document, part) for key in ("oneOf", "anyOf", "allOf") for part in mappings(schema.get(key))]
    parts = [_resolved(document, schema), *parts]
    allowed = tuple(choice for part in parts for choice in choices(part.get("enum")))
    read_only = bool(schema.get("readOnly", False))
    return Field(
        name=name,
        kind=next((kind for part in parts if (kind := _kind(part))), "any"),
        required=name in required and not read_only,
        read_only=read_only,
        choices=allowed or None,
        nullable=bool(schema.get("nullable", False)),
        description=text(schema.get("description")),
        pattern=next((pattern for part in parts if isinstance(pattern := part.get("pattern"), str)), None),
    )


def _answer_schema(document: Mapping[str, Any], operation: Mapping[str, Any]) -> Mapping[str, Any]:
    return _resolved(document, _body_schema(mapping(mapping(operation.get("responses")).get("200"))))


def _row_schema(document: Mapping[str, Any], list_get: Mapping[str, Any]) -> Mapping[str, Any]:
    page = _answer_schema(document, list_get)
    results = mapping(mapping(page.get("properties")).get("results"))
    return _resolved(document, mapping(results.get("items")))


def _body_schema(body: Mapping[str, Any]) -> Mapping[str, Any]:
    content = mapping(body.get("content"))
    media = mapping(content.get("application/json") or next(iter(content.values()), None))
    return mapping(media.get("schema"))


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow references; an array (as POST /channels takes) stands for its items."""
    for _ in range(_MAXIMUM_REFERENCES):
        items = mapping(schema.get("items"))
        if reference := text(schema.get("$ref")):
            schemas = mapping(mapping(document.get("components")).get("schemas"))
            schema = mapping(schemas.get(reference.rsplit("/", 1)[-1]))
        elif schema.get("type") == "array" and "$ref" in items:
            schema = items
        else:
            break
    return schema
