"""The command group ``smpl-data``: prepare, finish, convert, verify and show data sets."""

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data_prep.cli_types import Duration, Formats, LabelNumbers, LocalFolder, ShardRange
from data_prep.dataset.manifest import SPLITS, Manifest, load_manifest
from data_prep.images.codecs import CODECS
from data_prep.prepare.progress import WHOLE
from data_prep.sources import SOURCES
from data_prep.system.cli import CommandGroup
from data_prep.system.errors import DataError, UsageError

if TYPE_CHECKING:
    from data_prep.prepare.options import Request

PATH = click.Path(path_type=Path)
FOLDER = click.argument("folder", metavar="DIR", type=LocalFolder())
WORKERS = click.option("--workers", type=int, help="Processes; as many as CPUs if left out. Never changes the result.")
ON_ERROR = click.Choice(["fail", "skip"])


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def main() -> None:
    """Prepare, check and look at data sets for semi-supervised training."""


@main.command()
@click.argument("dataset", type=click.Choice(list(SOURCES)))
@click.option("--out", type=PATH, help="Output [${SMPL_DATA:-data}/DATASET-LABELS-seedSEED].")
@click.option("--source", type=PATH, help="Official files, folder or tar; left out: downloaded where that is possible.")
@click.option("--labels", type=LabelNumbers(), help="Labeled images: a multiple of the classes, 5+1: of each, or 10%.")
@click.option("--val", type=LabelNumbers(), help="Validation images, of the training set; counted as --labels are.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of split and order; never of the test set.")
@click.option("--include-labeled/--exclude-labeled", default=True, help="Labeled images among the unlabeled too.")
@click.option(
    "--image-format", type=click.Choice(list(CODECS)), help="jpeg is lossy [png; of points npy, of files original]."
)
@click.option("--format", "formats", type=Formats(), default="webdataset", help="webdataset, or webdataset,recordio.")
@click.option("--shard-size", type=int, help="Samples a shard at most.")
@click.option(
    "--shard-range",
    "share",
    type=ShardRange(),
    default=WHOLE,
    help="Every N-th shard from I on; then `finish`.",
)
@click.option("--checksum", type=click.Choice(["on", "off"]), default="on", show_default=True, help="off: any bytes.")
@click.option("--extra", is_flag=True, help="svhn: with its 531,131 extra training images.")
@click.option("--resize", type=int, help="Image files: make the shorter side this many pixels where it is longer.")
@click.option("--quality", type=int, help="Image files: of JPEGs that are encoded anew [90].")
@click.option("--on-error", type=ON_ERROR, default="fail", show_default=True, help="Image files: what a bad one does.")
@click.option("--label-list", type=PATH, help="Image files: the names of those that are labeled, a line each.")
@click.option("--csv", type=PATH, help="folder: a table with the columns file and label, and split if you like.")
@click.option("--unlabeled", type=PATH, help="folder: another folder, of images without labels.")
@click.option("--test", metavar="N|P%", help="folder without test images: take these from the training images [20%].")
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

    The same command again finishes a stopped one, mends a damaged set and leaves a complete one alone. Downloads are
    kept in $SMPL_CACHE or ~/.cache/smpl. In an indexed job, --shard-range N takes I from JOB_COMPLETION_INDEX.
    """
    from data_prep.prepare.run import Request, completed  # noqa: PLC0415

    request = Request(checksum=checksum == "on", skip=on_error == "skip", **options)
    if manifest := completed(request):
        click.echo(f"{request.folder} is complete: {_summary(manifest)}")
    elif request.share.count > 1:
        if formats[1:]:
            raise UsageError(f"--format {','.join(formats)}: shares are tars; after `finish`, smpl-data convert")
        _prepare_share(request)
        return
    else:
        _prepare(request)
    for name in formats[1:]:
        _convert(request.folder, name)


def _prepare(request: "Request") -> None:
    from data_prep.prepare.run import prepare as run  # noqa: PLC0415

    if request.image_format == "jpeg":
        click.echo("note: jpeg is lossy, the pixels will differ from the source's", err=True)
    started = time.perf_counter()
    manifest = run(request)
    rate = sum(map(manifest.samples, SPLITS)) / (time.perf_counter() - started)
    click.echo(f"prepared {request.folder}: {_summary(manifest)}, {rate:.0f} images/s")
    _tell_skipped(request.folder)


def _tell_skipped(folder: Path) -> None:
    from data_prep.prepare.finalize import REPORT, count_skipped  # noqa: PLC0415

    if skipped := count_skipped(folder):
        click.echo(f"left out {skipped} images that could not be had: {folder / REPORT} names each", err=True)


def _prepare_share(request: "Request") -> None:
    from data_prep.prepare.run import prepare_share  # noqa: PLC0415

    count = prepare_share(request)
    share = f"share {request.share.index} of {request.share.count}"
    click.echo(f"{request.folder}: {share} has its {count} shards; after the others: smpl-data finish {request.folder}")


def _convert(folder: Path, to: str) -> None:
    from data_prep.prepare.convert import convert as run  # noqa: PLC0415

    records = run(folder, to)
    click.echo(f"{folder}: {', '.join(file.name for file in records.files)}")


@main.command()
@FOLDER
@click.option(
    "--wait", type=Duration(), help="Wait for the shares that are missing: 12h, 30m, 90s. After that, exit 1."
)
def finish(folder: Path, wait: int | None) -> None:
    """Check the shards that `prepare --shard-range` wrote into DIR, and write the manifest.

    A finished set is left as it is. Several calls may wait at the same time; one of them does the work.
    """
    from data_prep.prepare.finalize import finish as run  # noqa: PLC0415
    from data_prep.prepare.finalize import finish_within  # noqa: PLC0415

    manifest = run(folder) if wait is None else finish_within(folder, wait, partial(click.echo, err=True))
    click.echo(f"finished {folder}: {_summary(manifest)}")
    _tell_skipped(folder)


@main.command()
@FOLDER
@click.option("--to", type=click.Choice(["recordio"]), required=True, help=".rec, .idx and .lst of each split.")
def convert(folder: Path, to: str) -> None:
    """Write the samples of DIR in another format too, beside its shards and in their order."""
    _convert(folder, to)


@main.command()
@FOLDER
@WORKERS
def verify(folder: Path, workers: int | None) -> None:
    """Check every byte, name, label and image in DIR; list all damage, a line each."""
    from data_prep.inspection.verify import find_damage  # noqa: PLC0415

    if damage := find_damage(folder, workers):
        for line in damage:
            click.echo(line)
        raise DataError(f"{folder}: {len(damage)} faults; remove it and prepare the data set again")
    click.echo(f"{folder} is good: {_summary(load_manifest(folder))}")


@main.command()
@FOLDER
@click.option("--sheet", type=PATH, help="The picture's file [NAME-contact.png, here].")
def show(folder: Path, sheet: Path | None) -> None:
    """Print the splits of DIR and draw a contact sheet, a row a class."""
    from data_prep.inspection.preview import contact_sheet, table  # noqa: PLC0415

    manifest = load_manifest(folder)
    path = sheet or Path(f"{folder.resolve().name}-contact.png")
    for line in table(manifest):
        click.echo(line)
    contact_sheet(folder, manifest, path)
    click.echo(f"contact sheet: {path}")


def _summary(manifest: Manifest) -> str:
    counts = ", ".join(f"{manifest.samples(split)} {split}" for split in SPLITS)
    return f"{manifest.dataset}, {counts}, fingerprint {manifest.fingerprint[:12]}"
