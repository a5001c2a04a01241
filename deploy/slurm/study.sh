#!/bin/bash
# A study: the same command in each task of the array, which share its trainings among them.
#   sbatch --array=1-4 study.sh mine.yaml --vary model.architecture=lunet_small_4f,unet_small_4f --seeds 5
# Tasks may end, be killed and be added at any time; what they leave, the others take over.
#SBATCH --job-name=lunet-study
#SBATCH --array=1-4
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH --time=12:00:00
#SBATCH --output=%x_%A_%a.log
# For a GPU: --gpus=1 on the command line of sbatch.
set -euo pipefail

if [[ $# -eq 0 ]]; then
  echo "usage: sbatch --array=1-N study.sh CONFIG [OPTION...]" >&2
  exit 2
fi

srun lunet study "$@"
