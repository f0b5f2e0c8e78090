"""What is remembered of files that nobody has open any more."""

from __future__ import annotations

from alyxfs.files import seen
from alyxfs.files.disk.block_file import Fingerprint
from alyxfs.files.seen import Seen


def test_what_was_seen_of_very_many_files_is_forgotten_and_then_nothing_counts_as_the_same(monkeypatch):
    monkeypatch.setattr(seen, "MOST", 3)
    contents = seen.SeenContents()
    first = Seen(0, Fingerprint(10, '"v1"'), is_shown=True)
    for name in "abc":
        contents.closed(name, "1", first)
    assert contents.of("a", "1") == first
    assert contents.of("never seen", "1") == Seen(0, None, is_shown=False)
    contents.closed("d", "1", first)
    assert contents.of("d", "1") == first
    assert contents.of("a", "1").fingerprint is None
    assert contents.of("a", "1").generation not in {0, contents.new_generation()}
