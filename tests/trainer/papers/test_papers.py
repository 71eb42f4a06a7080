"""What every row of PAPERS promises."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from data_shards.manifest import Manifest
from model import MODELS
from model.interface import Video, Views
from tests.trainer.known import sprites
from trainer.evaluation.groupings import groupings
from trainer.evaluation.references import REFERENCES, oracle
from trainer.evaluation.result import CONSTANT
from trainer.evaluation.scoring import evaluate
from trainer.papers import PAPERS, headline_of, ordered_papers
from trainer.papers.paper import Cell, Table
from trainer.scores import SCORES

TABLES = {name: paper.table for name, paper in PAPERS.items() if paper.table}
SET = Manifest(
    source="toy", parameters={}, seed=0, video_encoding="lossless", shape=(6, 16, 16, 1), fields=("frames",),
    objects=2, splits={}, statistics={},
)  # fmt: skip


@pytest.mark.parametrize("name", PAPERS)
def test_a_row_names_what_there_is(name: str) -> None:
    paper = PAPERS[name]
    assert re.fullmatch(r"\d{4}\.\d{5}", paper.arxiv)
    assert paper.title
    assert set(paper.models) <= set(MODELS)
    assert set(paper.headline) <= set(SCORES)
    for model in paper.models:
        assert headline_of(model) in [other.headline for other in PAPERS.values() if model in other.models]
        assert model in ordered_papers([model])[0].models


def test_a_model_of_no_paper_has_all_headlines() -> None:
    assert set(headline_of("stranger")) == {score for paper in PAPERS.values() for score in paper.headline}
    assert ordered_papers(["stranger"]) == list(PAPERS.values())


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_table_is_of_scores_that_there_are(table: Table) -> None:
    ways = {(column.score, column.last) for column in table.columns}
    assert len(dict(ways)) == len(ways), "a score is read in one way"
    for column in table.columns:
        kind = SCORES[column.score].steps
        assert not column.last or kind in ("predicted", "clip")
        assert bool(column.words) or column is not table.columns[0]
    assert set(table.references) <= {*REFERENCES, *groupings(1), CONSTANT}
    assert table.title.format(frames=11, seen=10)
    assert all(isinstance(text, str) for text in table.set_differences(SET, 3))
    for row in table.published(SET).values():
        assert all(isinstance(text, str) for text in table.run_differences(row, 7, None, None))


@pytest.mark.parametrize("name", [name for name, table in TABLES.items() if table.figure])
def test_a_figure_draws_networks_from_the_views_that_it_names(name: str) -> None:
    figure = TABLES[name].figure
    assert "{" not in figure.about.format(measure="error")
    video = sprites(1, objects=2)
    views = Views(**{field: getattr(oracle(video), field) for field in figure.views})
    drawing = figure.draw(video, {"this one": views, "that one": views}, {"this one": 0.25, "that one": 0.5})
    assert drawing.rows or drawing.pictures
    told = " ".join([*(row.label for row in drawing.rows), *(caption for caption, _ in drawing.pictures)])
    assert "this one" in told
    assert "that one" in told


@pytest.mark.parametrize(("name", "table"), TABLES.items(), ids=TABLES)
def test_published_rows_are_of_the_papers_models_and_columns(name: str, table: Table) -> None:
    rows = table.published(SET)
    assert rows
    assert set(rows) <= set(PAPERS[name].models)
    for row in rows.values():
        assert set(row.scores) <= {column.score for column in table.columns}


@pytest.mark.parametrize("name", [name for name, paper in PAPERS.items() if paper.extra])
def test_rows_of_its_own_are_empty_without_what_they_need(name: str) -> None:
    extra, video = PAPERS[name].extra, sprites()
    assert extra.strips(Views(), Video(video.frames)) == []
    assert extra.strips(Views(prediction=video.frames[:, 1:]), video) == []
    assert extra.title
    assert re.fullmatch(r"[a-z-]+", extra.name)


@pytest.mark.parametrize("name", [name for name, paper in PAPERS.items() if paper.grid])
def test_a_grid_has_numbers_and_pictures(name: str) -> None:
    video = sprites(1, objects=2)
    result = evaluate(MODELS["copy-last"]().build(), [video], 0, torch.device("cpu"))
    results = [replace(result, checkpoint=run, data=data) for run in "ab" for data in "cd"]
    grid = PAPERS[name].grid([Cell(one, oracle(video), video) for one in results])
    assert grid.text
    assert len({ending for _, ending, _ in grid.pictures}) == len(grid.pictures)
    for _, _, data in grid.pictures:
        with Image.open(io.BytesIO(data)) as picture:
            assert np.asarray(picture).std() > 0
