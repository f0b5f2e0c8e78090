"""Hostile servers, case by case: no secret told, nothing written elsewhere, little memory and time, a drive that lives.

What no case may cost is asserted by ``World.case`` (tests/support/hostile_world.py); the cases are the tables of
tests/support/hostile_cases.py, and what hypothesis makes of the same kinds. The usual form runs some 120, a few
of each table. ``ALYXFS_HOSTILE=all`` runs all, ``ALYXFS_HOSTILE_MADE=1000`` makes so many of a kind.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from hostile import MIB
from hostile_cases import CASES, MADE
from hostile_world import hostile_world

ALL = os.environ.get("ALYXFS_HOSTILE") == "all"
MADE_EACH = int(os.environ.get("ALYXFS_HOSTILE_MADE", "2"))
SHORT = 4
"""Cases that the usual form runs of each table, spread over it."""
CHOSEN = {
    kind: cases if ALL else dict(list(cases.items())[:: max(1, len(cases) // SHORT)]) for kind, cases in CASES.items()
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with hostile_world(tmp_path_factory.mktemp("hostile") / "world") as world:
        yield world
        print(
            f"{world.count} cases, {world.peak / MIB:.0f} MiB above idle at most, no step above {world.slowest:.1f} s"
        )
        print(f"Failures that programs saw: {world.failures}")


def test_there_are_a_thousand_cases():
    assert sum(map(len, CASES.values())) >= 1000
    assert sum(map(len, CHOSEN.values())) >= (1000 if ALL else 90)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", list(CHOSEN))
def test_a_hostile_server_costs_errors_at_most(world, kind):
    for name, case in CHOSEN[kind].items():
        with world.case(f"{kind}: {name}"):
            case(world)


@pytest.mark.timeout(600 + 2 * MADE_EACH)
@pytest.mark.parametrize("kind", list(MADE))
def test_whatever_a_server_says_costs_errors_at_most(world, kind):
    strategy, case = MADE[kind]

    @settings(
        max_examples=MADE_EACH,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def made(value):
        with world.case(f"{kind}: {value!r}"[:2000]):
            case(value, world)

    made()
