import re
from itertools import groupby
from typing import get_args

import pytest

from monitoring.catalogue import BASE_LABELS, METRICS, Group, Metric


@pytest.mark.parametrize("row", METRICS.values(), ids=METRICS)
def test_names_follow_prometheus_rules(row: Metric) -> None:
    assert re.fullmatch(r"commonfate(_[a-z]+)+", row.name)
    assert row.help
    # Prometheus' own suffixes of histograms must not be taken by another row.
    assert not row.name.endswith(("_bucket", "_count", "_sum", "_created"))
    assert all(re.fullmatch(r"[a-z]+", label) for label in row.labels)
    assert list(row.buckets) == sorted(set(row.buckets))


def test_every_row_is_in_a_group_and_no_group_is_empty() -> None:
    assert {row.group for row in METRICS.values()} == set(get_args(Group))
    groups = [group for group, _ in groupby(row.group for row in METRICS.values())]
    assert groups == list(get_args(Group)), "the rows of a group stand together, in the groups' order"


def test_names_and_keys_agree() -> None:
    assert all(name == row.name for name, row in METRICS.items())
    assert len({row.name for row in METRICS.values()}) == len(METRICS)


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("commonfate_loss", ""),
        ("commonfate_step_seconds", "seconds"),
        ("commonfate_samples_per_second", "per_second"),
        ("commonfate_data_wait_seconds_total", "seconds"),
        ("commonfate_goodput_ratio", "ratio"),
        ("commonfate_restarts", ""),
    ],
)
def test_unit_is_the_suffix(name: str, unit: str) -> None:
    assert METRICS[name].unit == unit


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "loss"}, "must begin with commonfate_"),
        ({"name": "commonfate_bytes", "kind": "counter"}, "end in _total"),
        ({"name": "commonfate_bytes_total"}, "end in _total"),
        ({"name": "commonfate_seconds", "kind": "histogram"}, "have buckets"),
        ({"name": "commonfate_loss", "labels": {BASE_LABELS[0]: ()}}, "on every row already"),
    ],
)
def test_a_row_that_breaks_the_rules_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Metric(**({"kind": "gauge", "group": "speed", "help": "x"} | arguments))  # type: ignore[arg-type]
