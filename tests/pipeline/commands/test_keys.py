"""``smpl keys``: every key that a configuration may set, and no other, with a meaning."""

import json

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.config.command_line import read_config
from pipeline.config.keys import all_keys
from pipeline.config.recipes import built_in
from pipeline.config.resolve import flatten
from pipeline.methods import METHODS


def keys(*words: str) -> Result:
    return CliRunner().invoke(main, ["keys", *words])


@pytest.mark.parametrize("recipe", built_in())
def test_every_key_of_a_configuration_is_listed(recipe: str) -> None:
    listed = {key.name for key in all_keys()}
    for method in METHODS.names():
        tree = read_config(recipe, {"method": method}).tree()
        networks = tree.pop("networks")
        assert flatten(tree).keys() - {"origin"} <= listed
        assert all({f"networks.NAME.{key}" for key in options} <= listed for options in networks.values())


def test_every_key_has_a_meaning_and_values() -> None:
    for key in all_keys():
        assert key.meaning, key.name
        assert key.values, key.name


def test_a_key_is_found_by_a_part_of_its_name_or_meaning() -> None:
    result = keys("warmup")
    assert result.exit_code == 0
    assert "optimizer.warmup  (integer; default 0; every run)" in result.stdout
    assert "optimizer.lr " not in result.stdout
    assert "augment.fill" in keys("gray level").stdout


def test_json_has_all_that_the_text_has() -> None:
    found = {key["name"]: key for key in json.loads(keys("--json", "-").stdout)}
    assert found["mpl.scale"]["values"] == "mean|sum"
    assert found["mpl.scale"]["default"] == "mean"
    assert found["mpl.scale"]["reader"] == "mpl, roleplay"
    assert found["optimizer.clip"]["values"] == "number or null"


def test_a_text_that_no_key_contains_is_one_line() -> None:
    result = keys("wieght")
    assert result.exit_code == 2
    assert result.stderr == "error: no key contains 'wieght'; smpl keys without it lists all\n"
