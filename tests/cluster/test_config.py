import json

import pytest

from cluster.config import ClusterConfig, ScalingConfig
from trainer.config import RunConfig
from trainer.overrides import resolve


def cluster(*words: str) -> ClusterConfig:
    return resolve("demo", words, ClusterConfig)


def test_a_recipe_gains_machines_and_loses_them_again() -> None:
    config = cluster("scaling.num_workers=2", "ray.start_timeout_s=7", "optim.lr=0.5")
    assert (config.scaling.least, config.scaling.most) == (2, 2)
    assert config.ray.start_timeout_s == 7
    assert config.run() == resolve("demo", ["optim.lr=0.5"])
    assert type(config.run()) is RunConfig


def test_elastic_workers_are_a_pair() -> None:
    scaling = cluster("scaling.num_workers=[1,4]").scaling
    assert (scaling.least, scaling.most) == (1, 4)
    assert scaling.num_workers == (1, 4)


def test_a_saved_config_is_the_same_config() -> None:
    config = cluster("scaling.num_workers=[1,4]", 'scaling.resources={"fast_disk":0.5}')
    assert ClusterConfig.model_validate(json.loads(config.model_dump_json())) == config


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("scaling.num_workers=0", "scaling.num_workers: got 0, give a number from 1 up"),
        ("scaling.num_workers=[2,1]", r"scaling.num_workers: got \[2,1\], .* 1 <= min <= max"),
        ("scaling.num_wokers=1", "did you mean scaling.num_workers"),
        ('scaling.resources={"GPU":1}', "use scaling.cpus and scaling.use_gpu"),
        ("scaling.cpus=0", "scaling.cpus: got 0"),
        ("ray.object_store_bytes=1", "ray.object_store_bytes: got 1"),
    ],
)
def test_mistakes_name_field_and_value(word: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cluster(word)


@pytest.mark.parametrize("workers", ["3", "[1,3]", "[4,5]"])
def test_every_allowed_number_of_workers_must_divide_the_batch(workers: str) -> None:
    with pytest.raises(ValueError, match=r"batch.size 16 is no multiple .* 2 x (3|5)"):
        cluster("batch.size=16", "batch.micro=2", f"scaling.num_workers={workers}").check()


def test_a_batch_that_can_be_shared_out_passes() -> None:
    for workers in ("1", "2", "8", "[1,2]"):
        cluster("batch.size=16", "batch.micro=2", f"scaling.num_workers={workers}").check()


def test_configs_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        ScalingConfig().max_failures = 5  # type: ignore[misc]
