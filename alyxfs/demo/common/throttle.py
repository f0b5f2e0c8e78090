"""The limit on requests a minute, which is off unless the demo is started with one."""

from django.conf import settings
from rest_framework.throttling import ScopedRateThrottle, UserRateThrottle


class PerUserThrottle(UserRateThrottle):
    """Counts the requests of each user in the last minute."""

    scope = "user"

    def get_rate(self) -> str | None:
        limit = settings.DEMO_THROTTLE_PER_MINUTE
        return f"{limit}/minute" if limit else None


class DocumentationThrottle(ScopedRateThrottle):
    """The documentation page is meant for people: it has a lower limit of its own."""

    scope_attr = "throttle_scope"

    def get_rate(self) -> str | None:
        return "20/minute" if settings.DEMO_THROTTLE_PER_MINUTE else None
