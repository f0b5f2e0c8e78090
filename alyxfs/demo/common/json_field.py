"""JSON stored the way PostgreSQL's `jsonb` stores it."""

from typing import Any

from django.db import models


def in_jsonb_order(value: Any) -> Any:
    """Return the value with the keys of each object sorted by length, then by bytes.

    `jsonb` keeps keys in that order, which is why an Alyx gives JSON back in another order than it was sent.
    """
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (len(str(key).encode()), str(key).encode()))
        return {key: in_jsonb_order(value[key]) for key in keys}
    if isinstance(value, list):
        return [in_jsonb_order(item) for item in value]
    return value


class JsonbField(models.JSONField):
    """A JSON field that forgets the order of keys, as PostgreSQL does."""

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        return super().get_db_prep_save(in_jsonb_order(value), connection)
