#!/bin/bash
# mpidriver pipeline /survey/deep
#PBS -N pipeline
#PBS -l nodes=2:ppn=64
#PBS -l mem=368640mb
#PBS -l walltime=01:30:00
#PBS -j oe
#PBS -r y
#PBS -o /survey/deep/logs/job-0007.pbs
#PBS -v PATH,HOME,USER,LANG,LD_LIBRARY_PATH

umask 0022
cd /home/ann || exit 3
exec /opt/venv/bin/python -P -m mpidriver.batch /survey/deep/jobs/0007
