"""Checks that may hang or crash, run in other processes: the libraries, two ranks together, and a short training."""

import re
import sys
from collections.abc import Iterator

from pipeline.doctor.check import CheckOptions, CheckResult, Level, parse_result
from pipeline.doctor.isolated_process import run_isolated

LIBRARIES_SECONDS, TWO_PROCESSES_SECONDS, TRAINING_SECONDS = 180, 90, 180
"""Time limits of the checks, many times what they usually take: a network disk may be slow at first."""
BATCH_SIZE = 1680
"""Labeled images in a step, a number that any usual number of GPUs divides."""
TRAINING = ["-m", "pipeline.train", "--steps", "3", "--batch-size", str(BATCH_SIZE), "--mu", "1"]
TRAINING += ["--set", "model.width=4", "--out", "{}/run"]


def libraries(_: CheckOptions) -> Iterator[CheckResult]:
    """Yield what the checks of :mod:`pipeline.doctor.libraries` find."""
    process = run_isolated(["-m", "pipeline.doctor.libraries"], LIBRARIES_SECONDS)
    results = [parse_result(line) for line in process.output.splitlines() if line.startswith("{")]
    yield from results
    if process.code != 0:
        place = f"after {results[-1].name}" if results else "cannot be imported"
        remedy = f"repair the installation in {sys.prefix}; requirements.lock has the versions"
        yield CheckResult("torch", Level.FAILURE, f"{place}: {process.problem}", remedy)


def two_processes(_: CheckOptions) -> Iterator[CheckResult]:
    """Let two processes add up numbers, on two GPUs if there are two."""
    process = run_isolated(["-m", "pipeline.doctor.all_reduce"], TWO_PROCESSES_SECONDS, {"OMP_NUM_THREADS": "1"})
    if process.code == 0:
        yield CheckResult("two processes", Level.OK, f"add up numbers: {process.output.strip()}")
        return
    remedy = "name the network interface: GLOO_SOCKET_IFNAME=lo (and NCCL_SOCKET_IFNAME) on a single machine"
    yield CheckResult("two processes", Level.FAILURE, f"do not reach each other: {process.problem}", remedy)


def training(_: CheckOptions) -> Iterator[CheckResult]:
    """Train for three steps with the command itself, which starts one process for each GPU."""
    process = run_isolated(TRAINING, TRAINING_SECONDS, {"SMPL_DATA": "data"})  # in its temporary folder
    if process.code == 0:
        device = re.search(r"\d+ x \w+", process.output + process.errors)
        yield CheckResult("training", Level.OK, f"three steps of digits{f', {device[0]}' if device else ''}")
    else:
        command = f"python {' '.join(TRAINING)}".replace("{}", "trial")
        yield CheckResult("training", Level.FAILURE, process.problem, f"run it to see all of its output: {command}")
