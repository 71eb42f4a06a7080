from pathlib import Path

import pytest

from cluster.secrecy import NAMES, refuse_secret_files, refuse_secrets

PLANTED = "planted-4f1d0c2b9a"


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SESSION_TOKEN",
        "HF_TOKEN",
        "WANDB_API_KEY",
        "COMMONFATE_CHECKPOINT_KEY",
        "RAY_AUTH_TOKEN",
        "DB_PASSWORD",
        "GOOGLE_APPLICATION_CREDENTIALS",
    ],
)
def test_a_variable_is_refused_by_its_name_and_its_value_is_not_shown(name: str) -> None:
    with pytest.raises(ValueError, match=f"variable {name} is a secret by its name") as error:
        refuse_secrets({name: PLANTED}, {})
    assert PLANTED not in str(error.value)
    assert "`ray start`" in str(error.value)


@pytest.mark.parametrize(
    "name",
    ["AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "RAY_AUTH_MODE", "GLOO_SOCKET_IFNAME", "OMP_NUM_THREADS"],
)
def test_what_is_no_secret_passes(name: str) -> None:
    assert not NAMES.search(name)
    refuse_secrets({name: "http://10.0.0.1:9000"}, {"field data.url": "s3://bucket/a"})


@pytest.mark.parametrize(
    "text",
    [
        f"s3://user:{PLANTED}@bucket/set",
        f"https://host/a?X-Amz-Signature={PLANTED}",
        "AKIA" + "A1" * 8,
        "-----BEGIN RSA PRIVATE KEY-----",
        "ghp_" + "a1" * 18,
        "hf_" + "a1" * 17,
    ],
)
def test_a_value_is_refused_by_its_look(text: str) -> None:
    with pytest.raises(ValueError, match=r"^field data\.url holds ") as error:
        refuse_secrets({}, {"field data.url": text})
    assert text not in str(error.value)
    with pytest.raises(ValueError, match=r"^variable PLACE holds "):
        refuse_secrets({"PLACE": text}, {})


def test_the_value_of_a_secret_of_here_is_refused_wherever_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", PLANTED)
    with pytest.raises(ValueError, match=r"^variable GREETING holds the value of MY_TOKEN"):
        refuse_secrets({"GREETING": f"hello {PLANTED}"}, {})
    (tmp_path / "a.txt").write_text("nothing")
    (tmp_path / "b.bin").write_bytes(b"\xff\x00" + PLANTED.encode() + b"\xff")
    refuse_secret_files(tmp_path, ["a.txt"])
    with pytest.raises(ValueError, match=r"^file b\.bin holds the value of MY_TOKEN") as error:
        refuse_secret_files(tmp_path, ["a.txt", "b.bin"])
    assert PLANTED not in str(error.value)
    monkeypatch.setenv("MY_TOKEN", "short")
    refuse_secrets({"GREETING": "a short one"}, {})
