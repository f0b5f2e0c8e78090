"""What a real Alyx answered, kept beside the tests: one request and its answer each, and its schema.

Missing ones fail: a clone without them would test nothing and say that all is well.
"""

from __future__ import annotations

import json
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "recordings"
ANSWERS = FOLDER / "answers"


def recordings(pattern="*"):
    """Name and content of the recorded answers whose name matches, in order."""
    found = [(path.stem, json.loads(path.read_bytes())) for path in sorted(ANSWERS.glob(f"{pattern}.json"))]
    assert found, f"no recording {pattern} in {ANSWERS}"
    return found


def recorded_schema():
    """The OpenAPI document of that Alyx."""
    return json.loads((FOLDER / "openapi.json").read_bytes())
