"""Drafts: bytes in any order, what they are at a flush, and where they go when nobody completes them."""

import json
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alyxfs import errors
from alyxfs.edits import rejected
from alyxfs.edits.drafts import LEAST_HELD, Draft, DraftState, Moment, SharedMemory, Step, next_step, state_of

OBJECTS = st.dictionaries(
    st.text(max_size=3),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4)),
        lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=2), inner, max_size=2)),
        max_leaves=4,
    ),
    max_size=3,
)


def test_drafts_that_share_memory_are_bounded_together():
    memory = SharedMemory(4 * LEAST_HELD)
    first, second = Draft(memory=memory), Draft(bytes(2 * LEAST_HELD), memory=memory)
    with pytest.raises(errors.TooLarge, match="Remove the scratch files"):
        first.write(0, bytes(2 * LEAST_HELD + 1))
    assert first.size == 0
    first.write(LEAST_HELD, bytes(LEAST_HELD))
    with pytest.raises(errors.TooLarge):
        Draft(memory=memory)
    second.truncate(5)
    third = Draft(memory=memory)
    with pytest.raises(errors.TooLarge):
        first.truncate(2 * LEAST_HELD + 1)
    del second, third
    first.truncate(4 * LEAST_HELD)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.binary(max_size=20)), max_size=12))
@settings(max_examples=200)
def test_a_draft_is_written_like_a_file(operations):
    draft = Draft(b"as it was", limit=100)
    model = bytearray(b"as it was")
    for is_write, offset, data in operations:
        if is_write:
            draft.write(offset, data)
            model.extend(bytes(max(0, offset - len(model))))
            model[offset : offset + len(data)] = data
        else:
            draft.truncate(offset)
            model[:] = (bytes(model) + bytes(offset))[:offset] if offset > len(model) else model[:offset]
    assert draft.content() == bytes(model)
    assert draft.read(3, 5) == bytes(model[3:8])
    assert draft.size == len(model)


def test_a_draft_is_bounded():
    draft = Draft(limit=10)
    draft.write(0, b"0123456789")
    with pytest.raises(errors.TooLarge, match="10 bytes"):
        draft.write(10, b"x")
    with pytest.raises(errors.TooLarge):
        draft.truncate(11)
    assert draft.content() == b"0123456789"


@given(OBJECTS, st.booleans(), st.data())
@settings(max_examples=200)
def test_every_beginning_of_an_object_is_incomplete(document, ascii_only, data):
    whole = json.dumps(document, ensure_ascii=ascii_only, indent=data.draw(st.sampled_from([None, 2])))
    content = whole.encode("utf-8", "ignore")
    cut = data.draw(st.integers(1, len(content) - 1))
    assert state_of(content) is DraftState.WHOLE
    assert state_of(content[:cut]) is DraftState.INCOMPLETE


@pytest.mark.parametrize(
    "content", [b'{"a": 1,}', b'{"a": tru }', b"[1, 2]", b"12", b'{"a": 1} x', b"{bad}", b"\xff{}", b'{"a" 1']
)
def test_what_no_appending_repairs_is_broken(content):
    assert state_of(content) is DraftState.BROKEN


def test_a_byte_order_mark_is_no_harm():
    assert state_of('\ufeff{"a": 1}'.encode()) is DraftState.WHOLE


def test_a_hole_is_incomplete():
    draft = Draft()
    draft.write(5, b": 1}")
    assert next_step(draft, Moment.FLUSH) is Step.NOTHING
    draft.write(0, b'{"abc"')
    assert state_of(draft.content()) is DraftState.BROKEN  # '{"abc"' overwrote the colon


def test_a_shell_redirection_is_sent_once():
    draft = Draft(b'{"old": 1}')
    draft.truncate(0)
    assert next_step(draft, Moment.FLUSH) is Step.NOTHING
    draft.write(0, b'{"a":')
    assert next_step(draft, Moment.FLUSH) is Step.NOTHING
    draft.write(5, b" 1}\n")
    assert next_step(draft, Moment.FLUSH) is Step.SEND
    draft.mark_handled(draft.generation)
    assert next_step(draft, Moment.FLUSH) is Step.NOTHING
    assert next_step(draft, Moment.LAST_CLOSE) is Step.NOTHING


def test_what_is_written_while_a_save_is_under_way_stays_pending():
    draft = Draft()
    draft.write(0, b"{}")
    sent = draft.generation
    draft.write(0, b'{"a": 1}')
    draft.mark_handled(sent)
    assert next_step(draft, Moment.FLUSH) is Step.SEND


@pytest.mark.parametrize(
    ("content", "at_flush", "at_fsync", "at_last_close"),
    [
        (b"", Step.NOTHING, Step.NOTHING, Step.NOTHING),
        (b'{"a": ', Step.NOTHING, Step.REFUSE, Step.KEEP),
        (b"{bad}", Step.REFUSE, Step.REFUSE, Step.KEEP),
        (b"{}", Step.SEND, Step.SEND, Step.SEND),
    ],
)
def test_what_to_do_with_a_draft(content, at_flush, at_fsync, at_last_close):
    draft = Draft(b"before")
    draft.truncate(0)
    draft.write(0, content)
    assert [next_step(draft, moment) for moment in Moment] == [at_flush, at_fsync, at_last_close]


def test_rejected_drafts_are_private_and_never_overwritten(tmp_path):
    directory = tmp_path / "rejected"
    paths = [
        rejected.keep(directory, "labs", "é/" * 200, {".json": b"%d" % number, ".theirs.json": b"t"}, "Because.")
        for number in range(3)
    ]
    assert [path.read_bytes() for path in paths] == [b"0", b"1", b"2"]
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    files = list(directory.iterdir())
    assert len(files) == 9
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    reasons = [file for file in files if file.name.endswith(".reason.txt")]
    assert {reason.read_text() for reason in reasons} == {"Because.\n"}
