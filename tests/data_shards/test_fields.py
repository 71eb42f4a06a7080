"""The meaning of a field is the string under it, for dataclasses and pydantic models, through inheritance."""

from dataclasses import dataclass, make_dataclass

from pydantic import BaseModel

from data_shards.fields import field_docs


@dataclass(frozen=True)
class Parent:
    """A config."""

    size: int = 64
    """Side of the frames, pixels."""
    # A comment is for those who read the code.
    noise: float = 0.0
    seed: int = 0
    """Of the random draws,
    in two lines."""


@dataclass(frozen=True)
class Child(Parent):
    """Another default keeps its meaning; another meaning replaces it."""

    size: int = 32
    seed: int = 1
    """Of the child."""

    def describe(self) -> str:
        """No field."""
        return f"{self.size}"


class Model(BaseModel):
    """A pydantic model."""

    steps: int = 10
    """Optimiser steps."""


class Submodel(Model):
    """With a field more."""

    keep: int = 2
    """Checkpoints."""


def test_the_string_under_a_field_is_its_meaning_in_one_line() -> None:
    assert field_docs(Parent) == {
        "size": "Side of the frames, pixels.",
        "seed": "Of the random draws, in two lines.",
    }


def test_a_subclass_inherits_meanings_and_may_write_its_own() -> None:
    assert field_docs(Child) == {"size": "Side of the frames, pixels.", "seed": "Of the child."}


def test_pydantic_models_are_read_alike() -> None:
    assert field_docs(Submodel) == {"steps": "Optimiser steps.", "keep": "Checkpoints."}


def test_a_class_without_source_has_no_meanings() -> None:
    assert field_docs(make_dataclass("Made", ["size"])) == {}
