"""Filters of lists, and the `django=` filter that takes any look-up."""

import ast
from typing import Any

from django.db import models
from django_filters import CharFilter
from django_filters import rest_framework as filters


def split_outside_brackets(text: str) -> list[str]:
    """Split at commas, but not at those inside of (...) or [...]."""
    parts = [""]
    closing = ""
    for character in text:
        if character == "," and not closing:
            parts.append("")
            continue
        if character in "[(":
            closing = {"[": "]", "(": ")"}[character]
        elif character == closing:
            closing = ""
        parts[-1] += character
    return parts


def guess_value(text: str) -> Any:
    """Read a value the way Alyx does: what looks like a number is one, brackets are a Python list.

    Alyx hands brackets to `eval`; here only literals are read.
    """
    if text == "None":
        return None
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    if text.replace(".", "", 1).isdigit():
        return float(text)
    if text.startswith(("(", "[")) and text.endswith((")", "]")):
        return ast.literal_eval(text)
    return text


def parse_lookups(text: str, prefix: str = "") -> dict[str, Any]:
    """Read `field__lookup,value,field2,value2`; an odd number of parts is an IndexError, hence a 500."""
    parts = split_outside_brackets(text)
    lookups: dict[str, Any] = {}
    for position in range(0, len(parts), 2):
        lookup, value = prefix + parts[position], parts[position + 1]
        if lookup in lookups:
            raise ValueError(f'Duplicated fields in "{text}"')
        lookups[lookup] = guess_value(value)
    return lookups


class AlyxFilterSet(filters.FilterSet):
    """The filters of a list. A filter that it does not know is ignored, and all rows come back."""

    django = CharFilter(field_name="", method="filter_django")

    def filter_django(self, queryset: Any, _name: str, value: str) -> Any:
        for lookup, wanted in parse_lookups(value).items():
            if lookup.startswith("~"):
                queryset = queryset.exclude(**{lookup[1:]: wanted}).distinct()
            else:
                queryset = queryset.filter(**{lookup: wanted}).distinct()
        return queryset

    def filter_choice_name(self, queryset: Any, name: str, value: str) -> Any:
        """Filter a numbered choice by its name, whatever its case; an unknown name is a 500."""
        choices = queryset.model._meta.get_field(name).choices  # noqa: SLF001
        numbers = {choice_name.lower(): number for number, choice_name in choices}
        if value.lower().strip() not in numbers:
            names = ", ".join(choice_name for _, choice_name in choices)
            raise ValueError(f"Invalid{name}, choices are: {names}")
        return queryset.filter(**{name: numbers[value.lower().strip()]})

    @classmethod
    def filter_for_lookup(cls, field: Any, lookup_type: str) -> Any:
        if isinstance(field, models.JSONField) and lookup_type == "exact":
            return CharFilter, {}
        return super().filter_for_lookup(field, lookup_type)


def filter_json(queryset: Any, name: str, value: str) -> Any:
    """Filter by keys inside a JSON field: `?json=key__gte,0.9`."""
    return queryset.filter(**parse_lookups(value, prefix=f"{name}__"))
