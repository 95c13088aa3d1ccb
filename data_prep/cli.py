"""The command group ``smpl-data``: prepare, finish, convert, verify and show data sets."""

import logging
import time
from pathlib import Path
from typing import Any

import click

from data_prep.cli_types import Duration, Formats, LabelNumbers, LocalFolder, ShardRangeType
from data_prep.dataset.manifest import SPLITS, Manifest, load_manifest
from data_prep.images.codecs import CODECS
from data_prep.inspection.preview import class_table, save_pictures, split_table
from data_prep.inspection.verify import find_damage
from data_prep.prepare.convert import convert as convert_set
from data_prep.prepare.finalize import finish as finish_set
from data_prep.prepare.finalize import wait_and_finish
from data_prep.prepare.options import ALL_SHARDS, PrepareRequest, ResolvedRequest, resolve
from data_prep.prepare.rejected import REJECTED, count_rejected
from data_prep.prepare.run import find_complete, prepare_range, prepare_set
from data_prep.sources import SOURCES
from data_prep.system.cli import CommandGroup
from data_prep.system.errors import DataError, UsageError

logger = logging.getLogger(__name__)

PATH = click.Path(path_type=Path)
FOLDER = click.argument("folder", metavar="DIR", type=LocalFolder())
WORKERS = click.option("--workers", type=int, help="Number of processes [one for each CPU]. Never changes the result.")
ON_ERROR = click.Choice(["fail", "skip"])


@click.group(cls=CommandGroup, context_settings={"max_content_width": 110})
def main() -> None:
    """Prepare, check and look at data sets for semi-supervised training."""


@main.command()
@click.argument("dataset", type=click.Choice(list(SOURCES)))
@click.option("--out", type=PATH, help="Folder to write to [${SMPL_DATA:-data}/DATASET-LABELS-seedSEED].")
@click.option("--source", type=PATH, help="Folder or tar archive with the raw files [downloaded where possible].")
@click.option("--labels", type=LabelNumbers(), help="Number of labeled images: 20 in all, 5+1 by class, or 10%.")
@click.option("--val", type=LabelNumbers(), help="Number of validation images, written as for --labels.")
@click.option(
    "--split-seed",
    "seed",
    type=int,
    default=0,
    show_default=True,
    help="Seed of the choice of labeled and validation images; smpl-train --seed is that of the weights.",
)
@click.option(
    "--include-labeled/--exclude-labeled", default=True, help="Put the labeled images into the unlabeled split too."
)
@click.option(
    "--image-format",
    type=click.Choice(list(CODECS)),
    help="Format of stored images; jpeg is lossy [png; npy for points; original for image files].",
)
@click.option(
    "--format",
    "formats",
    type=Formats(),
    default="webdataset",
    show_default=True,
    help="File formats to write: webdataset, or webdataset,recordio for both.",
)
@click.option("--shard-size", type=int, help="Maximum number of images in a shard.")
@click.option(
    "--shard-range",
    type=ShardRangeType(),
    default=ALL_SHARDS,
    help="Write only every N-th shard, from shard I on, with I from 0 to N - 1; run `finish` after all of them.",
)
@click.option(
    "--checksum",
    type=click.Choice(["on", "off"]),
    default="on",
    show_default=True,
    help="Compare the raw files with their published checksums.",
)
@click.option("--extra", is_flag=True, help="svhn: add the 531,131 extra training images.")
@click.option(
    "--resize", type=int, help="Image files: shrink larger images until the shorter side has this many pixels."
)
@click.option("--quality", type=int, help="Image files: quality of images that are encoded again as JPEG [90].")
@click.option(
    "--on-error",
    type=ON_ERROR,
    default="fail",
    show_default=True,
    help="Image files: stop at an image that cannot be read, or leave it out.",
)
@click.option("--label-list", type=PATH, help="Image files: a text file that names one labeled image on each line.")
@click.option("--csv", type=PATH, help="folder: a table with the columns file and label, and optionally split.")
@click.option("--unlabeled", type=PATH, help="folder: another folder, with images without labels.")
@click.option(
    "--test", metavar="N|P%", help="folder without test images: number or share of training images to test on [20%]."
)
@WORKERS
def prepare(checksum: str, on_error: str, formats: tuple[str, ...], **options: Any) -> None:
    """Turn DATASET into checked shards with a manifest.

    \b
    Defaults   labels  validation   source
    digits         20         100   embedded
    cifar10      4000        1000   downloaded, or --source
    cifar100    10000        2000   downloaded, or --source
    svhn         1000        1000   downloaded, or --source
    moons           6           0   embedded
    stl10        1000        1000   downloaded, or --source
    imagenet      10%          1%   --source: train/ and val/, or the official archives
    folder        10%         10%   --source: CLASS/*.jpg, png or webp

    The same command again goes on after a stop, repairs a damaged set, and leaves a complete one alone. Downloads are
    kept in $SMPL_CACHE or ~/.cache/smpl. In an indexed job, --shard-range N takes I from JOB_COMPLETION_INDEX.
    """
    request = resolve(PrepareRequest(checksum=checksum == "on", skip=on_error == "skip", **options))
    if manifest := find_complete(request):
        click.echo(f"{request.folder} is complete: {_summary(manifest)}")
    elif request.shard_range == ALL_SHARDS:
        manifest = _prepare_set(request)
    elif formats[1:]:
        raise UsageError(f"--format {','.join(formats)}: --shard-range writes tars; after `finish`, smpl-data convert")
    else:
        _prepare_range(request)
        return
    for name in formats[1:]:
        _convert(request.folder, manifest, name)


