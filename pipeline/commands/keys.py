"""The command ``smpl keys``: every configuration key with its values, its default and its meaning."""

from pathlib import Path

import click

from data_prep.system.cli import Command
from data_prep.system.errors import UsageError
from pipeline.commands.json_output import JsonFile, prints_json, write_json


@click.command(cls=Command)
@click.argument("text", required=False)
@click.option("--json", "target", type=JsonFile(), help="Write the keys as JSON; - prints them instead of the text.")
def main(text: str | None, target: Path | None) -> None:
    """List the keys that a recipe and --set KEY=VALUE may set; with TEXT, those whose name or meaning contains it."""
    from pipeline.config.keys import all_keys
    from pipeline.yaml_text import write_value

    word = (text or "").lower()
    keys = [key for key in all_keys() if word in key.name.lower() or word in key.meaning.lower()]
    if not keys:
        raise UsageError(f"no key contains {text!r}; smpl keys without it lists all")
    if not prints_json(target):
        for key in keys:
            click.echo(f"{key.name}  ({key.values}; default {write_value(key.default)}; {key.reader})")
            click.echo(f"    {key.meaning}")
    write_json(target, [key._asdict() for key in keys])


if __name__ == "__main__":
    main()
