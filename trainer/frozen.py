"""What every config is."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A frozen config that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)
