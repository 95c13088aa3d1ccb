"""Where this package keeps files of its own."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$SMPL_CACHE`` or ``~/.cache/smpl``."""
    return Path(os.environ.get("SMPL_CACHE") or Path.home() / ".cache" / "smpl")
