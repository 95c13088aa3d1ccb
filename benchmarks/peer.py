"""``smpl bench peer``: our steps beside the loops of somebody else's checkout, on equal terms.

=============  ======================================  ==========================  =============================
CHECKOUT       of                                      its loops                   ours beside them
=============  ======================================  ==========================  =============================
MPL-pytorch    kekmodel/MPL-pytorch                    Meta Pseudo Labels          mpl, smpl shared-graph
USB            microsoft/Semi-supervised-learning, or  FixMatch, UDA               fixmatch, uda
               its package ``semilearn``, unpacked
=============  ======================================  ==========================  =============================

Same pictures, batch, network size (WRN-28-2), threads and machine; each makes its own views, and its loop runs as it is
written, in a process of its own. The checkout is named by its path: none of it is here.

MPL-pytorch computes in fp32 on a CPU and in fp16 on a GPU, USB in fp32, as their own settings say. Of USB's loaders the
labeled one has ``--workers`` processes and the unlabeled one twice as many.
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
    """A loop of a peer."""

    words: tuple[str, ...]
    """The module that runs it, and what says which one it is."""
    beside: tuple[str, ...]
    """Our cases that do the same."""


@dataclass(frozen=True)
class Peer:
    """A project that is measured by a path to its files."""

    files: tuple[str, ...]
    """What lies in a checkout of it, and of no other."""
    loops: Mapping[str, Loop]


PEERS: Mapping[str, Peer] = {
    "MPL-pytorch": Peer(
        ("main.py", "data.py", "models.py", "utils.py"),
        {"MPL-pytorch": Loop(("benchmarks.peer_loop",), ("mpl", "smpl-shared-graph"))},
    ),
    "USB": Peer(
        (
            "semilearn/core/algorithmbase.py",
            "semilearn/algorithms/uda/uda.py",
            "semilearn/datasets/cv_datasets/cifar.py",
        ),
        {
            "USB fixmatch": Loop(("benchmarks.peer_usb", "--algorithm", "fixmatch"), ("fixmatch",)),
            "USB uda": Loop(("benchmarks.peer_usb", "--algorithm", "uda"), ("uda",)),
        },
    ),
}
TITLES: Mapping[str, str] = {"off": "", "auto": ", compile auto", "max": ", compile max"}


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("checkout", type=click.Path(path_type=Path))
@click.option("--batch-size", default=32, type=click.IntRange(1), help="Labeled images, B.")
@click.option("--mu", default=7, type=click.IntRange(1), help="Unlabeled images for each labeled one.")
@click.option("--steps", default=6, type=click.IntRange(2), help="Timed steps of each, after some that are not.")
@click.option("--turns", default=2, type=click.IntRange(1), help="Each is timed so often, in turns.")
@click.option("--workers", default=2, type=click.IntRange(0), help="Loader processes of the checkout's loop.")
@click.option("--precisions", default="fp32,bf16", help="Of our steps.")
@click.option("--compiles", default="off", help="Of our steps: off, auto, max, or several.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the result there as JSON.")
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
    ways = list(_ways(precisions, compiles))
    size = ["--batch-size", str(batch_size), "--mu", str(mu), "--steps", str(steps)]
    path = ["--checkout", str(checkout.resolve()), "--workers", str(workers)]
    rows = []
    for name, loop in recognize(checkout).loops.items():
        runs = {name: [*loop.words, *path, *size]}
        for way, words in ways:
            runs |= {f"{case}, {way}": ["benchmarks.own_loop", case, *words, *size] for case in loop.beside}
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
    """Return the peer whose files lie there. Raises UsageError."""
    absent = {name: [file for file in peer.files if not (checkout / file).is_file()] for name, peer in PEERS.items()}
    found = [PEERS[name] for name, missing in absent.items() if not missing]
    if not found:
        lacks = ", ".join(f"for {name} {missing[0]}" for name, missing in absent.items())
        raise UsageError(f"{checkout} is a checkout of none of {', '.join(PEERS)}: it lacks {lacks}")
    return found[0]


def _ways(precisions: str, compiles: str) -> Iterator[tuple[str, list[str]]]:
    """Yield what our steps are to be run in, with a title. Raises UsageError."""
    for compiled in compiles.split(","):
        if compiled not in TITLES:
            raise UsageError(f"--compiles: {compiled!r} is none of {', '.join(TITLES)}")
        for precision in precisions.split(","):
            yield f"{precision}{TITLES[compiled]}", ["--precision", precision, "--compile", compiled]


def _rows(times: Mapping[str, Sequence[float]], images: int) -> list[dict[str, Any]]:
    """Return for each loop its median step, and how many times it is as fast as the first, the peer's."""
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
