"""The table of options: the flags of ``alyxfs mount``, the keys of the settings file and their documentation."""

from __future__ import annotations

import dataclasses
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import platformdirs

from alyxfs.errors import ConfigurationError
from alyxfs.private_files import refuse_if_others_read

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Mapping

PUBLIC_ALYX = "https://openalyx.internationalbrainlab.org"
"""Open Alyx, the public database of the International Brain Laboratory."""
LARGEST_NUMBER = 10**12
"""Of any option: more than the seconds, bytes or connections that anybody means."""
USER_CACHE = Path(platformdirs.user_cache_dir("alyxfs"))
USER_STATE = Path(platformdirs.user_state_dir("alyxfs"))
"""Of the journal, rejected drafts and logs: what is in it cannot be had anew, and nothing deletes it unasked."""


def _option(
    default: Any,
    help_text: str,
    unit: str = "",
    *,
    is_path: bool = False,
    least: float = 0,
    most: float = LARGEST_NUMBER,
) -> Any:
    """``least`` and ``most`` are the range of a number."""
    metadata = {"help": help_text, "unit": unit, "is_path": is_path, "least": least, "most": most}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """How a drive behaves. Every field is a flag (``--time-to-live``) and a key of the settings file."""

    rw: bool = _option(False, "Allow writing: saving a record changes the database. Without it nothing can be changed.")
    dry_run: bool = _option(
        False,
        "With --rw: send no write; the drive looks as if each had been accepted, until it is unmounted.",
    )
    stage: bool = _option(
        False,
        "As --rw for programs, but what they save, make, rename and delete is kept, shown on the drive and sent to "
        "nobody: `alyxfs diff --staged` reviews it, `alyxfs apply` sends and `alyxfs discard` forgets it.",
    )
    no_delete: bool = _option(False, "With --rw: refuse every delete.")
    deletes_per_minute: int = _option(
        20, "With --rw: more deletes than this stop all deletes until `alyxfs allow-deletes`.", "deletes"
    )
    keep_journal: float = _option(
        0.0,
        "With --rw: how long entries of the journal and refused drafts are kept. What is older goes at the mount, "
        "which says how many changes can no longer be undone. 0: for ever.",
        "days",
    )
    keep_journal_size: float = _option(
        0.0, "With --rw: how much journal and refused drafts may each take; the oldest go first. 0: any amount.", "MiB"
    )
    time_to_live: float = _option(300.0, "How long listings and records are shown without asking again.", "seconds")
    time_to_live_of: str = _option(
        "",
        "Other times to live for some endpoints, in seconds: `weighings=10,brain-regions=86400`. That of sessions and "
        "datasets is also that of `data/`.",
    )
    deadline: float = _option(30.0, "How long any operation may take before it fails.", "seconds", least=0.1)
    keep_token: bool = _option(
        False,
        "Keep the token of a log-in with a password where `alyxfs login` keeps it, so that the next mount needs none.",
    )
    watch: float = _option(
        0.0,
        "How often to ask the server what others have changed; 0 waits for the time to live instead. Each time costs "
        "one or two requests for each of sessions, datasets and insertions that was looked at (every 2 s: up to 135 a "
        "minute).",
        "seconds",
    )
    requests_per_minute: float = _option(
        520.0,
        "Requests that the server is asked at most, by all drives of yours that share a home; Alyx throttles at 550 a "
        "minute.",
        "requests",
        least=1,
    )
    file_connections: int = _option(16, "Connections to a file server at a time.", "connections", least=1, most=1000)
    kernel_read_ahead: int = _option(
        0,
        "How much the kernel reads ahead of a program: 1024 makes reading whole files faster and sparse reading "
        "dearer; needs root. 0 leaves it as it is.",
        "KiB",
    )
    cache_directory: Path = _option(  # noqa: RUF009 - makes a field
        USER_CACHE, "Where data files and what is known of servers are kept.", is_path=True
    )
    cache_limit: float = _option(50.0, "Disk space that data files may take; 5 % of the disk always stay free.", "GiB")
    one_directory: str = _option(
        "",
        "Directory into which ONE downloaded: files found there that have the MD5 of the database are not downloaded "
        "again. Empty: none.",
        is_path=True,
    )
    preferred_repositories: str = _option(
        "", "Beginnings of names of data repositories, best first, as `aws,flatiron`. Empty: the server's own choice."
    )
    hide_inflated: bool = _option(
        False, "Do not show compressed recordings (`x.cbin` with its `x.ch`) as raw `x.bin`, too."
    )
    allow_networks: str = _option(
        "",
        "Networks that data files may come from though the Alyx itself is elsewhere, as `10.0.0.0/8,192.168.7.5`: what "
        "a database names is otherwise not asked on this machine and in private or link-local networks.",
    )
    file_server: str = _option(
        "",
        "Address of the file server that the next two are for; no other host gets them, and where the address has a "
        "path, no other folder of this one.",
    )
    file_user: str = _option("", "User for that file server (Basic authentication).")
    file_password: str = _option(
        "", "Its password; better in ALYXFS_FILE_PASSWORD, the settings file or the next than in a flag."
    )
    file_password_file: str = _option("", "A file with that password, which you alone can read.", is_path=True)
    file_proxy: str = _option(
        "",
        "Address of a caching proxy that is asked for data files in place of their servers, as `http://cache:8080`; "
        "for the nodes of a cluster, see `clusters.md`.",
    )
    api_proxy: str = _option(
        "",
        "Address of a caching proxy that is asked for records before the Alyx is, as `http://cache:8081`; it gets the "
        "token. What it kept is shown within the time to live. Drives that may write do without it; see `clusters.md`.",
    )
    allow_other: bool = _option(
        False, "Let other users of this machine read the drive (user_allow_other in /etc/fuse.conf is needed)."
    )
    allow_crawlers: bool = _option(
        False,
        "Let programs that read everything (indexers, thumbnailers and backups, as localsearch, tumblerd, borg) have "
        "data files fetched. Without it they list all files, and read those that are on this machine.",
    )
    trace: str = _option(
        "",
        "A file for the manifest of everything that programs read through the drive, as `alyxfs trace` makes one: "
        "written every 2 seconds and when the drive is unmounted. Empty: none.",
        is_path=True,
    )
    only: str = _option(
        "",
        "A manifest of `alyxfs trace`, or a list of paths: the drive shows the files and records that it names, and "
        "nothing else. Empty: everything.",
        is_path=True,
    )
    debug: bool = _option(
        False, "Log a line for each request of the kernel and each HTTP request, with its time and its bytes."
    )

    @property
    def writable(self) -> bool:
        """Whether programs may save."""
        return self.rw or self.stage

    @property
    def sends_nothing(self) -> bool:
        """Whether what programs save reaches no server by itself."""
        return self.stage or (self.rw and self.dry_run)

    def times_to_live(self) -> dict[str, float]:
        """Those that single endpoints have, in seconds. Raises ConfigurationError for what is none."""
        found = {}
        for part in filter(None, map(str.strip, self.time_to_live_of.split(","))):
            endpoint, _, seconds = map(str.strip, part.partition("="))
            try:
                found[endpoint] = float(seconds)
            except ValueError:
                found[endpoint] = math.nan
            if not endpoint or not found[endpoint] >= 0:
                raise ConfigurationError(
                    f"The option time_to_live_of takes endpoints with seconds, as `notes=10,labs=3600`, not {part!r}."
                )
        return found


