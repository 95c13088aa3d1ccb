"""A check of the prepared data set to train on."""

import os
from collections.abc import Iterator

from data_prep.dataset.checksums import missing_shards
from data_prep.dataset.manifest import SPLITS, load_manifest
from data_prep.system.errors import DataError
from pipeline.doctor.check import CheckOptions, CheckResult, Level


def data_set(options: CheckOptions) -> Iterator[CheckResult]:
    """Open the manifest; check that every shard exists, has its size in bytes, and may be read."""
    folder, name = options.data_dir, "data set"
    if folder is None:
        return
    try:
        manifest = load_manifest(folder)
    except DataError as error:
        found, _, remedy = str(error).partition("; ")
        yield CheckResult(name, Level.FAILURE, found, remedy or "prepare the data set again into an empty folder")
        return
    counts = ", ".join(f"{manifest.samples(split):,} {split}" for split in SPLITS)
    found = f"{folder}: {manifest.dataset}, {len(manifest.classes)} classes, {counts}"
    incomplete = [shard.name for shard in missing_shards(folder, manifest.shards)]
    unreadable = [shard.name for shard in manifest.shards if not os.access(folder / shard.name, os.R_OK)]
    if incomplete:
        problem = f"{found}; {len(incomplete)} shards are missing or cut: {incomplete[0]}"
        remedy = f"prepare it again as before: smpl-data prepare {manifest.dataset} --out {folder}"
        yield CheckResult(name, Level.FAILURE, problem, remedy)
    elif unreadable:
        problem = f"{found}; {len(unreadable)} shards cannot be read: {unreadable[0]}"
        yield CheckResult(name, Level.FAILURE, problem, f"give user {os.getuid()} the right to read them")
    else:
        yield CheckResult(name, Level.OK, found)
