"""When what failed is tried again, as a function."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alyxfs import errors
from alyxfs.net.retrying import (
    LONGEST_REQUESTED_PAUSE,
    OF_FILES,
    OF_REQUESTS,
    SHORTEST_PAUSE,
    next_pause,
    requested_pause,
    retry_after,
)

REFUSED = errors.NotConnected("refused")
BROKEN = errors.ServerFault("broke off")
GATEWAY = errors.ServerFault("bad gateway", status=502)
NONSENSE = errors.ServerFault("another range", status=206)
GARBLED = errors.Garbled("no HTTP")
PAUSE = errors.Throttled("later", status=429)


def tries(patience, error, asked=None, left=1000.0):
    """How often something is asked that fails in this way each time, at most 50 times."""
    return next((n for n in range(1, 50) if next_pause(patience, error, n, left, asked, 0.5) is None), 50)


@pytest.mark.parametrize(
    ("error", "of_requests", "of_files"),
    [
        (REFUSED, 3, 50),
        (BROKEN, 3, 50),
        (GATEWAY, 3, 50),
        (PAUSE, 50, 50),
        (NONSENSE, 3, 5),
        (GARBLED, 3, 5),
        (errors.ServerFault("moved about", status=302), 1, 1),
        (errors.NotDownloadable("not there"), 1, 1),
        (errors.AddressRefused("not allowed"), 1, 1),
        (errors.DeadlineExceeded("too late"), 1, 1),
    ],
)
def test_how_often_it_is_tried(error, of_requests, of_files):
    assert tries(OF_REQUESTS, error) == of_requests
    assert tries(OF_FILES, error) == of_files


@given(
    st.sampled_from([OF_FILES, OF_REQUESTS]),
    st.sampled_from([REFUSED, BROKEN, GATEWAY, PAUSE, NONSENSE]),
    st.integers(1, 10_000),
    st.floats(0, 100),
    st.none() | st.floats(0.1, 1000),
    st.floats(0, 1),
)
def test_a_pause_is_never_none_at_all_never_past_the_deadline_and_never_shorter_than_asked(
    patience, error, failures, left, asked, jitter
):
    pause = next_pause(patience, error, failures, left, asked, jitter)
    if pause is not None:
        assert patience.first_pause / 2 <= pause < left
        assert pause == asked or (asked is None and pause <= patience.longest_pause)


def test_pauses_grow_to_a_bound():
    pauses = [next_pause(OF_FILES, REFUSED, failures, 1000, None, 1) for failures in range(1, 9)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]


def test_a_pause_is_asked_for_by_a_number_or_a_date_of_the_servers_own_clock():
    assert retry_after({"retry-after": "7"}) == 7
    assert retry_after({"retry-after": " 0 "}) == SHORTEST_PAUSE
    date, later = "Tue, 03 Dec 2019 10:00:00 GMT", "Tue, 03 Dec 2019 10:00:09 GMT"
    assert retry_after({"retry-after": later, "date": date}) == 9, "however wrong that clock, or ours, is"
    assert retry_after({"retry-after": date, "date": later}) == SHORTEST_PAUSE
    in_a_while = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 30))
    assert retry_after({"retry-after": in_a_while}) == pytest.approx(30, abs=1.5)
    assert requested_pause(429, {}) == 1
    assert requested_pause(503, {}) is None


@pytest.mark.parametrize(
    "text", ["", "soon", "-5", "9" * 400, "Tue, 03 Dec 99999 10:00:00 GMT", "Tue, 03 Dec 2519 10:00:00 GMT", "٣"]
)
def test_what_is_no_sensible_pause_is_bounded(text):
    asked = retry_after({"retry-after": text})
    assert asked is None or 0.1 <= asked <= LONGEST_REQUESTED_PAUSE
