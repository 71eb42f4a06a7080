"""What is rendered says what the config says, is of the form that its readers need, and holds no secret."""

import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import ray.autoscaler
import yaml
from jsonschema import validate

from cluster import __main__
from cluster.config import ClusterConfig
from cluster.deployment.deployment import Deployment, deployment_of
from cluster.deployment.files import FILES
from data_shards.exits import exit_code
from trainer.overrides import resolve

ROOT = Path(__file__).parents[3]
WORDS = (
    *("data.url=s3://b/set", "output=s3://b/run", "batch.size=12", "scaling.num_workers=[2,4]"),
    *("scaling.use_gpu=true", "scaling.cpus=6", 'scaling.resources={"fast disk":1}'),
)


def deployment(*more: str, **given: Any) -> Deployment:
    config = resolve("demo", (*WORDS, *more), ClusterConfig)
    options: dict[str, Any] = {
        "name": "one",
        "image": "images/commonfate:1",
        "memory_gib": 32,
        "secret": "keys",
    } | given
    return deployment_of(config, ("demo", *WORDS, *more), **options)


def documents(name: str, *more: str) -> list[Any]:
    return list(yaml.safe_load_all(FILES[name](deployment(*more))))


def pods(cluster: Any) -> tuple[Any, Any]:
    (group,) = cluster["workerGroupSpecs"]
    return cluster["headGroupSpec"]["template"]["spec"], group["template"]["spec"]


def test_the_command_writes_all_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["render", "demo", *WORDS, "--out", str(tmp_path / "files")]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "files" / name) for name in FILES]
    written = {name: (tmp_path / "files" / name).read_text() for name in FILES}
    assert all(written.values())
    assert not [name for name, text in written.items() if "&id" in text]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["demo", "data.url=here"], "error: field data.url: got 'here', a folder of one machine"),
        (["demo", *WORDS, "--name", "My_Run"], "error: --name: got 'My_Run', needs"),
        (["--config", "a.json", *WORDS], "error: --config: the rendered files name a recipe"),
    ],
)
def test_mistakes_are_a_sentence(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(lambda: __main__.main(["render", *words, "--out", str(tmp_path / "files")])) == 2
    assert capsys.readouterr().err.startswith(sentence)
    assert not (tmp_path / "files").exists()


def test_what_a_job_runs_is_the_config_that_was_given() -> None:
    (job,) = documents("rayjob.yaml")
    check, train = job["spec"]["entrypoint"].split(" && exec ")
    *start, recipe = shlex.split(train)[:5]
    assert start == ["python", "-m", "cluster", "train"]
    assert shlex.split(check)[3:5] == ["preflight", recipe]
    config = resolve(recipe, shlex.split(train)[5:], ClusterConfig)
    expected = resolve("demo", WORDS, ClusterConfig)
    same = {"monitoring": expected.monitoring, "ray": expected.ray}
    assert config.model_copy(update=same) == expected
    assert (config.monitoring.host, config.ray.discovery_host) == ("0.0.0.0", "0.0.0.0")


def test_a_job_brings_its_cluster_and_takes_it_away() -> None:
    (job,), (cluster,) = documents("rayjob.yaml"), documents("raycluster.yaml")
    spec = job["spec"]
    assert (spec["jobId"], spec["shutdownAfterJobFinishes"], spec["backoffLimit"]) == ("one", True, 0)
    assert spec["rayClusterSpec"] == cluster["spec"]
    assert yaml.safe_load(spec["runtimeEnvYAML"]) == {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "60"}}
    (group,) = cluster["spec"]["workerGroupSpecs"]
    assert (group["minReplicas"], group["maxReplicas"]) == (2, 4)
    assert shlex.split(group["rayStartParams"]["resources"]) == ['{"fast disk": 1}']
    assert cluster["spec"]["authOptions"] == {"mode": "token"}


