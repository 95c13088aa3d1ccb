"""The command ``smpl doctor``."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from data_prep.cli_types import LocalFolder
from data_prep.system.cli import Command
from pipeline.commands.json_output import JsonFile, prints_json, write_json
from pipeline.doctor import folders, images, machine, network, prepared, processes
from pipeline.doctor.finding import Check, Finding, Level, Request, examine

CHECKS: tuple[Check, ...] = (
    *(machine.python, machine.cpus, machine.memory, machine.shared_memory, machine.open_files),
    *folders.CHECKS,
    *(prepared.data_set, network.host_name, network.nodes, images.image_formats),
    *(processes.libraries, processes.pair, processes.training),
)
"""In the order in which they are made and told."""


@click.command(cls=Command, context_settings={"max_content_width": 110})
@click.option("--data-dir", type=LocalFolder(), help="A prepared data set that is to be trained on.")
@click.option("--out", type=click.Path(path_type=Path), help="The run folder to be.  [default: $SMPL_RUNS, or runs]")
@click.option("--json", "to", type=JsonFile(), help="Write the findings as JSON; - prints them instead of the table.")
def main(data_dir: Path | None, out: Path | None, to: Path | None) -> int:
    """Find what would make a run fail on this machine, before it does.

    Every check is made, whatever the others find, and nothing is left behind. Exit code 0 if no check fails, else 1.
    """
    found: list[Finding] = []
    for finding in examine(CHECKS, Request(data_dir, out)):
        found.append(finding)
        if not prints_json(to):
            click.echo(row(finding))
    if not prints_json(to):
        click.echo(summary(found))
    healthy = all(finding.level is not Level.FAILURE for finding in found)
    write_json(to, {"healthy": healthy, "findings": [asdict(finding) for finding in found]})
    return int(not healthy)


def row(finding: Finding) -> str:
    """Return a finding as a line of the table, and the remedy on another."""
    line = f"{finding.level:<9}{finding.name:<24} {finding.found}"
    return f"{line}\n{'':<34}-> {finding.remedy}" if finding.remedy else line


def summary(found: Sequence[Finding]) -> str:
    counts = {level: sum(finding.level == level for finding in found) for level in (Level.FAILURE, Level.WARNING)}
    told = ", ".join(f"{count} {level}{'s' * (count != 1)}" for level, count in counts.items())
    return f"{told}: {'runs will fail here' if counts[Level.FAILURE] else 'runs will work here'}"


if __name__ == "__main__":
    main()
