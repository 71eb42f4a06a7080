"""Log p(x) of models that sample: importance-weighted over many particles, which come in passes and are not kept.

Weights are summed as they come (a streamed logsumexp), so that memory is bounded by one pass and not by all particles.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from data_shards.mistake import UserError
from model.interface import Particles, Video, VideoModel
from trainer.batch import users_clips
from trainer.checkpoints.load import LoadedModel
from trainer.evaluation.views import draws_of_clip
from trainer.scores.counting import true_counts


@dataclass(frozen=True)
class Likelihood:
    """Means over clips, in nats a clip: how likely clips are, and what that is made of.

    Of log p(x | z) and of the divergence there are two readings: over particles as they weigh, in each clip, as
    SQAIR's code has it; or over all alike, as its text says ("plain").
    """

    log_evidence: float
    """Log p(x): log of the mean weight. Of models that see each frame by itself, summed over frames."""
    log_likelihood: float
    kl: float
    plain_log_likelihood: float
    plain_kl: float
    counting: float | None
    """Share of frames whose objects are counted right, over particles as they weigh; None = nothing is counted."""
    error: float | None
    """Standard error of `log_evidence` over clips; None = there is but one."""
    clips: int
    particles: int


class Streamed:
    """Sums over the particles of one clip, in float64.

    Weights are those of whole clips, or of each frame where frames are independent.

    Args:
        independent: see above.
        counts: the truth, of each frame; None = not known.
    """

    def __init__(self, independent: bool, counts: Tensor | None) -> None:
        self.independent, self.counts = independent, counts
        self.greatest: Tensor | None = None
        self.weighted: dict[str, Tensor] = {}
        self.plain: dict[str, Tensor] = {}
        self.particles = 0

    def add(self, said: Particles) -> None:
        """Particles of one pass, of one clip."""
        assert said.log_likelihood is not None
        assert said.kl is not None
        values = {"likelihood": said.log_likelihood[0].double(), "kl": said.kl[0].double()}
        log_weights = values["likelihood"] - values["kl"]
        if not self.independent:
            log_weights = log_weights.sum(1, keepdim=True)
        values["one"] = torch.ones_like(log_weights)
        if said.counts is not None and self.counts is not None:
            values["right"] = (said.counts[0] == self.counts).double()
        greatest = log_weights.amax(0)
        if self.greatest is not None:
            greatest = torch.maximum(greatest, self.greatest)
        weights = (log_weights - greatest).exp()
        fading = torch.zeros_like(greatest) if self.greatest is None else (self.greatest - greatest).exp()
        for name, value in values.items():
            self.weighted[name] = fading * self.weighted.get(name, 0.0) + (weights * value).sum(0)
            self.plain[name] = self.plain.get(name, 0.0) + value.sum(0)
        self.greatest = greatest
        self.particles += len(log_weights)

    def result(self) -> dict[str, float]:
        """Of the clip, by the names of `Likelihood`."""
        assert self.greatest is not None
        total = self.weighted["one"]
        evidence = self.greatest + total.log() - math.log(self.particles)
        found = {
            "log_evidence": evidence.sum(),
            "log_likelihood": (self.weighted["likelihood"] / total).sum(),
            "kl": (self.weighted["kl"] / total).sum(),
            "plain_log_likelihood": self.plain["likelihood"].sum() / self.particles,
            "plain_kl": self.plain["kl"].sum() / self.particles,
        }
        if "right" in self.weighted:
            found["counting"] = (self.weighted["right"] / total).mean()
        return {name: float(value) for name, value in found.items()}


def sampling(loaded: LoadedModel, particles: int, device: torch.device) -> VideoModel:
    """The model with the same weights, which draws so many particles at once, in eval mode.

    Raises:
        UserError: it has no latent variables.
    """
    config = loaded.config.model
    if "shown_particles" not in {field.name for field in fields(config)}:
        raise UserError(f"{loaded.url}: its model gives no likelihood of clips; air, sqair and vrnn do")
    model = replace(config, shown_particles=particles).build().to(device)  # type: ignore[call-arg]
    model.load_state_dict(loaded.model.state_dict())
    return model.eval()


@torch.no_grad()
def likelihood(
    loaded: LoadedModel, batches: Iterable[Video], particles: int, at_once: int, device: torch.device
) -> Likelihood:
    """See `Likelihood`. What is drawn depends on a clip's place in the split, and on `at_once`.

    Args:
        loaded: a model with latent variables.
        batches: clips that follow each other in their split, from its first on.
        particles: of each clip.
        at_once: of a pass, at most.
        device: where clips are.

    Raises:
        UserError: the model has no likelihood, cannot take such clips, or there is none.
    """
    passes = [min(at_once, particles - done) for done in range(0, particles, at_once)]
    models = {size: sampling(loaded, size, device) for size in set(passes)}
    results: list[dict[str, float]] = []
    for video in batches:
        for i in range(len(video.frames)):
            clip = Video(video.frames[i : i + 1])
            streamed = Streamed(loaded.config.model.independent, _counts(video, i))
            with users_clips(), draws_of_clip(len(results), device):
                for size in passes:
                    said = models[size](clip, loaded.step).views.particles
                    assert said is not None
                    streamed.add(said)
            results.append(streamed.result())
    if not results:
        raise UserError("there is no clip to evaluate; choose another split or a larger limit")
    means = {name: sum(result[name] for result in results) / len(results) for name in results[0]}
    evidence = torch.tensor([result["log_evidence"] for result in results], dtype=torch.float64)
    error = float(evidence.std() / math.sqrt(len(results))) if len(results) > 1 else None
    counting = means.pop("counting", None)
    return Likelihood(**means, counting=counting, error=error, clips=len(results), particles=particles)


def _counts(video: Video, i: int) -> Tensor | None:
    truth = video.truth
    if truth is None or (truth.present is None and truth.amodal_masks is None):
        return None
    return true_counts(video)[i]
