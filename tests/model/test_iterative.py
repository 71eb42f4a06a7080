"""Iterative inference: its cells, gradients in closed form, IODINE as a special case, slots that may change places."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from model import MODELS
from model.interface import Video
from model.iterative.cell import Cell, Gaussian, Inputs, State
from model.iterative.config import LIKELIHOODS, Refining
from model.iterative.grid import Grid, grid, line
from model.iterative.likelihood import drawing, entropy, explain, slopes
from model.iterative.model import IODINE, Iterative, SeqIODINE, STIterative

SMALL = STIterative.small()


def awake(config: Refining) -> Iterative:
    """A model whose gates, corrections and expectations all say something."""
    torch.manual_seed(0)
    model = config.build()
    assert isinstance(model, Iterative)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def decodes(*args: Any, **words: Any) -> list[int]:
    return torch.bincount(grid(*args, **words).frame[0]).tolist()


def test_the_triangle_has_the_papers_drawings() -> None:
    """R = 6: 30 for 10 frames, 50 for 20, 90 for 40; R = 5: 86 for 40. On the full grid 60, 120, 240."""
    assert decodes(8, 6, "triangular", "relative") == [6, 5, 4, 3, 2, 2, 2, 2]
    assert decodes(5, 5, "triangular", "relative") == [5, 4, 3, 2, 2]
    assert [sum(decodes(n, 6, "triangular", "relative")) for n in (10, 20, 40)] == [30, 50, 90]
    assert sum(decodes(40, 5, "triangular", "relative")) == 86
    assert sum(decodes(40, 6, "constant", "relative")) == 240
    assert decodes(4, 6, "first", "relative") == [6, 2, 2, 2]


@pytest.mark.parametrize(
    ("kind", "first"), [("relative", [3.0, 2.5, 2, 1.5, 1, 1]), ("released", [3.5, 2.5])]
)
def test_frames_weigh_as_on_the_sheet(kind: str, first: list[float]) -> None:
    cells = grid(6, 6, "triangular", kind)
    sums = [float(cells.weight[cells.frame == f].sum()) for f in range(6)]
    assert sums[: len(first)] == pytest.approx(first)
    if kind == "released":
        assert sums[2:] == pytest.approx([10 / 6, 1.0, 0.5, 0.5])


def test_what_a_cell_does_to_state_and_posterior() -> None:
    cells = grid(3, 3, "triangular", "relative", last=False)  # of 3, 2 and 2 drawings
    assert cells.enters.int().tolist() == [[1, 0, 0, 1, 0, 1, 0]]
    assert torch.equal(cells.restarts, cells.enters)
    assert cells.moves.int().tolist() == cells.refines.int().tolist() == [[1, 1, 0, 1, 0, 1, 0]]
    assert (cells.firsts.tolist(), cells.lasts.tolist()) == ([0, 3, 5], [2, 4, 6])
    carried = grid(3, 3, "triangular", "relative", carried=True)
    assert carried.restarts.int().sum() == 1
    assert carried.refines.all()
    straight = line(3)
    assert straight.enters.int().tolist() == straight.restarts.int().tolist() == [[1, 0, 0]]
    assert straight.moves.all()


@pytest.mark.parametrize("kind", LIKELIHOODS)
@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_gradients_in_closed_form_are_autograds(kind: str, weight: float) -> None:
    """By means, by logits of masks, and by masks as if they were free."""
    torch.manual_seed(0)
    raw = torch.randn(2, 3, 4, 5, 5, dtype=torch.float64, requires_grad=True)
    frame = torch.rand(2, 3, 5, 5, dtype=torch.float64)
    with torch.no_grad():
        at = drawing64(raw)
    means, masks, logits = (x.clone().requires_grad_() for x in (at.means, at.masks, at.logits))
    free = at._replace(means=means, log_masks=masks.log())
    bound = at._replace(means=means, logits=logits, log_masks=logits.log_softmax(1))

    def loss(drawn: Any) -> Tensor:
        nll = -explain(drawn, frame, kind, 0.1).pixels.sum()
        return nll + weight * entropy(drawn).sum()

    found = slopes(at, explain(at, frame, kind, 0.1), frame, kind, 0.1, weight)
    torch.testing.assert_close(found.masks, torch.autograd.grad(loss(free), masks)[0])
    by_means, by_logits = torch.autograd.grad(loss(bound), (means, logits))
    torch.testing.assert_close(found.means, by_means)
    torch.testing.assert_close(found.logits, by_logits)


def drawing64(raw: Tensor) -> Any:
    """As `drawing`, in the precision of `raw`."""
    shape = drawing(raw.float())
    logits = raw[:, :, -1:]
    return shape._replace(means=raw[:, :, :-1].sigmoid(), logits=logits, log_masks=logits.log_softmax(1))


def test_a_mixture_is_that_of_torchs_distributions() -> None:
    from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

    torch.manual_seed(0)
    drawn, frame = drawing(torch.randn(2, 3, 4, 5, 5)), torch.rand(2, 3, 5, 5)

    def last(x: Tensor) -> Tensor:  # slots and colours behind pixels
        return x.permute(0, 3, 4, 1, 2)

    normals = Independent(Normal(last(drawn.means), 0.3**0.5), 1)
    mixture = MixtureSameFamily(Categorical(last(drawn.masks)[..., 0]), normals)
    constant = 3 * 0.5 * torch.log(torch.tensor(2 * torch.pi * 0.3))
    expected = mixture.log_prob(frame.permute(0, 2, 3, 1)) + constant
    explained = explain(drawn, frame, "mixture", 0.3)
    torch.testing.assert_close(explained.pixels[:, 0], expected)
    torch.testing.assert_close(explained.share.sum(1), torch.ones(2, 1, 5, 5))


def test_the_divergence_is_torchs() -> None:
    from torch.distributions import Normal, kl_divergence

    torch.manual_seed(0)
    q, p = (Gaussian(torch.randn(4, 3), torch.randn(4, 3)) for _ in range(2))
    mine, theirs = (Normal(g.mean, (g.log_variance / 2).exp()) for g in (q, p))
    torch.testing.assert_close(q.divergence(p), kl_divergence(mine, theirs).sum(1))


@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_the_gradient_by_the_posterior_is_that_of_the_loss(kind: str) -> None:
    """Of a cell's whole loss, through a draw and the decoder; each clip's own, whatever the batch."""
    config = replace(SMALL, likelihood=kind, normalised=False, variance=0.1)
    model, frames = awake(config), torch.rand(2, 1, 3, 16, 16)
    seen: list[Tensor] = []
    posterior = torch.randn(2 * config.slots, 2 * config.latent)
    inputs, state = at_the_start(model, frames, posterior)

    def reader(maps: Tensor) -> Tensor:
        return torch.zeros(len(maps), config.hidden)

    def recurrence(x: Tensor, refinement: Any, temporal: Any) -> Any:
        seen.append(x[:, config.hidden + 2 * config.latent :])
        return refinement

    cell = model.cell(2)
    spied = watched(cell, reader, recurrence)
    leaf = posterior.clone().requires_grad_()
    _, step = spied(state._replace(posterior=leaf), inputs)
    loss = config.likelihood_weight * step.nll + config.kl_weight * step.kl
    loss = loss + config.entropy_weight * step.entropy
    expected = torch.autograd.grad(loss.sum(), leaf)[0]
    torch.testing.assert_close(seen[0], expected, rtol=1e-4, atol=1e-4)


def watched(cell: Cell, reader: Any, recurrence: Any) -> Cell:
    """The cell with other networks behind what it sees."""
    return replace(cell, parts=cell.parts._replace(reader=reader, recurrence=recurrence))


def at_the_start(model: Iterative, frames: Tensor, posterior: Tensor) -> tuple[Inputs, State]:
    """A cell's inputs in the middle of a frame that is not the first, and a state before."""
    config = model.config
    cells = grid(2, 2, "constant", "relative")
    at = Grid(*(x[:, 3] for x in cells))
    state = torch.randn(4, len(posterior), config.hidden)
    noise = torch.randn(len(frames), config.slots, config.latent)
    return Inputs(frames[:, 0], noise, at), State(state[0], state[1], state[2], state[3], posterior)


