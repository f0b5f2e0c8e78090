#!/bin/sh
# SLURM's Epilog: takes the job's drive away, however the job ended, and whether or not the drive still lives.
#
# Like the prolog it never fails, and never takes much longer than a minute: else the node would be drained.
cd / || exit 0
. "$(dirname "$(readlink -f "$0")")/slurm_settings.sh"

[ -n "$SLURM_JOB_ID" ] && [ -d "$place" ] || exit 0
is_mounted() { grep -q " $place/alyx fuse" /proc/self/mounts; }

words=$(as_user "$ALYXFS" umount "$place/alyx" 2>&1)
if is_mounted; then
    # Something of the job holds it, or it hangs: it goes from the tree, and ends with who holds it.
    as_user fusermount3 -u -z "$place/alyx"
    logger -t alyxfs "the drive of job $SLURM_JOB_ID was still in use: $words"
fi
is_mounted || rm -rf --one-file-system "$place"
exit 0
