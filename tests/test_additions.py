"""The promise of CONTRIBUTING.md: a model, source, score, strip, sign, paper or recipe is one file and one row.

Done to a copy of the tree: seven files are added, each table gets a row with its import, and no other file is touched.
Then the tests that are parametrised over the tables run for the new rows, and the commands show them.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("model", "data_shards", "trainer", "cluster", "monitoring", "tests")

MODEL = '''
"""A toy: the next frame is this one, as bright as one weight says."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.bounds import Unfit
from model.interface import ModelConfig, ModelOutput, Video, VideoModel, Views


@dataclass(frozen=True)
class Toy(ModelConfig):
    """One weight."""

    start: float = 0.5
    """What the weight is at first."""

    @classmethod
    def small(cls) -> "Toy":
        """Itself."""
        return cls()

    def build(self) -> "Dimmer":
        """The model."""
        return Dimmer(self.start)


class Dimmer(VideoModel):
    """Copies the last frame, dimmed."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.full((1,), start))

    def forward(self, video: Video, step: int) -> ModelOutput:
        """Mean absolute error."""
        if video.frames.shape[1] < 2:
            raise Unfit(f"clips have {video.frames.shape[1]} frame, the toy needs 2: the next one is compared")
        prediction = self.level * video.frames[:, :-1]
        loss = (prediction - video.frames[:, 1:]).abs().mean()
        shown = prediction.detach()
        return ModelOutput(loss, {"reconstruction": loss.detach()}, lambda: Views(prediction=shown))

    @torch.no_grad()
    def predict(self, video: Video, horizon: int) -> Float[Tensor, "b horizon c h w"]:
        """The last frame, ever dimmer."""
        if horizon < 1:
            raise ValueError(f"horizon: got {horizon}, needs at least 1")
        last = video.frames[:, -1:]
        return torch.cat([last * self.level ** (i + 1) for i in range(horizon)], 1)
'''

SOURCE = '''
"""A toy: clips of one grey level."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from data_shards.clip import Clip
from data_shards.sources.splits import clip_generator


@dataclass(frozen=True)
class Toys:
    """Frames of one level each."""

    size: int = 16
    """Side of the frames, pixels."""
    frames: int = 4
    """Of a clip."""

    def clips(self, split: str, count: int, seed: int) -> Iterator[Clip]:
        """Levels and noise by the stream of each clip."""
        for index in range(count):
            rng = clip_generator(seed, split, index)
            level = rng.integers(60, 200, (self.frames, 1, 1, 1))
            shape = (self.frames, self.size, self.size, 3)
            noise = rng.integers(0, 50, shape)
            yield Clip(f"{split}-{index:05d}", (level + noise).astype(np.uint8))
'''

SCORE = '''
"""A toy: how bright predictions are."""

from jaxtyping import Float
from torch import Tensor

from model.interface import Video, Views


def brightness(views: Views, video: Video) -> Float[Tensor, "b s"]:
    """Mean of each predicted frame."""
    assert views.prediction is not None
    return views.prediction.double().mean(dim=(-3, -2, -1))
'''

STRIP = '''
"""A toy: predictions upside down."""

from model.interface import Video, Views
from trainer.pictures.picture import Strip, rgb


def upside_down(views: Views, video: Video) -> list[Strip]:
    """One row."""
    if views.prediction is None:
        return []
    first = video.frames.shape[1] - views.prediction.shape[1] + 1
    return [Strip("upside down", "the prediction, turned", rgb(views.prediction[0].flip(-2)), first)]
'''

PAPER = '''
"""A toy: a paper about the toy."""

from trainer.papers.paper import Column, Paper, Published, Table

TOY = Paper(
    title="On dimming",
    arxiv="0000.00000",
    models=("toy",),
    headline={"psnr": "PSNR"},
    table=Table(
        heading="Table 9",
        title="Frame {frames} from {seen}",
        reading="Lower is better.",
        columns=(Column("mse", "MSE", "squared error", last=True),),
        published=lambda manifest: {"toy": Published("Dimmer", 1, {"mse": 0.25})},
        references={"copy-last": "the newest frame again"},
    ),
)
'''

RECIPE = '''
"""A toy: runs of the toy."""

from data_shards.config import DataConfig
from model.toy import Toy
from trainer.config import BatchConfig, CheckpointConfig, EngineConfig, RunConfig


def toy() -> RunConfig:
    """One weight, two steps."""
    return RunConfig(
        model=Toy(),
        data=DataConfig("toys"),
        batch=BatchConfig(size=4),
        engine=EngineConfig(threads=1),
        checkpoint=CheckpointConfig(steps=2),
        output="toy-run",
        steps=2,
        log_steps=1,
    )
'''

HEALTH = '''
"""A toy: whether predictions have gone dark."""

