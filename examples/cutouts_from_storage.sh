#!/bin/sh
# Cutouts of frames in an object store, as four jobs of a batch system that depend on each other:
# stage in, find where the positions lie, cut, stage out.
#
#     export RCLONE_CONFIG_CEPH_TYPE=s3 RCLONE_CONFIG_CEPH_PROVIDER=Ceph RCLONE_CONFIG_CEPH_ENDPOINT=https://…
#     export RCLONE_CONFIG_CEPH_ACCESS_KEY_ID=… RCLONE_CONFIG_CEPH_SECRET_ACCESS_KEY=…
#     examples/cutouts_from_storage.sh MESSAGES ceph:survey/frames ceph:survey/stamps [OPTION OF submit …]
#
# MESSAGES: JSON lines as {"file": "night1/a.fits", "ra": 150.1, "dec": 2.2}. A job runs when the one before it has
# ended. A file that is missing or a position on no image fails its job with code 1, which names it; the others are cut
# and staged out all the same.
set -eu
messages=$(realpath "$1") source=$2 target=$3
shift 3
work=$(mktemp -d "${PWD}/cutouts-XXXXXX")
mpidriver init "$work" >/dev/null

submit() {  # OPTION OF submit … -- COMMAND …: prints the number of the job
  mpidriver submit --json "$@" | sed 's/.*"job": \([0-9]*\).*/\1/'
}

staged=$(submit "$@" -- stage in "$work" --messages "$messages" --remote "$source")
located=$(submit "$@" --after-any "$staged" -- cutout "$work" --messages "$messages" --locate-only)
cut=$(submit "$@" --after-any "$located" -- cutout "$work" --pixels "$work/cutouts/pixels.csv")
out=$(submit "$@" --after-any "$cut" -- stage out "$work" cutouts --remote "$target")
echo "jobs $staged, $located, $cut and $out; mpidriver jobs $work says how they stand"
