"""Bytes on storage become clips (uint8, CPU). SOURCES names every origin of clips that `build` knows."""

from typing import Any


def __getattr__(name: str) -> Any:
    """SOURCES, loaded for those who ask: its decoders of video take longer than the `--help` of all commands."""
    if name == "SOURCES":
        from data_shards.sources import SOURCES

        return SOURCES
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
