"""The base class of all options that are read from a recipe, a flag or a JSON file."""

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """Named values that are checked when they are made: no unknown key, no conversion between types, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
