#!/bin/bash
# mpidriver coadd /survey/deep --tract '{array}' --band 'g^r'
umask 0027
cd /home/ann || exit 3
module load openmpi/5
source "$HOME/venv/bin/activate"
exec env -i PATH="${PATH-}" HOME="${HOME-}" USER="${USER-}" LANG="${LANG-}" LD_LIBRARY_PATH="${LD_LIBRARY_PATH-}" /opt/venv/bin/python -P -m mpidriver.batch /survey/deep/jobs/0012
