"""What is remembered of records that are in memory no longer."""

from __future__ import annotations

import sys

from alyxfs.alyx.metadata import measures
from alyxfs.alyx.metadata.measures import Measure, Measures


def test_a_measure_is_that_of_its_record_or_none():
    known = Measures()
    assert known.get("subjects", "a", "1") is None
    for number in range(3 * measures.PLACES):
        known.put("subjects", f"S{number}", f"{number}", Measure(number, number + 0.25))
    found = {number: known.get("subjects", f"S{number}", f"{number}") for number in range(3 * measures.PLACES)}
    assert all(measure in {None, (number, number + 0.25)} for number, measure in found.items())
    assert sum(measure is not None for measure in found.values()) > measures.PLACES / 2
    last = 3 * measures.PLACES - 1
    assert found[last] == (last, last + 0.25)
    assert known.get("subjects", f"S{last}", "another record") is None
    assert known.get("sessions", f"S{last}", f"{last}") is None


def test_hardly_any_is_lost_where_there_is_room_for_twice_as_many():
    known, number = Measures(), measures.PLACES // 2
    for each in range(number):
        known.put("subjects", f"S{each}", f"{each}", Measure(each, 0.0))
    found = sum(known.get("subjects", f"S{each}", f"{each}") is not None for each in range(number))
    assert found > 0.95 * number


def test_measures_are_forgotten_one_by_one_or_all():
    known = Measures()
    known.forget("subjects", "a")
    for key in ("a", "b"):
        known.put("subjects", key, "1", Measure(1, 2.0))
    known.forget("subjects", "a")
    assert [known.get("subjects", key, "1") for key in ("a", "b")] == [None, (1, 2.0)]
    known.forget("subjects", None)
    assert known.get("subjects", "b", "1") is None


def test_any_number_of_them_takes_less_than_a_mebibyte():
    known = Measures()
    for number in range(100_000):
        known.put("subjects", f"S{number}", f"{number}", Measure(number, 0.0))
    assert sys.getsizeof(known._places) < 1024**2
