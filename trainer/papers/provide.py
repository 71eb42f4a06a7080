"""Tables 1 and 2 of "PROVIDE" (arXiv 2006.14727, UAI 2021): balls and solids found by iterative inference over time.

Its ARI and F-ARI are means over frames, each by itself: slots that change places cost nothing. Its squared error is of
frames as slots make them, not of frames to come.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from data_shards.manifest import Manifest
from model.interface import Video, Views
from trainer.evaluation.result import COMPONENTS, KMEANS, NOTES, STRIPES
from trainer.papers.paper import Column, Drawing, Figure, Paper, Published, Table
from trainer.pictures.picture import Strip, rgb
from trainer.strips.slots import object_strips

SIDE = 64  # of frames, pixels
SCORES = ("ari_frame", "fg_ari_frame", "explained_mse")  # ARI, F-ARI, MSE
TITLES = {"r-nem": "R-NEM", "iodine": "IODINE", "seq-iodine": "SEQ-IODINE", "st-iterative": "PROVIDE"}

Numbers = tuple[float, ...]  # for each length of clips, or one for all of them


@dataclass(frozen=True)
class Scenes:
    """What the paper tests on, and what came of it.

    Args:
        lengths: of clips, frames.
        trained_on: clips or, of CLEVRER, videos.
        tested_on: clips; None = not told.
        rows: ARI, F-ARI and MSE, by the name in MODELS.
    """

    lengths: tuple[int, ...]
    trained_on: int
    tested_on: int | None
    rows: Mapping[str, tuple[Numbers, Numbers, Numbers]]

    def length(self, frames: int) -> int:
        """The longest that a clip of so many frames has; the shortest if it has none."""
        return max((length for length in self.lengths if length <= frames), default=self.lengths[0])

    def published(self, frames: int) -> dict[str, Published]:
        """The rows of that length."""
        place = self.lengths.index(self.length(frames))
        return {
            kind: Published(
                TITLES[kind],
                None,
                {
                    score: numbers[min(place, len(numbers) - 1)]
                    for score, numbers in zip(SCORES, row, strict=True)
                },
                self.trained_on,
            )
            for kind, row in self.rows.items()
        }


SCENES: dict[str, Scenes] = {
    "4 balls, binary": Scenes((10, 20, 30, 40), 50_000, 10_000, {
        "r-nem": ((.5031, .6199, .6632, .6833), (.6259, .7325, .7708, .7899), (.0252, .0138, .0096, .0076)),
        "iodine": ((.0318,), (.9986,), (.0018,)),
        "seq-iodine": ((.0230, .0223, .0021, -.0201), (.8645, .6028, .5444, .4063), (.0385, .0782, .0846, .0968)),
        "st-iterative": ((.7169, .7263, .7286, .7294), (.9999,), (.0004,)),
    }),
    "4 balls, colour": Scenes((10, 20, 30, 40), 50_000, 10_000, {
        "iodine": ((.5841,), (.9752,), (.0014,)),
        "seq-iodine": ((.3789, .3743, .3225, .2654), (.7517, .8159, .7537, .6734), (.0160, .0164, .0217, .0270)),
        "st-iterative": ((.7275, .7291, .7298, .7301), (1.0, 1.0, .9999, .9999), (.0002,)),
    }),
    "6 to 8 balls, binary": Scenes((10,), 50_000, None, {
        "r-nem": ((.4484,), (.6377,), (.0328,)),
        "iodine": ((.0271,), (.9969,), (.0040,)),
        "seq-iodine": ((.0263,), (.8874,), (.0521,)),
        "st-iterative": ((.4453,), (.9999,), (.0008,)),
    }),
    "6 to 8 balls, 4 colours": Scenes((10,), 50_000, None, {
        "iodine": ((.4136,), (.8211,), (.0138,)),
        "seq-iodine": ((.2068,), (.5854,), (.0338,)),
        "st-iterative": ((.4275,), (.9998,), (.0004,)),
    }),
    "6 to 8 balls, 8 colours": Scenes((10,), 50_000, None, {
        "iodine": ((.2823,), (.7197,), (.0281,)),
        "seq-iodine": ((.1571,), (.5231,), (.0433,)),
        "st-iterative": ((.4317,), (.9900,), (.0114,)),
    }),
    "CLEVRER, 3 to 5 objects": Scenes((10, 20, 30, 40), 10_000, 2_500, {
        "iodine": ((.1791,), (.9316,), (.0004,)),
        "seq-iodine": ((.1171, .1378, .1558, .1684), (.8520, .8774, .8780, .8759), (.0009, .0009, .0010, .0010)),
        "st-iterative": ((.2220, .2403, .2555, .2681), (.9182, .9258, .9309, .9312), (.0003,)),
    }),
    "CLEVRER, 6 objects": Scenes((10, 20, 30, 40), 10_000, 1_100, {
        "iodine": ((.2205,), (.9305,), (.0006,)),
        "seq-iodine": ((.1482,), (.8645,), (.0012,)),
        "st-iterative": ((.2839,), (.9355,), (.0004,)),
    }),
}  # fmt: skip

# Of the balls, by the options of `build bouncing-balls`.
RULES: dict[str, Any] = {
    "radii": [0.8, 1.0], "masses": [1.0, 6.0], "speed": 1 / 3, "collide": True, "curtain": 0.0,
}  # fmt: skip


def nearest(manifest: Manifest) -> str:
    """The test that is nearest to a set."""
    many = manifest.objects > 5
    if manifest.source == "clevrer":
        return (
            "CLEVRER, 6 objects" if manifest.parameters.get("fewest", 0) >= 6 else "CLEVRER, 3 to 5 objects"
        )
    if manifest.shape[3] == 1:
        return "6 to 8 balls, binary" if many else "4 balls, binary"
    if not many:
        return "4 balls, colour"
    return f"6 to 8 balls, {4 if manifest.parameters.get('colours', 8) <= 4 else 8} colours"


def published(manifest: Manifest) -> dict[str, Published]:
    """The rows of that test, at the length that is nearest."""
    return SCENES[nearest(manifest)].published(manifest.shape[0])


def set_differences(manifest: Manifest, tested: int) -> list[str]:
    """Where a set, of which `tested` clips are scored, is not the paper's; as "3 frames, not 10"."""
    scenes, told = SCENES[nearest(manifest)], []
    frames, *size, _ = manifest.shape
    if manifest.source not in ("bouncing-balls", "clevrer"):
        told.append(f"clips of {manifest.source}, not of bouncing balls or CLEVRER")
    elif manifest.source == "bouncing-balls":
        told += _ball_differences(manifest.parameters)
    else:
        told += _clevrer_differences(manifest.parameters)
    if frames not in scenes.lengths:
        told.append(f"{frames} frames, not {scenes.length(frames)}")
    if size != [SIDE, SIDE]:
        told.append(f"frames of {size[0]} x {size[1]} pixels, not {SIDE} x {SIDE}")
    if scenes.tested_on is not None and tested < scenes.tested_on:
        told.append(f"tested on {tested:,} clips, not {scenes.tested_on:,}")
    return told


