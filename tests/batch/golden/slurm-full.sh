#!/bin/bash
# mpidriver coadd /survey/deep --tract '{array}' --band 'g^r'
#SBATCH --job-name=coadd-tracts
#SBATCH --nodes=1
#SBATCH --ntasks=8
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=2
#SBATCH --time=26:03:04
#SBATCH --partition=long
#SBATCH --account=astro-17
#SBATCH --chdir=/home/ann
#SBATCH --output=/survey/deep/logs/job-0012-%a.log
#SBATCH --open-mode=append
#SBATCH --export=PATH,HOME,USER,LANG,LD_LIBRARY_PATH
#SBATCH --signal=B:USR1@600
#SBATCH --requeue
#SBATCH --array=0,1,2,3%1
#SBATCH --dependency=afterok:101:102,afterany:90
#SBATCH --kill-on-invalid-dep=yes

umask 0027
module load openmpi/5
source "$HOME/venv/bin/activate"
exec /opt/venv/bin/python -P -m mpidriver.batch /survey/deep/jobs/0012
