"""How much water an animal needs: numbers that Alyx computes anew at each request.

The arithmetic is that of Alyx; the growth curve is made up.
"""

import datetime as dt
import math
from dataclasses import dataclass
from typing import Any

from django.utils import timezone


def growth(sex: str, weeks: float) -> tuple[float, float]:
    """Return mean and standard deviation, in grams, of the weight of a mouse of this age."""
    full_grown = {"M": 29.0, "F": 24.0}.get(sex, 26.5)
    return full_grown * (1 - 0.6 * math.exp(-weeks / 7)), 1.8


@dataclass
class WaterControl:
    """What is known of an animal's weight and water; dates are naive, weights in grams, water in millilitres."""

    birth_date: dt.date | None
    sex: str
    reference_weight_pct: float
    zscore_weight_pct: float
    weighings: list[tuple[dt.datetime, float]]
    restrictions: list[tuple[dt.datetime, float, dt.datetime | None]]
    administrations: list[tuple[dt.datetime, float | None, Any]]
    implants: list[tuple[dt.datetime, float]]

    def last_before(self, pairs: list[tuple[dt.datetime, float]], day: dt.datetime) -> float:
        """The last value at or before this day, or 0."""
        return next((value for moment, value in reversed(pairs) if moment.date() <= day.date()), 0)

    def restriction_at(self, day: dt.datetime) -> tuple[dt.datetime, float] | None:
        """Start and reference weight of the restriction that the animal was under on this day."""
        before = [each for each in self.restrictions if each[0].date() <= day.date()]
        if not before:
            return None
        start, weight, end = before[-1]
        if end is not None and day > end:
            return None
        return start, weight or self.last_before(self.weighings, start)

    def reference_weight(self, day: dt.datetime) -> float:
        restriction = self.restriction_at(day)
        if restriction is None:
            return 0.0
        return restriction[1] - (self.last_before(self.implants, restriction[0]) or 0.0)

    def zscore_weight(self, day: dt.datetime) -> float:
        restriction = self.restriction_at(day)
        if restriction is None or self.birth_date is None:
            return 0.0
        start, weight = restriction
        mean, deviation = growth(self.sex, (start.date() - self.birth_date).days / 7)
        zscore = (weight - self.last_before(self.implants, start) - mean) / deviation
        mean, deviation = growth(self.sex, (day.date() - self.birth_date).days / 7)
        return deviation * zscore + mean

    def expected_weight(self, day: dt.datetime) -> float:
        total = self.reference_weight_pct + self.zscore_weight_pct
        if total == 0:
            return 0.0
        weighted = self.zscore_weight_pct * self.zscore_weight(day)
        weighted += self.reference_weight_pct * self.reference_weight(day)
        return weighted / total + self.last_before(self.implants, day)

    def min_weight(self, day: dt.datetime) -> float:
        return (
            self.zscore_weight(day) * self.zscore_weight_pct
            + self.reference_weight(day) * self.reference_weight_pct
            + self.last_before(self.implants, day)
        )

    def percentage_weight(self, day: dt.datetime) -> float:
        implant = self.last_before(self.implants, day)
        expected = self.expected_weight(day) - implant
        return 100 * (self.last_before(self.weighings, day) - implant) / expected if expected > 0 else 0.0

    def expected_water(self, day: dt.datetime) -> float:
        implant = self.last_before(self.implants, day)
        weight = self.last_before(self.weighings, day)
        total = self.reference_weight_pct + self.zscore_weight_pct
        threshold = total * (self.expected_weight(day) - implant) + implant
        return (0.05 if weight < threshold else 0.04) * (weight - implant)

    def given_water(self, day: dt.datetime, *, in_session: bool | None = None) -> float:
        """Water given on this day: in sessions, outside of them, or (None) both."""
        return sum(
            volume
            for moment, volume, session in self.administrations
            if moment.date() == day.date()
            and volume is not None
            and (in_session is None or in_session == bool(session))
        )

    def record(self, day: dt.datetime) -> dict[str, Any]:
        """One day of `/water-requirement`."""
        weighed = [value for moment, value in self.weighings if moment.date() == day.date()]
        return {
            "date": day.date(),
            "weight": self.last_before(self.weighings, day),
            "weighing_at": weighed[-1] if weighed else None,
            "reference_weight": self.reference_weight(day),
            "expected_weight": self.expected_weight(day),
            "min_weight": self.min_weight(day),
            "percentage_weight": self.percentage_weight(day),
            "given_water_reward": self.given_water(day, in_session=True),
            "given_water_supplement": self.given_water(day, in_session=False),
            "given_water_total": self.given_water(day),
            "expected_water": self.expected_water(day),
            "excess_water": self.given_water(day) - self.expected_water(day),
            "is_water_restricted": self.restriction_at(day) is not None,
            "implant_weight": self.last_before(self.implants, day),
        }


def water_control(subject: Any) -> WaterControl:
    """Collect what is known of a subject; what was prefetched is not asked for again."""
    weighings = [(each.date_time, each.weight) for each in subject.weighings.all() if each.date_time]
    restrictions = [
        (each.start_time, each.reference_weight, each.end_time)
        for each in subject.actions_waterrestrictions.all()
        if each.start_time
    ]
    administrations = [
        (each.date_time, each.water_administered, each.session_id)
        for each in subject.water_administrations.all()
        if each.date_time
    ]
    implants = [(each.start_time, each.implant_weight) for each in subject.actions_surgerys.all()]
    return WaterControl(
        birth_date=subject.birth_date,
        sex=subject.sex,
        reference_weight_pct=subject.lab.reference_weight_pct,
        zscore_weight_pct=subject.lab.zscore_weight_pct,
        weighings=sorted(weighings),
        restrictions=sorted(restrictions, key=lambda each: each[0]),
        administrations=administrations,
        implants=sorted(implants),
    )


def now() -> dt.datetime:
    """Naive UTC, like every moment in the database."""
    moment: dt.datetime = timezone.now()
    return moment
