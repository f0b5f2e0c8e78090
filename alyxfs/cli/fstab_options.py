"""``-o``: the options, which ``settings.Settings`` has, as mount(8) and fstab write them.

``mount -t fuse.alyxfs SERVER DIRECTORY -o …`` and a line in fstab work by fuse3's own helper, mount.fuse3, which runs
``alyxfs SERVER DIRECTORY -o …`` and adds what every mount is given.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_type_hints

import click

from alyxfs import settings

MOUNT_OPTIONS = frozenset(
    {
        "defaults",
        "auto",
        "noauto",
        "user",
        "nouser",
        "users",
        "nousers",
        "owner",
        "group",
        "exec",
        "noexec",
        "dev",
        "nodev",
        "suid",
        "nosuid",
        "atime",
        "noatime",
        "diratime",
        "nodiratime",
        "relatime",
        "norelatime",
        "strictatime",
        "nostrictatime",
        "lazytime",
        "nolazytime",
        "sync",
        "async",
        "dirsync",
        "nofail",
        "_netdev",
        "silent",
        "loud",
        "mand",
        "nomand",
        "iversion",
        "noiversion",
        "default_permissions",
    }
)
"""Options that every mount may be given (mount(8)), and that mean nothing here or are always so."""
FOR_OTHERS = ("x-", "X-", "comment=", "context=", "fscontext=", "defcontext=", "rootcontext=", "fsname=", "subtype=")
"""Beginnings of options that are read by others, as systemd."""
BESIDES = {"alyx_user": "user", "token_file": "token_file", "snapshot": "snapshot"}
"""Flags of mount that ``-o`` takes besides the table, by what they are called there; ``user=…`` is mount's own."""


def parsed(text: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The options of the table in ``-o`` text, and what stands besides; raises UsageError for what is neither.

    A comma ends an option unless a backslash stands before it, as in fstab's own lists.
    """
    types = get_type_hints(settings.Settings)
    found: dict[str, Any] = {}
    besides: dict[str, str] = {}
    for part in filter(None, _split(text)):
        name, has_value, value = part.partition("=")
        key = name.replace("-", "_")
        if has_value and key in BESIDES:
            besides[BESIDES[key]] = value
        elif name in MOUNT_OPTIONS or part.startswith(FOR_OTHERS):
            continue
        elif name == "ro":
            found["rw"] = False
        elif key in types and (types[key] is bool) != bool(has_value):
            found[key] = _value(key, types[key], value)
        elif key.startswith("no_") and types.get(key.removeprefix("no_")) is bool and not has_value:
            found[key.removeprefix("no_")] = False
        else:
            raise click.UsageError(f"-o {part}: there is no such option; `alyxfs mount --help` lists them.")
    return found, besides


def _split(text: str) -> list[str]:
    kept = text.replace("\\,", "\0")
    return [part.strip().replace("\0", ",") for part in kept.split(",")]


def _value(key: str, kind: type, value: str) -> Any:
    if kind is bool:
        return True
    try:
        return kind(value) if kind is not Path else value
    except ValueError as error:
        raise click.UsageError(f"-o {key}={value}: this is no {kind.__name__}.") from error
