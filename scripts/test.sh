#!/usr/bin/env bash
# Sets everything up, then runs all checks and all tests. Arguments go to pytest.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
set_up "$root" test
bin=$root/.venv/bin
"$bin/ruff" check .
"$bin/ruff" format --check .
"$bin/mypy"
"$bin/lint-imports"
"$bin/vulture"
# Hundreds of processes start in the tests, also where Python is told to keep no compiled modules.
"$bin/python" -m compileall -q alyxfs
"$bin/pytest" "$@"