def _ball_differences(parameters: Mapping[str, Any]) -> list[str]:
    """Of released files there is nothing to tell."""
    if parameters.get("sequences") is not None:
        return []
    told = ["balls drawn by the rules of the released files, not those themselves"]
    fewest, most = parameters.get("fewest", 4), parameters.get("objects", 4)
    if (fewest, most) not in ((4, 4), (6, 8)):
        told.append(f"{fewest} to {most} balls, not 4, or 6 to 8")
    for name, rule in RULES.items():
        value = parameters.get(name, rule)
        value = list(value) if isinstance(value, tuple) else value
        if value != rule:
            told.append(f"{name} {value}, not {round(rule, 3) if isinstance(rule, float) else rule}")
    return told


def _clevrer_differences(parameters: Mapping[str, Any]) -> list[str]:
    told = ["masks of a detector, not drawn from the annotations"]
    numbers = parameters.get("fewest", 0), parameters.get("most", 32)
    if numbers not in ((0, 5), (3, 5), (6, 6)):
        told.append("videos of any number of objects, not of 3 to 5, or of 6")
    if not parameters.get("in_view"):
        told.append("objects may be out of view")
    return told


def run_differences(row: Published, parameters: int, clips: int | None, epochs: float | None) -> list[str]:
    """Where what a network learnt from is not the paper's; it tells neither parameters nor epochs."""
    if clips is None or row.clips is None or clips >= row.clips:
        return []
    return [f"trained on {clips:,} clips, not {row.clips:,}"]


def found_objects(video: Video, networks: Mapping[str, Views], values: Mapping[str, float]) -> Drawing:
    """The frames, the true objects, and the slot that owns each pixel, network by network."""
    rows = [Strip("frames", "what the networks are shown", rgb(video.frames[0]))]
    for name, views in networks.items():
        *true, found = object_strips(views, video)
        rows += true if len(rows) == 1 else []
        rows.append(replace(found, label=f"{name} {values[name]:.4f}"))
    return Drawing(rows)


PROVIDE = Paper(
    title="PROVIDE: A Probabilistic Framework for Unsupervised Video Decomposition",
    arxiv="2006.14727",
    models=("st-iterative", "iodine", "seq-iodine", "r-nem", "n-em"),
    headline={
        "fg_ari_frame": "FG-ARI by frame",
        "ari_frame": "ARI by frame",
        "explained_mse": "squared error",
        "fg_ari_video": "FG-ARI",
    },
    table=Table(
        heading="Table 1",
        title="Objects of clips of {frames} frames",
        reading=(
            "ARI and F-ARI are of each frame by itself, as in the paper; by video, slots have to keep their numbers. "
            "MSE is of frames as slots make them, PSNR (dB) of frames predicted from those before. The paper's numbers "
            "are those of the nearest of its tests: by the number of objects, by colour, and by the length of clips."
        ),
        columns=(
            Column("fg_ari_frame", "F-ARI ↑", "F-ARI"),
            Column("ari_frame", "ARI ↑", "ARI"),
            Column("explained_mse", "MSE ↓", "squared error"),
            Column("fg_ari_video", "F-ARI by video ↑"),
            Column("psnr", "PSNR ↑", decimals=2),
        ),
        published=published,
        references={name: NOTES[name] for name in (STRIPES, COMPONENTS, KMEANS)},
        set_differences=set_differences,
        run_differences=run_differences,
        figure=Figure(
            heading="Found objects",
            about=(
                "Clips from the best to the worst, evenly spread, by the mean {measure} of all networks, which stands "
                "beside each."
            ),
            views=("visible_masks",),
            draw=found_objects,
        ),
    ),
)
