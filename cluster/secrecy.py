"""Secrecy: what must not be given to a job. Ray shows a job's command, variables and files to all who reach it."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from data_shards.mistake import UserError

# Of variables. Keys have other names than what they open: AWS_ACCESS_KEY_ID, COMMONFATE_CHECKPOINT_KEY.
NAMES = re.compile(
    r"SECRET|TOKEN|PASSW|PASSPHRASE|CREDENTIAL|PRIVATE|API_?KEY|ACCESS_KEY|(^|_)(KEY|AUTH)$", re.IGNORECASE
)

VALUES = {
    "a password in a URL": re.compile(r"\w://[^/\s:@\"']*:[^/\s@\"']+@"),
    "a signed URL": re.compile(r"[?&](X-Amz-Signature|Signature|sig)=", re.IGNORECASE),
    "a key of AWS": re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a token of GitHub": re.compile(r"\bgh[pousr]_[0-9A-Za-z]{30,}"),
    "a token of Hugging Face": re.compile(r"\bhf_[0-9A-Za-z]{30,}"),
}

_SHORTEST = 12  # characters of a value that is looked for elsewhere: shorter ones are found by chance
_REMEDY = (
    "and whoever reaches Ray's dashboard reads what a job is given; leave it out, and set it where the machines "
    "start: in the environment of `ray start`, in a Secret of Kubernetes, or by a role of the machines"
)


def refuse_secrets(variables: Mapping[str, str], texts: Mapping[str, str]) -> None:
    """UserError that names, and does not show, the first secret among a job's variables and texts.

    Args:
        variables: the job's environment, by name.
        texts: whatever else people give a job, by what to call it.
    """
    for name in variables:
        if NAMES.search(name):
            raise UserError(f"variable {name} is a secret by its name, {_REMEDY}")
    named = {f"variable {name}": value for name, value in variables.items()} | dict(texts)
    for where, text in named.items():
        known = (what for what, pattern in VALUES.items() if pattern.search(text))
        for what in (*known, *_of_here(text.encode(errors="replace"))):
            raise UserError(f"{where} holds {what}, {_REMEDY}")


def refuse_secret_files(folder: Path, names: Iterable[str]) -> None:
    """UserError that names the first file that holds the value of a secret of this process's environment."""
    for name in names:
        for what in _of_here((folder / name).read_bytes()):
            raise UserError(f"file {name} holds {what}, {_REMEDY}")


def _of_here(text: bytes) -> Iterator[str]:
    """The secrets of this process's environment whose value the text holds."""
    for name, value in os.environ.items():
        if NAMES.search(name) and len(value) >= _SHORTEST and value.encode(errors="replace") in text:
            yield f"the value of {name}"
