"""The command ``smpl-train``: one line from a data set's name to a trained model."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import yaml

from data_prep.command import Command
from data_prep.durable import locked, make_folder, write_durably
from data_prep.errors import UsageError
from pipeline.config import Config
from pipeline.engine.launch import choose_processes, launch, launched
from pipeline.engine.run import run_rank
from pipeline.preflight import CONFIG, check_machine, check_run, default_folder, settle_data
from pipeline.recipes import find_recipe, load_recipe, parse_value
from pipeline.resolve import flatten, merge, resolve

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
    flags["data"] = {"labels": labels}
    config = read_config(recipe, flags, settings)
    out = out or Path("runs") / f"{config.dataset}-{config.method}-seed{config.seed}"
    processes = choose_processes(nproc)
    with ExitStack() as stack:
        folder = data_dir or default_folder(config)
        if os.environ.get("RANK", "0") == "0":
            check_machine(config, out, processes)
            given = command_line(flags, settings).get("data", {})
            config = settle_data(config, given, data_dir, source, checksum == "on")
            make_folder(out)
            if not launched():
                stack.enter_context(locked(out / ".lock", wait=False))
            check_run(config, out)
            write_durably(out / CONFIG, yaml.safe_dump(config.tree(), sort_keys=False).encode())
        if "RANK" not in os.environ and processes > 1:
            own = ["--recipe", str(out / CONFIG), "--data-dir", str(folder), "--out", str(out)]
            return launch("pipeline.train", own, processes)
        return run_rank(config, folder, out)


def read_config(recipe: str | None, flags: dict[str, Any], settings: tuple[str, ...] = ()) -> Config:
    """Put the command line over a recipe over the defaults. Raises UsageError."""
    tree = command_line(flags, settings)
    name = recipe or find_recipe(tree.get("dataset"), tree.get("method"))
    return resolve(load_recipe(name), tree, f"recipe {name}")


def command_line(flags: dict[str, Any], settings: tuple[str, ...]) -> dict[str, Any]:
    """Return flags that were given, and ``--set KEY=VALUE`` over them, as the tree that a recipe would be."""
    tree: dict[str, Any] = {}
    for path, value in flatten(flags).items():
        if value is not None and value != {}:
            tree = merge(tree, _nest(path, value))
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: expected KEY=VALUE, such as optimizer.lr=0.03")
        tree = merge(tree, _nest(key, parse_value(text)))
    return tree


def _nest(path: str, value: Any) -> dict[str, Any]:
    """Return ``{"a": {"b": value}}`` for the path ``a.b``."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)


if __name__ == "__main__":
    main()
