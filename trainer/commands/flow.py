"""python -m trainer flow CHECKPOINT VIDEO --out FOLDER: what a model thinks moves where, in pictures and a film.

For each scene: a sheet of frames and flow (png), a film of both side by side (mp4), and with --flo the numbers
(.flo, pixels of forward motion on the grid of the frame it leads to). `wheel.png` says what the colours mean.
"""

import math
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from data_shards.commands import given_path, given_place
from data_shards.loader import scan
from data_shards.manifest import MANIFEST, read_manifest
from data_shards.mistake import UserError
from data_shards.storage.place import open_store
from data_shards.takes import EXTENSIONS, takes
from model.interface import Video, VideoModel
from trainer.arguments import add_count, require_folder, write_file
from trainer.batch import to_video
from trainer.checkpoints.load import LoadedModel, load_model
from trainer.evaluation.views import views_of
from trainer.pictures.film import mp4
from trainer.pictures.flo import flo_bytes
from trainer.pictures.picture import Strip, enlarged, png, rgb, sheet
from trainer.pictures.wheel import flow_picture, legend

WINDOWS = 8  # clips that go through the model at once
COLUMNS = 10  # frames on a sheet
SHOWN = 256  # pixels of a frame in the film, about
FPS = 10.0  # of films of stored clips, which do not say how fast they were


@dataclass(frozen=True)
class Scene:
    """Consecutive frames of one take, and their rate."""

    key: str
    frames: Float[Tensor, "t c h w"]
    fps: float


def options(parser: ArgumentParser) -> None:
    """Which model, which video, and where the pictures go."""
    parser.add_argument(
        "checkpoint",
        type=given_place,
        metavar="CHECKPOINT",
        help="whose model: a run or a checkpoint, a path or URL",
    )
    parser.add_argument(
        "video",
        type=given_place,
        metavar="VIDEO",
        help=f"a file ({', '.join(EXTENSIONS)}), a folder of such files or of numbered pictures, or a data set: a path "
        "or URL",
    )
    parser.add_argument(
        "--out", type=given_path, required=True, metavar="FOLDER", help="where the pictures and films go"
    )
    parser.add_argument("--split", default="test", help="of a data set; %(default)s by default")
    add_count(parser, "--scenes", 6, "scenes to show, at most")
    add_count(parser, "--frames", 200, "of a scene, at most")
    parser.add_argument(
        "--fastest",
        type=float,
        metavar="PIXELS",
        help="speed of full colour, pixels per frame; by default the largest of each scene",
    )
    parser.add_argument("--flo", action="store_true", help="write the numbers too (.flo); not by default")


def run(given: Namespace) -> int:
    """Write pictures, films and numbers of each scene, and print its speeds."""
    if given.scenes < 1 or given.frames < 2:
        raise UserError(f"--scenes {given.scenes} must be at least 1 and --frames {given.frames} at least 2")
    if given.fastest is not None and not 0 < given.fastest < math.inf:
        raise UserError(f"--fastest: got {given.fastest:g}, must be a number of pixels above 0")
    require_folder("out", given.out)
    loaded = load_model(given.checkpoint)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loaded.model.to(device)
    window = read_manifest(loaded.config.data.url).shape[0]
    if open_store(given.video).exists(MANIFEST):
        scenes = scenes_of_set(loaded, given.video, given.split, given.scenes, given.frames)
    else:
        scenes = scenes_of_footage(loaded, given.video, given.scenes, given.frames)
    for number, scene in enumerate(scenes):
        flow = flow_of(loaded.model, scene.frames.to(device), loaded.step, window)
        if number == 0:  # not before: a mistake that shows in the first scene leaves nothing behind
            write_file(given.out / "wheel.png", png(legend()))
        write_scene(scene, flow, given.out, given.fastest, given.flo)
        speed = torch.linalg.vector_norm(flow, dim=1)
        print(
            f"{scene.key}: flow into {len(flow)} of {len(scene.frames)} frames, mean speed {speed.mean():.3f}, "
            f"largest {speed.max():.3f} pixels"
        )
    print(f"flow: {given.out}")
    return 0


@torch.no_grad()
def flow_of(
    model: VideoModel, frames: Float[Tensor, "t c h w"], step: int, window: int
) -> Float[Tensor, "f 2 h w"]:
    """Flow into the last f frames, on CPU: forward motion in pixels, each from at most `window` - 1 frames before.

    The first `window` frames give what the model gives for a clip; each later frame is the last of a clip.

    Raises:
        UserError: the model has no flow.
    """
    window = min(window, len(frames))
    parts: list[Tensor] = []
    # unfold puts the frames of a clip last.
    clips = frames.unfold(0, window, 1).movedim(-1, 1)
    for first, some in zip(count(0, WINDOWS), torch.split(clips, WINDOWS), strict=False):
        flow = views_of(model, Video(some), step, first).flow
        if flow is None:
            raise UserError(
                "the checkpoint's model has no flow; train one that has, such as ae-convlstm-flow"
            )
        flow = flow.float().cpu()
        parts += [flow[:, -1]] if parts else [flow[0], flow[1:, -1]]
    return torch.cat(parts)


def scenes_of_set(loaded: LoadedModel, url: str, split: str, count: int, frames: int) -> Iterator[Scene]:
    """The first clips of a split."""
    with closing(scan(replace(loaded.config.data, url=url), split, 1, fields=("frames",))) as batches:
        for _, batch in zip(range(count), batches, strict=False):
            yield Scene(batch.keys[0], to_video(batch, torch.device("cpu")).frames[0, :frames], FPS)


def scenes_of_footage(loaded: LoadedModel, place: str, count: int, frames: int) -> Iterator[Scene]:
    """The first takes of videos, decoded as the data set of the run would have them."""
    found = takes(
        place, read_manifest(loaded.config.data.url), frames, lambda said: print(said, file=sys.stderr)
    )
    for number, take in zip(range(count), found, strict=False):
        images = torch.from_numpy(take.frames)
        yield Scene(f"{take.name}-{number:02d}", images.permute(0, 3, 1, 2).float() / 255, take.fps)


def write_scene(
    scene: Scene, flow: Float[Tensor, "f 2 h w"], folder: Path, fastest: float | None, numbers: bool
) -> None:
    """A sheet and a film, all flow of the scene in one scale of colours; with `numbers` a .flo file for each frame."""
    if fastest is None:
        fastest = float(torch.linalg.vector_norm(flow, dim=1).max())
    first = len(scene.frames) - len(flow)
    frames, colours = rgb(scene.frames[first:]), [flow_picture(field, fastest) for field in flow]
    scale = max(1, round(SHOWN / max(frames[0].shape[:2])))
    pairs = [
        np.concatenate([enlarged(frame, scale), enlarged(colour, scale)], axis=1)
        for frame, colour in zip(frames, colours, strict=True)
    ]
    (folder / f"{scene.key}.mp4").write_bytes(mp4(pairs, scene.fps))
    chosen = np.unique(np.linspace(0, len(flow) - 1, min(COLUMNS, len(flow))).round().astype(int))
    rows = [
        Strip("frame", "", [frames[i] for i in chosen]),
        Strip("flow into it", "", [colours[i] for i in chosen]),
    ]
    (folder / f"{scene.key}.png").write_bytes(png(sheet(rows, len(chosen), titles=False)))
    for number, field in enumerate(flow if numbers else ()):
        (folder / f"{scene.key}-{first + number:04d}.flo").write_bytes(flo_bytes(field))
