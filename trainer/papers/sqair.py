"""Table 1 of "Sequential Attend, Infer, Repeat" (arXiv 1806.01794): how likely clips are, how well objects are counted.

Its columns of SQAIR and AIR fit the reading in which particles weigh, those of VRNN the plain one: of the former
log p(x | z) - KL is a few nats above log p(x), which a plain estimate cannot be, of the latter far below.
"""

from collections.abc import Mapping, Sequence

from data_shards.manifest import Manifest
from trainer.evaluation.likelihood import Likelihood

PARTICLES = 1000
SHAPE = (10, 50, 50, 1)
TESTED_ON = 10_000  # clips

# By the paper's names: log p(x), log p(x | z), KL, counting.
TABLE_1: dict[str, tuple[float, float, float, float | None]] = {
    "CONV-SQAIR": (6784.8, 6923.8, 134.6, 0.9974),
    "MLP-SQAIR": (6617.6, 6786.5, 164.5, 0.9986),
    "MLP-AIR": (6443.6, 6830.6, 352.6, 0.9058),
    "CONV-VRNN": (6561.9, 6737.8, 270.2, None),
    "MLP-VRNN": (5959.3, 6108.7, 218.3, None),
}
HEADINGS = ("log p(x)", "log p(x|z)", "KL", "plain log p(x|z)", "plain KL", "counting")


def table(found: Mapping[str, Likelihood], manifest: Manifest) -> str:
    """The paper's rows and ours, nats a clip; below them where clips or particles are not the paper's."""
    width = max(map(len, [*found, *TABLE_1]))
    lines = [" " * width + "".join(f"{heading:>18}" for heading in HEADINGS)]
    for name, (evidence, inside, kl, counting) in TABLE_1.items():
        lines.append(_line(name.ljust(width), evidence, inside, kl, None, None, counting))
    for name, one in found.items():
        numbers = (one.log_evidence, one.log_likelihood, one.kl, one.plain_log_likelihood, one.plain_kl)
        lines.append(_line(name.ljust(width), *numbers, one.counting))
    apart = "; ".join(differences(manifest, list(found.values())))
    remark = f" Ours differ: {apart}." if apart else ""
    return "\n".join([*lines, "", f"The first rows are the paper's.{remark}"])


def differences(manifest: Manifest, found: Sequence[Likelihood]) -> list[str]:
    """Where clips or particles are not the paper's; as "frames of 32 x 32, not 50 x 50"."""
    told = []
    if manifest.source != "multi-mnist":
        told.append(f"clips of {manifest.source}, not of moving multi-MNIST")
    frames, height, width, channels = manifest.shape
    if (height, width, channels) != SHAPE[1:]:
        told.append(f"frames of {height} x {width} x {channels}, not 50 x 50 x 1")
    if frames != SHAPE[0]:
        told.append(f"{frames} frames, not {SHAPE[0]}")
    if (particles := found[0].particles) != PARTICLES:
        told.append(f"{particles} particles, not {PARTICLES}")
    if (clips := found[0].clips) != TESTED_ON:
        errors = ", ".join(f"{one.error:.1f}" for one in found if one.error is not None)
        told.append(
            f"tested on {clips:,} clips, not {TESTED_ON:,}"
            + (f", standard errors of log p(x) {errors}" if errors else "")
        )
    return told


def _line(name: str, *numbers: float | None) -> str:
    *nats, counting = numbers
    cells = ["" if x is None else f"{x:.1f}" for x in nats] + ["" if counting is None else f"{counting:.4f}"]
    return name + "".join(f"{cell:>18}" for cell in cells)
