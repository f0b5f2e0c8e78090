"""HTTP: the only room that knows httpx. Limits, retries, deadlines, credentials by host."""

from alyxfs.net.addresses import origin_of, shown
from alyxfs.net.client import Answer, Network, StreamedAnswer, open_network, retry_after
from alyxfs.net.memory import give_back
from alyxfs.net.origin import Origin, Politeness
from alyxfs.net.signing import can_sign, s3_signature

__all__ = [
    "Answer",
    "Network",
    "Origin",
    "Politeness",
    "StreamedAnswer",
    "can_sign",
    "give_back",
    "open_network",
    "origin_of",
    "retry_after",
    "s3_signature",
    "shown",
]
