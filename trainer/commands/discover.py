"""python -m trainer discover RUN VIDEO ... --out FOLDER: the objects that a model finds in videos of any length.

For each video, in FOLDER/<its name>: `film.mp4` (masks, numbers and paths over the frames, predicted frames beside
them), `masks/*.png` (indexed colours, as DAVIS has them), `masks.json` (COCO), `tracks.txt` (MOTChallenge), `page.html`
(film, time line and crops of each object). All in the video's own size, upright; frames at the rate of the run's data.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from data_shards.commands import given_path, given_place
from data_shards.exits import MISTAKES, say
from data_shards.manifest import Manifest, read_manifest
from data_shards.mistake import UserError
from data_shards.takes import EXTENSIONS, STILL, DecodedFrame, Film, films, fit_of, moving_share
from trainer.arguments import require_folder, whole_folder
from trainer.checkpoints.load import LoadedModel, load_model
from trainer.discovery.formats import CocoMasks, IndexedPngs, MotTracks, Output
from trainer.discovery.overlay import OverlayFilm
from trainer.discovery.page import Story, write_page
from trainer.discovery.sighting import sightings


def options(parser: ArgumentParser) -> None:
    """Which model, which videos, and where the results go."""
    parser.add_argument(
        "checkpoint",
        type=given_place,
        metavar="RUN_OR_CHECKPOINT",
        help="whose model: a path or URL",
    )
    parser.add_argument(
        "videos",
        type=given_place,
        nargs="+",
        metavar="VIDEO",
        help=f"a file ({', '.join(EXTENSIONS)}), or a folder of such files or of numbered pictures: a path or URL",
    )
    parser.add_argument(
        "--out",
        type=given_path,
        required=True,
        metavar="FOLDER",
        help="where the results go, a folder for each video",
    )


def run(given: Namespace) -> int:
    """Look at one video after the other; what is wrong with one is told, and the next one looked at."""
    require_folder("out", given.out)
    loaded = load_model(given.checkpoint)
    if not loaded.config.model.follows:
        raise UserError(
            f"{given.checkpoint}: its model follows no video; train one that does, such as object-discovery"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loaded.model.to(device)
    manifest = read_manifest(loaded.config.data.url)
    failed = 0
    for place in given.videos:
        try:
            for film in films(place, manifest, say, whole=True):
                told = discover(loaded, film, given.out, manifest, device)
                print(f"{given.out / film.name}: {told}", flush=True)
        except MISTAKES as error:
            if len(given.videos) == 1:
                raise
            say(f"error: {error}")
            failed += 1
    return 2 if failed else 0


def discover(loaded: LoadedModel, film: Film, out: Path, manifest: Manifest, device: torch.device) -> str:
    """All files about one video, or none; returns a sentence on what was found.

    Raises:
        UserError: the folder is there already, or the model cannot take such frames.
    """
    watched = Watched(film.frames)
    fit = fit_of(manifest)
    with whole_folder(out / film.name) as folder:
        outputs: list[Output] = [
            OverlayFilm(folder, film.fps),
            IndexedPngs(folder),
            CocoMasks(folder),
            MotTracks(folder),
        ]
        story = Story()
        found = sightings(loaded.model, iter(watched), loaded.step, fit, device)
        shown = sys.stderr.isatty()
        for seen in tqdm(found, film.name, film.length, unit="frame", disable=not shown, leave=False):
            for output in outputs:
                output.add(seen)
            story.add(seen)
        for output in outputs:
            output.close()
        told = summary(story, watched.moved)
        facts = {
            "model": f"{loaded.url}, step {loaded.step}",
            "trained on": loaded.config.data.url,
            "frames": f"{story.frames} at {film.fps:g} per second",
        }
        write_page(folder, film.name, told, story, facts)
    return told


class Watched:
    """Frames as they pass; `moved` is the greatest share of pixels that changed from one to the next."""

    def __init__(self, frames: Iterator[DecodedFrame]) -> None:
        self._frames = frames
        self.moved = 0.0

    def __iter__(self) -> Iterator[DecodedFrame]:
        before: DecodedFrame | None = None
        for frame in self._frames:
            if before is not None and before.shot == frame.shot:
                self.moved = max(self.moved, moving_share(np.stack([before.image, frame.image])))
            before = frame
            yield frame


def summary(story: Story, moved: float) -> str:
    """What was found in a video, or why nothing was."""
    frames = f"{story.frames} frame{'s' * (story.frames != 1)}"
    if story.spans:
        longest = max(story.spans, key=story.seen_in)
        count = len(story.spans)
        return (
            f"{count} object{'s' * (count > 1)} in {frames}; number {longest} is seen longest, in "
            f"{story.seen_in(longest)} of them"
        )
    if story.frames < 2:
        return f"no object in {frames}: it takes two to see something move"
    if moved <= STILL:
        return (
            f"no object in {frames}: nothing moves, at most {moved:.1%} of the pixels change from one "
            "frame to the next"
        )
    return (
        f"no object in {frames}, though up to {moved:.0%} of the pixels change from one to the next: "
        "train the model on videos like this one"
    )
