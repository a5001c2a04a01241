#!/bin/bash
# One training on several nodes, a process for each GPU:
#   sbatch --nodes=2 --gpus-per-node=4 train_nodes.sh mine.yaml --set experiment.name=mine
# On nodes without GPUs, a process for each socket or so: export PROCESSES_PER_NODE=2
#SBATCH --job-name=lunet
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --mem=64G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x_%j.log
# A notice three minutes before the end of the time, in which the state is saved.
#SBATCH --signal=B:TERM@180
set -euo pipefail

if [[ $# -eq 0 ]]; then
  echo "usage: sbatch train_nodes.sh CONFIG [OPTION...]" >&2
  exit 2
fi
config=$1
shift
# Not through `head`: whoever writes to it may be told that it has gone, and pipefail would end this.
nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
first_node=${nodes%%$'\n'*}
# Jobs that share a node need ports of their own.
port=$((20000 + SLURM_JOB_ID % 10000))
processes=${PROCESSES_PER_NODE:-${SLURM_GPUS_ON_NODE:-1}}

# The shell waits beside the step: bash would see the notice only after it.
srun torchrun \
  --nnodes "$SLURM_NNODES" \
  --nproc-per-node "$processes" \
  --rdzv-id "$SLURM_JOB_ID" \
  --rdzv-backend c10d \
  --rdzv-endpoint "$first_node:$port" \
  -m lunet_cli train "$config" --resume auto "$@" &
step=$!
is_noticed=
trap 'is_noticed=yes; kill -TERM "$step"' TERM
status=0
wait "$step" || status=$?
if [[ -n $is_noticed ]]; then
  wait "$step" || status=$?
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
