#!/usr/bin/env bash
# Sets everything up, mounts a demo Alyx at ./alyx and takes a short tour.
#   --once: unmount at the end, and exit non-zero if any step of the tour failed.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
once=no
[ "${1:-}" = --once ] && once=yes
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
set_up "$root" run
alyxfs=$root/.venv/bin/alyxfs
drive=$root/alyx
failures=0

step() {
    printf '\n$ %s\n' "$1"
    if ! (set -o pipefail; cd "$root" && eval "$1"); then
        failures=$((failures + 1))
        echo "this step failed" >&2
    fi
}

if mountpoint -q "$drive" 2>/dev/null; then
    "$alyxfs" umount "$drive"
fi
"$alyxfs" demo "$drive"
finish() { mountpoint -q "$drive" 2>/dev/null && "$alyxfs" umount "$drive"; }
[ $once = yes ] && trap finish EXIT

step 'ls alyx'
step 'ls alyx/labs'
step 'cat alyx/labs/cortexlab.json'
step 'ls alyx/sessions | sed -n 1,3p'
step 'ls alyx/data/cortexlab/Subjects'
step 'find alyx/data/cortexlab/Subjects -maxdepth 3 -mindepth 3 | sed -n 1,3p'
step 'ls alyx/sessions/lab=cortexlab/date_range=2023-01-01,2023-01-31'
step 'readlink -f alyx/sessions/9bf87ed6-61f2-4acb-ada4-eaf48aebf7b9'
step '.venv/bin/python -c "import numpy; print(numpy.load(\"alyx/data/cortexlab/Subjects/KS001/2023-01-02/001/alf/_ibl_wheel.position.npy\", mmap_mode=\"r\")[-3:])"'
step 'cat alyx/.alyxfs/status.json'
spikes='alyx/data/cortexlab/Subjects/KS001/2023-01-02/001/alf/probe00/pykilosort/#2024-05-06#'
step ".venv/bin/python scripts/raster.py \"$spikes\" raster.png"
if [ $once = yes ]; then
    echo
    [ $failures = 0 ] && echo "All steps of the tour worked." || echo "$failures steps of the tour failed." >&2
    exit $((failures > 0))
fi
cat <<TEXT

The drive is mounted at $drive. Look around with ls, cat, find, or a file manager;
  $drive/.alyxfs/help.md explains it.
To unmount:
  $alyxfs umount $drive
TEXT
exit $((failures > 0))
