"""HTTP: the only room that knows httpx. Limits, retries, deadlines, addresses, credentials by host.

Promises: a request that may be repeated is, within its time; a write is sent once; credentials go to their host alone,
also through redirects; no more at once, or a minute, than the server is to be asked.
Needs: sockets.
"""

from alyxfs.net.addresses import origin_of, quoted_address, shown
from alyxfs.net.answers import LARGEST_BODY, LARGEST_REFUSAL, Answer, StreamedAnswer
from alyxfs.net.boundary import networks_of
from alyxfs.net.client import Network, check_environment, open_network
from alyxfs.net.link import Link
from alyxfs.net.malloc import release_unused
from alyxfs.net.origin import Origin
from alyxfs.net.rate_limit import RateLimit
from alyxfs.net.retrying import (
    FAILURES_FROM,
    GATEWAY_STATUSES,
    OF_FILES,
    WHILE_AWAY,
    next_pause,
    requested_pause,
    retry_after,
)
from alyxfs.net.signing import can_sign, s3_signature

__all__ = [
    "FAILURES_FROM",
    "GATEWAY_STATUSES",
    "LARGEST_BODY",
    "LARGEST_REFUSAL",
    "OF_FILES",
    "WHILE_AWAY",
    "Answer",
    "Link",
    "Network",
    "Origin",
    "RateLimit",
    "StreamedAnswer",
    "can_sign",
    "check_environment",
    "networks_of",
    "next_pause",
    "open_network",
    "origin_of",
    "quoted_address",
    "release_unused",
    "requested_pause",
    "retry_after",
    "s3_signature",
    "shown",
]
