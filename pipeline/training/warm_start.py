"""Warm start: a new run begins with the averaged weights of a finished run, which its key ``start`` names.

The most frequent use is ``--finetune``, whose configuration is made by ``config/finetune.py``.
"""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from data_prep.system.errors import UsageError
from pipeline.config.schema import Config
from pipeline.models.export import Export, bare_network, find_mismatch, read_export
from pipeline.run_folder import MissingFileError, RunFolder
from pipeline.training.trainer import Trainer


@dataclass(frozen=True)
class FinishedRun:
    """A finished run whose weights a new run starts from."""

    path: Path
    """Its run folder."""
    export: Export
    data: str
    """Fingerprint of the prepared set that it was trained on."""
    network: str | None
    """Name of the network of this run from which every network of the new run starts.

    If it is None, each network of the new run starts from the one of the same name, or from the only one of this run.
    """

    def load_into(self, network: nn.Module, name: str) -> None:
        """Give the network called ``name`` its first weights. Raises UsageError if they do not fit."""
        weights = self.export.weights(self.member(name))
        if problem := find_mismatch(bare_network(network), weights):
            raise UsageError(
                f"start: the weights of {self.path} do not fit the {name}: {problem}; set model.* as in that run"
            )
        bare_network(network).load_state_dict(weights)

    def member(self, network: str) -> str:
        """Return which of the run's networks ``network`` starts from. Raises UsageError if that is unclear."""
        members = self.export.metadata.members
        wanted = self.network or (next(iter(members)) if len(members) == 1 else network)
        if wanted not in members:
            raise UsageError(
                f"start: {self.path} has the networks {', '.join(members)}: choose by finetune.network=NAME"
            )
        return wanted


def read_finished_run(run: Path, network: str | None) -> FinishedRun:
    """Read a finished run.

    Args:
        run: its folder.
        network: see :attr:`FinishedRun.network`.

    Raises:
        UsageError: there is no such run, or it has not finished.
        DataError: its summary or its exported model is damaged.
    """
    if not run.is_dir():
        raise UsageError(f"start: there is no run folder {run}")
    folder = RunFolder(run)
    try:
        summary, model = folder.summary(), folder.exported_model()
    except MissingFileError as error:
        raise UsageError(f"start: {error}") from None
    return FinishedRun(run, read_export(model), summary.data, network)


def load_start_weights(trainer: Trainer) -> None:
    """Give the networks of a new run, and their averages, the weights of the run at ``start``, if there is one."""
    config: Config = trainer.config
    if config.start is None:
        return
    start = read_finished_run(Path(config.start), config.finetune.network)
    for name, network in trainer.networks.items():
        start.load_into(network.module, name)
    for name, average in trainer.averages.items():
        average.network.load_state_dict(trainer.networks[name].module.state_dict())
