"""A board of the cluster in this process, called as Ray's handle would be: `board.method.remote(...)`."""

from collections.abc import Callable
from typing import Any

from cluster.board import Board


class Remote:
    """The handle."""

    tell: "_Method"
    take: "_Method"
    stop: "_Method"
    stopping: "_Method"
    beat: "_Method"
    beats: "_Method"
    stall: "_Method"
    past: "_Method"

    def __init__(self, board: Board) -> None:
        for name in ("tell", "take", "stop", "stopping", "beat", "beats", "stall", "past"):
            setattr(self, name, _Method(getattr(board, name)))


class _Method:
    def __init__(self, call: Callable[..., Any]) -> None:
        self.remote = call
