"""The finished runs of a comparison on points of the plane, and the points that they were trained on."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from torch import nn

from data_prep.dataset.manifest import Manifest, load_manifest
from data_prep.system.errors import UsageError
from pipeline.models.export import load_model, read_export
from pipeline.run_folder import MODEL, RunFolder

POINT_SHAPE = (1, 2, 1)
"""The shape [H, W, C] of the images in a prepared set of points of the plane."""


def find_runs(table: Path, seed: int) -> dict[str, RunFolder]:
    """Return the finished runs of a seed by the names of their rows. Raises UsageError if there are none."""
    runs = {
        unquote(path.parent.parent.name): RunFolder(path.parent) for path in sorted(table.glob(f"*/seed{seed}/{MODEL}"))
    }
    if not runs:
        raise UsageError(f"{table} holds no finished run of seed {seed}; make one: smpl compare --recipe moons")
    return runs


def open_points(data_dir: Path) -> Manifest:
    """Return the manifest of a prepared set of points.

    Raises:
        UsageError: the set holds something else.
        DataError: there is no manifest, or it is damaged.
    """
    manifest = load_manifest(data_dir)
    if manifest.shape != POINT_SHAPE:
        raise UsageError(f"{data_dir} holds {manifest.dataset}, not points of the plane; name a set of moons")
    return manifest


def load_models(runs: Mapping[str, RunFolder], manifest: Manifest, data_dir: Path) -> dict[str, nn.Module]:
    """Return the exported models of runs that were all trained on the points in ``data_dir``.

    Raises:
        UsageError: a run was trained on something else, or has not finished.
        DataError: an exported model or a summary is damaged.
    """
    for name, run in runs.items():
        _check_trained_on(name, run, manifest, data_dir)
    return {name: load_model(run.model_file) for name, run in runs.items()}


def _check_trained_on(name: str, run: RunFolder, manifest: Manifest, data_dir: Path) -> None:
    if read_export(run.model_file).metadata.shape != POINT_SHAPE:
        raise UsageError(f"{run} was not trained on points of the plane; name a table of smpl compare --recipe moons")
    data = run.summary().data
    if data != manifest.fingerprint:
        problem = f"trained on data {data[:12]}, {data_dir} is {manifest.fingerprint[:12]}"
        raise UsageError(f"row {name!r} was {problem}; name the prepared set of its runs with --data-dir")
