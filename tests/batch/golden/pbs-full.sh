#!/bin/bash
# mpidriver coadd /survey/deep --tract '{array}' --band 'g^r'
#PBS -N coadd-tracts
#PBS -l nodes=1:ppn=16
#PBS -l walltime=26:03:04
#PBS -q long
#PBS -A astro-17
#PBS -j oe
#PBS -r y
#PBS -o /survey/deep/logs/job-0012.pbs
#PBS -v PATH,HOME,USER,LANG,LD_LIBRARY_PATH
#PBS -J 0-3%1
#PBS -W depend=afterok:101:102,afterany:90

umask 0027
cd /home/ann || exit 3
module load openmpi/5
source "$HOME/venv/bin/activate"
exec /opt/venv/bin/python -P -m mpidriver.batch /survey/deep/jobs/0012
