"""Pages of lists: 250 rows unless asked, and never more than 1000."""

import random
from typing import Any

from rest_framework.pagination import LimitOffsetPagination


class CappedPages(LimitOffsetPagination):
    """Limit and offset; a larger limit is cut without a word."""

    default_limit = 250
    max_limit = 1000


class UnorderedPages(CappedPages):
    """Pages of a table that is read without any order, or by one that leaves ties.

    A database that is free to choose may begin each page elsewhere, so that a walk over several pages repeats some
    rows and misses as many. What fits into one page is complete. The disorder depends on the request alone, so
    that a test that fails once fails again.
    """

    def paginate_queryset(self, queryset: Any, request: Any, view: Any = None) -> list[Any]:  # noqa: ARG002
        self.request = request
        self.limit = self.get_limit(request)
        self.offset = self.get_offset(request)
        self.count = self.get_count(queryset)
        if self.offset >= self.count:
            return []
        length = min(self.limit, self.count - self.offset)
        chance = random.Random(f"{self.offset}/{self.limit}/{self.count}")
        start = self.offset
        if length < self.count:
            start += chance.randint(-length // 2, length // 2)
            start = max(0, min(start, self.count - length))
        rows = list(queryset[start : start + length])
        chance.shuffle(rows)
        return rows
