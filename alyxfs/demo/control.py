"""A door for tests: makes the next requests fail, wait, or lose their answer.

`POST /demo-control` with any of

    {"fail": {"status": 503, "count": 3, "path_prefix": "/subjects"}}
    {"delay": {"seconds": 0.5, "count": 1, "path_prefix": "/"}}
    {"drop_after_save": {"count": 1}}     the request is done, and the connection closed without an answer
    {"close_before": {"count": 1}}        the connection is closed, and nothing is done
    {"truncate": {"bytes": 100}}          the answer breaks off after so many bytes of its body
    {"expire_tokens": true}
    {"time_zone": "UTC+8"}                the clock that records are stamped by is put there (POSIX: 8 hours west)
    {"reset": true}                       all of these end, delays that are under way, too

`count` is 1 unless given, `path_prefix` all paths, `method` all methods, `retry_after` adds that header.
"""

import json
import os
import threading
import time
from dataclasses import dataclass
from typing import Any

PATH = "/demo-control"
KINDS = ("fail", "delay", "drop_after_save", "close_before", "truncate")


@dataclass
class Rule:
    """What to do with the next so many requests of this kind."""

    kind: str
    count: int
    path_prefix: str
    method: str | None
    options: dict[str, Any]


class Control:
    """The rules in force. They change under the lock only, from any connection's thread."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self.lock = threading.Lock()
        self.resets = 0
        self.was_reset = threading.Condition(self.lock)

    def command(self, body: bytes) -> None:
        """Obey one POST."""
        orders: dict[str, Any] = json.loads(body)
        if orders.get("reset"):
            with self.lock:
                self.rules.clear()
                self.resets += 1
                self.was_reset.notify_all()
        if orders.get("expire_tokens"):
            expire_tokens()
        if "time_zone" in orders:
            os.environ["TZ"] = orders["time_zone"]
            time.tzset()
        for kind in KINDS:
            if kind in orders:
                options = dict(orders[kind])
                rule = Rule(
                    kind,
                    int(options.pop("count", 1)),
                    options.pop("path_prefix", ""),
                    options.pop("method", None),
                    options,
                )
                with self.lock:
                    self.rules.append(rule)

    def delay(self, seconds: float) -> None:
        """Wait so long, or until the next reset."""
        with self.lock:
            before = self.resets
            self.was_reset.wait_for(lambda: self.resets > before, seconds)

    def matching(self, method: str, target: str) -> dict[str, dict[str, Any]]:
        """Use up and return the rules for this request: one of each kind at most."""
        found: dict[str, dict[str, Any]] = {}
        with self.lock:
            for rule in self.rules:
                if rule.kind in found or rule.count < 1:
                    continue
                if target.startswith(rule.path_prefix) and rule.method in {None, method}:
                    rule.count -= 1
                    found[rule.kind] = rule.options
            self.rules = [rule for rule in self.rules if rule.count > 0]
        return found


def expire_tokens() -> None:
    """Make every token invalid; a new log-in gives a new one."""
    from rest_framework.authtoken.models import Token  # noqa: PLC0415 - only once Django is set up

    Token.objects.all().delete()
