"""The packages that each part of the suite imports, and which are missing here. This file needs only Python itself."""

import re
from collections.abc import Mapping
from configparser import ConfigParser
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ALL = (
    *("click", "numpy", "pillow", "psutil", "pydantic", "pyyaml", "requests", "safetensors", "tensorboardX", "torch"),
    *("tqdm", "urllib3"),
)
NEEDS: Mapping[str, tuple[str, ...]] = {
    "tests": (*ALL, "pytest", "scikit-learn", "scipy"),
    "steps": ALL,
    "short": ALL,
    "long": ALL,
}
"""The packages that a part imports, by name of the part, in the order of the parts."""
SETTINGS = Path(__file__).parents[2] / "setup.cfg"


def complaint() -> str:
    """Return one line about the packages that are missing here, and what can run without them; empty if none is."""
    missing = dict.fromkeys(found for names in NEEDS.values() for name in names if (found := problem(name)))
    if not missing:
        return ""
    parts = ", ".join(filter(ready, NEEDS)) or "none"
    return (
        f"missing here: {', '.join(missing)}; parts that run without: {parts}; docs/gpu.md says how to bring packages"
    )


def ready(part: str) -> bool:
    """Return whether all packages of a part are installed in versions that setup.cfg allows."""
    return not any(map(problem, NEEDS[part]))


def problem(name: str) -> str:
    """Return what is wrong with a package here, such as ``click>=8.4 (8.1.8 is installed)``, or an empty text."""
    lowest = lowest_versions()[name]
    try:
        found = version(name)
    except PackageNotFoundError:
        return f"{name}>={lowest}"
    return "" if _numbers(found) >= _numbers(lowest) else f"{name}>={lowest} ({found} is installed)"


def lowest_versions() -> dict[str, str]:
    """Return the lowest version that setup.cfg allows of each package that it names."""
    settings = ConfigParser()
    settings.read_string(SETTINGS.read_text())
    texts = [settings["options"]["install_requires"], *settings["options.extras_require"].values()]
    return dict(re.findall(r"^([\w.-]+)>=(\S+)$", "\n".join(texts), re.MULTILINE))


def _numbers(text: str) -> list[int]:
    """Return the numbers of a version without its local part: ``2.11.0+cu130`` is 2, 11 and 0."""
    return [int(number) for number in re.findall(r"\d+", text.partition("+")[0])]
