"""A remedy that a config error gives is accepted when followed: over all fields and wrong values."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.config import ClusterConfig
from trainer.fields import listed_fields
from trainer.overrides import resolve
from trainer.remedies import at

WRONG = (
    *("null", "3", "-1", "2.5", "[1]", "[]", "{}", '{"a":1}', "", "None", "none", "NULL", "true", "True"),
    *("1e400", "NaN", "nan", "x", "[true,false]", "0.9,0.95", '"3"', "s3:/b/p", "~nobody-here"),
)  # fmt: skip
ADVICE = re.compile(r"(?:write|such as|give) ([\w.]+=\S+?)(?=$|; | \()")


def told(words: list[str]) -> str:
    """What is said of a config; empty where it is accepted."""
    try:
        resolve("demo", ["data.url=set", *words], ClusterConfig)
    except ValueError as error:
        return str(error)
    return ""


def paths() -> list[str]:
    listed = listed_fields(resolve("demo", ["data.url=set"], ClusterConfig))
    return list(dict.fromkeys(field.path for field in listed))


def words(path: str) -> Iterator[str]:
    yield from (f"{path}={wrong}" for wrong in WRONG)
    yield from (f"{path}.{part}={value}" for part in ("x", "1") for value in ("0.9",))


@pytest.mark.parametrize("path", paths())
def test_what_is_advised_is_accepted(path: str) -> None:
    for word in words(path):
        if not (said := told([word])):
            continue
        assert re.match(r"field [\w.]+ ?|[\w.]+: ", said), f"{word}: {said}"
        assert "\n" not in said, f"{word}: {said}"
        assert not re.search(r"StopIteration|Traceback|pydantic|tuple|PydanticUndefined", said), (
            f"{word}: {said}"
        )
        for advised in ADVICE.findall(said):
            again = told([advised])
            assert not again, f"{word}: {said}: {again}"
        for named in re.findall(r"did you mean ([\w.]+)\?", said):
            config = resolve("demo", ["data.url=set"], ClusterConfig).model_dump(mode="json")
            assert named in {*paths(), *config} or at(config, named) is not None, f"{word}: {said}"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("model=null", r"got null, needs the name of a model: ae-conv, .*object-discovery"),
        ("model=3", r"got 3, needs the name of a model"),
        ("model=[1]", r"got \[1\], needs the name of a model"),
        ('model={"name":["a"]}', r"needs the name of a model"),
        ("model.name=null", r"field model: needs the name of a model: ae-conv, "),
        ("optim.betas=[2,0.9]", r"optim.betas: got \[2,0.9\], .* such as optim.betas=\[0.9,0.999\]"),
        ("optim.betas=[1,1]", r"optim.betas: got \[1,1\], .* such as optim.betas=\[0.9,0.999\]"),
        ("engine.threads=1000000000000000000000000000000", r"such as engine.threads="),
        ("batch.size=1000000000000000000000000000000", r"such as batch.size="),
        ("optim.betas=[0.9]", r"optim.betas: got \[0.9\], .* such as optim.betas=\[0.9,0.999\]"),
        ("optim.betas.1=0.9", r"optim.betas is given whole; write optim.betas=\[0.9,0.999\]"),
        ("optim.betas=0.9,0.95", r"write optim.betas=\[0.9,0.95\]"),
        ("optim.betas=(0.9, 0.95)", r"write optim.betas=\[0.9,0.95\]"),
        ("optim.betas=[false,0.9]", r"optim.betas: got \[false,0.9\], needs a number; such as optim.betas="),
        ("evaluation.clips=None", r"got 'None', .*write evaluation.clips=null"),
        ("monitoring.port=none", r"write monitoring.port=null"),
        ("start=None", r"got 'None', .*write start=null"),
        ("ray.address=None", r"write ray.address=null"),
        ("steps=true", r"steps: got true, needs a number; such as steps=800"),
        ("engine.zero_stage=true", r"engine.zero_stage: got true, needs a number"),
        ("data.deadline=true", r"data.deadline: got true, needs a number"),
        ("model.slots=1000000000000000000000000000000", r"slots: got 10+, needs at most 1024"),
        ("model.slots=true", r"model.slots: got true, needs a number"),
        ('scaling.resources={"a":true}', r"got .*true.*, needs a number"),
        ("scaling.resources=null", r"scaling.resources: got null"),
        ("scaling.resources.accelerator=1", r'write scaling.resources=\{"accelerator":1\}'),
        ("scaling.num_workers=[1]", r"^field scaling.num_workers: got \[1\], .* such as scaling.num_workers=1$"),
        ('stages=[{"x":1}]', r"^field stages.0.x does not exist"),
        ('stages=[{"overrides":{"optim.betas":"0.9,0.95"}}]', r"write optim.betas=\[0.9,0.95\]"),
        ("output=None", r"^field output: got 'None', and this field cannot be none$"),
        ("data.deadline=1e400", r"data.deadline: got Infinity, .*number"),
    ],
)  # fmt: skip
def test_wrong_words(word: str, said: str) -> None:
    assert re.search(said, told([word])), told([word])


@pytest.mark.parametrize("word", ["model.frame_difference=true", "ray.verbose=True", "output=true"])
def test_words_that_are_right(word: str) -> None:
    assert told([word]) == ""


def test_a_file_may_lack_what_words_give(tmp_path: Path) -> None:
    (tmp_path / "saved.json").write_text(json.dumps({"optim": {"lr": 2}}))
    file = str(tmp_path / "saved.json")
    with pytest.raises(
        ValueError, match=r"needs the name of a model: .*; field data.url is missing; give data.url=VALUE$"
    ):
        resolve(None, file=file)
    config = resolve(None, ["model=copy-last", "data.url=set", "optim.momentum=0.5"], file=file)
    assert (config.data.url, config.optim.lr, config.optim.momentum) == ("set", 2, 0.5)
