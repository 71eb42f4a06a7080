import json
from dataclasses import replace
from itertools import permutations

import pytest

from trainer.compare.page import duration, scale
from trainer.compare.table import Comparison, Network, Row, Training, distinct_names, in_papers_order, joined
from trainer.papers.video_autoencoder import TABLE_1, VIDEO_AUTOENCODER

KINDS = list(TABLE_1)
BCE = {kind: row.scores["bce"] for kind, row in TABLE_1.items()}
TABLE = VIDEO_AUTOENCODER.table


def network(kind: str, bce: float, differences: tuple[str, ...] = ()) -> Network:
    return Network(
        TABLE_1[kind].title, {"bce": bce, "mse": bce / 2, "l1": bce}, kind=kind, checkpoint=kind,
        training=Training(10, 8, 5.0, 10_000, 1.0), differences=differences, published=TABLE_1[kind],
    )  # fmt: skip


def comparison(*networks: Network, floor: float = 0.2, differences: tuple[str, ...] = ()) -> Comparison:
    constant = Row("constant", {"bce": floor, "mse": floor / 2, "l1": floor})
    return Comparison(
        TABLE,
        tuple(TABLE.columns),
        "set",
        "test",
        3000,
        (11, 64, 64, 1),
        networks,
        (constant,),
        (0.05,),
        differences,
    )


def test_the_papers_own_numbers_are_in_the_papers_order() -> None:
    table = comparison(*(network(kind, bce) for kind, bce in BCE.items()))
    order = "AE-ConvLSTM, AE-ConvLSTM-flow, AE-fcLSTM, AE-Conv"
    assert table.paper_order() == f"That is the paper's order: {order}."
    assert table.found_order() == (
        "By cross-entropy of the last frame, best first: AE-ConvLSTM 0.0197, AE-ConvLSTM-flow 0.0439, "
        "AE-fcLSTM 0.0650, AE-Conv 0.0948. All are better than predicting the training mean (0.2000)."
    )


def test_every_other_order_counts_its_inversions() -> None:
    """Against the number of inversions of the permutation, by hand: pairs whose places are swapped."""
    best_first = sorted(KINDS, key=BCE.__getitem__)
    for order in permutations(range(4)):
        table = comparison(*(network(best_first[kind], 0.01 * place) for place, kind in enumerate(order, 1)))
        inversions = sum(order[i] > order[j] for i in range(4) for j in range(i + 1, 4))
        words = table.paper_order()
        assert words.startswith("That is the paper's order") == (inversions == 0)
        if inversions:
            assert f"{6 - inversions} of 6 pairs agree" in words
            assert words.count(" before ") == inversions


def test_a_reversed_pair_is_named_and_no_better_than_the_constant_too() -> None:
    table = comparison(network("ae-conv", 0.1), network("ae-fclstm", 0.2))
    assert table.paper_order().endswith("0 of 1 pairs agree, here AE-Conv before AE-fcLSTM.")
    assert table.found_order().endswith("AE-fcLSTM is no better than predicting the training mean (0.2000).")


def test_runs_of_one_network_have_no_order_of_the_paper() -> None:
    assert comparison(network("ae-conv", 0.1), network("ae-conv", 0.2)).paper_order() == ""
    errors = tuple(column for column in TABLE.columns if column.score != "bce")
    squared = replace(comparison(network("ae-conv", 0.1), network("ae-fclstm", 0.2)), columns=errors)
    assert squared.paper_order() == ""
    assert squared.found_order().startswith("By squared error of the last frame, best first: AE-Conv 0.0500")


def test_rows_are_sorted_as_in_the_paper_with_strangers_last() -> None:
    stranger = Network("copy-last", {"mse": 0.1}, kind="copy-last")
    rows = in_papers_order([stranger, *(network(kind, 0.1) for kind in reversed(KINDS))], KINDS)
    assert [row.kind for row in rows] == [*KINDS, "copy-last"]


def test_names_tell_runs_apart() -> None:
    runs = ["a/x/checkpoints/step-00000007", "b/x/checkpoints/step-00000007", "a/y/checkpoints/step-00000007"]
    assert distinct_names(["ae-conv", "copy-last"], runs[:2], TABLE_1) == ["AE-Conv", "copy-last"]
    assert distinct_names(["ae-conv", "ae-conv"], runs[1:], TABLE_1) == ["AE-Conv (x)", "AE-Conv (y)"]
    assert distinct_names(["ae-conv", "ae-conv"], runs[:2], TABLE_1) == [
        f"AE-Conv ({url})" for url in runs[:2]
    ]
    below = [url.replace("a/", "a/checkpoints/") for url in runs[::2]]
    assert distinct_names(["ae-conv", "ae-conv"], below, TABLE_1) == ["AE-Conv (x)", "AE-Conv (y)"]
    with pytest.raises(ValueError, match="a/x/checkpoints/step-00000007 is given twice"):
        distinct_names(["ae-conv", "ae-conv"], [runs[0], runs[0]], TABLE_1)


def test_what_all_networks_differ_in_is_said_once() -> None:
    few, short = "trained on 9 clips, not 10,000", "trained for 1 epochs, not 5 or more"
    table = comparison(
        network("ae-conv", 0.1, (few, short)), network("ae-fclstm", 0.1, (few,)), differences=("small",)
    )
    assert table.common_differences() == ["small", few]
    assert scale(table).endswith(f"What all of them differ in: small; {few}.")
    assert "What all" not in scale(comparison(network("ae-conv", 0.1)))


def test_json_says_where_the_papers_number_compares() -> None:
    tree = json.loads(comparison(network("ae-conv", 0.1), network("ae-fclstm", 0.2, ("short",))).to_json())
    assert [row["at_the_papers_scale"] for row in tree["networks"]] == [True, False]
    assert tree["networks"][0]["published"] == {"title": "AE-Conv", "parameters": 109_073, "bce": 0.0948}
    assert tree["networks"][0]["scores"]["bce_frame"] == pytest.approx(409.6)
    other = comparison(network("ae-conv", 0.1), differences=("small",))
    assert not json.loads(other.to_json())["networks"][0]["at_the_papers_scale"]


def test_words() -> None:
    assert [joined(words) for words in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
    assert [duration(s) for s in (None, 41.2, 738, 18720)] == ["-", "41 s", "12.3 min", "5.2 h"]
