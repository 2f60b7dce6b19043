#!/bin/bash
# UNTESTED: a Ray cluster inside one Slurm job, and lungsight on it. OUT must lie on a file system that all nodes share.
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --time=04:00:00
set -eu
INPUTS=${INPUTS:?}; OUT=${OUT:?}
export RAY_USAGE_STATS_ENABLED=0
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
ADDRESS=$HEAD:6379
srun --nodes=1 --ntasks=1 -w "$HEAD" ray start --head --block --port=6379 --num-cpus="$SLURM_CPUS_PER_TASK" --include-dashboard=false &
sleep 30
srun --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks=$((SLURM_JOB_NUM_NODES - 1)) --exclude="$HEAD" \
    ray start --block --address="$ADDRESS" --num-cpus="$SLURM_CPUS_PER_TASK" &
sleep 30
# Sent again after it ran out of time, the job goes on where it was.
lungsight predict "$INPUTS" --out "$OUT" --cluster "$ADDRESS" --resume
