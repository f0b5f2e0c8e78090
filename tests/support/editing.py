"""An editor of a demo Alyx, without a kernel; run as a program, one that kills itself at a step of a write."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from alyxfs.alyx.auth import Account
from alyxfs.alyx.metadata.cache import MetadataCache, open_metadata_cache
from alyxfs.alyx.rest import Api
from alyxfs.edits import Editor, Journal, Staging
from alyxfs.edits.proposals import ProposalJournal, ProposedApi, StagingJournal
from alyxfs.net import open_network
from alyxfs.store import open_store


@dataclass
class Editing:
    editor: Editor
    """What programs save with; ``staging`` sends what that has staged."""
    metadata: MetadataCache
    api: Api
    journal: Journal
    rejected: Path
    staging: Staging

    async def read(self, endpoint, key):
        """The record as the drive shows it."""
        return (await self.metadata.record(endpoint, key)).document

    async def entries(self):
        """All of the journal, with the records."""
        return [await self.editor.entry(entry.number) for entry in await self.editor.entries()]

    def kept(self):
        """Names and contents in the rejected directory."""
        files = sorted(self.rejected.iterdir()) if self.rejected.exists() else []
        return {file.name: file.read_text(errors="replace") for file in files}


@asynccontextmanager
async def editing(url, directory, *, user="demo", password=None, deadline=10, dry_run=False, stage=False, **options):
    directory = Path(directory)
    kind = StagingJournal if stage else ProposalJournal if dry_run else Journal
    journal = kind(directory / "journal" / "journal.sqlite")
    try:
        async with open_network(deadline=deadline) as network, open_store(directory / "store.sqlite") as store:
            api = (ProposedApi if dry_run or stage else Api)(network, url, Account(user, password or user))
            async with open_metadata_cache(api, store) as metadata:
                server, sending = getattr(api, "server", api), dict(options)
                if dry_run or stage:
                    api.schema, api.forget, options["proposals"] = await metadata.schema(), metadata.outdate, api
                    api.is_staging = stage
                editor = Editor(api, metadata, journal, directory / "rejected", **options)
                sender = Editor(server, metadata, journal, directory / "rejected", **sending) if stage else editor
                lock = directory / "staging.lock"
                staging = Staging(sender, server, metadata, journal, lock, api if stage else None)
                if stage:
                    await staging.load()
                yield Editing(editor, metadata, api, journal, directory / "rejected", staging)
    finally:
        journal.close()


def draft(document):
    return json.dumps(document, indent=2).encode()


async def _write_and_die(url, directory, step, operation, arguments):
    def checkpoint(name):
        if name == step:
            os.kill(os.getpid(), signal.SIGKILL)

    async with editing(url, directory, checkpoint=checkpoint) as room:
        if operation == "apply":
            await room.staging.apply(arguments, await room.editor.begin_set("a test"))
        elif operation == "save":
            endpoint, key, changes = arguments
            await room.editor.save(endpoint, key, await room.read(endpoint, key), draft(changes))
        elif operation == "create":
            endpoint, name, document = arguments
            await room.editor.create(endpoint, name, draft(document))
        else:
            await room.editor.delete(*arguments)


if __name__ == "__main__":
    trio.run(_write_and_die, *sys.argv[1:5], json.loads(sys.argv[5]))
