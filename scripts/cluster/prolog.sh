#!/bin/sh
# SLURM's Prolog (slurm.conf: Prolog=/etc/alyxfs/prolog.sh): a drive for each job that wants one, before it starts.
#
# slurmd runs this as root. The drive belongs to the job's user and stands outside of the job: whatever kills the job
# leaves it alone, and epilog.sh takes it away. A prolog that fails would drain the node, so this one never does: a job
# without a drive finds none at $ALYX.
cd / || exit 0
. "$(dirname "$(readlink -f "$0")")/slurm_settings.sh"

[ -n "$SLURM_JOB_ID" ] && [ -n "$home" ] || exit 0
case "$SLURM_JOB_COMMENT" in *"$ALYXFS_WANTED"*) ;; *) exit 0 ;; esac

for folder in "$ALYXFS_PLACE" "$ALYXFS_SCRATCH"; do
    [ -d "$folder" ] || { mkdir -p "$(dirname "$folder")" && mkdir -m 755 "$folder"; }
    if [ "$(stat -c %u "$folder")" != "$(id -u)" ]; then
        logger -t alyxfs "job $SLURM_JOB_ID has no drive: $folder is somebody else's"
        exit 0
    fi
done
for folder in "$place" "$ALYXFS_SCRATCH/$user"; do
    mkdir -m 700 "$folder" 2>/dev/null && [ "$(id -u)" = 0 ] && chown -h "$user:" "$folder"
done

set -- --cache-directory "$ALYXFS_SCRATCH/$user" --cache-limit "$ALYXFS_CACHE_LIMIT"
[ -z "$ALYXFS_FILE_PROXY" ] || set -- "$@" --file-proxy "$ALYXFS_FILE_PROXY"
if [ -n "$ALYXFS_SNAPSHOT" ]; then
    set -- "$@" --snapshot "$ALYXFS_SNAPSHOT"
else
    [ -z "$ALYXFS_API_PROXY" ] || set -- "$@" --api-proxy "$ALYXFS_API_PROXY"
    set -- "$@" --requests-per-minute "$((520 / ALYXFS_DRIVES > 0 ? 520 / ALYXFS_DRIVES : 1))"
fi
# shellcheck disable=SC2086 - no word where no server is named
words=$(as_user "$ALYXFS" mount "$@" $ALYXFS_SERVER "$place/alyx" 2>&1) ||
    logger -t alyxfs "job $SLURM_JOB_ID has no drive: $words"
exit 0
