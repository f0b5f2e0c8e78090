"""``data/aggregates/``: datasets that belong to no session, where ONE puts them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from alyxfs import errors
from alyxfs.alyx.datasets import fields
from alyxfs.alyx.datasets.layout import DataFile, Folders, aggregate_file, file_of_dataset
from alyxfs.alyx.metadata.listing import whole

if TYPE_CHECKING:
    from alyxfs.alyx.datasets.catalogue import Catalogue
    from alyxfs.alyx.metadata.cache import Listing
    from alyxfs.alyx.rest import Filters

NAME = "aggregates"
WITHOUT_SESSION = (("django", "session__isnull,True"),)
"""The query that ONE asks, too (one/api.py, ``list_aggregates``)."""


class Aggregates:
    """The files of datasets without session. ``_known`` is replaced whole, after the last await."""

    def __init__(self, catalogue: Catalogue, filters: Filters = ()) -> None:
        """``filters``: which of them."""
        self.catalogue = catalogue
        self._filters = WITHOUT_SESSION + filters
        self._known: tuple[Listing, Folders] | None = None
        self.modified = catalogue.metadata.started_at
        """Unix seconds at which one of them changed last, once they are known."""

    async def folders(self) -> Folders:
        """All of them, from one walk of their list."""
        metadata = self.catalogue.metadata
        endpoint = (await metadata.schema()).endpoints.get("datasets")
        if endpoint is None or not {name for name, _ in self._filters} <= set(endpoint.filters):
            return Folders(())
        listing = metadata.listing("datasets", self._filters)
        if self._known is not None and self._known[0] is listing:
            return self._known[1]
        files: list[DataFile] = []
        rows = await whole(listing)
        for row in rows:
            try:
                dataset = (await metadata.record("datasets", row.key, identity=row.identity)).document
                dataset = {**dataset, "id": row.identity}
                files += await self._placed(dataset)
            except errors.NotFound:  # gone meanwhile
                continue
            except fields.OddRecordError as error:
                metadata.omissions.note("data/aggregates", f"The dataset {row.identity} is left out: {error}.")
        self.modified = max((row.modified or 0.0 for row in rows), default=self.modified)
        self._known = (listing, Folders(files))
        return self._known[1]

    async def _placed(self, dataset: dict[str, Any]) -> list[DataFile]:
        """The file of a dataset, if it has a place; raises OddRecordError."""
        file = file_of_dataset(dataset)
        if aggregate_file(dataset, file) is None:
            return []
        with contextlib.suppress(
            errors.NotDownloadable, errors.NotFound, errors.NotInSnapshot
        ):  # said when it is opened
            file = await self.catalogue.file_with_buckets(dataset)
        placed = aggregate_file(dataset, file)
        return [] if placed is None else [placed]
