#!/usr/bin/env bash
# Run `accelerate launch ARGUMENTS` on every node of this SLURM job, as one training:
#     launch_on_nodes.sh NUM_NODES CPUS_PER_NODE ARGUMENTS
# Snakemake removes SLURM's variables from its jobs' environment, except for SLURM_JOB_ID.
set -euo pipefail

nodes=$1 cpus=$2
shift 2
if [[ -z ${SLURM_JOB_ID:-} ]]; then
    echo "resources.train.nodes is $nodes, which needs SLURM: --workflow-profile profiles/slurm" >&2
    exit 1
fi
# This script runs on the first node; processes on the other nodes connect to its address.
address=$(scontrol show node "$SLURMD_NODENAME" --oneliner | sed -E 's/.* NodeAddr=([^ ]+).*/\1/')
port=$((20000 + SLURM_JOB_ID % 10000))

# shellcheck disable=SC2016 # each task expands its own SLURM_NODEID
exec srun --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 --cpus-per-task="$cpus" --kill-on-bad-exit=1 \
    bash -c 'exec accelerate launch --machine_rank "$SLURM_NODEID" "$@"' launch \
    --num_machines "$nodes" --main_process_ip "$address" --main_process_port "$port" "$@"
