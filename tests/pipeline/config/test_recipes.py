"""Every recipe starts and runs ten steps on small data of its kind; none is skipped."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from data_prep import sources
from data_prep.dataset.manifest import load_manifest
from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from data_prep.sources import ArrayPart, LoadOptions, RawSet, Source
from pipeline.config.command_line import read_config
from pipeline.config.recipes import built_in, load_recipe
from pipeline.config.resolve import flatten
from pipeline.methods import METHODS
from pipeline.train import main
from pipeline.training.lr_schedule import rate_factor

SHAPES = {
    "cifar10": (10, 32),
    "cifar100": (100, 32),
    "svhn": (10, 32),
    "imagenet": (16, 64),
    "folder": (16, 64),
}
"""Classes and side of the images that stand for a data set; digits and moons stand for themselves."""
SMALL_MODELS: dict[str, dict[str, Any]] = {
    "wide_resnet": {"depth": 10, "width": 1},
    "conv_large": {"width": 8},
    "torchvision": {"weights": "null"},
}
SMALL_VIEW = 128
"""Side of the views that stand for larger ones; one of 224 takes three times as long."""
EARLY: dict[str, dict[str, Any]] = {"mpl": {"student_wait": 2}, "roleplay": {"warmup": 3, "period": 2}}


def small(name: str) -> Source:
    """Return a data set of that name, made of noise."""
    classes, side = SHAPES[name]

    names = tuple(f"class {number}" for number in range(classes))

    def load(_: LoadOptions) -> RawSet:
        generator = np.random.default_rng(0)
        train, test = np.arange(6 * classes) % classes, np.arange(2 * classes) % classes
        images = [generator.integers(0, 256, (len(labels), side, side, 3), np.uint8) for labels in (train, test)]
        parts = [ArrayPart(array, labels, "png") for array, labels in zip(images, (train, test), strict=True)]
        return RawSet(names, *parts, {"noise": "0" * 64})

    return Source(name, names, labels=classes, val=classes, shard_size=500, load=load)


def prepared(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if name in SHAPES:
        monkeypatch.setitem(sources.SOURCES, name, small(name))
    prepare(PrepareRequest(name, out=folder))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", built_in())
def test_a_recipe_starts_and_takes_ten_steps(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe(name)
    data = prepared(recipe["dataset"], tmp_path / "data", monkeypatch)
    run = tmp_path / "run"
    arguments = ["--recipe", name, "--data-dir", str(data), "--out", str(run), "--steps", "10", "--nproc", "1"]
    smaller = {"model": SMALL_MODELS.get(recipe["model"]["name"], {})}
    smaller |= {name: EARLY[name] for name in METHODS.load(recipe["method"]).sections if name in EARLY}
    if recipe["augment"].get("size", 0) > SMALL_VIEW:
        smaller["augment"] = {"size": SMALL_VIEW}
    changes = {"batch_size": 4, "eval_every": 10, "log_every": 1, "precision": "fp32"} | flatten(smaller)
    arguments += [f"--set={key}={value}" for key, value in changes.items() if value != {}]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["method"], summary["steps"]) == (recipe["method"], 10)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["group"] == "train"] == list(range(1, 11))
    assert summary["data"] == load_manifest(data).fingerprint


@pytest.mark.parametrize("name", [name for name in built_in() if name.endswith("-metasemi")])
def test_recipes_of_metasemi_follow_its_public_code(name: str) -> None:
    """The values are those of train_meta.py and train_meta_imagenet.py in Sakura03/SemiMeta."""
    config = read_config(name, {})
    epoch = math.ceil(1_153_167 / 512)  # the code's split has about 128,000 labeled images
    warmup, steps = (5 * epoch, 600 * epoch) if config.dataset == "imagenet" else (4000, 400_000)
    optimizer = config.optimizer
    assert (optimizer.momentum, optimizer.nesterov, optimizer.decayed) == (0.9, False, "all"), "torch's SGD as it is"
    assert (optimizer.lr, optimizer.warmup, config.steps) == (0.1, warmup, steps)
    assert not config.data.include_labeled
    assert config.ema == 0, "the raw weights are scored"
    assert config.batch_statistics == "separate"
    assert config.augment.fill == 0 or config.augment.pad == 0, "padding is black"
    at_the_end = {"imagenet": 0.0}.get(config.dataset, 0.01)
    ends = [rate_factor(step, optimizer, wait=0, total=config.steps) for step in (0, warmup - 1, config.steps - 1)]
    assert ends == pytest.approx([1 / warmup, 1, at_the_end], abs=1e-6)


def test_every_data_set_of_a_recipe_is_stood_for() -> None:
    assert {load_recipe(name)["dataset"] for name in built_in()} == {*SHAPES, "digits", "moons"}