def test_a_head_has_no_work_and_stays_and_saves_before_it_goes() -> None:
    (cluster,) = documents("raycluster.yaml")
    head, worker = pods(cluster["spec"])
    assert cluster["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert "tolerations" not in head
    assert {each["key"] for each in worker["tolerations"]} >= {"cloud.google.com/gke-spot", "nvidia.com/gpu"}
    assert "nvidia.com/gpu" not in head["containers"][0]["resources"]["limits"]
    limits = worker["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "6", "memory": "32Gi", "nvidia.com/gpu": "1"}
    assert head["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][3:5] == ["stop", "one"]


def test_a_pod_has_time_to_save_and_a_tmp_of_its_own() -> None:
    made = deployment()
    (cluster,) = documents("raycluster.yaml")
    for pod in pods(cluster["spec"]):
        assert pod["terminationGracePeriodSeconds"] >= made.grace_s + 7
        assert {"name": "scratch", "mountPath": "/tmp"} in pod["containers"][0]["volumeMounts"]
        assert {"name": "scratch", "emptyDir": {"sizeLimit": f"{made.scratch_gib}Gi"}} in pod["volumes"]
        assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": "keys", "optional": True}}]
        assert pod["securityContext"]["runAsNonRoot"] is True


KUBERNETES = "1.34"


def test_pods_and_the_service_are_of_kubernetes_schemas() -> None:
    (cluster,), (service, *_) = documents("raycluster.yaml"), documents("monitoring.yaml")
    kubernetes_validate.validate(service, KUBERNETES, strict=True)
    for spec in pods(cluster["spec"]):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)
        wrong = pod | {"spec": spec | {"terminationGracePeriod": 1}}
        with pytest.raises(kubernetes_validate.ValidationError, match="terminationGracePeriod"):
            kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


def test_a_large_state_gets_more_time_and_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.preflight.planning.state_bytes", lambda run: 10 * 2**30)
    made = deployment()
    assert made.grace_s >= 10 * 2**30 / 20e6 + 7
    assert made.scratch_gib >= 20


def test_prometheus_is_led_to_the_driver_and_to_ray() -> None:
    service, monitor, scrape = documents("monitoring.yaml")
    (cluster,) = documents("raycluster.yaml")
    template = cluster["spec"]["headGroupSpec"]["template"]
    assert template["metadata"]["labels"].items() <= service["spec"]["selector"].items()
    ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
    assert service["spec"]["ports"][0]["targetPort"] == ports["targets"]
    assert monitor["spec"]["podMetricsEndpoints"][0]["port"] in ports
    (found,) = scrape["spec"]["httpSDConfigs"]
    assert found["url"] == f"http://{service['metadata']['name']}:{ports['targets']}/targets"


def test_the_clouds_file_is_of_rays_schema() -> None:
    schema = Path(ray.autoscaler.__file__).with_name("ray-schema.json")
    (found,) = documents("cloud.yaml")
    validate(found, json.loads(schema.read_text()))
    assert found["available_node_types"]["workers"]["resources"] == {"CPU": 6, "GPU": 1, "fast disk": 1}


def test_the_image_has_what_is_there() -> None:
    text = FILES["Dockerfile"](deployment())
    copied = [word for line in text.splitlines() if line.startswith("COPY") for word in line.split()[1:-1]]
    assert {"pyproject.toml", "constraints.txt", "cluster", "trainer", "model"} <= set(copied)
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_no_secret_is_in_any_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-4f1d0c2b9a")
    assert not [name for name, render in FILES.items() if "planted" in render(deployment())]


STUBS = {
    "srun": '#!/bin/bash\nwhile [[ "$1" == --* ]]; do shift; done\nexec "$@"\n',
    "ray": """#!/bin/bash
echo "ray $@" >> $LOG
[ -z "$BROKEN" ] || exit 3
echo "Ray runtime started."
trap 'echo "ray ends" >> $LOG; exit' TERM
while true; do sleep 0.05; done
""",
    "python": """#!/bin/bash
echo "$3" "${@:4}" >> $LOG
[ "$3" = train ] || exit 0
trap 'sleep 0.5; echo saved >> $LOG; exit 130' TERM
while true; do sleep 0.05; done
""",
}


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the rendered script where stand-ins for Slurm, Ray and the run write a log."""
    script = tmp_path / "slurm.sh"
    script.write_text(FILES["slurm.sh"](deployment()))
    for name, text in STUBS.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    jobs = []

    def start(**variables: str) -> subprocess.Popen[str]:
        env = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "LOG": str(tmp_path / "log"),
            "SLURM_JOB_ID": str(os.getpid()),
            "SLURM_NNODES": "2",
            "SLURMD_NODENAME": "a",
        } | variables
        command = ["bash", str(script)]
        jobs.append(
            subprocess.Popen(command, env=env, start_new_session=True, stderr=subprocess.PIPE, text=True)
        )
        return jobs[-1]

    yield start
    for each in jobs:
        with suppress(ProcessLookupError):
            os.killpg(each.pid, signal.SIGKILL)  # the stubs of Ray, as Slurm would
        each.communicate()


def test_slurms_script_is_of_the_runs_size() -> None:
    text = FILES["slurm.sh"](deployment())
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0
    assert "#SBATCH --nodes=4\n" in text
    assert "#SBATCH --signal=B:TERM@60\n" in text


def test_slurms_script_lets_the_run_save_and_leaves_nothing(
    job: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    started, log = job(), tmp_path / "log"
    deadline = time.monotonic() + 60
    while not log.exists() or "\ntrain " not in log.read_text():
        assert started.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.3)  # for the stub's trap
    started.send_signal(signal.SIGTERM)
    assert started.wait(timeout=60) == 130
    said = log.read_text().splitlines()
    assert [line for line in said if line.startswith("preflight demo ")]
    assert said[-2:] == ["saved", "ray ends"]
    assert not Path(f"/tmp/one-{os.getpid()}").exists()


def test_slurms_script_gives_each_job_ports_of_its_own(
    job: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    found = []
    for number in ("1", "2", "1199"):
        assert job(SLURM_JOB_ID=number, BROKEN="1").wait(timeout=60) == 1
        head = next(line for line in (tmp_path / "log").read_text().splitlines() if "--head" in line)
        found.append({int(port) for port in re.findall(r"--[a-z-]*port=(\d+)", head)})
        (tmp_path / "log").unlink()
    assert [len(ports) for ports in found] == [5, 5, 5]
    assert len(set.union(*found)) == 15
    # Where Linux finds ports for those who name none (from 32768 on), one may be taken.
    assert all(1024 < port < 32768 for port in set.union(*found))


def test_slurms_script_says_that_ray_did_not_start(
    job: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    started = job(BROKEN="1")
    _, said = started.communicate(timeout=60)
    assert started.returncode == 1
    assert "error: Ray did not start on a\n" in said
    assert "train" not in (tmp_path / "log").read_text()
    assert not Path(f"/tmp/one-{os.getpid()}").exists()
