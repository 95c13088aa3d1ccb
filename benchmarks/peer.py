"""``smpl bench peer``: our training steps beside the training loops of another project.

=============  ======================================  ==========================  =============================
CHECKOUT       project                                 its loops                   compared with ours
=============  ======================================  ==========================  =============================
MPL-pytorch    kekmodel/MPL-pytorch                    Meta Pseudo Labels          mpl-argmax, smpl shared-graph
USB            microsoft/Semi-supervised-learning, or  FixMatch, UDA               fixmatch, uda
               its package ``semilearn``, unpacked
=============  ======================================  ==========================  =============================

Both sides use the same images, batch, network size (WRN-28-2), number of threads and machine. Each makes its own views,
and the other project's loop runs unchanged, in a process of its own, from a checkout that the user supplies.

MPL-pytorch computes in fp32 on a CPU and in fp16 on a GPU, USB in fp32, as their own settings say. USB's labeled loader
has ``--workers`` processes and its unlabeled loader twice as many.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.child import answer_of
from benchmarks.record import save_record
from data_prep.system.cli import Command
from data_prep.system.errors import UsageError


@dataclass(frozen=True)
class Loop:
    """A training loop of another project."""

    command: tuple[str, ...]
    """The module that runs it, and the arguments that choose it."""
    ours: tuple[str, ...]
    """The names of our cases that do the same."""


@dataclass(frozen=True)
class Peer:
    """A project whose checkout can be measured."""

    files: tuple[str, ...]
    """Paths that together exist only in a checkout of this project."""
    loops: Mapping[str, Loop]
    """Its loops by name."""


PEERS: Mapping[str, Peer] = {
    "MPL-pytorch": Peer(
        ("main.py", "data.py", "models.py", "utils.py"),
        {"MPL-pytorch": Loop(("benchmarks.mpl_pytorch_loop",), ("mpl-argmax", "smpl-shared-graph"))},
    ),
    "USB": Peer(
        (
            "semilearn/core/algorithmbase.py",
            "semilearn/algorithms/uda/uda.py",
            "semilearn/datasets/cv_datasets/cifar.py",
        ),
        {
            "USB fixmatch": Loop(("benchmarks.usb_loop", "--algorithm", "fixmatch"), ("fixmatch",)),
            "USB uda": Loop(("benchmarks.usb_loop", "--algorithm", "uda"), ("uda",)),
        },
    ),
}
TITLES: Mapping[str, str] = {"off": "", "auto": ", compile auto", "max": ", compile max"}
"""What a row's name says of each way to compile."""


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("checkout", type=click.Path(path_type=Path))
@click.option("--batch-size", default=32, type=click.IntRange(1), help="Labeled images, B.")
@click.option("--mu", default=7, type=click.IntRange(1), help="Unlabeled images per labeled one.")
@click.option("--steps", default=6, type=click.IntRange(2), help="Timed steps per turn, after some warm-up steps.")
@click.option("--turns", default=2, type=click.IntRange(1), help="Number of turns.")
@click.option("--workers", default=2, type=click.IntRange(0), help="Loader processes of the checkout's loop.")
@click.option("--precisions", default="fp32,bf16", help="Precisions of our steps, separated by commas.")
@click.option("--compiles", default="off", help="How to compile our steps: off, auto, max; separated by commas.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the result to this file as JSON.")
def main(
    checkout: Path,
    batch_size: int,
    mu: int,
    steps: int,
    turns: int,
    workers: int,
    precisions: str,
    compiles: str,
    out: Path | None,
) -> None:
    """Time our steps beside those of the CHECKOUT of MPL-pytorch or of USB (semilearn)."""
    variants = list(_variants(precisions, compiles))
    size = ["--batch-size", str(batch_size), "--mu", str(mu), "--steps", str(steps)]
    path = ["--checkout", str(checkout.resolve()), "--workers", str(workers)]
    rows = []
    for name, loop in recognize(checkout).loops.items():
        runs = {name: [*loop.command, *path, *size]}
        for title, options in variants:
            runs |= {f"{case}, {title}": ["benchmarks.step_timer", case, *options, *size] for case in loop.ours}
        times: dict[str, list[float]] = {run: [] for run in runs}
        for _ in range(turns):
            for run, words in runs.items():
                times[run] += answer_of(words)
        rows += _rows(times, batch_size * (1 + mu))
    for row in rows:
        click.echo(
            f"{row['loop']:<36} {row['step_ms']:>9.1f} ms  {row['images_per_s']:>8.1f} images/s  x {row['speed']}"
        )
    if out:
        save_record(out, rows)


def recognize(checkout: Path) -> Peer:
    """Return the project that a checkout belongs to. Raises UsageError if it belongs to none."""
    absent = {name: [file for file in peer.files if not (checkout / file).is_file()] for name, peer in PEERS.items()}
    found = [PEERS[name] for name, missing in absent.items() if not missing]
    if not found:
        lacks = ", ".join(f"for {name} {missing[0]}" for name, missing in absent.items())
        raise UsageError(f"{checkout} is a checkout of none of {', '.join(PEERS)}: it lacks {lacks}")
    return found[0]


def _variants(precisions: str, compiles: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the title and the options of each way to run our steps. Raises UsageError."""
    for compiled in compiles.split(","):
        if compiled not in TITLES:
            raise UsageError(f"--compiles: {compiled!r} is none of {', '.join(TITLES)}")
        for precision in precisions.split(","):
            yield f"{precision}{TITLES[compiled]}", ["--precision", precision, "--compile", compiled]


def _rows(times: Mapping[str, Sequence[float]], images: int) -> list[dict[str, Any]]:
    """Return a row for each loop; ``speed`` is relative to the first one, the other project's."""
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    first = next(iter(medians.values()))
    return [
        {
            "loop": name,
            "step_ms": round(1000 * seconds, 1),
            "images_per_s": round(images / seconds, 1),
            "speed": round(first / seconds, 2),
        }
        for name, seconds in medians.items()
    ]
