"""The count of live bytes, on cases counted by hand."""

import torch

from trainer.bench.live_bytes import LiveBytes

KIB = 256  # floats


def test_counts_storages_while_they_live() -> None:
    live = LiveBytes()
    with live:
        a = torch.ones(KIB)
        b = a + 1
        assert live.now == 2048
        view = b[:10]  # no storage of its own
        b.mul_(2)  # nor this
        del b
        assert live.now == 2048
        del view
        assert live.now == 1024
        a = a * 2 * 3  # three at the peak, then one
    assert live.now == 1024
    assert live.peak == 3072
    del a
    assert live.now == 0


def test_what_was_there_before_does_not_count() -> None:
    x, y = torch.ones(KIB), torch.ones(KIB)
    live = LiveBytes()
    with live:
        live.exclude(y)
        x.add_(1)
        kept = [x[:3], x.reshape(2, -1), y.detach()]
    assert live.peak == 0
    assert len(kept) == 3


def test_counts_what_autograd_saves_and_what_backward_allocates() -> None:
    x = torch.ones(KIB, requires_grad=True)
    live = LiveBytes()
    with live:
        y = torch.exp(torch.exp(x)).sum()
        assert live.now == 2 * 1024 + 4  # both results are saved, and the sum
        y.backward()
        del y
    assert live.now == 1024  # x.grad
    assert live.peak >= 3 * 1024
