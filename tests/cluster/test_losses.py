"""Whom a loss is said to be of: never those who only say that another does not answer, where that one is known."""

import math

import pytest

from cluster.board import Failure, Heard, Place
from cluster.hangs import Hang
from cluster.losses import MACHINE_S, PATIENCE_S, Loss, called, unheard
from monitoring.heartbeat import Heart

PLACES = {rank: Place(f"host{rank}", f"node{rank}-of-many", 100 + rank) for rank in (0, 1)}
PEER = Failure("RuntimeError: [gloo] Connection closed by peer", gone=False, peer=True)
OWN = Failure("OSError: [Errno 28] No space left on device", gone=False)
GONE = Failure("its process was killed", gone=True)


def nobody() -> set[str]:
    return set()


def test_a_process_that_is_gone_is_named_and_not_who_missed_it() -> None:
    loss = Loss({0: PEER, 1: GONE}, PLACES)
    assert loss.causes(nobody, 0.0) is None, "its machine may be gone too"
    assert loss.causes(nobody, MACHINE_S + 0.1) == {"rank 1 on host1, process 101": "its process was killed"}


def test_a_machine_that_is_lost_is_named_also_where_others_alone_have_failed() -> None:
    loss = Loss({0: PEER}, PLACES)
    assert loss.causes(nobody, PATIENCE_S - 0.1) is None
    causes = loss.causes(lambda: {"node1-of-many"}, 2.0)
    assert causes == {
        "rank 1 on host1, process 101": "its machine has left the cluster (Ray's node node1-of)"
    }
    assert Loss({0: PEER, 1: GONE}, PLACES).causes(lambda: {"node1-of-many"}, 0.0) == causes


def test_what_a_rank_has_raised_itself_is_told_at_once() -> None:
    assert Loss({0: PEER, 1: OWN}, PLACES).causes(nobody, 0.0) == {"rank 1 on host1, process 101": OWN.words}


def test_a_group_that_was_ended_for_a_hang_is_lost_by_that() -> None:
    hang = Hang("stopped", (1,), 12.0, 31, "forward")
    (cause,) = (Loss({0: GONE, 1: GONE}, PLACES, hang).causes(nobody, 0.0) or {}).items()
    assert cause == ("rank 1 on host1, process 101", "stopped answering 12 s ago, in step 31 (forward)")


@pytest.mark.parametrize("waited", [PATIENCE_S + 0.1, math.inf])
def test_where_nobody_is_found_it_is_who_was_not_heard_of_or_what_the_others_said(waited: float) -> None:
    assert Loss({0: PEER}, PLACES, unheard=(1,)).causes(nobody, waited) == {
        "rank 1 on host1, process 101": "nothing more was heard of it"
    }
    assert Loss({0: PEER}, PLACES).causes(nobody, waited) == {"rank 0 on host0, process 100": PEER.words}
    assert Loss({0: PEER}).causes(nobody, waited) == {"rank 0": PEER.words}


def test_ranks_are_called_by_what_is_known_of_them() -> None:
    assert [called(3, None), called(1, PLACES[1])] == ["rank 3", "rank 1 on host1, process 101"]


def test_a_rank_is_unheard_of_beside_others() -> None:
    beat = Heart().beat()
    ages = {0: 0.2, 1: 5.0, 2: 1.1}
    assert unheard({rank: Heard("", beat, age) for rank, age in ages.items()}) == (1,)
    assert unheard({0: Heard("", beat, 9.0)}) == ()
    assert unheard({}) == ()
