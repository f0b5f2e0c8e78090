"""Writes that outlive who waits for them: what is sent is followed to its end, and what is called off says so."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from alyxfs import errors
from alyxfs.edits import WriteTasks
from alyxfs.tasks import background_tasks

pytestmark = pytest.mark.trio


async def test_what_was_not_sent_when_the_drive_goes_down_is_told_as_not_written():
    told, begun = [], trio.Event()
    async with background_tasks() as tasks:
        writes = WriteTasks(tasks, lambda *noted: told.append(noted))

        async def write():
            begun.set()
            await trio.sleep_forever()

        async def save():
            with pytest.raises(errors.Unreachable) as refusal:
                await writes.run("labs/x.json", write)
            told.append(str(refusal.value))

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(save)
                await begun.wait()
                assert len(writes) == 1
                await writes.finish()
                assert len(writes) == 0
    assert told == ["labs/x.json was not written: the drive is being taken down."]


async def test_what_was_sent_when_the_drive_goes_down_is_waited_for():
    sent, begun, answered = [], trio.Event(), trio.Event()
    async with background_tasks() as tasks:
        writes = WriteTasks(tasks, lambda *_: None)

        async def write():
            with trio.CancelScope(shield=True):
                begun.set()
                await answered.wait()
                sent.append("labs/x.json")
            return "saved"

        async def save():
            sent.append(await writes.run("labs/x.json", write))

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(save)
                await begun.wait()
                nursery.start_soon(writes.finish)
                await trio.testing.wait_all_tasks_blocked()
                assert sent == []
                answered.set()
    assert sent == ["labs/x.json", "saved"]
