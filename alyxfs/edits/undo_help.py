"""Makes the help's ``undo.md`` from the tables of quirks: ``python -m alyxfs.edits.undo_help > …/undo.md``."""

from __future__ import annotations

import sys

from alyxfs.alyx.quirks import losses, side_effects

_BEGINNING = """\
# What an undo brings back, and what it does not

`alyxfs undo N` compares all of a record that the server shows, and says which field is not as it was. This page is made
from the drive's own tables, which were read from the source of Alyx 3.6.1.

- A changed field gets its old value, unless somebody changed it since; so does one that the server changed of its own
  accord. Text that had blanks or empty lines at its ends comes back without them, and a dataset type's filename_pattern
  in lower case: the server sees to that.
- A deleted record is made again, with a new id, also where a name leads to it. What named the old id does not name the
  new one; notes about it stay with the old one.
- A new record is deleted, if nobody has changed it since.
- Where the server refuses some of the fields, the others get their old values, and it is said which do not.
- An undo is a write like any other, and can be undone. Of many writes the last is to be undone first; where one needs a
  record that was deleted since, the answer names the write that deleted it.
- What cannot be undone at all: a picture that was sent, and what `register-file` and its like did.

A record that holds something of the column "lost with it", or that others hang from, name or have notes about, is not
deleted unless you consent: the refusal says what would be lost, and `alyxfs allow-deletes subjects/KS022.json` lets
this one record be deleted within ten minutes, with that and nothing more. Where the server cannot be asked whether a
record holds it (`json` of projects and dataset types, the password of users), consent is always needed; so it is for a
note with a picture, and for a value with which the server makes no new record, as a data format's empty extension.

`alyxfs log` says beside each delete what was lost with it and what an undo would change, and beside each change what
the server changed besides.
"""

_COLUMNS = (
    "records",
    "lost with it, where it holds any (the API does not show it)",
    "others that go with it, or lose their link",
    "set anew by the server",
    "empty fields that an undo fills",
)


def text() -> str:
    """The whole page."""
    names = {*losses.HELD, *losses.DEPENDENTS, *side_effects.STAMPS, *side_effects.STAMPS_OF_NEW}
    names |= {*side_effects.FILLED_IN_WHEN_SAVED, *side_effects.FILLED_IN_WHEN_MADE, *side_effects.SIDE_EFFECTS}
    rows = [
        f"| {' | '.join(_COLUMNS)} |",
        "|---|---|---|---|---|",
    ]
    rows += [f"| {name} | {' | '.join(_row(name))} |" for name in sorted(names)]
    effects = [
        f"- {name}{_when(effect)}: {effect.sentence}"
        for name, found in sorted(side_effects.SIDE_EFFECTS.items())
        for effect in found
    ]
    sources = [f"- {name}: {'; '.join(_sources(name))}" for name in sorted(losses.HELD)]
    return "\n".join(
        (
            _BEGINNING,
            *rows,
            "",
            "What the server does elsewhere when a record is saved, and no undo takes back there:",
            "",
            *effects,
            "",
            "Where what is lost stands in Alyx (application, model and field):",
            "",
            *sources,
            "",
        )
    )


def _row(name: str) -> list[str]:
    held = [each.name for each in losses.HELD.get(name, ())]
    others = [each.endpoint for each in losses.DEPENDENTS.get(name, ())]
    stamps = [*side_effects.STAMPS.get(name, ()), *side_effects.STAMPS_OF_NEW.get(name, ())]
    filled = [
        f"{field}: {instead}"
        for table in (side_effects.FILLED_IN_WHEN_SAVED, side_effects.FILLED_IN_WHEN_MADE)
        for field, instead in table.get(name, {}).items()
    ]
    columns = [held, list(dict.fromkeys(others)), stamps, filled]
    return [", ".join(column) or "-" for column in columns]


def _sources(name: str) -> list[str]:
    return [f"{each.name} ({', '.join(each.sources)})" for each in losses.HELD[name]]


def _when(effect: side_effects.SideEffect) -> str:
    made = " made" if "POST" in effect.methods else ""
    changed = " changed" if "PATCH" in effect.methods else ""
    fields = f" ({', '.join(effect.fields)})" if effect.fields else ""
    return f"{made}{' or' if made and changed else ''}{changed}{fields}"


if __name__ == "__main__":
    sys.stdout.write(text())
