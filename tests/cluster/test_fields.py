"""Every field of a run has a meaning, written under it."""

from dataclasses import is_dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from cluster.config import ClusterConfig
from data_shards.config import DataConfig
from data_shards.field_docs import field_docs
from model import MODELS
from model.schedule import Ramp


def parts(cls: type[BaseModel]) -> list[Any]:
    """The class and all groups of fields inside that are pydantic models too."""
    inner = [field.annotation for field in cls.model_fields.values()]
    groups = [kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return [cls, *(part for group in groups for part in parts(group))]


@pytest.mark.parametrize(
    "cls", [*parts(ClusterConfig), DataConfig, *MODELS.values(), Ramp], ids=lambda cls: cls.__name__
)
def test_every_field_has_a_meaning(cls: Any) -> None:
    names = cls.__dataclass_fields__ if is_dataclass(cls) else cls.model_fields
    docs = field_docs(cls)
    assert set(docs) == set(names)
    assert all(len(text) > 8 and text.endswith(".") for text in docs.values()), docs
