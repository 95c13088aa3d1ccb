"""``python -m benchmarks.gpu.tests``: run test files, a process each, that have not passed in an earlier call."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import click

from benchmarks.gpu.runner import ROOT
from benchmarks.record import save_record
from data_prep.system.atomic_files import make_folder, write_durably
from data_prep.system.cli import Command
from data_prep.system.errors import UsageError
from data_prep.system.workers import available_cpus

COUNTED = re.compile(r"(\d+) (passed|failed|skipped|errors?)\b")
PASSED = {0, 5}
"""pytest's exit codes of a file that passed; 5 means that the whole file was skipped at collection."""


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("paths", nargs=-1, required=True)
@click.option("--workers", type=click.IntRange(1), help="Files to run at the same time.  [default: half the CPUs]")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Write the outcomes, once all passed.")
def main(paths: tuple[str, ...], workers: int | None, out: Path) -> int:
    """Run the test files in PATHS, which are files and folders of this checkout."""
    files = list(find_files(ROOT, paths))
    partial = out.with_suffix(".outcomes")
    outcomes: dict[str, dict[str, Any]] = json.loads(partial.read_text()) if partial.exists() else {}
    todo = [file for file in files if not outcomes.get(file, {}).get("good")]
    click.echo(f"{len(files) - len(todo)} of {len(files)} test files passed in earlier calls")
    make_folder(out.parent / "logs" / "tests")
    with closing(run_files(todo, workers or max(1, available_cpus() // 2), out.parent / "logs" / "tests")) as rows:
        for row in rows:
            outcomes[row["file"]] = row
            write_durably(partial, json.dumps(outcomes, indent=2).encode())
            click.echo(_line(row))
    if bad := [file for file in files if not outcomes[file]["good"]]:
        click.echo(f"{len(bad)} of {len(files)} test files failed: {' '.join(bad)}", err=True)
        return 1
    save_record(out, [outcomes[file] for file in files])
    return 0


def find_files(root: Path, paths: Sequence[str]) -> Iterator[str]:
    """Yield the test files of each path, relative to ``root``. Raises UsageError if there is none."""
    for name in paths:
        path = root / name
        found = [path] if path.is_file() else sorted(path.rglob("test_*.py"))
        if not found:
            raise UsageError(f"{path}: there are no tests; run the suite in a checkout of the project")
        yield from (str(file.relative_to(root)) for file in found)


@dataclass(frozen=True)
class _Running:
    process: "subprocess.Popen[str]"
    log: IO[str]
    started: float


def run_files(files: Sequence[str], workers: int, logs: Path) -> Generator[dict[str, Any]]:
    """Run ``workers`` files at a time; yield a row for each as it ends. Leaves no process behind."""
    waiting, running = list(files), dict[str, _Running]()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                file = waiting.pop(0)
                running[file] = _start(file, logs)
            ended = [file for file, one in running.items() if one.process.poll() is not None]
            for file in ended:
                yield _row(file, running.pop(file))
            if not ended:
                time.sleep(0.1)
    finally:
        for one in running.values():
            one.process.kill()
            one.process.wait()
            one.log.close()


def _start(file: str, logs: Path) -> _Running:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs", file]
    log = (logs / f"{file.replace('/', '.')}.log").open("w+")
    process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, text=True)  # noqa: S603
    return _Running(process, log, time.perf_counter())


def _row(file: str, ended: _Running) -> dict[str, Any]:
    ended.log.seek(0)
    last = (ended.log.read().strip().splitlines() or [""])[-1]
    ended.log.close()
    counts = {kind.removesuffix("s"): int(count) for count, kind in COUNTED.findall(last)}
    code, seconds = ended.process.returncode, round(time.perf_counter() - ended.started, 1)
    numbers = {kind: counts.get(kind, 0) for kind in ("passed", "failed", "skipped", "error")}
    return {"file": file, "good": code in PASSED} | numbers | {"exit_code": code, "seconds": seconds}


def _line(row: dict[str, Any]) -> str:
    counts = ", ".join(f"{row[kind]} {kind}" for kind in ("passed", "failed", "skipped", "error") if row[kind])
    return f"{'ok  ' if row['good'] else 'FAIL'} {row['file']}: {counts} in {row['seconds']} s"


if __name__ == "__main__":
    main()
