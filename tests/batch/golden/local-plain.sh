#!/bin/bash
# mpidriver pipeline /survey/deep
umask 0022
cd /home/ann || exit 3
exec env -i PATH="${PATH-}" HOME="${HOME-}" USER="${USER-}" LANG="${LANG-}" LD_LIBRARY_PATH="${LD_LIBRARY_PATH-}" /opt/venv/bin/python -P -m mpidriver.batch /survey/deep/jobs/0007
