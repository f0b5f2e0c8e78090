# What prolog, task_prolog and epilog mount, and where. Each may be set in their environment instead.

: "${ALYXFS:=alyxfs}"                  # the program, as installed on the nodes
: "${ALYXFS_SNAPSHOT:=}"               # a file of `alyxfs snapshot` that the job's user can read; empty: ask the server
: "${ALYXFS_SERVER:=}"                 # the Alyx; empty: the one of the snapshot, else the public Open Alyx
: "${ALYXFS_FILE_PROXY:=}"             # see nginx.conf; empty: none
: "${ALYXFS_API_PROXY:=}"              # the same for records, without a snapshot; empty: none
: "${ALYXFS_PLACE:=/run/alyxfs}"       # a folder of the node, made anew when it starts; not /tmp where jobs have their own
: "${ALYXFS_SCRATCH:=/var/cache/alyxfs}" # on a local disk: the cache, one for each user, for all of a user's jobs
: "${ALYXFS_CACHE_LIMIT:=20}"          # GiB of each
: "${ALYXFS_DRIVES:=1}"                # without a snapshot, where nodes do not share the homes: the number of nodes
: "${ALYXFS_WANTED:=alyxfs}"           # jobs whose comment has this word get a drive (sbatch --comment=alyxfs); empty: all

user=${SLURM_JOB_USER:-$(id -un)}
place=$ALYXFS_PLACE/$SLURM_JOB_ID
home=$(getent passwd "$user" | cut -d: -f6)

# As the job's user, with nothing of the environment of slurmd but what is named, and never for longer than a minute.
as_user() {
    set -- timeout -k 5 60 env -i HOME="$home" USER="$user" PATH="$PATH" LANG=C.UTF-8 "$@"
    if [ "$(id -un)" = "$user" ]; then "$@"; else runuser -u "$user" -- "$@"; fi
}
