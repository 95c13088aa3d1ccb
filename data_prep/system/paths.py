"""Folders outside of the data sets in which this package keeps files."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder of downloads and mirrors: ``$SMPL_CACHE``, or ``~/.cache/smpl``."""
    return Path(os.environ.get("SMPL_CACHE") or Path.home() / ".cache" / "smpl")
