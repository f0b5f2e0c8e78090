"""``data/aggregates/``: datasets that belong to no session, where ONE puts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alyxfs import errors
from alyxfs.alyx.datafiles import DataFile, aggregate_file, file_of_dataset
from alyxfs.tree.catalogue import Folders, whole

if TYPE_CHECKING:
    from alyxfs.alyx.library import Listing
    from alyxfs.tree.catalogue import Catalogue

NAME = "aggregates"
WITHOUT_SESSION = (("django", "session__isnull,True"),)
"""The query that ONE asks, too (one/api.py, ``list_aggregates``)."""


class Aggregates:
    """The files of datasets without session. ``_known`` is replaced whole, after the last await."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self._known: tuple[Listing, Folders] | None = None
        self.modified = catalogue.library.started_at
        """Unix seconds at which one of them changed last, once they are known."""

    async def folders(self) -> Folders:
        """All of them, from one walk of their list."""
        library = self.catalogue.library
        endpoint = (await library.schema()).endpoints.get("datasets")
        if endpoint is None or "django" not in endpoint.filters:
            return Folders(())
        listing = library.listing("datasets", WITHOUT_SESSION)
        if self._known is not None and self._known[0] is listing:
            return self._known[1]
        files: list[DataFile] = []
        for row in await whole(listing):
            dataset = (await library.record("datasets", row.key, identity=row.identity)).document
            dataset = {**dataset, "id": row.identity}
            try:
                file = await self.catalogue.file_with_buckets(dataset)
            except errors.NotDownloadable:  # said when it is opened
                file = file_of_dataset(dataset)
            if (placed := aggregate_file(dataset, file)) is not None:
                files.append(placed)
        self.modified = max((row.modified or 0.0 for row in listing.rows), default=self.modified)
        self._known = (listing, Folders(files))
        return self._known[1]
