"""A run's Dockerfile, its script for Slurm, and the file from which `ray up` starts machines of a cloud."""

import json
import shlex
from typing import Any

from cluster.deployment.deployment import Deployment
from cluster.deployment.kubernetes import train_command
from cluster.jobs import GRACE

DOCKERFILE = """\
# docker build -t {image} --build-arg REVISION=$(git describe --always --dirty) -f DIR/Dockerfile .
FROM python:3.11-slim
# wget: KubeRay asks Ray's health by it; g++: DeepSpeed's and torch's compilers.
RUN apt-get update && apt-get install -y --no-install-recommends g++ wget && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 1000 --create-home ray
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY cluster cluster
COPY trainer trainer
COPY model model
COPY data_shards data_shards
COPY monitoring monitoring
RUN pip install --no-cache-dir -c constraints.txt .
ARG REVISION
ENV COMMONFATE_REVISION=$REVISION PYTHONUNBUFFERED=1
USER 1000
"""

SLURM = """\
#!/bin/bash
# sbatch slurm.sh: a Ray of its own on the machines of a job; a worker on each. Keys of the store come from the
# environment of sbatch. The same script goes on where it was stopped; Slurm queues it again after a preemption.
#SBATCH --job-name={name}
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task={cpus}
#SBATCH --mem={memory}G
{gpus}#SBATCH --signal=B:TERM@{grace}
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output={name}-%j.log
set -euo pipefail

umask 077
export TMPDIR=/tmp/{name}-$SLURM_JOB_ID
# A Ray whose run is over has nothing to wait for when it is ended: by default it takes 30 s.
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \\n')
export RAY_AUTH_TOKEN
port=$((20000 + SLURM_JOB_ID % 1200 * 10))
head=$(hostname -I | cut -d' ' -f1)
export RAY_ADDRESS=$head:$port
# Given, not found: Ray waits 15 s for each that it has to find, which a busy machine exceeds.
agents=(--metrics-export-port=$((port + 1)) --runtime-env-agent-port=$((port + 2))
    --dashboard-agent-listen-port=$((port + 3)) --dashboard-agent-grpc-port=$((port + 4)))

srun --ntasks="$SLURM_NNODES" mkdir -p "$TMPDIR"
ray=""
tidy() {{
    # Where Slurm finds a job's processes by their parents, Ray's would stay.
    if [ -n "$ray" ]; then
        kill "$ray" 2> /dev/null || true
        for _ in $(seq 30); do
            kill -0 "$ray" 2> /dev/null || break
            sleep 1
        done
    fi
    srun --overlap --ntasks="$SLURM_NNODES" rm -rf "$TMPDIR" || true
}}
trap tidy EXIT

ray start --head --node-ip-address="$head" --port="$port" --dashboard-host=127.0.0.1 --num-cpus={cpus}{ray_gpus} \\
    --temp-dir="$TMPDIR/ray" "${{agents[@]}}" --block > "$TMPDIR/ray.out" &
ray=$!
if [ "$SLURM_NNODES" -gt 1 ]; then
    srun --overlap --nodes=$((SLURM_NNODES - 1)) --ntasks=$((SLURM_NNODES - 1)) --exclude="$SLURMD_NODENAME" \\
        ray start --address="$RAY_ADDRESS" --num-cpus={cpus}{ray_gpus} "${{agents[@]}}" --block > /dev/null &
fi
# By what it says: asking it takes seconds of a core, each time, which it needs itself.
until grep -q "Ray runtime started" "$TMPDIR/ray.out" 2> /dev/null; do
    kill -0 "$ray" 2> /dev/null || {{
        echo "error: Ray did not start on $SLURMD_NODENAME" >&2
        exit 1
    }}
    sleep 0.5
done

python -m cluster preflight {words}
python -m cluster train {words} &
driver=$!
stopped=0
stop() {{
    stopped=1
    kill -TERM "$driver"
}}
trap stop TERM
code=0
wait "$driver" || code=$?
if [ "$stopped" = 1 ]; then
    # The signal has ended the wait, not the driver, which saves now.
    code=0
    wait "$driver" || code=$?
fi
exit "$code"
"""


def dockerfile(deployment: Deployment) -> str:
    """The image of all machines, built from a checkout."""
    return DOCKERFILE.format(image=deployment.image)


def slurm(deployment: Deployment) -> str:
    """A batch script: one worker a machine, SIGTERM before the time is up."""
    return SLURM.format(
        name=deployment.name,
        nodes=deployment.workers[1],
        cpus=deployment.cpus,
        memory=deployment.memory_gib,
        gpus="#SBATCH --gpus-per-node=1\n" if deployment.gpus else "",
        ray_gpus=" --num-gpus=1" if deployment.gpus else "",
        grace=deployment.grace_s,
        words=shlex.join(deployment.words),
    )


def cloud(deployment: Deployment) -> dict[str, Any]:
    """For `ray up`, with machines of AWS: a head that is kept, workers that may be taken away."""
    least, most = deployment.workers
    start = f"export RAY_AUTH_MODE=token {GRACE}={deployment.grace_s}; ulimit -n 65536"
    resources = {"CPU": deployment.cpus, **({"GPU": deployment.gpus} if deployment.gpus else {})}
    head = {"resources": {"CPU": 0}, "node_config": {"InstanceType": "m6i.large"}}
    worker = {
        "min_workers": least,
        "max_workers": most,
        "resources": resources | deployment.resources,
        "node_config": {
            "InstanceType": "g5.2xlarge" if deployment.gpus else "m6i.2xlarge",
            "InstanceMarketOptions": {"MarketType": "spot"},
        },
    }
    return {
        "cluster_name": deployment.name,
        "max_workers": most,
        "provider": {"type": "aws", "region": "us-east-1", "cache_stopped_nodes": False},
        "auth": {"ssh_user": "ubuntu"},
        "docker": {
            "image": deployment.image,
            "container_name": deployment.name,
            "run_options": ["--ulimit nofile=65536:65536", "--shm-size=8g"],
        },
        "available_node_types": {"head": head, "workers": worker},
        "head_node_type": "head",
        "head_start_ray_commands": [
            "ray stop",
            f"{start}; ray start --head --port=6379 --dashboard-host=127.0.0.1 "
            "--autoscaling-config=~/ray_bootstrap_config.yaml",
        ],
        "worker_start_ray_commands": ["ray stop", f"{start}; ray start --address=$RAY_HEAD_IP:6379"],
    }


def usage(deployment: Deployment) -> str:
    """What to type, for each file."""
    command = json.dumps(train_command(deployment, preflight=False))[1:-1]
    return f"""\
# {deployment.name}

Rendered by `python -m cluster render`; render again instead of editing. All of it runs

    {command}

    docker build -t {deployment.image} --build-arg REVISION=$(git describe --always --dirty) -f Dockerfile CHECKOUT
    kubectl create secret generic {deployment.secret} --from-env-file=KEYS      AWS_ACCESS_KEY_ID=..., a line each
    kubectl apply -f rayjob.yaml -f monitoring.yaml                             one run; its cluster goes with it
    kubectl apply -f raycluster.yaml                                            a cluster that stays, to submit to
    sbatch slurm.sh
    ray up cloud.yaml
"""
