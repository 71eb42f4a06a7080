"""What is read from under the fields of a class."""

from dataclasses import dataclass, make_dataclass

from pydantic import BaseModel

from data_shards.field_docs import field_docs


@dataclass(frozen=True)
class Parent:
    """A docstring of the class is no field's."""

    first: int
    """Pixels, at
    least 1."""
    second: str = "x"
    third: str = "y"
    """What the parent says."""

    def method(self) -> str:
        """Nor is this."""
        return self.second


class Child(Parent):
    third: str = "z"
    fourth: float = 0.5
    """A share, 0 to 1."""


class Model(BaseModel):
    steps: int = 3
    """Optimiser steps."""


def test_the_string_under_a_field_on_one_line() -> None:
    assert field_docs(Parent) == {"first": "Pixels, at least 1.", "third": "What the parent says."}


def test_a_childs_fields_come_behind_its_parents() -> None:
    assert list(field_docs(Child)) == ["first", "third", "fourth"]
    assert field_docs(Child)["third"] == "What the parent says."


def test_pydantic_models_too() -> None:
    assert field_docs(Model) == {"steps": "Optimiser steps."}


def test_a_class_without_source_says_nothing() -> None:
    assert field_docs(make_dataclass("Made", [("size", int)])) == {}