def options() -> list[dataclasses.Field[Any]]:
    """The fields of the table, in order."""
    return list(dataclasses.fields(Settings))


def settings_file() -> Path:
    """Where the settings file is looked for."""
    return Path(platformdirs.user_config_dir("alyxfs")) / "settings.toml"


def load(server: str, given: Mapping[str, Any], path: Path | None = None) -> Settings:
    """Defaults, then the settings file, then its table ``[server."<address>"]``, then what was given as flags.

    Raises ConfigurationError for a file that is no TOML, an unknown key or a value of the wrong type, and for one with
    a password that others can read.
    """
    path = path or settings_file()
    merged = _from_file(path, server)
    known = {option.name for option in options()}
    for key in merged:
        if key not in known:
            raise ConfigurationError(f"{path} has an unknown key {key!r}; known are: {', '.join(sorted(known))}.")
    merged.update({key: value for key, value in given.items() if value is not None})
    types = get_type_hints(Settings)
    values = {key: _converted(key, value, types[key]) for key, value in merged.items()}
    for option in options():
        if option.name in values:
            _refuse_out_of_range(option, values[option.name])
        if option.metadata["is_path"] and (value := values.get(option.name)):
            # Meant from where the user stands: a drive in the background stands elsewhere.
            values[option.name] = type(value)(Path(value).expanduser().absolute())
    chosen = Settings(**values)
    if chosen.stage and chosen.dry_run:
        raise ConfigurationError(
            "--stage keeps what is written and --dry-run forgets it at the unmount: give one of them."
        )
    return chosen


def _from_file(path: Path, server: str) -> dict[str, Any]:
    """What the file says of this server, its address written with or without a slash at the end."""
    document: dict[str, Any] = {}
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        pass
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}.") from error
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error
    servers = document.pop("server", {})
    if not isinstance(servers, dict) or not all(isinstance(table, dict) for table in servers.values()):
        raise ConfigurationError(f'{path}: `server` takes tables by address, as [server."https://alyx.example.org"].')
    tables = {address.rstrip("/"): table for address, table in servers.items()}
    if any(table.get("file_password") for table in (document, *tables.values())):
        refuse_if_others_read(path)
    return {**document, **tables.get(server.rstrip("/"), {})}


def _converted(key: str, value: Any, kind: type) -> Any:
    if kind is Path and isinstance(value, (str, Path)):
        return Path(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise ConfigurationError(f"The option {key} takes a {kind.__name__}, not {value!r}.")
    return value


def _refuse_out_of_range(option: dataclasses.Field[Any], value: Any) -> None:
    least, most = option.metadata["least"], option.metadata["most"]
    if isinstance(value, (int, float)) and not least <= value <= most:  # NaN is neither
        raise ConfigurationError(f"The option {option.name} takes a number from {least:g} to {most:g}, not {value!r}.")


def describe() -> str:
    """The table as Markdown, for the README and the help text."""
    rows = ["| option | default | meaning |", "|---|---|---|"]
    for option in options():
        default = option.default
        shown = "~/.cache/alyxfs" if option.name == "cache_directory" else default
        unit = f" {option.metadata['unit']}" if option.metadata["unit"] else ""
        text = "off" if default is False else (f"`{shown}`{unit}" if str(shown) else "none")
        rows.append(f"| `--{option.name.replace('_', '-')}` | {text} | {option.metadata['help']} |")
    return "\n".join(rows) + "\n"
