#!/bin/bash
# One training on one node. Resubmit it as it is, or let it requeue itself, until it has ended:
#   sbatch train.sh mine.yaml --set experiment.name=mine
# For its folds, a job for each (they share one cache):
#   sbatch --array=0-4 train.sh mine.yaml
#SBATCH --job-name=lunet
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x_%j.log
# For a GPU: --gpus=1 on the command line of sbatch.
# A notice three minutes before the end of the time, in which the state is saved.
#SBATCH --signal=B:TERM@180
set -euo pipefail

if [[ $# -eq 0 ]]; then
  echo "usage: sbatch train.sh CONFIG [OPTION...]" >&2
  exit 2
fi
config=$1
shift
options=(--resume auto)
if [[ -n ${SLURM_ARRAY_TASK_ID:-} ]]; then
  options+=(--fold "$SLURM_ARRAY_TASK_ID")
fi

# The shell waits beside the step: bash would see the notice only after it.
srun lunet train "$config" "${options[@]}" "$@" &
step=$!
is_noticed=
trap 'is_noticed=yes; kill -TERM "$step"' TERM
status=0
wait "$step" || status=$?
if [[ -n $is_noticed ]]; then
  wait "$step" || status=$?
  scontrol requeue "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"
fi
exit "$status"
