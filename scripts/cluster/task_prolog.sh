#!/bin/sh
# SLURM's TaskProlog: tells each task of a job where its drive is, as $ALYX. It runs as the job's user.
. "$(dirname "$(readlink -f "$0")")/slurm_settings.sh"

[ ! -d "$place/alyx/data" ] || echo "export ALYX=$place/alyx"
