#!/usr/bin/env bash
# What is known to be unsafe: in the code (ruff's rules of bandit), and in the packages that are installed (pip-audit,
# which asks a database on the network). Says what it could not reach and fails only for what it found.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
python=${ALYXFS_PYTHON:-$root/.venv/bin/python}
found=0

echo "Code: ruff, rules S (bandit), TID251 (what alyxfs does in one place only)"
if "$python" -m ruff --version >/dev/null 2>&1; then
    "$python" -m ruff check --select S,TID251 --ignore S101 --quiet alyxfs || found=1
else
    echo "  not checked: ruff is not installed here (pip install ruff)."
fi

echo "Packages: pip-audit"
if ! "$python" -m pip_audit --version >/dev/null 2>&1; then
    echo "  not checked: pip-audit is not installed here (pip install pip-audit)."
else
    said=$(mktemp)
    answer=$(timeout 120 "$python" -m pip_audit --progress-spinner off --skip-editable --format json 2>"$said")
    words=$(tail -n 1 "$said")
    rm -f "$said"
    if [ -z "$answer" ]; then
        echo "  not checked: the database of vulnerabilities cannot be reached: ${words:-no answer within 120 s}"
    else
        "$python" - "$answer" <<'PYTHON' || found=1
import json
import sys

unsafe = unknown = 0
packages = json.loads(sys.argv[1])["dependencies"]
for package in packages:
    for fault in package.get("vulns", ()):
        unsafe += 1
        print(f"  {package['name']} {package['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'no version'}")
    if reason := package.get("skip_reason"):
        unknown += 1
        last_reason = reason
print(f"  {unsafe} known faults in {len(packages) - unknown} packages")
if unknown:
    print(f"  not checked: {unknown} packages that the database does not know, as it says: {last_reason}")
sys.exit(unsafe > 0)
PYTHON
    fi
fi
exit $found