def _prepare_set(request: ResolvedRequest) -> Manifest:
    if request.options["image_format"] == "jpeg":
        logger.warning("jpeg is lossy: the stored pixels will differ from those of the source")
    started = time.perf_counter()
    manifest = prepare_set(request)
    rate = sum(map(manifest.samples, SPLITS)) / (time.perf_counter() - started)
    click.echo(f"prepared {request.folder}: {_summary(manifest)}, {rate:.0f} images/s")
    _warn_of_rejected(request.folder)
    return manifest


def _prepare_range(request: ResolvedRequest) -> None:
    count = prepare_range(request)
    shard_range = f"{request.shard_range.index}/{request.shard_range.count}"
    click.echo(
        f"{request.folder}: the {count} shards of range {shard_range} are written; "
        f"when those of all ranges are: smpl-data finish {request.folder}"
    )


def _warn_of_rejected(folder: Path) -> None:
    if rejected := count_rejected(folder):
        logger.warning("left out %d images that could not be read: %s names each", rejected, folder / REJECTED)


def _convert(folder: Path, manifest: Manifest, to: str) -> None:
    converted = convert_set(folder, manifest, to)
    click.echo(f"{folder}: {', '.join(file.name for file in converted.files)}")


@main.command()
@FOLDER
@click.option(
    "--wait", type=Duration(), help="Wait until all shards are written, at most this long: 12h, 30m, 90s. Then exit 1."
)
def finish(folder: Path, wait: int | None) -> None:
    """Check the shards of all ranges in DIR, and write the manifest.

    Run it after `prepare --shard-range`. A finished set is left as it is. Several calls may wait at the same time; one
    of them does the work.
    """
    manifest = finish_set(folder) if wait is None else wait_and_finish(folder, wait)
    click.echo(f"finished {folder}: {_summary(manifest)}")
    _warn_of_rejected(folder)


@main.command()
@FOLDER
@click.option(
    "--to", type=click.Choice(["recordio"]), required=True, help="Format: recordio writes .rec, .idx and .lst files."
)
def convert(folder: Path, to: str) -> None:
    """Write the samples of DIR in another format too.

    The new files lie beside the shards and hold the samples in the same order.
    """
    _convert(folder, load_manifest(folder), to)


@main.command()
@FOLDER
@WORKERS
def verify(folder: Path, workers: int | None) -> None:
    """Check every byte and image in DIR; list all damage."""
    manifest = load_manifest(folder)
    if damage := find_damage(folder, manifest, workers):
        for line in damage:
            click.echo(line)
        raise DataError(f"{folder}: {len(damage)} faults; remove it and prepare the data set again")
    click.echo(f"{folder} is good: {_summary(manifest)}")


@main.command()
@FOLDER
@click.option("--sheet", type=PATH, help="File to write the contact sheet to [./NAME-contact.png].")
def show(folder: Path, sheet: Path | None) -> None:
    """Print the splits and classes of DIR and draw a contact sheet.

    The sheet has one row for each class, with images of each split; those that are labeled have a frame. Many classes
    become several pages: NAME-contact.png, NAME-contact-2.png and so on.
    """
    manifest = load_manifest(folder)
    for line in (*split_table(manifest), "", *class_table(manifest), ""):
        click.echo(line)
    paths = save_pictures(folder, manifest, sheet or Path(f"{folder.resolve().name}-contact.png"))
    click.echo(f"contact sheet: {paths[0]}")


def _summary(manifest: Manifest) -> str:
    counts = ", ".join(f"{manifest.samples(split)} {split}" for split in SPLITS)
    return f"{manifest.dataset}, {counts}, fingerprint {manifest.fingerprint[:12]}"
