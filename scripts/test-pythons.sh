#!/usr/bin/env bash
# Runs all tests on each supported Python that this machine has (also those of pyenv). Arguments go to pytest.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
tried=0
for minor in 10 11 12 13 14; do
    python=$(command -v "python3.$minor" || true)
    for other in "$HOME"/.pyenv/versions/3."$minor".*/bin/python; do
        [ -x "$other" ] && python=$other
    done
    if [ -z "$python" ] || ! "$python" -c 'import venv' 2>/dev/null; then
        echo "Python 3.$minor is not here: not tried."
        continue
    fi
    echo "Python 3.$minor: $python"
    tried=$((tried + 1))
    set_up "$root" test "$python" "$root/.venv-3.$minor"
    "$root/.venv-3.$minor/bin/pytest" "$@"
done
[ "$tried" -gt 0 ] || fail "no Python from 3.10 on was found."
