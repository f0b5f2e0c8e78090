"""What a program means that saves a whole new record under a name which already leads to the one it made there.

The text has no id in either case: an editor that still holds the text of the first means that one, a loop that makes
one record after the other means another. What tells them apart is who saves, and how.
"""

from __future__ import annotations

import enum
import re

TERMINAL_EDITORS = re.compile(r"(n?vi|n?vim|view|ex|nano|pico|mg|zile|micro|hx|helix|kak|joe|jed|ne|mcedit|ed)(\.\w+)?")
"""Programs (their names in /proc, 15 characters at most) that a person starts to edit a file, and ends then. They may
read it before they save, for a backup."""

EDITORS = re.compile(
    r"emacs.*|code(-.*)?|codium|cursor|sublime_text|atom|zed.*|gedit|gnome-text-edit|xed|pluma|mousepad|leafpad|kate"
    r"|featherpad|kwrite|geany|scite|notepadqq|soffice\.bin|rsession|rstudio|idea|pycharm|spyder|mc"
)
"""Programs that a person edits many files with: one that has read the name since has another text, with the id."""

SCRIPTS = re.compile(
    r"(ba|da|z|k|mk|pdk|fi|c|tc|a)?sh|busybox|i?python[\d.]*|pypy[\d.]*|perl[\d.]*|ruby[\d.]*|node|bun|deno|R|Rscript"
    r"|julia|MATLAB|octave.*|lua[\d.]*|tclsh[\d.]*|php[\d.]*|java|jq|awk|gawk|mawk"
)
"""Programs that carry out what somebody wrote: a loop that makes records is one process."""


class Meaning(enum.Enum):
    """What a whole record without id is, written to the name of one that was made."""

    ANOTHER = "another record"
    SAME = "the record that was made"
    UNCLEAR = "nobody can tell"


def meaning_of(program: str, *, made_it: bool, has_read_it: bool, is_synced: bool) -> Meaning:
    """What the program means.

    ``made_it``: its process made the record. ``has_read_it``: it has opened the name for reading since, and so has seen
    the id. ``is_synced``: it calls fsync, or writes beside and renames, as programs do that keep what they save.
    """
    if not made_it:
        return Meaning.ANOTHER
    if TERMINAL_EDITORS.fullmatch(program):
        return Meaning.SAME
    if EDITORS.fullmatch(program):
        return Meaning.UNCLEAR if has_read_it else Meaning.SAME
    return Meaning.ANOTHER if SCRIPTS.fullmatch(program) and not is_synced else Meaning.UNCLEAR
