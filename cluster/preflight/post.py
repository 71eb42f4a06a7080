"""Post: the actor on each node. It listens for the other nodes' posts, and looks around when it is asked."""

import socket
from contextlib import ExitStack, suppress
from threading import Thread

from cluster.preflight.checks import findings
from cluster.preflight.node import collective_host
from cluster.preflight.plan import Ask
from data_shards.scratch import scratch_folder


class Post:
    """One per node, for the time of a survey, whose name is `token`.

    Raises:
        OSError: there is nothing that collectives could listen at.
    """

    def __init__(self, token: str) -> None:
        self._stack = ExitStack()
        folder = self._stack.enter_context(scratch_folder("preflight"))
        (folder / token).touch()  # by which others see that they share the disk
        self._listener = socket.create_server((collective_host(), 0))
        self._token = token.encode()
        Thread(target=self._answer, name="post", daemon=True).start()

    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._listener.getsockname()[:2]
        return str(host), int(port)

    def look(self, ask: Ask) -> list[str]:
        """A sentence for each thing that is in the way here."""
        return findings("node", ask)

    def close(self) -> None:
        """Leave nothing."""
        self._listener.close()
        self._stack.close()

    def _answer(self) -> None:
        with suppress(OSError):  # closed
            while True:
                line, _ = self._listener.accept()
                with line, suppress(OSError):
                    line.sendall(self._token)
