"""The checkpoints of a run: written atomically, and loaded only if their size and sha256 match the recorded ones.

A damaged checkpoint does not end the run. :meth:`CheckpointFolder.load_newest` skips it, loads the newest undamaged one
before it, and returns an error line for each one that it skipped. ``training/session.py`` logs these lines as warnings.
Training then repeats the steps since the checkpoint that was loaded.
"""

import hashlib
import io
import json
import pickle
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from data_prep.system.atomic_files import make_folder, write_durably
from data_prep.system.errors import DataError, UserError

KEPT_CHECKPOINTS = 2
"""Number of checkpoints to keep, the newest ones, so that another one is left if one is damaged."""
APPEAR_SECONDS = 10
"""How long a rank waits for a file that rank 0 has read; a shared volume may show it later on another node."""
POLL_SECONDS = 0.5
"""Time between two attempts to read such a file."""


@dataclass(frozen=True)
class CheckpointFolder:
    """The checkpoints of a run: ``step-00000100.pt``, and ``step-00000100.json`` with its size and sha256.

    The JSON file is written last, so a checkpoint without it is incomplete and ignored.
    """

    path: Path

    def steps(self) -> list[int]:
        """Return the steps of all complete checkpoints, oldest first."""
        return sorted(int(record.stem.removeprefix("step-")) for record in self.path.glob(f"step-{'[0-9]' * 8}.json"))

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the state after ``step`` steps, then delete all but the newest ``KEPT_CHECKPOINTS`` checkpoints.

        Raises:
            DataError: the files cannot be written.
        """
        make_folder(self.path)
        payload = io.BytesIO()
        torch.save(state, payload)
        data = payload.getvalue()
        write_durably(self._file(step, "pt"), data)
        record = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        write_durably(self._file(step, "json"), json.dumps(record).encode())
        kept = self.steps()[-KEPT_CHECKPOINTS:]
        for file in sorted(self.path.glob("step-*")):  # sorted: a record is deleted before its payload
            if not any(file.stem == self._file(step, "pt").stem for step in kept):
                file.unlink()

    def load_newest(self, device: torch.device) -> tuple[dict[str, Any] | None, list[str]]:
        """Load the newest undamaged checkpoint.

        Returns:
            Its state, or None if there are no checkpoints; and an error line for each damaged checkpoint that was
            skipped, newest first. The caller logs these lines.

        Raises:
            DataError: there are checkpoints, and all are damaged.
        """
        damage: list[str] = []
        for step in reversed(self.steps()):
            try:
                return self._load(step, device), damage
            except DataError as error:
                damage.append(str(error))
        if damage:
            raise DataError(f"{'; '.join(damage)}: no undamaged checkpoint is left; delete {self.path} to start over")
        return None, damage

    def load(self, step: int, device: torch.device) -> dict[str, Any]:
        """Return the state after ``step`` steps, which rank 0 has read; wait if its file is not visible here yet.

        Raises:
            UserError: the file does not appear, or is damaged.
        """
        deadline = time.monotonic() + APPEAR_SECONDS
        while True:
            try:
                return self._load(step, device)
            except DataError as error:
                if time.monotonic() > deadline:
                    raise UserError(f"{error}; rank 0 has read it: all nodes must share one folder") from None
            time.sleep(POLL_SECONDS)

    def _load(self, step: int, device: torch.device) -> dict[str, Any]:
        """Return the state of one checkpoint. Raises DataError unless its size and sha256 match the recorded ones."""
        path = self._file(step, "pt")
        try:
            record = json.loads(self._file(step, "json").read_text())
            data = path.read_bytes()
            whole = len(data) == record["bytes"] and hashlib.sha256(data).hexdigest() == record["sha256"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: unreadable ({error})") from None
        if not whole:
            raise DataError(f"{path}: damaged (its sha256 is not the recorded one)")
        try:
            state: dict[str, Any] = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
        except pickle.UnpicklingError as error:
            raise DataError(f"{path}: holds more than tensors and plain values: {error}".splitlines()[0]) from None
        return state

    def _file(self, step: int, suffix: str) -> Path:
        return self.path / f"step-{step:08d}.{suffix}"
