"""``.alyxfs/metrics``: the figures of the status in the text format of Prometheus (version 0.0.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Metric(NamedTuple):
    """One figure: its key in ``status.json``, its name, kind and meaning."""

    key: str
    name: str
    kind: str
    help: str


METRICS = (
    Metric("mounted_at", "mounted_timestamp_seconds", "gauge", "When the drive was mounted."),
    Metric("api_requests", "api_requests_total", "counter", "Requests to the Alyx."),
    Metric("api_bytes", "api_received_bytes_total", "counter", "Bytes of its answers."),
    Metric("file_requests", "file_requests_total", "counter", "Requests to file servers."),
    Metric("file_bytes", "file_received_bytes_total", "counter", "Bytes of data files fetched."),
    Metric("served_bytes", "served_bytes_total", "counter", "Bytes of data files that programs were given."),
    Metric("cache_bytes", "cache_bytes", "gauge", "Bytes that data files take on the disk of the cache."),
    Metric("cache_limit", "cache_limit_bytes", "gauge", "Bytes that they may take."),
    Metric("open_files", "open_files", "gauge", "Files that programs have open."),
    Metric("transfers", "transfers", "gauge", "Pieces of data files on their way."),
    Metric("writes_pending", "writes_pending", "gauge", "Changes that the server does not have yet."),
    Metric("staged", "writes_staged", "gauge", "Changes that wait for `alyxfs apply`."),
    Metric("writes_rejected", "writes_rejected", "gauge", "Drafts that were refused and are kept."),
    Metric("errors", "errors_total", "counter", "Errors that programs got, and others that people should know of."),
    Metric("defects", "defects_total", "counter", "Failures that nobody foresaw."),
)


def metrics(status: Mapping[str, Any]) -> bytes:
    """The text, made of the content of ``status.json``."""
    return "".join(f"{line}\n" for line in _lines(status)).encode("utf-8", "backslashreplace")


def _lines(status: Mapping[str, Any]) -> Iterator[str]:
    drive = f"drive={_quoted(status['mount_point'])}"
    yield "# HELP alyxfs_info The drive."
    yield "# TYPE alyxfs_info gauge"
    yield f"alyxfs_info{{{drive},server={_quoted(status['server'])},version={_quoted(status['alyxfs'])}}} 1"
    yield "# HELP alyxfs_up Whether the server answers."
    yield "# TYPE alyxfs_up gauge"
    yield f"alyxfs_up{{{drive}}} {int(status['stale_since'] is None)}"
    for metric in METRICS:
        yield f"# HELP alyxfs_{metric.name} {metric.help}"
        yield f"# TYPE alyxfs_{metric.name} {metric.kind}"
        yield f"alyxfs_{metric.name}{{{drive}}} {status[metric.key]}"
    yield "# HELP alyxfs_kernel_requests_total Requests of the kernel."
    yield "# TYPE alyxfs_kernel_requests_total counter"
    for operation, count in sorted(status["kernel_requests"].items()):
        yield f"alyxfs_kernel_requests_total{{{drive},operation={_quoted(operation)}}} {count}"


def _quoted(value: object) -> str:
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
