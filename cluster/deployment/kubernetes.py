"""A run on Kubernetes by KubeRay (ray.io/v1): a job with a cluster of its own, a cluster that stays, what scrapes them.

The head has no work and stays off machines that may be taken away; workers tolerate those, for a lost worker costs what
was done since its last checkpoint. A head that is told to end asks its run to save first.
"""

import importlib.metadata
import shlex
from typing import Any

from cluster.deployment.deployment import TARGETS_PORT, Deployment
from cluster.jobs import GRACE

Tree = dict[str, Any]

_DASHBOARD, _RAY_METRICS = 8265, 8080
_SPOT = ("cloud.google.com/gke-spot", "kubernetes.azure.com/scalesetpriority", "spot")
_HEAD_CPUS, _HEAD_GIB = 2, 8
_SAFE: Tree = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def ray_job(deployment: Deployment) -> Tree:
    """A RayJob: the cluster comes for the run and goes with it."""
    runtime_env = f'env_vars:\n  {GRACE}: "{deployment.grace_s}"\n'
    return _object(
        "ray.io/v1",
        "RayJob",
        deployment,
        {
            "jobId": deployment.name,
            "entrypoint": train_command(deployment, preflight=True),
            "runtimeEnvYAML": runtime_env,
            "submissionMode": "HTTPMode",  # the other one gives the entrypoint to two shells, one of which splits it
            "backoffLimit": 0,
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 600,
            "rayClusterSpec": _cluster(deployment),
        },
    )


def ray_cluster(deployment: Deployment) -> Tree:
    """A RayCluster, which stays: for `python -m cluster submit`."""
    return _object("ray.io/v1", "RayCluster", deployment, _cluster(deployment))


def monitoring(deployment: Deployment) -> list[Tree]:
    """What the Prometheus operator finds Ray's metrics by, and those of the ranks: the driver tells where they are."""
    labels = {"commonfate/run": deployment.name}
    service = {
        "selector": {**labels, "ray.io/node-type": "head"},
        "ports": [{"name": "targets", "port": TARGETS_PORT, "targetPort": TARGETS_PORT}],
    }
    pods = {
        "selector": {"matchLabels": labels},
        "podMetricsEndpoints": [{"port": "metrics", "interval": "15s"}],
    }
    ranks = {
        "httpSDConfigs": [
            {"url": f"http://{deployment.name}:{TARGETS_PORT}/targets", "refreshInterval": "15s"}
        ],
        "scrapeInterval": "15s",
    }
    return [
        _object("v1", "Service", deployment, service),
        _object("monitoring.coreos.com/v1", "PodMonitor", deployment, pods),
        _object("monitoring.coreos.com/v1alpha1", "ScrapeConfig", deployment, ranks),
    ]


def train_command(deployment: Deployment, *, preflight: bool) -> str:
    """What the driver runs, after a look at the machines."""
    words = shlex.join(deployment.words)
    train = f"python -m cluster train {words}"
    return f"python -m cluster preflight {words} && exec {train}" if preflight else train


def _cluster(deployment: Deployment) -> Tree:
    least, most = deployment.workers
    worker: Tree = {
        "groupName": "workers",
        "replicas": most,
        "minReplicas": least,
        "maxReplicas": most,
        "rayStartParams": {"resources": _quoted(deployment.resources)} if deployment.resources else {},
        "template": _pod(deployment, head=False),
    }
    return {
        "rayVersion": importlib.metadata.version("ray"),
        "authOptions": {"mode": "token"},  # else whoever reaches the head runs code as this run
        "headGroupSpec": {
            "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"},
            "template": _pod(deployment, head=True),
        },
        "workerGroupSpecs": [worker],
    }


def _pod(deployment: Deployment, *, head: bool) -> Tree:
    cpus, gib = (_HEAD_CPUS, _HEAD_GIB) if head else (deployment.cpus, deployment.memory_gib)
    amounts: Tree = {"cpu": str(cpus), "memory": f"{gib}Gi"}
    if deployment.gpus and not head:
        amounts["nvidia.com/gpu"] = str(deployment.gpus)
    ports = [{"name": "metrics", "containerPort": _RAY_METRICS}]
    if head:
        ports += [
            {"name": "dashboard", "containerPort": _DASHBOARD},
            {"name": "targets", "containerPort": TARGETS_PORT},
        ]
    container: Tree = {
        "name": "ray-head" if head else "ray-worker",
        "image": deployment.image,
        "resources": {"requests": amounts, "limits": amounts},
        "ports": ports,
        "env": [
            {"name": "GLOO_SOCKET_IFNAME", "value": "eth0"},
            {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"},
        ],
        "envFrom": [{"secretRef": {"name": deployment.secret, "optional": True}}],
        "securityContext": _SAFE,
        "volumeMounts": [
            {"name": "scratch", "mountPath": "/tmp"},
            {"name": "memory", "mountPath": "/dev/shm"},
        ],
    }
    if head:
        address = f"http://127.0.0.1:{_DASHBOARD}"
        stop = ["python", "-m", "cluster", "stop", deployment.name, "--address", address]
        container["lifecycle"] = {"preStop": {"exec": {"command": stop}}}
    spec: Tree = {
        "terminationGracePeriodSeconds": deployment.grace_s + 30,  # the last for Ray's own end
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "fsGroup": 1000},
        "containers": [container],
        "volumes": [
            {"name": "scratch", "emptyDir": {"sizeLimit": f"{deployment.scratch_gib}Gi"}},
            {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": f"{max(gib // 4, 1)}Gi"}},
        ],
    }
    if not head:
        spec["tolerations"] = [{"key": key, "operator": "Exists"} for key in (*_SPOT, "nvidia.com/gpu")]
    return {"metadata": {"labels": {"commonfate/run": deployment.name}}, "spec": spec}


def _object(version: str, kind: str, deployment: Deployment, spec: Tree) -> Tree:
    metadata = {"name": deployment.name, "labels": {"commonfate/run": deployment.name}}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _quoted(resources: dict[str, float]) -> str:
    """As KubeRay puts it between the quotes of a shell."""
    inner = ", ".join(f'\\"{name}\\": {amount:g}' for name, amount in resources.items())
    return f'"{{{inner}}}"'
