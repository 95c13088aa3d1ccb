"""What a recipe says about itself, under its key ``about``: its source, what to expect of it, and what was measured."""

from typing import Annotated, Any

from pydantic import Field, ValidationError

from data_prep.system.errors import UsageError
from pipeline.options import Options

Text = Annotated[str, Field(min_length=1)]
Percent = Annotated[float, Field(ge=0, le=100)]

PROBLEMS = {
    "missing": "is missing; null or [] says that there is nothing to give",
    "model_type": "should be a mapping of facts, as in the built-in recipes",
    "extra_forbidden": "unknown fact",
}
"""What an error line says of each type of Pydantic's errors; other types keep Pydantic's message."""


class Expected(Options):
    """A published test accuracy."""

    accuracy: Percent = Field(description="in percent")
    source: Text = Field(description="who published it, where, and for which settings")


class Measured(Options):
    """A test accuracy that we measured."""

    accuracy: Percent = Field(description="mean over the seeds, in percent")
    spread: float = Field(ge=0, description="standard deviation over the seeds, in points")
    seeds: int = Field(ge=1, description="number of runs, each with its own labels")
    command: Text = Field(description="the command that measured it, or where it stands")


class About(Options):
    """The facts about a recipe. Each must be given; ``null`` and ``[]`` say that there is nothing to give."""

    title: Text = Field(description="method, data set and number of labels")
    source: Text = Field(description="paper or public code of the method; ours, if the recipe is our own")
    settings: Text = Field(description="where the hyperparameters come from")
    hardware: Text = Field(description="the machine that it is meant for")
    hours: float | None = Field(gt=0, description="length of the run on that machine; null if unknown")
    expected: Expected | None = Field(description="null if no figure is published for this task")
    measured: Measured | None = Field(description="null if we have not run it to its end")
    command: Text = Field(description="how to run it")
    deviations: list[Text] = Field(description="how the recipe differs from the source of the expected accuracy")


def parse_about(tree: Any, name: str) -> About:
    """Return the facts of the recipe called ``name`` from its key ``about``. Raises UsageError."""
    try:
        return About.model_validate(tree)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        problem = PROBLEMS.get(first["type"], first["msg"].removeprefix("Input "))
        raise UsageError(f"recipe {name}: {'.'.join(map(str, ('about', *first['loc'])))}: {problem}") from None
