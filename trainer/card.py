"""The card of an exported model: what it is, what it scored where, and how it is made again. Facts in, Markdown out."""

import json
from typing import Any

from trainer.checkpoints.exported import LIBRARY
from trainer.evaluation.result import COPY_LAST, MODEL, UNTRAINED, Evaluation, label, number

BESIDE = (UNTRAINED, COPY_LAST)  # what a score is read against


def card(result: Evaluation, facts: dict[str, str], config: dict[str, Any], licence: str) -> str:
    """README.md of a model's folder.

    Args:
        result: its scores.
        facts: what was run, name -> value: of `report.facts`.
        config: the resolved config of its run.
        licence: an identifier of the hub's, such as mit; other = not said.
    """
    name = facts["model"]
    return "\n".join(
        [
            *_front(result, name, licence),
            f"# {name}, {result.step:,} optimiser steps",
            "",
            "A model that learned from unlabelled video by predicting it.",
            "",
            "## Scores",
            "",
            f"On {result.clips:,} clips of the split `{result.split}` of `{result.data}`. *Untrained* is the same "
            "recipe with the same seed before its first step.",
            "",
            *_scores(result),
            "",
            "## Use",
            "",
            "```python",
            "import trainer",
            "",
            'model = trainer.load("THIS FOLDER")',
            "```",
            "",
            "`python -m trainer evaluate`, `report` and `discover` take the folder as they take a run; "
            "`train ... start=FOLDER` begins from its weights.",
            "",
            "## How it was made",
            "",
            *[f"- {what}: {value}" for what, value in facts.items()],
            "",
            "`python -m trainer train --config run.json` makes it again, with this as `run.json`:",
            "",
            "```json",
            json.dumps(config, indent=1),
            "```",
            "",
        ]
    )


def _front(result: Evaluation, name: str, licence: str) -> list[str]:
    """The facts that the hub reads, as YAML: JSON is YAML too, and quotes what has to be."""
    metrics = [
        {"type": score, "name": label(score), "value": value} for score, value in result.scores.items()
    ]
    front: dict[str, Any] = {
        "library_name": LIBRARY,
        "license": licence,
        "tags": [name, "video"],
        "model-index": [
            {
                "name": name,
                "results": [
                    {
                        "task": {"type": "other", "name": "unsupervised learning from video"},
                        "dataset": {"type": "other", "name": result.data, "split": result.split},
                        "metrics": metrics,
                    }
                ],
            }
        ],
    }
    return ["---", *[f"{key}: {json.dumps(value)}" for key, value in front.items()], "---"]


def _scores(result: Evaluation) -> list[str]:
    rows = ["| score | model | untrained | copying the last frame |", "|---|---|---|---|"]
    for score in result.scores:
        cells = [_cell(result, contender, score) for contender in (MODEL, *BESIDE)]
        rows.append(f"| {label(score)} | {' | '.join(cells)} |")
    return rows


def _cell(result: Evaluation, contender: str, score: str) -> str:
    curve = result.tables.get(contender, {}).get(score)
    return number(None if curve is None else curve.mean)
