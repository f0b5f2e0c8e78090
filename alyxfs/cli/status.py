"""``alyxfs status``: what a drive says of itself and of its server, for people or for programs."""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from humanize import naturaldelta, naturalsize
from rich.live import Live
from rich.table import Table
from rich.text import Text

from alyxfs.cli.drives import ask_drive, drive_root, drives, state_of, status_text, the_drive
from alyxfs.cli.mount_point import in_time
from alyxfs.cli.printing import say, say_of
from alyxfs.control.words import staged_words
from alyxfs.errors import AlyxfsError
from alyxfs.visible_text import escaped

if TYPE_CHECKING:
    from collections.abc import Sequence


WATCHED_EVERY = 1.0
"""Seconds between two looks of ``--watch``."""
COLUMN = 12
"""Characters that the words in front of the sentences may have."""


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="The drive's .alyxfs/status.json as it is, for programs.")
@click.option("--watch", "is_watched", is_flag=True, help="Go on showing it, each second, until Ctrl-C.")
def status(directory: Path | None, as_json: bool, is_watched: bool) -> None:
    """Show what the drive at DIRECTORY says of itself and of its server; without one, all drives of yours."""
    if is_watched:
        if as_json or not sys.stdout.isatty():
            raise click.UsageError("--watch is for a terminal; programs read .alyxfs/status.json or .alyxfs/metrics.")
        watch(drive_root(directory) if directory else the_drive("the drive's directory"))
        return
    if directory is None:
        _list_drives(as_json=as_json)
        return
    root = drive_root(directory)
    text = status_text(root)
    if as_json:
        say(text.removesuffix("\n"))
        return
    for name, sentence in described(json.loads(text), root, time.time()):
        say_of(name, sentence, COLUMN)


def watch(root: Path) -> None:
    """Show the state of a drive, made anew each second, until Ctrl-C or the drive ends."""
    before, seen_at = state_of(root), time.monotonic()
    with Live(auto_refresh=False) as live, suppress(KeyboardInterrupt):
        while True:
            time.sleep(WATCHED_EVERY)
            now, seconds = state_of(root), time.monotonic() - seen_at
            seen_at += seconds
            table = Table.grid(padding=(0, 2))
            for name, sentence in [*described(now, root, time.time()), ("now", _rates(before, now, seconds))]:
                table.add_row(Text(escaped(name), style="bold"), Text(escaped(sentence)))
            live.update(table, refresh=True)
            before = now


def _rates(before: dict[str, Any], now: dict[str, Any], seconds: float) -> str:
    passed = {key: (now[key] - before[key]) / seconds for key in ("file_bytes", "served_bytes", "api_requests")}
    fetched, served = size_of(int(passed["file_bytes"])), size_of(int(passed["served_bytes"]))
    return f"{fetched} fetched, {served} read and {counted(round(passed['api_requests']), 'request')} a second"


def _list_drives(*, as_json: bool) -> None:
    """The drives of this user; one that does not answer holds up none of the others for long."""
    found = drives()
    states = {mount.place: in_time(partial(_state, mount.place)) for mount in found}
    if as_json:
        rows = [{"place": str(mount.place), "server": mount.server, "state": states[mount.place]} for mount in found]
        say(json.dumps(rows, indent=2))
        return
    if not found:
        say("No drive of yours is mounted.", err=True)
    for mount in found:
        state = states[mount.place]
        say(f"{mount.place}: {mount.server}, {_in_short(state, time.time()) if state else 'does not answer'}")


def _state(place: Path) -> dict[str, Any] | None:
    try:
        return state_of(place)
    except AlyxfsError:  # its process has ended
        return None


def _in_short(state: dict[str, Any], now: float) -> str:
    kind = kind_of(state)
    since = f"mounted {naturaldelta(now - state['mounted_at'])} ago"
    away = "" if state["stale_since"] is None else f", the server away for {naturaldelta(now - state['stale_since'])}"
    wrong = f", {counted(state['errors'], 'error')}" if state["errors"] else ""
    return f"{kind}, {since}{away}{wrong}"


