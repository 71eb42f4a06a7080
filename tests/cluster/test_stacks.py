import threading
from pathlib import Path

from cluster.stacks import innermost, loop_of, stacks, waits, write_down


def test_the_stacks_of_all_threads_are_there_by_name(tmp_path: Path) -> None:
    leave, inside = threading.Event(), threading.Event()

    def stuck_here() -> None:
        inside.set()
        leave.wait(30)

    thread = threading.Thread(target=stuck_here, name="TrainingThread(work)")
    thread.start()
    inside.wait(30)
    found = stacks()
    leave.set()
    thread.join()
    assert any("stuck_here" in call for call in loop_of(found))
    assert any("test_the_stacks" in call for calls in found.values() for call in calls)
    assert "stuck_here" in innermost(found)
    assert not waits(found)
    text = write_down(tmp_path / "stacks", "now", {1: found}).read_text()
    assert "rank 1, TrainingThread(work)" in text
    assert "stuck_here" in text


def test_a_loop_in_a_collective_waits_for_others() -> None:
    collective = ["/x/trainer/loop.py:100 train", "/x/torch/distributed/distributed_c10d.py:3000 all_reduce"]
    assert waits({"TrainingThread(work) 7": collective})
    assert not waits({"other 7": collective})
    assert loop_of({"other 7": collective}) == []
