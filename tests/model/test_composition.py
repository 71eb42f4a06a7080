"""Occlusion and composition: the algebra of the visible masks."""

import torch

from model.ops.composition import compose_layers, to_identities, to_ranks, visible
from model.ops.sinkhorn import hard_permutation, sinkhorn


def doubly_stochastic(*shape: int) -> torch.Tensor:
    return sinkhorn(torch.randn(*shape), 0.7, 20)


def test_ranks_follow_the_columns() -> None:
    """Slot 0 at rank 2, slot 1 at rank 0, slot 2 at rank 1."""
    order = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    masks = torch.rand(3, 4, 4)
    ranked = to_ranks(order, masks)
    assert torch.equal(ranked, masks[[1, 2, 0]])
    assert torch.equal(to_identities(order, ranked), masks)


def test_nearer_masks_hide_farther_ones() -> None:
    near = torch.tensor([1.0, 1, 0, 0, 0.5])
    far = torch.tensor([1.0, 0, 1, 0, 0.75])
    farthest = torch.tensor([1.0, 0, 1, 1, 1.0])
    shown = visible(torch.stack([near, far, farthest])[:, None])[:, 0]
    expected = torch.tensor([[1.0, 1, 0, 0, 0.5], [0, 0, 1, 0, 0.25], [0, 0, 0, 1, 0.0]])
    assert torch.equal(shown, expected)


def test_visible_masks_never_sum_above_the_greatest_mask() -> None:
    ranked = torch.rand(7, 3, 5, 16, 16)
    assert (visible(ranked).sum(-3) <= ranked.amax(-3) + 1e-6).all()
    assert (visible(ranked) >= 0).all()


def test_sorting_does_not_change_the_background() -> None:
    order, ranked = doubly_stochastic(9, 4, 4), visible(torch.rand(9, 4, 8, 8))
    shown = to_identities(order, ranked)
    assert (shown.sum(-3) - ranked.sum(-3)).abs().max() < 1e-5


def test_composition_is_the_same_in_either_order() -> None:
    """Visible masks brought to the slots, or colours brought to the ranks: sum_{j,r} P[j,r] G[r] x[j]."""
    order, ranked = doubly_stochastic(5, 3, 3), visible(torch.rand(5, 3, 8, 8))
    colours, background = torch.rand(5, 3, 3, 8, 8), torch.rand(5, 3, 8, 8)
    by_slot = compose_layers(to_identities(order, ranked), colours, background)
    sorted_colours = torch.einsum("bjr,bjchw->brchw", order, colours)
    by_rank = compose_layers(ranked, sorted_colours, background)
    torch.testing.assert_close(by_slot, by_rank, atol=1e-5, rtol=0)


def test_composition_paints_front_to_back() -> None:
    masks = torch.zeros(2, 1, 3)
    masks[0, 0, :2] = 1
    masks[1, 0, 1:2] = 1
    colours = torch.tensor([0.25, 0.75])[:, None, None, None].expand(2, 1, 1, 3)
    background = torch.full((1, 1, 3), 0.1)
    order = hard_permutation(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))  # slot 1 in front
    frame = compose_layers(to_identities(order, visible(to_ranks(order, masks))), colours, background)
    torch.testing.assert_close(frame, torch.tensor([[[0.25, 0.75, 0.1]]]))


def test_autocast_keeps_masks_exact() -> None:
    order, masks = doubly_stochastic(2, 3, 3), torch.rand(2, 3, 8, 8)
    exact = to_ranks(order, masks)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(to_ranks(order, masks), exact)
