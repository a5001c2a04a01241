#!/bin/bash
# Segments a folder in shares, one for each task of the array:
#   sbatch --array=1-8 predict.sh runs/mine FOLDER masks
# What is there is skipped: a task that was stopped is submitted again as it is.
#SBATCH --job-name=lunet-predict
#SBATCH --array=1-8
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=01:00:00
#SBATCH --output=%x_%A_%a.log
# For a GPU: --gpus=1 on the command line of sbatch.
set -euo pipefail

if [[ $# -lt 3 ]]; then
  echo "usage: sbatch --array=1-N predict.sh MODEL FOLDER OUTPUT [OPTION...]" >&2
  exit 2
fi
if [[ ${SLURM_ARRAY_TASK_MIN:-1} -ne 1 ]]; then
  echo "predict.sh: shares are counted from 1, as in --array=1-8" >&2
  exit 2
fi
model=$1 folder=$2 output=$3
shift 3
# The job is killed beyond its memory. lunet works in bands within it, or says what a volume needs.
options=(--resume --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_MAX")
if [[ -n ${SLURM_MEM_PER_NODE:-} ]]; then
  options+=(--max-memory "$((SLURM_MEM_PER_NODE * 9 / 10))")
fi

srun lunet predict "$model" "$folder" --output "$output" "${options[@]}" "$@"
