"""Serializer fields that several areas use."""

from typing import Any

from rest_framework import serializers


class ChoiceNameField(serializers.Field):
    """A number with a name: the database holds the number, the API speaks the name."""

    @property
    def choices(self) -> list[tuple[int, str]]:
        """The (number, name) pairs of the model's field; being a list, it makes OPTIONS fail as it does in Alyx."""
        return list(self.parent.Meta.model._meta.get_field(self.field_name).choices)  # noqa: SLF001

    def to_representation(self, value: int) -> str:
        # A number without a name (a task made without status) makes every answer that holds it a 500.
        return [name for number, name in self.choices if number == value][0]  # noqa: RUF015

    def to_internal_value(self, data: Any) -> int:
        for number, name in self.choices:
            if name == data:
                return number
        names = ", ".join(name for _, name in self.choices)
        raise serializers.ValidationError(f"Invalid {self.field_name}, choices are: {names}")


class ContentTypeField(serializers.SlugRelatedField):
    """The kind of record that a note is about: read as `actions.session`, written also as `session`."""

    def to_representation(self, value: Any) -> str:
        return f"{value.app_label}.{value.model}"

    def to_internal_value(self, data: str) -> Any:
        if "." in data:
            area, model = data.split(".")
            return self.queryset.get(model=model, app_label=area)
        return self.queryset.get(model=data)
