"""The prepared set that is to be trained on."""

import os
from collections.abc import Iterator

from data_prep.dataset.manifest import SPLITS, load_manifest
from data_prep.prepare.finalize import stands
from data_prep.system.errors import DataError
from pipeline.doctor.finding import Finding, Level, Request


def data_set(request: Request) -> Iterator[Finding]:
    """Open the manifest, and look whether every shard is there, whole by its size, and readable."""
    folder, name = request.data_dir, "data set"
    if folder is None:
        return
    try:
        manifest = load_manifest(folder)
    except DataError as error:
        found, _, remedy = str(error).partition("; ")
        yield Finding(name, Level.FAILURE, found, remedy or "prepare the data set again into an empty folder")
        return
    counts = ", ".join(f"{manifest.samples(split):,} {split}" for split in SPLITS)
    found = f"{folder}: {manifest.dataset}, {len(manifest.classes)} classes, {counts}"
    lost = [shard.name for shard in manifest.shards if not stands(folder, shard)]
    shut = [shard.name for shard in manifest.shards if not os.access(folder / shard.name, os.R_OK)]
    if lost:
        remedy = f"the same `smpl-data prepare {manifest.dataset} --out {folder}` as before mends it"
        yield Finding(name, Level.FAILURE, f"{found}; {len(lost)} shards are missing or cut: {lost[0]}", remedy)
    elif shut:
        remedy = f"give user {os.getuid()} the right to read it"
        yield Finding(name, Level.FAILURE, f"{found}; {len(shut)} shards cannot be read: {shut[0]}", remedy)
    else:
        yield Finding(name, Level.OK, found)
