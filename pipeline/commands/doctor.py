"""The command ``smpl doctor``: check this machine."""

from dataclasses import asdict
from pathlib import Path

import click

from data_prep.cli_types import LocalFolder
from data_prep.system.cli import Command
from pipeline.commands.json_output import JsonFile, prints_json, write_json
from pipeline.doctor.check import CheckOptions, CheckResult, run_checks
from pipeline.doctor.diagnosis import CHECKS, healthy, summary


@click.command(cls=Command, context_settings={"max_content_width": 110})
@click.option("--data-dir", type=LocalFolder(), help="A prepared data set to train on.")
@click.option("--out", type=click.Path(path_type=Path), help="The run folder.  [default: $SMPL_RUNS, or runs]")
@click.option(
    "--json", "target", type=JsonFile(), help="Write the findings as JSON; - prints them instead of the table."
)
def main(data_dir: Path | None, out: Path | None, target: Path | None) -> int:
    """Find what would make a run fail on this machine, before it does.

    Every check runs, whatever the others find, and leaves nothing behind. Exit code 0 if no check fails, else 1.
    """
    results: list[CheckResult] = []
    for result in run_checks(CHECKS, CheckOptions(data_dir, out)):
        results.append(result)
        if not prints_json(target):
            click.echo(result.text())
    if not prints_json(target):
        click.echo(summary(results))
    write_json(target, {"healthy": healthy(results), "findings": [asdict(result) for result in results]})
    return int(not healthy(results))


if __name__ == "__main__":
    main()
