"""Numbers that may be NaN, which PostgreSQL stores and SQLite does not."""

import math
from typing import Any

from django.db import models
from rest_framework import serializers


class FloatOrNanField(models.FloatField):
    """A column of numbers; SQLite would make null of NaN, so that it is stored as text."""

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        number = super().get_db_prep_value(value, connection, prepared)
        return "NaN" if number is not None and math.isnan(number) else number

    def from_db_value(self, value: Any, *_: Any) -> float | None:
        return None if value is None else float(value)


class FloatOrNan(serializers.FloatField):
    """Takes NaN, which newer versions of the framework refuse."""

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, float) and math.isnan(data):
            return data
        number: float = super().to_internal_value(data)
        return number
