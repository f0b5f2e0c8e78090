"""Feeding a parser with anything for a while: the decorator, and what is fed."""

from __future__ import annotations

import inspect
import os
import random
import time
from itertools import count

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from lying_proxy import ADDRESSES, NUMBERS, TEXTS, TIMES, damage_bytes

SECONDS = float(os.environ.get("ALYXFS_FUZZ", "0.5"))
EXAMPLES = 100

ODD = st.sampled_from([*NUMBERS, *TEXTS, *ADDRESSES, *TIMES])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | ODD
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)
CHANCE = st.integers(0, 2**64).map(random.Random)


def fuzz(strategy):
    """Run a check on values of the strategy until its time is over."""

    def decorate(check):
        fixtures = list(inspect.signature(check).parameters.values())[:-1]

        def run(**made):
            given_by_pytest = [made[each.name] for each in fixtures]
            ends = time.monotonic() + SECONDS
            for batch in count():
                if time.monotonic() > ends:
                    return

                @seed(batch)
                @settings(
                    max_examples=EXAMPLES,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                    phases=[Phase.generate, Phase.shrink],
                )
                @given(strategy)
                def examples(value):
                    if time.monotonic() < ends + 5:
                        check(*given_by_pytest, value)

                examples()

        run.__name__, run.__doc__ = check.__name__, check.__doc__
        run.__signature__ = inspect.Signature(fixtures)  # pytest would ask for the value as a fixture
        return pytest.mark.timeout(120 + 2 * SECONDS)(run)

    return decorate


def damaged(*contents):
    """Contents with some bytes changed."""
    return st.tuples(CHANCE, st.sampled_from(contents)).map(lambda drawn: damage_bytes(*drawn)) | st.binary(
        max_size=500
    )
