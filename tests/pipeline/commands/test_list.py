"""``smpl list recipes``: no recipe lacks a fact about itself, and the command prints each of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from data_prep.sources import SOURCES
from pipeline.cli import main
from pipeline.config.about import About
from pipeline.config.recipes import built_in, load_recipe, read_about
from pipeline.config.resolve import resolve
from pipeline.methods import METHODS
from pipeline.models import MODELS


def listed(*words: str) -> Result:
    return CliRunner().invoke(main, ["list", "recipes", *words])


def texts(about: About) -> Iterator[str]:
    """Yield every fact as the command is to print it."""
    yield from (about.title, about.source, about.settings, about.hardware, about.command, *about.deviations)
    yield f"{about.hours:g}" if about.hours else "unknown"
    yield f"{about.expected.accuracy:.2f} %: {about.expected.source}" if about.expected else "none published"
    yield f"{about.measured.accuracy:.2f} ± {about.measured.spread:.2f} %, " if about.measured else "no"
    yield f"{about.measured.seeds} seeds: {about.measured.command}" if about.measured else "no"
    yield "from the source of the expected accuracy" if about.deviations else "none"


@pytest.mark.parametrize("name", built_in())
def test_no_recipe_lacks_a_fact_about_itself(name: str) -> None:
    about = read_about(name)
    published = about.expected is not None
    assert published == bool(about.deviations), "what is compared with a published figure differs from it somewhere"
    assert published == (about.source != "ours")
    for sentence in about.deviations:
        assert sentence[0].isupper() or sentence[0].isdigit(), sentence
        assert sentence.endswith("."), sentence


@pytest.mark.parametrize("name", built_in())
def test_everything_about_a_recipe_is_printed(name: str) -> None:
    result = listed(name)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 120
    printed = " ".join(result.stdout.split())
    for text in (name, *texts(read_about(name))):
        assert " ".join(text.split()) in printed


def test_the_table_has_a_line_for_each_recipe() -> None:
    head, *lines = listed().stdout.splitlines()
    assert head.split() == ["recipe", "expected", "%", "measured", "%", "deviations", "source"]
    assert [line.split()[0] for line in lines] == [*built_in()]
    for line in lines:
        about = read_about(line.split()[0])
        expected = f"{about.expected.accuracy:.2f}" if about.expected else "none"
        measured = f"{about.measured.accuracy:.2f} ± {about.measured.spread:.2f}" if about.measured else "no"
        words = [line.split()[0], expected, *measured.split(), str(len(about.deviations)), *about.source.split()]
        assert line.split() == words


def test_json_has_the_same_facts() -> None:
    trees = json.loads(listed("--json", "-").stdout)
    assert trees == [{"name": name, **read_about(name).model_dump()} for name in built_in()]
    assert json.loads(listed("moons", "--json", "-").stdout) == {"name": "moons", **read_about("moons").model_dump()}


def test_an_unknown_recipe_is_refused_with_the_nearest_name() -> None:
    result = listed("cifar10-4k-mlp")
    assert (result.exit_code, result.stdout) == (2, "")
    assert (
        result.stderr == "error: recipe cifar10-4k-mlp: no such recipe or YAML file; did you mean 'cifar10-4k-mpl'?\n"
    )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"source": None}, "about.source: should be a valid string"),
        ({"deviations": [""]}, "about.deviations.0: String should have at least 1 character"),
        (
            {"expected": {"accuracy": 101.0, "source": "x"}},
            "about.expected.accuracy: should be less",
        ),
        ({"fom": None}, "about.fom: unknown fact"),
    ],
)
def test_a_wrong_fact_is_refused_with_its_key(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(yaml.safe_dump({"about": read_about("moons").model_dump() | change}))
    result = listed(str(recipe))
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"error: recipe {recipe}: {problem}" in result.stderr


def test_a_file_that_says_nothing_about_itself_is_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("dataset: moons\n")
    result = listed(str(recipe))
    assert result.exit_code == 2
    assert f"error: recipe {recipe}: it says nothing about itself" in result.stderr


@pytest.mark.parametrize("fact", About.model_fields)
def test_a_fact_that_is_left_out_is_refused(tmp_path: Path, fact: str) -> None:
    about = read_about("moons").model_dump()
    del about[fact]
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(yaml.safe_dump({"about": about}))
    result = listed(str(recipe))
    assert result.exit_code == 2
    assert f"about.{fact}: is missing; null or [] says" in result.stderr


def test_facts_are_no_settings(tmp_path: Path) -> None:
    """A recipe trains the same with and without them, and the configuration of a run has none."""
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(yaml.safe_dump({"dataset": "moons", "about": "anything"}))
    assert load_recipe(str(recipe)) == {"dataset": "moons"}
    assert "about" not in resolve(load_recipe("moons"), {}).tree()


@pytest.mark.parametrize(
    ("what", "names"), [("methods", METHODS.names()), ("models", MODELS.names()), ("datasets", SOURCES)]
)
def test_every_name_is_listed_with_what_it_is(what: str, names: list[str]) -> None:
    result = CliRunner().invoke(main, ["list", what])
    assert result.exit_code == 0
    lines = [line.split(maxsplit=1) for line in result.stdout.splitlines()]
    assert {line[0] for line in lines} >= set(names)
    assert all(len(line) == 2 for line in lines), "a name without a description"
