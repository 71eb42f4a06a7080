"""Hosts: several machines on one, each a network namespace of Linux with an address of its own, joined by a bridge.

Nothing outside reaches them, for the bridge lies in a namespace too. They share files and process ids.
"""

import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TypeVar

from data_shards.exits import Refused

_NAMESPACES = Path("/run/netns")
_NEWNET = 0x40000000  # of setns(2)
_INSIDE = "eth0"  # what each host calls its interface
_MOST = 250
_HUB = "10.213.0.254"

T = TypeVar("T")


@dataclass(frozen=True)
class Host:
    """A machine.

    Attributes:
        address: of it.
        interface: that has it.
        enter: what a command that runs there begins with.
    """

    address: str = "127.0.0.1"
    interface: str = "lo"
    enter: tuple[str, ...] = ()


class Hosts:
    """A network without hosts at first. Use `network`, which takes it away again.

    Args:
        name: of the bridge's namespace; those of hosts begin with it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._made = 0

    def add(self) -> Host:
        """Another host, that reaches all others.

        Raises:
            Refused: there are too many, or this system makes none.
        """
        self._made += 1
        if self._made > _MOST:
            raise Refused(f"{_MOST} hosts are the most there can be; take fewer rounds")
        name, port, address = f"{self.name}-{self._made}", f"h{self._made}", f"10.213.0.{self._made}"
        _add(name)
        _ip("-n", self.name, "link", "add", port, "type", "veth", "peer", "name", _INSIDE, "netns", name)
        _ip("-n", self.name, "link", "set", port, "master", "br0", "up")
        _ip("-n", name, "addr", "add", f"{address}/24", "dev", _INSIDE)
        _ip("-n", name, "link", "set", _INSIDE, "up")
        return Host(address, _INSIDE, ("ip", "netns", "exec", name))

    def cut_off(self, process: int) -> Callable[[], None]:
        """The host of a process reaches no other any more; returns what lets it.

        Raises:
            Refused: the process is on none of them.
        """
        there = os.stat(f"/proc/{process}/ns/net").st_ino
        inodes = [(_NAMESPACES / f"{self.name}-{n}").stat().st_ino for n in range(1, self._made + 1)]
        if there not in inodes:
            raise Refused(f"process {process} is on none of these hosts")
        number = inodes.index(there) + 1
        _ip("-n", self.name, "link", "set", f"h{number}", "down")
        return partial(_ip, "-n", self.name, "link", "set", f"h{number}", "up")

    def serve(self) -> socket.socket:
        """A socket that listens at an address which all hosts reach; what it accepts is served from here."""
        return _within(self.name, lambda: socket.create_server((_HUB, 0), backlog=128))

    def close(self) -> None:
        """Take the network away; its processes have ended."""
        for name in (*(f"{self.name}-{n}" for n in range(1, self._made + 1)), self.name):
            with suppress(Refused):
                _ip("netns", "del", name)


@contextmanager
def network() -> Iterator[Hosts]:
    """A network as long as the context.

    Raises:
        Refused: this system makes none.
    """
    hosts = Hosts(f"rehearse{os.getpid()}")
    try:
        _add(hosts.name)
        _ip("-n", hosts.name, "link", "add", "br0", "type", "bridge")
        _ip("-n", hosts.name, "addr", "add", f"{_HUB}/24", "dev", "br0")
        _ip("-n", hosts.name, "link", "set", "br0", "up")
        yield hosts
    finally:
        hosts.close()


def forbidden() -> str:
    """Why this system makes no hosts; "" = it does."""
    if not shutil.which("ip"):
        return "there is no command ip (iproute2 of Linux)"
    try:
        with network():
            return ""
    except Refused as error:
        return str(error)


def _add(name: str) -> None:
    _ip("netns", "add", name)
    _ip("-n", name, "link", "set", "lo", "up")


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise Refused(f"no network namespaces can be made here (ip {' '.join(words)}: {done.stderr.strip()})")


def _within(namespace: str, make: Callable[[], T]) -> T:
    """What `make` returns, called in a thread that is in the namespace."""
    made: list[T] = []
    libc = ctypes.CDLL(None, use_errno=True)

    def run() -> None:
        with (_NAMESPACES / namespace).open() as file:
            if libc.setns(file.fileno(), _NEWNET) == 0:
                made.append(make())

    thread = Thread(target=run)
    thread.start()
    thread.join()
    if not made:
        raise Refused(f"network namespace {namespace} cannot be entered here")
    return made[0]
