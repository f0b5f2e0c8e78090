"""ONE, as users have it, in a process of its own: it keeps its settings at home, and warns in its own way."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

needs_one = pytest.mark.skipif(importlib.util.find_spec("one") is None, reason="ONE-api is not installed")

_BEGINNING = """
import contextlib, hashlib, io, json, os, sys, warnings
warnings.simplefilter("ignore")
import one.params
from iblutil.io import params as stored

url, files, data, own = sys.argv[1:5]
answers = {}

def set_up():
    settings = one.params.default().set("ALYX_URL", url).set("ALYX_LOGIN", "demo").set("CACHE_DIR", own)
    settings = settings.set("HTTP_DATA_SERVER", files.rstrip("/"))
    one.params.save(settings, url)
    key = one.params._key_from_url(url)
    stored.write("one/caches", stored.from_dict({"CLIENT_MAP": {key: own}, "DEFAULT": key}))

def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()
"""
_END = """
with open(os.path.join(own, "answers.json"), "w") as file:
    json.dump(answers, file, default=str)
"""


def run_one(demo, directory: Path, script: str, data: Path | None = None, **extra: str) -> dict:
    """Run a script that fills ``answers``; ``data`` is the drive's, ``own`` a directory that ONE may write to."""
    home, own = directory / "one-home", directory / "one"
    (home / ".one").mkdir(parents=True, exist_ok=True)
    own.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ONE_")}
    done = subprocess.run(
        [sys.executable, "-c", _BEGINNING + script + _END, demo.url, demo.files_url, str(data or own), str(own)],
        env={**environment, "HOME": str(home), **extra},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((own / "answers.json").read_text())
