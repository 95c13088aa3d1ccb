"""``python -m benchmarks.bare``: image files through Pillow alone, over processes; nothing is checked or kept.

It is what ``smpl bench prepare`` compares preparation to, so it imports Pillow and little else.
"""

import io
import multiprocessing
from functools import partial
from pathlib import Path

import click
from PIL import Image


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--workers", default=1, type=click.IntRange(1), help="Processes.")
@click.option("--resize", type=int, help="Pixels of the shorter side.")
@click.option("--quality", type=int, help="Of the JPEGs; left out: decode only.")
def main(folder: Path, workers: int, resize: int | None, quality: int | None) -> None:
    """Read, decode, resize and encode every file below FOLDER."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with multiprocessing.get_context().Pool(workers) as pool:
        sizes = pool.imap_unordered(partial(treat, resize=resize, quality=quality), files, chunksize=32)
        click.echo(f"{len(files)} files, {sum(sizes)} bytes")


def treat(path: Path, resize: int | None, quality: int | None) -> int:
    """Return the bytes of the new JPEG; 0 if none is made."""
    picture = Image.open(io.BytesIO(path.read_bytes())).convert("RGB")
    if resize is not None:
        short = min(picture.size)
        width, height = (round(side * resize / short) for side in picture.size)
        picture = picture.resize((width, height))
    if quality is None:
        return 0
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.tell()


if __name__ == "__main__":
    main()
