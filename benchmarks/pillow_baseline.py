"""``python -m benchmarks.pillow_baseline``: decode and encode image files with Pillow alone, in several processes.

``smpl bench prepare`` compares preparation with it. It checks and keeps nothing, and imports little besides Pillow.
"""

import io
import multiprocessing
from functools import partial
from pathlib import Path

import click
from PIL import Image


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--workers", default=1, type=click.IntRange(1), help="Number of processes.")
@click.option("--resize", type=int, help="Resize the shorter side to this many pixels.")
@click.option("--quality", type=int, help="Encode as JPEG of this quality; without it, only decode.")
def main(folder: Path, workers: int, resize: int | None, quality: int | None) -> None:
    """Read, decode, resize and encode every file below FOLDER."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with multiprocessing.get_context().Pool(workers) as pool:
        sizes = pool.imap_unordered(partial(process_image, resize=resize, quality=quality), files, chunksize=32)
        click.echo(f"{len(files)} files, {sum(sizes)} bytes")


def process_image(path: Path, resize: int | None, quality: int | None) -> int:
    """Decode, resize and encode a file; return the bytes of the new JPEG, 0 without ``quality``."""
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
