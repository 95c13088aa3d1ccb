"""What is tried in processes of its own: the libraries, two processes that talk, and a real training."""

import re
import sys
from collections.abc import Iterator

from pipeline.doctor.child import run_python
from pipeline.doctor.finding import Finding, Level, Request, read_finding

LIBRARIES_SECONDS, PAIR_SECONDS, TRAINING_SECONDS = 180, 90, 180
"""Many times what they take, for a cold network disk."""
DIVISIBLE = 1680
"""Labeled images of a step, which any usual number of GPUs divides."""
TRAINING = ["-m", "pipeline.train", "--steps", "3", "--batch-size", str(DIVISIBLE), "--mu", "1"]
TRAINING += ["--set", "model.width=4", "--out", "{}/run"]


def libraries(_: Request) -> Iterator[Finding]:
    """Hear what the checks of :mod:`pipeline.doctor.libraries` find."""
    ended = run_python(["-m", "pipeline.doctor.libraries"], LIBRARIES_SECONDS)
    found = [read_finding(line) for line in ended.output.splitlines() if line.startswith("{")]
    yield from found
    if ended.code != 0:
        what = f"after {found[-1].name}" if found else "cannot be imported"
        remedy = f"mend the installation in {sys.prefix}, as requirements.lock has it"
        yield Finding("torch", Level.FAILURE, f"{what}: {ended.problem}", remedy)


def pair(_: Request) -> Iterator[Finding]:
    """Let two processes add up numbers, on two GPUs where there are so many."""
    ended = run_python(["-m", "pipeline.doctor.pair"], PAIR_SECONDS, {"OMP_NUM_THREADS": "1"})
    if ended.code == 0:
        yield Finding("two processes", Level.OK, f"add up numbers: {ended.output.strip()}")
        return
    remedy = "name the network interface: GLOO_SOCKET_IFNAME=lo (and NCCL_SOCKET_IFNAME) on a single machine"
    yield Finding("two processes", Level.FAILURE, f"do not reach each other: {ended.problem}", remedy)


def training(_: Request) -> Iterator[Finding]:
    """Train for three steps, with a process for each GPU, as the command does."""
    ended = run_python(TRAINING, TRAINING_SECONDS, {"SMPL_DATA": "data"})  # in its temporary folder
    if ended.code == 0:
        place = re.search(r"\d+ x \w+", ended.output)
        yield Finding("training", Level.OK, f"three steps of digits{f', {place[0]}' if place else ''}")
    else:
        command = f"python {' '.join(TRAINING)}".replace("{}", "trial")
        yield Finding("training", Level.FAILURE, ended.problem, f"see it all: {command}")
