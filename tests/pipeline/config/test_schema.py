from typing import Any

import pytest

from data_prep.system.errors import UsageError
from pipeline.config.command_line import read_config
from pipeline.config.recipes import built_in, find_recipe, load_recipe
from pipeline.config.resolve import flatten, merge, resolve
from pipeline.config.schema import batch_error
from pipeline.methods import METHODS
from pipeline.yaml_text import parse_value


def test_flags_beat_the_recipe_and_the_recipe_beats_the_defaults() -> None:
    config = resolve({"steps": 7, "optimizer": {"lr": 0.5, "momentum": 0.1}}, {"optimizer": {"lr": 0.25}})
    assert (config.steps, config.optimizer.lr, config.optimizer.momentum, config.mu) == (7, 0.25, 0.1, 7)


@pytest.mark.parametrize(
    ("recipe", "flags", "message"),
    [
        ({}, {"stepz": 3}, "command line: stepz: unknown key; did you mean 'steps'?"),
        ({"optimizer": {"lrr": 1}}, {}, "recipe: optimizer.lrr: unknown key; did you mean 'lr'?"),
        ({}, {"smpl": {"fom": "recompute"}}, "command line: smpl.fom: unknown key; did you mean 'form'?"),
        ({"mpl": {"wieght": 1}}, {}, "recipe: mpl.wieght: unknown key; did you mean 'weight'?"),
        ({}, {"method": "smlp"}, "unknown method 'smlp': did you mean 'smpl'?"),
        ({}, {"model": {"name": "wide_resnt"}}, "unknown model 'wide_resnt': did you mean 'wide_resnet'?"),
        ({}, {"model": {"widht": 3}}, "command line: model.widht: unknown key; did you mean 'width'?"),
        ({}, {"steps": "many"}, "command line: steps: should be a valid integer, not 'many'"),
        ({}, {"steps": True}, "command line: steps: should be a valid integer, not True"),
        ({"steps": 2.5}, {}, "recipe: steps: should be a valid integer, not 2.5"),
        ({"uda": {"threshold": 1.5}}, {}, "recipe: uda.threshold: should be less than or equal to 1, not 1.5"),
        ({}, {"precision": "fp8"}, "command line: precision: should be 'auto', 'fp32', 'bf16' or 'fp16', not 'fp8'"),
        ({}, {"networks": {"techer": {"lr": 1.0}}, "method": "mpl"}, "networks.techer: mpl has no such network"),
        ({}, {"networks": {"teacher": {"lr": 1.0}}, "method": "uda"}, "networks.teacher: uda has no such network"),
        ({"augment": {"pool": "cifr"}}, {}, "cifr"),
        ({}, {"lr": 0.1}, "command line: lr: unknown key; did you mean optimizer.lr or finetune.lr?"),
        ({"uda": {"ramp": 3}}, {}, "recipe: uda.ramp: unknown key; the key is ramp, without uda"),
        (
            {},
            {"model": {"name": "resnet18"}},
            "model.name: resnet18 is an architecture of torchvision; set model.name=torchvision and model.architecture",
        ),
        ({}, {"data": {"label": 3}}, "command line: data.label: unknown key; did you mean 'labels'?"),
        ({"optimizer": 3}, {}, "recipe: optimizer:"),
        ({"model": "wide_resnet"}, {}, "recipe: model:"),
        ({"uda": 5}, {}, "recipe: uda:"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(recipe: dict, flags: dict, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(recipe, flags)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_value_is_read_as_in_yaml_and_scientific_notation_is_a_number() -> None:
    read = [parse_value(text) for text in ("1e-3", "5", "0.5", "true", "smpl", "[1, 2]", "1e5", "-2")]
    assert read == [0.001, 5, 0.5, True, "smpl", [1, 2], 100000.0, -2]
    assert [type(value) for value in read[:2]] == [float, int]


def test_another_model_does_not_inherit_the_options_of_the_recipe_s() -> None:
    assert merge({"model": {"name": "a", "width": 3}}, {"model": {"name": "b"}}) == {"model": {"name": "b"}}
    assert merge({"model": {"name": "a", "width": 3}}, {"model": {"depth": 1}})["model"]["width"] == 3
    assert merge({"model": {"depth": 1}}, {"model": {"name": "a"}})["model"] == {"depth": 1, "name": "a"}


def test_a_resolved_configuration_is_a_recipe_of_itself() -> None:
    config = read_config("cifar10-4k-mpl", {"seed": 3}, ("mpl.weight=0.5",))
    assert resolve(config.tree(), {}) == config
    assert config.sections["mpl"]["weight"] == 0.5


def test_the_fingerprint_covers_what_shapes_the_weights_and_no_more() -> None:
    config = resolve({}, {})
    same = {"steps": 17, "accumulate": 2, "eval_every": 3, "save_every": 3, "log_every": 3}
    assert all(resolve({}, {key: value}).fingerprint() == config.fingerprint() for key, value in same.items())
    other: list[dict[str, Any]] = [
        {"seed": 1},
        {"smpl": {"weight": 0.0}},
        {"model": {"width": 4}},
        {"mu": 3},
        {"ema": 0.5},
    ]
    assert all(resolve({}, change).fingerprint() != config.fingerprint() for change in other)


@pytest.mark.parametrize(
    ("setting", "message"),
    [("lr", "expected KEY=VALUE"), ("optimizer.lr=[", "not a value"), ("optimizer=3", "optimizer")],
)
def test_a_malformed_setting_is_refused(setting: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_config(None, {}, (setting,))


def test_a_batch_that_cannot_be_divided_is_refused_with_one_that_can() -> None:
    config = resolve({}, {"batch_size": 10, "accumulate": 2})
    assert batch_error(config, 1) is None
    assert "try --batch-size 8" in (batch_error(config, 2) or "")


@pytest.mark.parametrize("name", built_in())
def test_every_recipe_resolves_with_every_method(name: str) -> None:
    for method in METHODS.names():
        config = read_config(name, {"method": method})
        assert config.method == method


@pytest.mark.parametrize("name", built_in())
def test_no_recipe_ends_before_its_ramps_with_any_method(name: str) -> None:
    for method in METHODS.names():
        assert read_config(name, {"method": method}).lengths_beyond_the_run() == []


def test_another_pool_of_augmentations_brings_its_own_options() -> None:
    """The recipe's magnitude and cutout were chosen for the recipe's pool; a mixture would be neither."""
    recipe = {"augment": {"pool": "digits", "ops": 1, "magnitude": 5, "cutout": 2, "pad": 1, "fill": 0}}
    mpl = resolve(recipe, {"augment": {"pool": "mpl"}}).augment
    assert (mpl.ops, mpl.magnitude, mpl.random_magnitude, mpl.cutout, mpl.recrop) == (2, 16, False, 16, True)
    assert (mpl.pad, mpl.fill) == (1, 0)
    assert resolve(recipe, {"augment": {"pool": "mpl", "cutout": 8}}).augment.cutout == 8
    assert resolve(recipe, {"augment": {"pool": "digits"}}).augment.magnitude == 5
    learned = resolve({"augment": {"pool": "mpl"}}, {"augment": {"policy": "autoaugment-cifar10"}}).augment
    assert not learned.recrop


BEYOND: list[tuple[dict[str, Any], list[str]]] = [
    ({"ramp": 8}, []),
    ({"ramp": 9}, ["ramp=9"]),
    ({"ramp": 9, "method": "supervised"}, []),
    ({"ramp": 9, "method": "fully_supervised"}, []),
    ({"optimizer": {"warmup": 8}}, []),
    ({"optimizer": {"warmup": 9}}, ["optimizer.warmup=9"]),
    (
        {"method": "mpl", "optimizer": {"warmup": 6}, "mpl": {"student_wait": 3}},
        ["optimizer.warmup=6 of the student, which begins at step 3"],
    ),
    ({"method": "roleplay", "optimizer": {"warmup": 6}, "mpl": {"student_wait": 3}}, []),
    ({"optimizer": {"schedule": "step", "milestones": [3, 8]}}, ["optimizer.milestones=[3, 8]"]),
    ({"optimizer": {"schedule": "step", "milestones": [3, 7]}}, []),
    ({"optimizer": {"schedule": "cosine", "milestones": [3, 9]}}, []),
    ({"eval_every": 20, "save_every": 20}, []),
]


@pytest.mark.parametrize(("settings", "named"), BEYOND)
def test_what_a_run_uses_and_does_not_reach_is_named(settings: dict[str, Any], named: list[str]) -> None:
    assert resolve({"method": "smpl", "steps": 8} | settings, {}).lengths_beyond_the_run() == named


@pytest.mark.parametrize("name", built_in())
def test_a_recipe_is_found_by_its_data_set_and_method(name: str) -> None:
    tree = load_recipe(name)
    found = find_recipe(tree["dataset"], tree["method"]) == name
    assert found == ("budget_minutes" not in tree), "one with a budget is only found by its name"


def test_recipes_that_are_not_there_or_not_recipes_are_refused(tmp_path: Any) -> None:
    listing, broken, binary = tmp_path / "list.yaml", tmp_path / "broken.yaml", tmp_path / "binary.yaml"
    listing.write_text("- 1\n")
    broken.write_text("a: [1\n")
    binary.write_bytes(b"\xff\xfe\x00")
    for name, message in {
        "digits-smlp": "did you mean 'digits-smpl'",
        str(tmp_path / "none.yaml"): "No such file",
        str(listing): "expected a mapping",
        str(broken): "not YAML",
        str(binary): "not a text file",
    }.items():
        with pytest.raises(UsageError, match=message):
            load_recipe(name)
    with pytest.raises(UsageError, match="no recipe for data set 'mnist'"):
        find_recipe("mnist", None)


def test_flatten_names_every_leaf() -> None:
    assert flatten({"a": {"b": 1, "c": {}}, "d": None}) == {"a.b": 1, "a.c": {}, "d": None}
