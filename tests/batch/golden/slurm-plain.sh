#!/bin/bash
# mpidriver pipeline /survey/deep
#SBATCH --job-name=pipeline
#SBATCH --nodes=2
#SBATCH --ntasks=128
#SBATCH --ntasks-per-node=64
#SBATCH --cpus-per-task=1
#SBATCH --mem=184320M
#SBATCH --time=01:30:00
#SBATCH --chdir=/home/ann
#SBATCH --output=/survey/deep/logs/job-0007.log
#SBATCH --open-mode=append
#SBATCH --export=PATH,HOME,USER,LANG,LD_LIBRARY_PATH
#SBATCH --signal=B:USR1@120
#SBATCH --requeue

umask 0022
exec /opt/venv/bin/python -P -m mpidriver.batch /survey/deep/jobs/0007
