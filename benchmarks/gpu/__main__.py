"""``python -m benchmarks.gpu``: name the packages that are missing in one line, then run the suite.

Up to there this imports only what Python itself has.
"""

import sys

from benchmarks.gpu.packages import NEEDS, complaint, ready


def main() -> None:
    """Run the suite if at least one of its parts can run here."""
    if line := complaint():
        sys.stderr.write(f"{line}\n")
    if not any(map(ready, NEEDS)):
        sys.exit(2)
    from benchmarks.gpu.command import main as command  # noqa: PLC0415

    command()


if __name__ == "__main__":
    main()
