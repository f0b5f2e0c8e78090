"""The page of ``alyxfs report``: what a server or a manifest has said is escaped on it, and nothing is loaded.

No script runs on it and no address is asked, whatever the names are: what it shows are texts, tables and a drawing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from humanize import naturalsize

from alyxfs import __version__, file_names
from alyxfs.visible_text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MOST_ROWS = 5000
"""Of the table of files: a browser shows no more at ease. All are in the manifest."""
MOST_BARS = 24
SESSION_DEPTH = 5
"""Names between ``data/`` and what is in a session: lab, Subjects, subject, date, number."""
LONGEST = 500
"""Characters of a text of others."""
LICENCE_WORDS = ("licence", "license", "citation", "cite", "doi", "reference")
"""In the names of the fields of a tag's ``json``: Alyx has none that is meant for it."""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Nothing is loaded and nothing is run, should an escape ever be forgotten (Content Security Policy)."""
STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; font-size: .85rem; }
th, td { text-align: left; vertical-align: top; padding: .2rem .6rem .2rem 0; border-bottom: 1px solid #8884; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.path { overflow-wrap: anywhere; } code { overflow-wrap: anywhere; }
svg { width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
.whole { fill: #8885; } .read { fill: #2a78d6; } .remark { color: #777; }
""".strip()


@dataclass(frozen=True)
class Report:
    """What the page tells. Texts are as the manifest and the servers have them."""

    manifest: str
    run: Mapping[str, Any]
    """Of the manifest: ``name``, ``startTime``, ``endTime``, ``exitCode``, ``softwareVersion`` …"""
    read: Sequence[tuple[str, Mapping[str, Any]]]
    """Files, records and others, each with its server."""
    tags: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    """The records of tags by server and name; nothing of a server that was not asked."""
    labs: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    """The same of labs."""
    remarks: Sequence[str] = ()
    """What could not be found out, as sentences."""


def page(report: Report) -> str:
    """The page as HTML."""
    files = [(server, one) for server, one in report.read if one.get("kind") == "file"]
    parts = [
        *_of_the_run(report, files),
        "<h2>Bytes by type of dataset</h2>",
        bars(by_type(one for _, one in files)),
        *_labs(report, files),
        *_tags(report, files),
        *_everything(report.read),
        f'<p class="remark">Made by alyxfs {_text(__version__)} from {_text(report.manifest)}.</p>',
    ]
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>What was read: {_text(report.run.get('name'))}</title>\n<style>\n{STYLE}\n</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _of_the_run(report: Report, files: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterable[str]:
    run = report.run
    kinds = Counter(one.get("kind") for _, one in report.read)
    read, whole = (sum(_number(one.get(name)) for _, one in files) for name in ("bytes", "size"))
    code = run.get("exitCode")
    rows = {
        "Command": f"<code>{_text(run.get('name'))}</code>",
        "From": _text(run.get("startTime")),
        "To": _text(run.get("endTime")),
        "Exit code": "not known" if code is None else _text(code),
        "Server": ", ".join(_text(server) for server in dict.fromkeys(server for server, _ in report.read)),
        "Read with": f"alyxfs {_text(run.get('softwareVersion'))}, {_text(run.get('operatingSystem'))}, "
        f"{_text(run.get('runtimePlatform'))}",
        "Data files": f"{kinds['file']:,}, of which {_size(read)} of {_size(whole)} were read",
        "Records": f"{kinds['record']:,}",
        "Other files of the drive": f"{kinds['other']:,}",
    }
    yield "<h1>What an analysis has read</h1>"
    yield _table((), ([f"<b>{name}</b>", value] for name, value in rows.items()))
    if left_out := _number(run.get("leftOut")):
        yield f"<p>{left_out:,} times a file was opened for which the manifest had no room.</p>"
    yield from (f"<p>{_text(remark)}</p>" for remark in report.remarks)


def by_type(files: Iterable[Mapping[str, Any]]) -> list[tuple[str, int, int]]:
    """The types of datasets with bytes read and bytes in all, the most read first.

    Where the type is not known it is the beginning of the file's name, as ALF has it.
    """
    read: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for one in files:
        name = str(one.get("path")).rpartition("/")[2]
        kind = str(one.get("type") or ".".join(name.split(".")[:2]))
        read[kind] += _number(one.get("bytes"))
        whole[kind] += _number(one.get("size"))
    return [(kind, count, whole[kind]) for kind, count in read.most_common()]


def bars(types: Sequence[tuple[str, int, int]]) -> str:
    """A drawing: a bar for each type, as long as its files, and over it one as long as what was read of them."""
    if not types:
        return "<p>No data file was read.</p>"
    rest = types[MOST_BARS:]
    shown = list(types[:MOST_BARS])
    if rest:
        shown.append((f"{len(rest):,} other types", sum(each[1] for each in rest), sum(each[2] for each in rest)))
    most = max(1, *(max(read, whole) for _, read, whole in shown))
    left, right, height = 240, 480, 22
    lines = []
    for number, (kind, read, whole) in enumerate(shown):
        top = number * height
        label = kind if len(kind) <= 34 else f"{kind[:33]}…"  # noqa: PLR2004 - as much as there is room for
        lines += [
            f"<g><title>{_text(kind)}: {read:,} of {whole:,} bytes</title>",
            f'<text x="{left - 8}" y="{top + 15}" text-anchor="end">{_text(label)}</text>',
            f'<rect class="whole" x="{left}" y="{top + 4}" width="{right * whole / most:.1f}" height="14"/>',
            f'<rect class="read" x="{left}" y="{top + 4}" width="{right * read / most:.1f}" height="14"/>',
            f'<text x="{left + right * max(read, whole) / most + 6:.1f}" y="{top + 15}">{_size(read)}</text></g>',
        ]
    size = f"0 0 {left + right + 90} {len(shown) * height}"
    label = "Bytes read of each type of dataset, and the bytes of these files in all"
    drawing = f'<svg viewBox="{size}" role="img" aria-label="{label}">\n' + "\n".join(lines) + "\n</svg>"
    return f'{drawing}\n<p class="remark">Blue: read. Grey: the size of these files.</p>'


def _labs(report: Report, files: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterable[str]:
    subjects: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    read: Counter[tuple[str, str]] = Counter()
    for server, one in files:
        lab, subject, session = _whose(str(one.get("path")))
        subjects[server, lab][subject].add(session)
        read[server, lab] += _number(one.get("bytes"))
    rows = []
    for (server, lab), sessions in sorted(subjects.items()):
        names = ", ".join(f"{_text(name)} ({len(found):,})" for name, found in sorted(sessions.items()))
        institution = report.labs.get(server, {}).get(lab, {}).get("institution")
        rows.append([_text(lab), _text(institution), names, _size(read[server, lab])])
    yield "<h2>Labs and subjects</h2>"
    yield _table(("Lab", "Institution", "Subjects (sessions)", "Read"), rows)


def _whose(path: str) -> tuple[str, str, str]:
    """Lab, subject and session of a file, as far as its path has them."""
    _, *parts = [file_names.decode(part) or part for part in path.split("/")]
    if len(parts) <= SESSION_DEPTH or parts[1] != "Subjects" or parts[0] == "aggregates":
        return "(none)", "files of no session", ""
    return parts[0], parts[2], "/".join(parts[3:SESSION_DEPTH])


def _tags(report: Report, files: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterable[str]:
    count: Counter[tuple[str, str]] = Counter()
    without, unknown = 0, 0
    for server, one in files:
        told = one.get("tags")
        tags = [tag for tag in told if isinstance(tag, str)] if isinstance(told, list) else []
        count.update((server, tag) for tag in tags)
        without += told == []
        unknown += not isinstance(told, list)
    yield "<h2>Tags, licence and citation</h2>"
    if count:
        rows = [
            [_text(tag), f"{files:,}", _about_tag(report.tags.get(server, {}).get(tag)), _licence(report, server, tag)]
            for (server, tag), files in sorted(count.items())
        ]
        yield _table(("Tag", "Files", "What the server says of it", "Licence and citation"), rows)
    if without:
        yield f"<p>{without:,} files have no tag: the server holds no licence of them.</p>"
    if unknown:
        yield f"<p>Of {unknown:,} files the tags are not known: the server was not asked, or did not tell.</p>"
    yield (
        '<p class="remark">Alyx has no field for a licence: a tag has a name, a description and a free JSON field, '
        "a project a name, a description and users. Whoever published the data says under which licence they are.</p>"
    )


def _about_tag(tag: Mapping[str, Any] | None) -> str:
    if tag is None:
        return "(the server was not asked, or does not have it any more)"
    kinds = [name for name in ("public", "protected") if tag.get(name) is True]
    return "; ".join(filter(None, [_text(tag.get("description")), *kinds]))


def _licence(report: Report, server: str, tag: str) -> str:
    record = report.tags.get(server, {}).get(tag)
    if record is None:
        return "not known"
    told = record.get("json")
    found = [
        f"{_text(name)}: {_text(value)}"
        for name, value in (told.items() if isinstance(told, dict) else ())
        if any(word in str(name).lower() for word in LICENCE_WORDS)
    ]
    return "<br>".join(found) or "the server holds no licence and no citation"


def _everything(read: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterable[str]:
    yield "<h2>Files and records</h2>"
    rows = [
        [
            _text(one.get("path")),
            _text(one.get("revision")),
            f"<code>{_text(one.get('hash'))}</code>",
            _size(_number(one.get("size"))),
            _size(_number(one.get("bytes"))),
            _text(one.get("firstRead")),
        ]
        for _, one in read[:MOST_ROWS]
    ]
    yield _table(("Path", "Revision", "Hash", "Size", "Read", "First"), rows)
    if len(read) > MOST_ROWS:
        yield f"<p>And {len(read) - MOST_ROWS:,} more, which are in the manifest.</p>"


NUMBERS = frozenset({"Files", "Size", "Read"})
"""Columns of numbers."""


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """``heads`` and ``rows`` are HTML."""
    kinds = [' class="number"' if head in NUMBERS else ' class="path"' if head == "Path" else "" for head in heads]
    lines = ["<table>"]
    if heads:
        cells = "".join(f"<th{kind}>{head}</th>" for kind, head in zip(kinds, heads, strict=True))
        lines.append(f"<tr>{cells}</tr>")
    for row in rows:
        filled = kinds or [""] * len(row)
        cells = "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(filled, row, strict=True))
        lines.append(f"<tr>{cells}</tr>")
    return "\n".join([*lines, "</table>"])


def _text(value: object) -> str:
    """A text of others as HTML: no mark-up of theirs, no character that is not seen, of bounded length."""
    text = "" if value is None else one_line(str(value)[:LONGEST])
    return escape(text, quote=True)


def _number(value: object) -> int:
    """Bytes, where a manifest has a number of them."""
    return value if type(value) is int and value > 0 else 0


def _size(count: int) -> str:
    return naturalsize(count, binary=True)
