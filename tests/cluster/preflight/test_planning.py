import json
from dataclasses import asdict

import pytest

from cluster.config import ClusterConfig
from cluster.preflight.plan import Plan
from cluster.preflight.planning import plan_of, state_bytes
from data_shards.storage.document import fitting
from trainer.overrides import resolve
from trainer.recipes import RECIPES


def config(*words: str) -> ClusterConfig:
    return resolve("demo", ["data.url=s3://b/set", "output=s3://b/run", *words], ClusterConfig)


def test_a_plan_says_what_the_config_asks_for() -> None:
    words = ["scaling.num_workers=[2,4]", "scaling.use_gpu=true", "scaling.cpus=3", "evaluation.split=test"]
    found = plan_of(config(*words, "evaluation.steps=10", "checkpoint.deadline_s=70", "monitoring.port=null"))
    assert found.sets == {"s3://b/set": ("train", "test")}
    assert (found.workers, found.worker) == (2, {"CPU": 3.0, "GPU": 1.0})
    assert (found.output, found.save_s, found.metrics_host) == ("s3://b/run", 70, "")
    assert fitting(Plan, json.loads(json.dumps(asdict(found)))) == found


def test_a_chain_needs_what_its_stages_need() -> None:
    stages = 'stages=[{"overrides":{"data.url":"s3://b/easy"}},{"overrides":{"checkpoint.deadline_s":60}}]'
    found = plan_of(config(stages, "evaluation.steps=0"))
    assert found.sets == {"s3://b/easy": ("train",), "s3://b/set": ("train",)}
    assert found.save_s == 60


@pytest.mark.parametrize("name", ["demo", "moving-mnist-ae-conv"])
def test_a_state_is_sixteen_bytes_for_each_parameter(name: str) -> None:
    run = RECIPES[name]()
    count = sum(value.numel() for value in run.model.build().parameters())
    assert state_bytes(run) == 16 * count > 0