def kind_of(state: dict[str, Any]) -> str:
    """What a drive does with what is saved on it."""
    if state.get("snapshot"):  # a drive of an earlier version does not say
        return "snapshot"
    if not state["writable"]:
        return "read-only"
    is_staging = state.get("staging")  # a drive of an earlier version does not say
    if not state.get("dry_run") and not is_staging:
        return "writable"
    conflicts = state["proposals_in_conflict"]
    conflicting = f" ({conflicts:,} in conflict with the server)" if conflicts else ""
    if is_staging:
        return f"{counted(state['staged'], 'staged write')}{conflicting}, nothing is sent before `alyxfs apply`"
    return f"dry run: {counted(state['proposals'], 'proposal')}{conflicting}, nothing is sent"


def _staged(state: dict[str, Any]) -> list[tuple[str, str]]:
    """Where a drive does not show what is staged."""
    number = state.get("staged", 0)  # a drive of an earlier version does not say
    return [("staged", staged_words(number, shows=False))] if number and not state.get("staging") else []


def described(state: dict[str, Any], root: Path, now: float) -> list[tuple[str, str]]:
    """The state of a drive in sentences, each with the word that it is about; ``now`` in Unix seconds."""
    since = naturaldelta(now - state["mounted_at"])
    lines = [
        ("drive", f"{root}, {kind_of(state)}, mounted {since} ago (alyxfs {state['alyxfs']})"),
        *_staged(state),
        ("server", f"{state['server']}, {counted(state['api_requests'], 'request')} ({_last_minute(state, 'api')})"),
    ]
    if snapshot := state.get("snapshot"):  # a drive of an earlier version does not say
        lines.append(("", f"not asked: shown is the snapshot {snapshot['file']} of {snapshot['made']}"))
    else:
        lines.append(("user", f"{state['user'] or 'of a token, whose user is not known'}, from {state['user_from']}"))
    if waiting := state.get("waiting_for_limit"):  # a drive of an earlier version does not say
        sentence = f"{counted(waiting, 'request')} waiting for the server's limit (--requests-per-minute)"
        lines.append(("", sentence))
    if state["stale_since"] is not None:
        lines.append(
            ("", f"away for {naturaldelta(now - state['stale_since'])}; shown is what was known: {state['last_error']}")
        )
    known = f"{counted(state['listings'], 'listing')} with {counted(state['rows'], 'row')}"
    if state["oldest_listing"] is not None:
        known += f", the oldest from {naturaldelta(now - state['oldest_listing'])} ago"
    lines.append(("known", f"{known}; {counted(state['records_in_memory'], 'record')} in memory"))
    for walk in state.get("walks", ()):  # a drive of an earlier version does not say
        of = "" if walk["of"] is None else f" of {walk['of']:,}"
        ago = naturaldelta(now - walk["newest_page_at"])
        lines.append(("", f"{walk['listing']}: {walk['rows']:,}{of} rows have come, the newest {ago} ago"))
    lines += [("", remark) for remark in state["remarks"]]
    lines.append(("cache tables", _of_tables(state["cache_tables"], now)))
    lines += _of_releases(state.get("releases", {}))  # a drive of an earlier version does not say
    lines += _of_files(state)
    lines += [("cache", remark) for remark in state["cache_remarks"]]
    lines.append(("pinned", _of_drive(root)))
    lines += _of_manifests(state)
    if refused := state.get("crawlers_refused"):  # a drive of an earlier version does not say
        names = ", ".join(f"{name} ({counted(count, 'file')})" for name, count in refused.items())
        lines.append(("crawlers", f"would have had data files fetched, without --allow-crawlers: {names}"))
    if state["writable"]:
        pending, rejected = counted(state["writes_pending"], "change"), counted(state["writes_rejected"], "draft")
        lines.append(("writes", f"{pending} not on the server yet, {rejected} refused and kept in {state['rejected']}"))
        lines.append(("journal", state["journal"]))
    lines.append(("log", state["log"] or "goes to the terminal in which it was mounted"))
    if state["defects"]:
        lines.append(("defects", f"{counted(state['defects'], 'defect')}, the last: {state['last_defect']}"))
    where = f", see {root}/.alyxfs/errors.log" if state["last_errors"] else ""
    lines.append(("errors", f"{counted(state['errors'], 'error') if state['errors'] else 'none'}{where}"))
    lines += [("", error) for error in state["last_errors"]]
    return lines


