"""Dates and times as servers write them, the same on every Python."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from alyxfs.moments import moment_of, naive_utc

NOON = datetime.fromisoformat("2024-05-01T12:00:00")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-05-01T12:00:00", NOON),
        ("2024-05-01 12:00", NOON),
        ("2024-05-01T12:00:00.5", NOON.replace(microsecond=500_000)),
        ("2024-05-01T12:00:00.1234567", NOON.replace(microsecond=123_456)),
        ("2024-05-01T12:00:00Z", NOON.replace(tzinfo=timezone.utc)),
        ("2024-05-01T12:00:00.25z", NOON.replace(microsecond=250_000, tzinfo=timezone.utc)),
        ("2024-05-01T12:00:00.5+02:00", NOON.replace(microsecond=500_000, tzinfo=timezone(timedelta(hours=2)))),
        ("2024-05-01", NOON.replace(hour=0)),
        ("2024-05-32", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_a_moment_is_read_in_every_spelling(text, moment):
    assert moment_of(text) == moment


def test_alyx_stores_naive_utc():
    assert naive_utc("2024-05-01T14:00:00+02:00") == naive_utc("2024-05-01T12:00:00") == NOON
    assert naive_utc("0001-01-01T00:00:00+02:00") is None
