import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster import __main__
from cluster.config import ClusterConfig
from cluster.jobs import GRACE
from cluster.shipment import pack
from cluster.submission import CONFIG, SUBMITTED, prepare, submitted_at, variables_from
from data_shards.exits import Refused, exit_code
from trainer.overrides import resolve

WORDS = ("data.url=s3://b/set", "output=s3://b/run", "scaling.num_workers=2")
TRAIN = ("python", "-m", "cluster", "train", "--config", CONFIG)


class Client:
    """Takes a job, and reads what is shipped while it is there."""

    def submit_job(self, **given: Any) -> str:
        self.given = given
        self.folder = Path(given["runtime_env"]["working_dir"])
        files = (path for path in self.folder.rglob("*") if path.is_file())
        self.files = {path.relative_to(self.folder).as_posix(): path.read_text() for path in files}
        return str(given["submission_id"])


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with one file, committed."""
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "a.py").write_text("1")
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "a.py"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    return folder


def test_the_resolved_config_and_the_revision_are_handed_over(checkout: Path, tmp_path: Path) -> None:
    config, client = resolve("demo", WORDS, ClusterConfig), Client()
    given: Any = client
    (checkout / "a.py").write_text("2")
    name = prepare(config, pack(checkout), {"AWS_ENDPOINT_URL": "http://s3"}, [("check",), TRAIN]).give_to(
        given, 60
    )
    assert name.startswith("demo-")
    assert client.files.keys() == {"a.py", CONFIG}
    saved = tmp_path / "config.json"
    saved.write_text(client.files[CONFIG])
    assert resolve(None, (), ClusterConfig, file=str(saved)).digest() == config.digest()
    assert client.given["entrypoint"] == f"check && exec python -m cluster train --config {CONFIG}"
    describe = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
    revision = subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    assert revision.endswith("-dirty")
    variables = client.given["runtime_env"]["env_vars"]
    assert float(variables.pop(SUBMITTED)) == pytest.approx(time.time(), abs=60)
    assert variables == {
        "COMMONFATE_REVISION": revision,
        GRACE: "60",
        "AWS_ENDPOINT_URL": "http://s3",
    }
    assert client.given["metadata"]["revision"] == revision
    assert not client.folder.exists()


@pytest.mark.parametrize(("said", "heeded"), [("1000.5", True), ("9e12", False), ("x", False), ("", False)])
def test_the_clock_of_a_run_starts_with_its_submission(
    monkeypatch: pytest.MonkeyPatch, said: str, heeded: bool
) -> None:
    monkeypatch.setenv(SUBMITTED, said)
    began = psutil.Process().create_time()
    assert submitted_at() == (1000.5 if heeded else began)


def test_variables_are_given_or_taken_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://s3")
    assert variables_from(["AWS_ENDPOINT_URL", "A=b=c", "EMPTY="]) == {
        "AWS_ENDPOINT_URL": "http://s3",
        "A": "b=c",
        "EMPTY": "",
    }
    for word, sentence in (("NOT_SET_HERE", "is not set here"), ("a b=1", "write NAME=VALUE")):
        with pytest.raises(ValueError, match=sentence):
            variables_from([word])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["dem"], "error: recipe 'dem' does not exist"),
        (["demo", "optim.l=1", *WORDS], "error: field optim.l does not exist"),
        (["demo", *WORDS, "scaling.num_workers=3"], "error: field scaling.num_workers: batch.size"),
        (["demo", *WORDS, "data.url=a/set"], "error: field data.url: got 'a/set', a folder of one machine"),
        (
            ["demo", *WORDS, "--env", "AWS_SECRET_ACCESS_KEY=planted"],
            "error: variable AWS_SECRET_ACCESS_KEY is",
        ),
        (
            ["demo", *WORDS, "monitoring.targets=http://me:planted@h:1/t"],
            "error: field monitoring.targets holds",
        ),
        (["demo", *WORDS, "--working-dir", "/nowhere"], "error: --working-dir: /nowhere is no folder"),
    ],
)
def test_mistakes_are_told_before_a_cluster_is_asked(
    words: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cluster.jobs.client_at", lambda address: pytest.fail("the cluster was asked"))
    assert exit_code(lambda: __main__.main(["submit", *words])) == 2
    said = capsys.readouterr().err
    assert said.startswith(sentence)
    assert said.count("\n") == 1
    assert "planted" not in said


def test_what_would_be_shipped_is_listed(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["submit", "demo", *WORDS, "--working-dir", str(checkout), "--list"]) == 0
    assert capsys.readouterr().out.split() == ["1", "a.py"]


def test_a_secret_in_a_file_is_found(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "MY_TOKEN", "planted-4f1d0c2b9a")
    (checkout / "notes.json").write_text(json.dumps("planted-4f1d0c2b9a"))
    with pytest.raises(ValueError, match=r"^file notes\.json holds the value of MY_TOKEN"):
        prepare(resolve("demo", WORDS, ClusterConfig), pack(checkout), {}, [TRAIN])


def test_a_connection_that_is_lost_in_between_is_a_sentence(checkout: Path) -> None:
    class Lost:
        def submit_job(self, **given: Any) -> str:
            raise OSError("Connection aborted.\nmore")

    client: Any = Lost()
    job = prepare(resolve("demo", WORDS, ClusterConfig), pack(checkout), {}, [TRAIN])
    with pytest.raises(
        Refused, match=r"^job demo-\S+ could not be given to the cluster \(Connection aborted\.\); "
    ):
        job.give_to(client, 60)
