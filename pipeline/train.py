"""The command ``smpl-train``: one line from a data set's name to a trained model."""

import os
from pathlib import Path
from typing import Any

import click
import yaml

from data_prep.command import Command
from data_prep.durable import make_folder, write_durably
from data_prep.errors import UsageError
from data_prep.manifest import MANIFEST, Manifest, load_manifest
from data_prep.prepare import Request, prepare
from pipeline.config import MAY_CHANGE, Config, batch_error
from pipeline.recipes import find_recipe, load_recipe, parse_value, parse_yaml
from pipeline.resolve import flatten, merge, resolve

CONFIG = "config.yaml"
PRECISIONS = click.Choice(["auto", "fp32", "bf16", "fp16"])


@click.command(cls=Command, context_settings={"show_default": True, "max_content_width": 110})
@click.option("--dataset", help="Name of the data set; it is prepared first if it is not yet.  [default: digits]")
@click.option("--method", help="Training method.  [default: the recipe's, else smpl]")
@click.option("--recipe", metavar="NAME|FILE", help="Settings to start from.  [default: found by data set and method]")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of the prepared data set.")
@click.option("--source", type=click.Path(path_type=Path), help="The data set's official files, to prepare it from.")
@click.option("--checksum", type=click.Choice(["on", "off"]), default="on", help="off: those may be any bytes.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; the same one again resumes.")
@click.option("--steps", type=int, help="Training steps.")
@click.option("--batch-size", type=int, help="Labeled images a step, over all processes.")
@click.option("--mu", type=int, help="Unlabeled images for each labeled one.")
@click.option("--precision", type=PRECISIONS, help="Number format; auto is bf16 where the hardware has it.")
@click.option("--accumulate", type=int, help="Micro-batches a step on each process.")
@click.option("--seed", type=int, help="Of weights, order, views and dropout.")
@click.option("--labels", type=int, help="Labeled images of the prepared data set.")
@click.option("--nproc", type=click.IntRange(1), help="Processes on this machine.  [default: one a GPU, or 1]")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any key of a recipe: smpl.weight=0.")
def main(
    recipe: str | None,
    data_dir: Path | None,
    source: Path | None,
    checksum: str,
    out: Path | None,
    labels: int | None,
    nproc: int | None,
    settings: tuple[str, ...],
    **flags: Any,
) -> int:
    """Train a classifier from few labels.

    With no argument: SMPL on scikit-learn's digits with 20 labels. Ctrl-C or SIGTERM saves; the same command resumes.
    """
    config = read_config(recipe, flags | {"data": {"labels": labels}}, settings)
    out = out or Path("runs") / f"{config.dataset}-{config.method}-seed{config.seed}"
    request = _request(config, data_dir, source, checksum == "on")
    from pipeline.engine import launch  # noqa: PLC0415  torch is slow to import; mistakes above are told at once

    processes = launch.choose_processes(nproc)
    if os.environ.get("RANK", "0") == "0":
        check_run(config, out, processes)
        check_data(config, prepare_data(request, data_dir))
        make_folder(out)
        write_durably(out / CONFIG, yaml.safe_dump(config.tree(), sort_keys=False).encode())
    if "RANK" not in os.environ and processes > 1:
        own = ["--recipe", str(out / CONFIG), "--data-dir", str(request.folder), "--out", str(out)]
        return launch.launch("pipeline.train", own, processes)
    from pipeline.engine.run import run_rank  # noqa: PLC0415

    return run_rank(config, request.folder, out)


def read_config(recipe: str | None, flags: dict[str, Any], settings: tuple[str, ...] = ()) -> Config:
    """Put the command line over a recipe over the defaults. Raises UsageError."""
    given = {name: value for name, value in flatten(flags).items() if value is not None}
    tree: dict[str, Any] = {}
    for path, value in given.items():
        tree = merge(tree, _nest(path, value))
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: expected KEY=VALUE, such as optimizer.lr=0.03")
        tree = merge(tree, _nest(key, parse_value(text)))
    name = recipe or find_recipe(tree.get("dataset"), tree.get("method"))
    return resolve(load_recipe(name), tree, f"recipe {name}")


def check_run(config: Config, out: Path, processes: int) -> None:
    """Refuse what this machine cannot run, and a run folder that holds another run. Raises UsageError."""
    from pipeline.engine.distributed import this_device  # noqa: PLC0415
    from pipeline.engine.precision import choose_precision  # noqa: PLC0415

    choose_precision(config.precision, this_device())
    if problem := batch_error(config, processes):
        raise UsageError(problem)
    path = out / CONFIG
    if not path.exists():
        return
    before, now = flatten(parse_yaml(path.read_text(), str(path))), flatten(config.tree())
    keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    differing = [f"{key} {before.get(key)} there, {now.get(key)} here" for key in keys if key not in MAY_CHANGE]
    if differing:
        raise UsageError(f"{out} holds a run with another configuration: {'; '.join(differing)}; give another --out")


def prepare_data(request: Request, data_dir: Path | None) -> Manifest:
    """Return the manifest of the prepared set, preparing it first if need be; a named folder is taken as it is."""
    if data_dir is not None and (data_dir / MANIFEST).exists():
        return load_manifest(data_dir)
    return prepare(request)


def check_data(config: Config, manifest: Manifest) -> None:
    """Refuse a prepared set that is not the one configured, and views too great for its images. Raises UsageError."""
    if manifest.dataset != config.dataset:
        raise UsageError(f"--data-dir holds {manifest.dataset}, not {config.dataset}; add --dataset {manifest.dataset}")
    asked = config.data.model_dump(exclude_none=True, exclude_defaults=True)
    for key, value in asked.items():
        if manifest.options.get(key) != value:
            raise UsageError(f"data.{key}: {value} is asked for, the prepared set has {manifest.options.get(key)}")
    from pipeline.data.augment import build_views  # noqa: PLC0415

    try:
        build_views(config.augment, *manifest.shape[:2])
    except ValueError as error:
        raise UsageError(f"augment.{error}") from None


def _request(config: Config, data_dir: Path | None, source: Path | None, checksum: bool) -> Request:
    data = config.data
    return Request(
        config.dataset,
        out=data_dir,
        source=source,
        labels=data.labels,
        val=data.val,
        seed=data.seed,
        include_labeled=data.include_labeled,
        checksum=checksum,
        extra=data.extra,
    )


def _nest(path: str, value: Any) -> dict[str, Any]:
    """Return ``{"a": {"b": value}}`` for the path ``a.b``."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)


if __name__ == "__main__":
    main()