def test_no_gradient_goes_through_what_is_normalised() -> None:
    """The refinement's view of gradients and likelihoods is constant to the loss: with it alone, nothing is learned."""
    config = SMALL
    model, frames = awake(config), torch.rand(2, 1, 3, 16, 16)
    posterior = torch.randn(2 * config.slots, 2 * config.latent, requires_grad=True)
    inputs, state = at_the_start(model, frames, posterior)
    seen: list[Tensor] = []
    cell = model.cell(2)

    def reader(maps: Tensor) -> Tensor:
        seen.append(maps)
        return torch.zeros(len(maps), config.hidden)

    def recurrence(x: Tensor, *_: Any) -> Any:
        seen.append(x)
        return x[:, : config.hidden], x[:, : config.hidden]

    watched(cell, reader, recurrence)(state, inputs)
    maps, vector = seen
    #       frame, mean, mask, logit, share, likelihood, x, y, by mean, by mask
    follows = [False] * 3 + [True] * 5 + [False] * 4 + [False] * 4
    for channel, follow in enumerate(follows):
        slope = torch.autograd.grad(
            maps[:, channel].square().sum(), posterior, retain_graph=True, allow_unused=True
        )
        assert (slope[0] is not None and bool(slope[0].any())) == follow, channel
    latents = 2 * config.latent
    alone = torch.autograd.grad(vector[:, -latents:].sum() + 0 * posterior.sum(), posterior)[0]
    assert not alone.any()
    for x in (maps[:, 9], maps[:, 12:15], maps[:, 15], vector[:, -latents:]):
        mean, variance = x.flatten(1).mean(1), x.flatten(1).var(1, unbiased=False)
        torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-5, rtol=0)
        torch.testing.assert_close(variance, torch.ones_like(variance), atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", ["iodine", "seq-iodine", "st-iterative"])
def test_slots_change_places_with_their_noise(name: str) -> None:
    small: Any = MODELS[name].small()
    config = replace(small, slots=4)
    model, frames = awake(config), torch.rand(2, 3, 3, 16, 16)
    order = torch.tensor([2, 0, 3, 1])
    if config.independent:
        frames = frames.flatten(0, 1)[:, None]
    cells = config.grid(frames.shape[1])
    noise = model.noise(frames, cells)
    _, steps = model.infer(frames, cells, noise)
    _, moved = model.infer(frames, cells, noise[:, :, order])
    assert (steps.masks[:, :, 0] - steps.masks[:, :, 1]).abs().max() > 1e-3
    torch.testing.assert_close(moved.masks, steps.masks[:, :, order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(moved.means, steps.means[:, :, order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(moved.nll, steps.nll, rtol=1e-4, atol=1e-4)


def closed(model: Iterative, other: Iterative) -> None:
    """`model` gets the weights of `other`, which has no temporal state; the gate that would mix one in is shut."""
    mine, hidden = model.state_dict(), other.config.hidden
    for name, value in other.state_dict().items():
        if mine[name].shape == value.shape:
            mine[name].copy_(value)
        elif name.startswith("recurrence"):
            mine[name][: 4 * hidden] = value
            mine[name][4 * hidden :] = -1e9 if name.endswith("bias") else 0.0
        else:
            mine[name][:, : value.shape[1]] = value
            assert name == "decoder.layers.0.weight"


@pytest.mark.parametrize("conditional", [False, True])
def test_a_frame_alone_is_iodines(conditional: bool) -> None:
    """The spatio-temporal model at T = 1 with the same weights, in loss, masks and gradients."""
    torch.manual_seed(0)
    iodine = awake(IODINE.small())
    model = awake(replace(SMALL, conditional=conditional))
    closed(model, iodine)
    frames, results = torch.rand(3, 1, 3, 16, 16), []
    for one in (iodine, model):
        torch.manual_seed(5)
        out = one(Video(frames), 0)
        out.loss.backward()
        results.append(
            (out.loss, out.views.visible_masks, one.start.value.grad, one.correction.layer.weight.grad)
        )
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


def test_iodine_does_not_know_what_came_before() -> None:
    model = awake(IODINE.small()).eval()
    frames = torch.rand(2, 4, 3, 16, 16)
    whole, reverse = model(Video(frames), 0).views, model(Video(frames.flip(1)), 0).views
    torch.testing.assert_close(whole.visible_masks, reverse.visible_masks.flip(1))
    assert whole.prediction is None


@pytest.mark.parametrize("normalised", [True, False])
def test_inference_does_not_depend_on_the_size_of_the_batch(normalised: bool) -> None:
    """Gradients that the refinement sees are those of a clip's own loss, not of a mean."""
    model = awake(replace(SMALL, normalised=normalised)).eval()
    frames = torch.rand(8, 3, 3, 16, 16)
    together, alone = model(Video(frames), 0), model(Video(frames[:1]), 0)
    masks = together.views.visible_masks[:1], alone.views.visible_masks
    torch.testing.assert_close(*masks, rtol=1e-4, atol=1e-5)


def test_noise_is_drawn_once_for_what_starts_and_for_every_cell_beyond() -> None:
    model, frames = awake(replace(SMALL, noise="each")), torch.zeros(2, 3, 3, 16, 16)
    config, cells = SMALL, SMALL.grid(3)
    noise = model.noise(frames, cells)
    starts = noise[:, cells.restarts[0]]
    assert torch.equal(starts, starts[:, :1].expand_as(starts))
    cells_that_draw = 1 + 4  # one for all starts
    assert len(noise.unique()) == 2 * config.slots * config.latent * cells_that_draw
    once = awake(replace(SMALL, noise="once")).noise(frames, cells)
    assert torch.equal(once, once[:, :1].expand_as(once))
    still = model.eval().noise(frames, cells)
    assert not still[:, ~cells.restarts[0]].any()
    assert torch.equal(still[0], still[1])
    assert len(still[0, 0].unique()) == 3 * 4


@pytest.mark.parametrize("config", [SMALL, replace(SMALL, carried=True), SeqIODINE.small()])
def test_a_roll_out_uses_no_frame_of_the_future(config: Refining) -> None:
    """And sees, for a frame, its own prediction of it."""
    model = awake(config).eval()
    frames = torch.rand(2, 5, 3, 16, 16)
    future = model.predict(Video(frames[:, :3]), 3)
    views = model(Video(frames), 0).views
    torch.testing.assert_close(views.prediction[:, 2], future[:, 0])
    torch.testing.assert_close(model.predict(Video(frames[:, :3]), 2), future[:, :2])
    assert (future[:, 1] - future[:, 0]).abs().max() > 1e-6
    blind = replace(config, gradients=False)
    seer = awake(blind).eval()
    believed = torch.cat([frames[:, :3], seer.predict(Video(frames[:, :3]), 1)], 1)
    if isinstance(config, SeqIODINE):  # one refinement a frame, in training too: believing is seeing
        torch.testing.assert_close(
            seer.predict(Video(believed), 1), seer.predict(Video(frames[:, :3]), 2)[:, 1:]
        )


def test_the_decoder_is_called_twice_a_cell_whatever_is_recomputed() -> None:
    """Once for the loss, once for the gradient; recomputation costs one more forward pass of both, not more."""
    counts = {}
    for policy in ("none", "every:1", "every:3"):
        model = awake(replace(SMALL, remat=policy))
        calls = [0]
        model.decoder.register_forward_hook(counting(calls))
        model(Video(torch.rand(1, 4, 3, 16, 16)), 0).loss.backward()
        counts[policy] = calls[0]
    cells = 3 + 2 + 2 + 2
    assert counts == {"none": 2 * cells, "every:1": 2 * (2 * cells - 1), "every:3": 2 * (2 * cells - 3)}


def counting(calls: list[int]) -> Callable[..., None]:
    def hook(*_: Any) -> None:
        calls[0] += 1

    return hook


def test_what_a_frame_shows() -> None:
    """The last drawing; those before are refinements, and frames with few repeat their last."""
    model, video = awake(replace(SMALL, decodes=4)).eval(), Video(torch.rand(2, 4, 3, 16, 16))
    views = model(video, 0).views
    steps = views.refinements
    assert steps.masks.shape == (2, 4, 4, 3, 16, 16)
    assert torch.equal(steps.masks[:, :, -1], views.visible_masks)
    assert torch.equal(steps.frames[:, 2, 1], steps.frames[:, 2, 3])
    assert torch.equal(steps.frames[:, 1:, 0], views.prediction)
    mixed = (views.visible_masks[:, :, :, None] * views.slot_frames).sum(2)
    torch.testing.assert_close(mixed, steps.frames[:, :, -1])


def test_the_papers_sizes() -> None:
    """2.98 M with features of a pretrained network: 2,857,428 without, nine weights fewer a feature in the reader."""
    model = STIterative().build()
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    features = 16 * 64 * 9
    assert sizes["decoder"] == 151_172 + 16_512
    assert sizes["reader"] == 2_226_560 - features
    assert sizes["recurrence"] == 411_520 - 2 * 640  # one bias instead of three
    assert sizes["correction"] == 16_512
    assert sizes["prior"] == 33_024
    assert sizes["start"] == 128


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"likelihood": "laplace"}, "likelihood"),
        ({"decodes": 1}, "decodes"),
        ({"schedule": "square"}, "schedule"),
        ({"prior": "none"}, "prior"),
        ({"decoder": "subpixel", "size": 18}, "size"),
        ({"pool": 40}, "pool"),
        ({"strides": ()}, "strides"),
        ({"variance": 0.0}, "variance"),
    ],
)
def test_bad_fields_are_refused_by_name(words: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(SMALL, **words)
