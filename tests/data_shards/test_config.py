"""What is wrong with a DataConfig is named."""

from typing import Any

import pytest

from data_shards.config import DataConfig


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ({"url": "pipe:rm -rf x"}, "url"),
        ({"url": "gs://b/x"}, "url"),
        ({"workers": -1}, "workers"),
        ({"streams": 0}, "streams"),
        ({"block": 0}, "block"),
        ({"ahead": 0}, "ahead"),
        ({"threads": 0}, "threads"),
        ({"extent_bytes": 0}, "extent_bytes"),
        ({"workers": 10**30}, "workers 1000000000000000000000000000000 must be at most 1024"),
        ({"ahead": 10**30}, "ahead .* must be at most"),
        ({"threads": 10**6}, "threads 1000000 must be at most 1024"),
        ({"block": 10**30}, "block .* must be at most"),
        ({"deadline": -1.0}, "deadline"),
        ({"damage": "skip"}, "damage"),
        ({"start_method": "thread"}, "start_method"),
    ],
)
def test_bad_configs_are_named(bad: dict[str, object], word: str) -> None:
    arguments: dict[str, Any] = {"url": "x"} | bad
    with pytest.raises(ValueError, match=word):
        DataConfig(**arguments)