def _last_minute(state: dict[str, Any], kind: str) -> str:
    return f"{state[f'{kind}_requests_last_minute']:,} in the last minute"


def _of_files(state: dict[str, Any]) -> list[tuple[str, str]]:
    fetched, served, share = size_of(state["file_bytes"]), size_of(state["served_bytes"]), state["cache_hit_share"]
    here = "" if share is None else f", {share:.0%} of which were here"
    now = f"{counted(state['open_files'], 'file')} open, {counted(state['transfers'], 'transfer')} under way"
    asked = f"{counted(state['file_requests'], 'request')} ({_last_minute(state, 'file')})"
    limit = size_of(state["cache_limit"])
    return [
        ("files", now),
        ("", f"{fetched} fetched with {asked}, {served} read by programs{here}"),
        ("cache", f"{size_of(state['cache_bytes'])} of at most {limit}, in {state['cache_directory']}"),
    ]


def _of_tables(tables: dict[str, Any], now: float) -> str:
    if "made" not in tables:
        return f"not used. {tables['note']}" if tables["note"] else "not needed yet: nothing in data/ was looked at"
    text = f"{counted(tables['sessions'], 'session')} and {counted(tables['datasets'], 'dataset')}"
    text += f", made {tables['made']}; {counted(tables['changed_since'], 'change')} since"
    if tables["asked_at"]:
        text += f", asked {naturaldelta(now - tables['asked_at'])} ago"
    text += "".join(f"; {compared_of(progress, tables)}" for progress in tables.get("compared", []))
    return f"{text}. {tables['note']}".strip()


def _of_releases(releases: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """A line for each tag whose datasets are known, or coming."""
    told = [
        f"{tag}: {counted(known['datasets'], 'dataset')}, made {known['made']}"
        if "made" in known
        else f"{tag}: {known['listed']:,} of {counted(known['of'], 'dataset')} listed so far"
        for tag, known in releases.items()
    ]
    return [("releases" if number == 0 else "", sentence) for number, sentence in enumerate(told)]


def compared_of(compared: dict[str, int], tables: dict[str, Any]) -> str:
    """How far a comparison with the server has come."""
    parts = [f"{number:,} of {tables[endpoint]:,} {endpoint}" for endpoint, number in compared.items()]
    return f"compared with the server so far: {', '.join(parts) or 'nothing'}"


def _of_manifests(state: dict[str, Any]) -> list[tuple[str, str]]:
    """What the drive shows where that is not everything, and where it is written down what is read."""
    lines = []
    if only := state.get("only"):  # a drive of an earlier version does not say
        lines.append(("shown", f"only what {only['manifest']} names: {counted(only['paths'], 'path')}"))
    lines += [("", sentence) for sentence in state.get("differences", ())]
    if trace := state.get("trace"):
        lines.append(("trace", f"what programs read is written to {trace}"))
    return lines


def _of_drive(root: Path) -> str:
    try:
        return of_pins(ask_drive(root, "pins"))
    except AlyxfsError as error:
        return f"not known. {error}"


def of_pins(files: Sequence[dict[str, Any]]) -> str:
    """Pinned files in words: how many, how large, and how much of them is on this machine."""
    if not files:
        return "nothing"
    total = sum(file["size"] for file in files)
    here = sum(int(file["size"] * file["share"]) for file in files)
    share = "all on this machine" if here == total else f"of which {size_of(here)} are on this machine"
    return f"{counted(len(files), 'file')}, {size_of(total)}, {share}"


def size_of(count: int) -> str:
    """Bytes as people read them: ``3.4 GiB``."""
    return naturalsize(count, binary=True)


def counted(number: int, thing: str) -> str:
    """A number of things: ``1 row``, ``1,200 rows``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
