#!/bin/bash
# A run on the nodes that Slurm gives; requeued (time is up, a node died) it goes on where it was.
#   sbatch --nodes=4 deploy/slurm.sh space=poly trials=40
#   CODE=trainable=mine:train sbatch deploy/slurm.sh dataset.train_examples=50000 lr=0.1 ...
# RUNS: a folder that all nodes share. CODE: words that name code of yours; a run that goes on has
# them repeated, its other words it has kept.
#SBATCH --job-name=gradtune
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# Two minutes before the time is up every process is told; the run stops in order.
#SBATCH --signal=TERM@120

set -euo pipefail

runs=${RUNS:-$HOME/runs}
name=slurm-$SLURM_JOB_ID
code=(${CODE:-})

export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
if [ ! -s "${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}" ]; then
    (umask 077 && ray get-auth-token --generate > /dev/null)
fi

# Not by pipes into head: what writes on would end the script.
read -r head < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
read -r ip _ < <(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address)
address=$ip:$((20000 + SLURM_JOB_ID % 20000))

if [ -e "$runs/$name/manifest.json" ]; then
    words=("resume=$runs/$name" "${code[@]}")
else
    words=("runs_dir=$runs" "name=$name" "${code[@]}" "$@")
fi

# On every node: the first becomes the head and runs the command, the others join it.
exec srun --kill-on-bad-exit=1 ray symmetric-run \
    --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus "$SLURM_CPUS_PER_TASK" --disable-usage-stats -- \
    python -m tuner.run "cluster.address=$address" "${words[@]}"
