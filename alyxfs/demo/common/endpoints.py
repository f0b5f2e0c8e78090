"""The addresses of one kind of record: its list, and each record's own."""

from typing import Any

from django.urls import URLPattern, path
from rest_framework import generics

from .permission import LOGGED_IN


def endpoint(
    address: str,
    serializer: type,
    rows: Any,
    *,
    one: Any = None,
    row_serializer: type | None = None,
    new_serializer: type | None = None,
    by: str = "uuid:pk",
    many: type = generics.ListCreateAPIView,
    single: type | None = generics.RetrieveUpdateDestroyAPIView,
    **of_list: Any,
) -> list[URLPattern]:
    """The two addresses, or the list's alone where there is no view of a ``single`` one.

    ``rows`` and ``one`` are what list and detail read; ``by`` is the look-up with its converter. Where the list shows
    less than the detail it has a serializer for its rows, and may have another one that takes and answers a POST.
    ``of_list`` are further attributes of the list's view: its filters, its pages, the text about it.
    """
    name = rows.model._meta.model_name  # noqa: SLF001 - Django's documented way to a model's name
    in_rows = row_serializer or serializer

    def serializer_of_list(self: Any) -> type:
        if new_serializer is not None and self.request and self.request.method == "POST":
            return new_serializer
        return in_rows

    shared = {"permission_classes": LOGGED_IN}
    of_rows = {"queryset": rows, "get_serializer_class": serializer_of_list, **shared, **of_list}
    listing: Any = type(f"{rows.model.__name__}List", (many,), of_rows)
    addresses = [path(address, listing.as_view(), name=f"{name}-list")]
    if single is not None:
        of_one = {
            "queryset": rows.model.objects.all() if one is None else one,
            "serializer_class": serializer,
            **shared,
        }
        detail: Any = type(f"{rows.model.__name__}Detail", (single,), {"lookup_field": by.partition(":")[2], **of_one})
        addresses.append(path(f"{address}/<{by}>", detail.as_view(), name=f"{name}-detail"))
    return addresses