from jaxtyping import Float
from torch import Tensor

from model.interface import Views


def darkness(views: Views) -> Float[Tensor, ""]:
    """Share of the predicted pixels that are black."""
    assert views.prediction is not None
    return (views.prediction <= 0).double().mean()
'''


@dataclass(frozen=True)
class Addition:
    """A file, and the row with its import that a table gets."""

    file: str
    text: str
    table: str
    name: str
    imports: str
    row: str


ADDITIONS = (
    Addition("model/toy.py", MODEL, "model/__init__.py", "MODELS", "from model.toy import Toy", '"toy": Toy,'),
    Addition(
        "data_shards/sources/toys.py", SOURCE, "data_shards/sources/__init__.py", "SOURCES",
        "from data_shards.sources.toys import Toys", '"toys": Toys,',
    ),
    Addition(
        "trainer/scores/brightness.py", SCORE, "trainer/scores/__init__.py", "SCORES",
        "from trainer.scores.brightness import brightness",
        '"brightness": Score(brightness, "predicted", ("prediction",), about="mean of predicted frames"),',
    ),
    Addition(
        "trainer/strips/turned.py", STRIP, "trainer/strips/__init__.py", "STRIPS",
        "from trainer.strips.turned import upside_down", '"turned": upside_down,',
    ),
    Addition(
        "trainer/darkness.py", HEALTH, "trainer/health.py", "HEALTH",
        "from trainer.darkness import darkness",
        '"darkness": Sign("commonfate_darkness_ratio", ("prediction",), darkness),',
    ),
    Addition(
        "trainer/papers/toy.py", PAPER, "trainer/papers/__init__.py", "PAPERS",
        "from trainer.papers.toy import TOY", '"toy": TOY,',
    ),
    Addition(
        "trainer/recipes/toy.py", RECIPE, "trainer/recipes/__init__.py", "RECIPES",
        "from trainer.recipes.toy import toy", '"toy": toy,',
    ),
)  # fmt: skip


def add(root: Path, addition: Addition) -> None:
    """The file, and one row in the table."""
    (root / addition.file).write_text(addition.text.lstrip())
    table = root / addition.table
    lines = table.read_text().splitlines()
    body = ast.parse(table.read_text()).body
    last = max(node.end_lineno or 0 for node in body if isinstance(node, ast.Import | ast.ImportFrom))
    target = next(
        node for node in body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == addition.name
    )  # fmt: skip
    assert target.end_lineno is not None
    lines.insert(target.end_lineno - 1, f"    {addition.row}")
    lines.insert(last, addition.imports)
    table.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree with all additions."""
    root = tmp_path_factory.mktemp("copy")
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package,
            root / package,
            ignore=shutil.ignore_patterns("__pycache__", "integration", "fixtures"),
        )
    shutil.copy(ROOT / "pyproject.toml", root)
    for addition in ADDITIONS:
        add(root, addition)
    # The series of a sign: how it is exported is the leaf's to say, so it has a row there too.
    catalogue = root / "monitoring" / "catalogue.py"
    first = '    Metric("commonfate_slot_mask_area_ratio"'
    row = (
        '    Metric("commonfate_darkness_ratio", "gauge", "slots", "Share of black pixels in predictions"),\n'
    )
    catalogue.write_text(catalogue.read_text().replace(first, row + first))
    return root


def run(root: Path, *words: str) -> str:
    """What a command in the copy prints; it must end well."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "TORCH_EXTENSIONS_DIR": str(root / "extensions")}
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=root,
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.slow
def test_the_commands_know_the_additions(copy: Path) -> None:
    run(copy, "data_shards", "build", "toys", "--out", "toys", "--train", "16", "--val", "8", "--test", "8")
    assert "One weight, two steps." in run(copy, "trainer", "recipes")
    run(copy, "trainer", "train", "toy", "monitoring.port=null")
    line = json.loads((copy / "toy-run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"reconstruction", "darkness"} <= line["terms"].keys()
    assert "brightness" in run(copy, "trainer", "evaluate", "toy-run")
    run(copy, "trainer", "report", "toy-run")
    page = (copy / "toy-run" / "report.html").read_text()
    assert "upside down" in page
    run(copy, "trainer", "compare", "toy-run", "--out", "compared")
    assert "Table 9" in (copy / "compared" / "compare.html").read_text()


@pytest.mark.slow
def test_the_tests_over_the_tables_cover_the_additions(copy: Path) -> None:
    for tests, words in (
        ("tests/model/test_contract.py", "toy"),
        ("tests/data_shards/test_sources_contract.py", "toys"),
    ):
        said = run(copy, "pytest", "-q", "-p", "no:cacheprovider", tests, "-k", words)
        assert " passed" in said
        assert "failed" not in said
