"""Endpoints out of a Core API document, as older servers give it at /docs.

The document is a tree: endpoint → action → link, a link being ``{url, action, description, fields}`` with the
method in ``action`` and each field's place (path, query, form) in ``location``. It says nothing of answers, so the
fields are those that can be written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alyxfs.alyx.schema.model import NO_DETAIL, NOT_RESOURCES, PAGE_PARAMETERS, Endpoint, Field, Filter
from alyxfs.alyx.schema.openapi import filter_descriptions
from alyxfs.alyx.schema.shapes import choices, is_name, mapping, mappings, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


BOOLEAN_FILTERS = frozenset(
    {
        *("adlib", "alive", "default_dataset", "default_provenance", "exists", "globus_is_personal", "histology"),
        *("is_active", "is_public_user", "is_staff", "is_stock_manager", "is_superuser", "protected", "public"),
        *("stock", "to_be_culled", "to_be_genotyped", "water_restricted"),
    }
)
"""Filters that this document calls strings and the OpenAPI document of the same server booleans, whatever the endpoint
(both of Alyx 3.6.1 compared). The server ignores what it does not take for a boolean and gives everything."""


def endpoints(document: Mapping[str, Any]) -> dict[str, Endpoint]:
    """The resources of the document, in its own order."""
    found = {}
    for name, actions in document.items():
        if name.startswith("_") or name in NOT_RESOURCES or not is_name(name):
            continue
        links = [link for link in map(mapping, mapping(actions).values()) if link.get("_type") == "link"]
        if links:
            found[name] = _endpoint(name, links)
    return found


def _endpoint(name: str, links: Sequence[Mapping[str, Any]]) -> Endpoint:
    on_list = {_method(link): link for link in links if "{" not in text(link.get("url"))}
    on_detail = {_method(link): link for link in links if "{" in text(link.get("url"))}
    listed = _is_paged(on_list.get("GET", {}))
    detailed = "GET" in on_detail and not _is_paged(on_detail["GET"]) and name not in NO_DETAIL
    lookup = next(map(_name, _fields_at(on_detail.get("GET", {}), "path")), None)
    first = next(iter([*on_list.values(), *on_detail.values()]))
    return Endpoint(
        name=name,
        lookup=lookup if detailed else None,
        listed=listed,
        detailed=detailed,
        list_methods=frozenset(on_list),
        detail_methods=frozenset(on_detail) if detailed else frozenset(),
        filters=_filters(on_list.get("GET", {})) if listed else {},
        fields=_fields(on_list.get("POST", {}), on_detail.get("PUT", {}), on_detail.get("PATCH", {})),
        description=text((on_list.get("GET") or first).get("description")).strip(),
        action=not listed and not detailed and "POST" in on_list,
    )


def _is_paged(link: Mapping[str, Any]) -> bool:
    return any(_name(field) in PAGE_PARAMETERS for field in _fields_at(link, "query"))


def _filters(link: Mapping[str, Any]) -> dict[str, Filter]:
    described = filter_descriptions(text(link.get("description")))
    filters = {}
    for field in _fields_at(link, "query"):
        name = _name(field)
        if name not in PAGE_PARAMETERS:
            schema = mapping(field.get("schema"))
            words = text(schema.get("description")) or described.get(name, "")
            kind = "boolean" if name in BOOLEAN_FILTERS else text(schema.get("_type")) or "string"
            filters[name] = Filter(name, words, kind)
    return filters


def _fields(*links: Mapping[str, Any]) -> dict[str, Field]:
    """Fields of the bodies of these links; the first link that is there says which are required."""
    fields: dict[str, Field] = {}
    for number, link in enumerate(link for link in links if link):
        for field in _fields_at(link, "form"):
            schema, name = mapping(field.get("schema")), _name(field)
            fields.setdefault(
                name,
                Field(
                    name=name,
                    kind=text(schema.get("_type")) or "any",
                    required=number == 0 and bool(field.get("required", False)),
                    read_only=False,
                    choices=choices(schema.get("enum")) or None,
                    nullable=True,
                    description=text(schema.get("description")),
                ),
            )
    return fields


def _fields_at(link: Mapping[str, Any], location: str) -> list[Mapping[str, Any]]:
    return [field for field in mappings(link.get("fields")) if field.get("location") == location and _name(field)]


def _name(field: Mapping[str, Any]) -> str:
    return text(field.get("name"))


def _method(link: Mapping[str, Any]) -> str:
    return text(link.get("action")).upper()
