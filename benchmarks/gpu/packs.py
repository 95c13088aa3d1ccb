"""``python -m benchmarks.gpu.packs``: carry a prepared set, in packs of a bounded size, to a machine without a network.

The packs are slices of one compressed tar. Much of a tar of small images is padding, and the labeled images are in the
set twice, so the compressor looks for repetitions in the whole of it.
"""

import hashlib
import io
import lzma
import math
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from data_prep.cli_types import LocalFolder
from data_prep.dataset.manifest import load_manifest
from data_prep.system.atomic_files import make_folder, write_durably
from data_prep.system.cli import Command, CommandGroup
from data_prep.system.errors import DataError, UsageError

FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": 2**28}]
"""Packing takes about 2 GB of memory, unpacking 256 MB."""
SUMS = "sha256sums"
"""The file with the checksum and the name of each pack, as the program sha256sum writes them."""


@click.group(cls=CommandGroup)
def main() -> None:
    """Split a prepared set into packs, and join them elsewhere."""


@main.command("make", cls=Command, context_settings={"show_default": True})
@click.argument("data", type=LocalFolder())
@click.option("--out", type=click.Path(path_type=Path), default="build/packs", help="Folder to write to.")
@click.option("--megabytes", type=click.FloatRange(min=0.001), default=58, help="Largest pack, in million bytes.")
def make(data: Path, out: Path, megabytes: float) -> None:
    """Write the packs of the prepared set DATA and their checksums."""
    load_manifest(data)
    content, sums = compress(data), ""
    count = math.ceil(len(content) / (1e6 * megabytes))
    make_folder(out)
    for number in range(count):
        pack = content[len(content) * number // count : len(content) * (number + 1) // count]
        name = f"{data.resolve().name}.pack{number + 1}"
        write_durably(out / name, pack)
        sums += f"{hashlib.sha256(pack).hexdigest()}  {name}\n"
        click.echo(f"{out / name}: {len(pack):,} bytes")
    write_durably(out / SUMS, sums.encode())


@main.command("join", cls=Command, context_settings={"show_default": True})
@click.argument("packs", type=LocalFolder())
@click.option("--out", type=click.Path(path_type=Path), default="data", help="Folder that will contain the set.")
def join(packs: Path, out: Path) -> None:
    """Check the packs in the folder PACKS and unpack their prepared set."""
    content = io.BytesIO(b"".join(checked(packs)))
    make_folder(out)
    with tempfile.TemporaryDirectory(dir=out) as folder:
        with tarfile.open(fileobj=content, mode="r:xz") as tar:
            tar.extractall(folder, filter="data")
        (unpacked,) = Path(folder).iterdir()
        if (target := out / unpacked.name).exists():
            raise UsageError(f"{target} exists already; remove it, or choose another --out")
        unpacked.rename(target)
    click.echo(f"unpacked {target}")


def compress(folder: Path) -> bytes:
    """Return a folder as a compressed tar, whose bytes depend on the names and contents of the files alone."""
    content = io.BytesIO()
    with (
        lzma.open(content, "wb", filters=FILTERS) as packed,
        tarfile.open(fileobj=packed, mode="w|") as tar,
    ):
        tar.add(folder.resolve(), folder.resolve().name, filter=_anonymous)
    return content.getvalue()


def checked(folder: Path) -> Iterator[bytes]:
    """Yield the bytes of each pack in order. Raises DataError for one that is missing or has another checksum."""
    try:
        for line in (folder / SUMS).read_text().splitlines():
            wanted, name = line.split("  ", 1)
            pack = (folder / Path(name).name).read_bytes()
            if hashlib.sha256(pack).hexdigest() != wanted:
                raise DataError(f"{folder / name} is damaged; copy it again")
            yield pack
    except (FileNotFoundError, ValueError) as error:
        raise DataError(f"{folder}: {error}; copy all packs and {SUMS} there") from None


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    return member.replace(mtime=0, uid=0, gid=0, uname="", gname="", deep=False)


if __name__ == "__main__":
    main()
