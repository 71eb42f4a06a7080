"""The words of a space: what they mean, and what is said of those that mean nothing."""

import math
import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.tune.space import Choice, Domain, LogUniform, RandInt, Uniform, parse_domain, parse_space
from data_shards.mistake import UserError


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("loguniform(1e-5, 1e-2)", LogUniform(1e-5, 1e-2)),
        (" uniform( 0 ,0.5) ", Uniform(0, 0.5)),
        ("quniform(16,64,8)", Uniform(16, 64, 8)),
        ("randint(1,9)", RandInt(1, 9)),
        ("choice(adam,rmsprop)", Choice(("adam", "rmsprop"))),
        (
            'choice(1, 2.5, true, null, "2", [3,4], {"a":[5,6]})',
            Choice((1, 2.5, True, None, "2", [3, 4], {"a": [5, 6]})),
        ),
        ('choice("a,b", "say \\",\\"")', Choice(("a,b", 'say ","'))),
    ],
)
def test_an_expression_is_a_domain(text: str, domain: Domain) -> None:
    assert parse_domain("x", text) == domain


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("optim.lr", "--space 'optim.lr': write FIELD=EXPR, such as optim.lr=loguniform"),
        ("=uniform(0,1)", "write FIELD=EXPR"),
        ("a=3", "--space a: got '3'; write one of loguniform"),
        ("a=unifrom(0,1)", r"got 'unifrom\(0,1\)' \(did you mean uniform\?\); write one of"),
        ("a=__import__('os')", "write one of"),
        ("a=uniform(0)", r"uniform takes 2 numbers: uniform\(0, 0.5\)"),
        ("a=quniform(0,1)", "quniform takes 3 numbers"),
        ("a=uniform(1,1)", "the first number must be below the second"),
        ("a=uniform(2,1)", "the first number must be below the second"),
        ("a=uniform(0,inf)", "got 'inf', needs a number"),
        ("a=uniform(0,1e999)", "needs a number"),
        ("a=uniform(false,1)", "got 'false', needs a number"),
        ("a=uniform(os.getpid(),1)", "needs a number"),
        ("a=loguniform(0,1)", "loguniform takes numbers above 0"),
        ("a=randint(0.5,3)", "randint takes whole numbers"),
        ("a=quniform(0,1,2)", "the step must be above 0 and at most 1"),
        ("a=choice()", "choice needs values, each once"),
        ("a=choice(1,1)", "choice needs values, each once"),
    ],
)
def test_another_word_is_refused_with_its_field_and_a_remedy(word: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_space([word])


@pytest.mark.parametrize("again", ["optim.lr", "optim", "optim.lr.x"])
def test_a_field_is_searched_once(again: str) -> None:
    with pytest.raises(ValueError, match=r"optim\.lr is searched too; give each field once"):
        parse_space(["optim.lr=uniform(0,1)", f"{again}=uniform(0,1)"])


DOMAINS = [LogUniform(1e-5, 1e-2), Uniform(-1, 1.5), Uniform(16, 64, 8), Uniform(0, 1, 0.3), RandInt(-2, 3)]


@pytest.mark.parametrize("domain", DOMAINS, ids=repr)
def test_what_is_drawn_belongs_to_the_domain_and_reaches_all_of_it(domain: Domain) -> None:
    drawn = [domain.draw(random.Random(seed)) for seed in range(400)]
    low, *_, high = domain.probes()
    assert all(low <= value <= high and domain.clipped(value) == pytest.approx(value) for value in drawn)
    at = [
        (
            math.log(value / low) / math.log(high / low)
            if isinstance(domain, LogUniform)
            else (value - low) / (high - low)
        )
        for value in drawn
    ]
    assert min(at) < 0.02
    assert max(at) > 0.85
    assert 0.4 < sum(at) / len(at) < 0.6


def test_steps_of_whole_numbers_are_whole_numbers() -> None:
    drawn = {Uniform(16, 64, 8).draw(random.Random(seed)) for seed in range(200)}
    assert drawn == {16, 24, 32, 40, 48, 56, 64}
    assert all(isinstance(value, int) for value in drawn)


@given(st.text(max_size=40))
def test_no_text_is_run_or_breaks_the_parser(text: str) -> None:
    with suppress(UserError):  # any other error is a mistake of the parser
        assert isinstance(parse_domain("x", text), Domain)
