"""errors.log: repeats are counted, and what was lost by a refusal is never pushed out by what was not."""

from __future__ import annotations

import re

from alyxfs.tree.error_log import MOST_LINES, ErrorLog

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"


def test_what_is_said_again_is_counted_and_stands_at_the_end():
    errors = ErrorLog()
    errors.note("read", "data/x", "It is not there.")
    errors.note("flush", "record/labs/x", "No.")
    for _ in range(1233):
        errors.note("read", "data/x", "It is not there.")
    first, second = errors.lines()
    assert re.fullmatch(rf"{STAMP} flush record/labs/x: No\.", first)
    assert re.fullmatch(rf"{STAMP} read data/x: It is not there\. \(1,234 times since {STAMP}\)", second)
    assert errors.count == 1235


def test_noise_pushes_out_noise_alone():
    errors = ErrorLog()
    errors.note("flush", "record/labs/x", "Refused.")
    for number in range(3 * MOST_LINES):
        errors.note("read", f"data/{number}", "It is not there.")
    lines = errors.lines()
    assert len(lines) == MOST_LINES + 1
    assert lines[0].endswith("flush record/labs/x: Refused.")
    assert lines[-1].endswith(f"data/{3 * MOST_LINES - 1}: It is not there.")


def test_what_an_earlier_mount_refused_is_shown_and_no_error_of_this_one():
    errors = ErrorLog()
    errors.note("read", "data/x", "It is not there.")
    errors.note_earlier("save", "labs/x", "Refused.\nfor good", 1_600_000_000.0)
    assert re.fullmatch(r"2020-09-1\d\S+ save labs/x: Refused\. for good", errors.lines()[0])
    assert errors.count == 1
