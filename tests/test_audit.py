"""The audit says what it could not reach, and fails only for what it found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "audit.sh"
NOWHERE = "http://127.0.0.1:9"  # the port "discard": nobody listens


def audit(python):
    environment = {**os.environ, "ALYXFS_PYTHON": str(python), "https_proxy": NOWHERE, "HTTPS_PROXY": NOWHERE}
    return subprocess.run([SCRIPT], env=environment, capture_output=True, text=True, timeout=100, check=False)


def test_without_a_network_the_code_is_checked_and_the_packages_are_said_not_to_be():
    done = audit(sys.executable)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not checked" in done.stdout


@pytest.fixture
def faulty(tmp_path):
    """A Python whose pip-audit found something, and whose ruff is not there."""
    program = tmp_path / "python"
    answer = (
        '{"dependencies": [{"name": "x", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]},'
        ' {"name": "y", "skip_reason": "y is not known."}]}'
    )
    program.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        "  *ruff*) exit 1 ;;\n"
        '  *"pip_audit --version"*) exit 0 ;;\n'
        f"  *pip_audit*) echo '{answer}' ;;\n"
        f'  *) exec {sys.executable} "$@" ;;\n'
        "esac\n"
    )
    program.chmod(0o755)
    return program


def test_a_package_with_a_known_fault_fails_the_audit(faulty):
    done = audit(faulty)
    assert done.returncode == 1
    assert "x 1: PYSEC-1, mended in 2" in done.stdout
    assert "1 known faults in 1 packages" in done.stdout
    assert "not checked: 1 packages that the database does not know, as it says: y is not known." in done.stdout
    assert "ruff is not installed" in done.stdout
