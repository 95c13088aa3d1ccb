"""Where training starts from: the averaged weights of a run that has finished."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from data_prep.system.errors import UsageError
from pipeline.config.schema import Config
from pipeline.models.export import Export, misfit, read_export
from pipeline.run_folder import MissingFileError, RunFolder
from pipeline.training.trainer import Trainer


@dataclass(frozen=True)
class Start:
    """A finished run as the beginning of another."""

    run: Path
    export: Export
    data: str
    """Fingerprint of the prepared data that it was trained on."""
    chosen: str | None
    """The member of its ensemble that every network starts from; the one of the network's own name if None."""

    def load_into(self, network: nn.Module, name: str) -> None:
        """Give the network called ``name`` its first weights. Raises UsageError where they are another's."""
        weights = self.export.weights(self.member(name))
        if problem := misfit(network, weights):
            raise UsageError(
                f"start: the weights of {self.run} do not fit the {name}: {problem}; give model.* as there"
            )
        network.load_state_dict(weights)

    def member(self, network: str) -> str:
        members = self.export.metadata.members
        wanted = self.chosen or (members[0] if len(members) == 1 else network)
        if wanted not in members:
            raise UsageError(
                f"start: {self.run} has the networks {', '.join(members)}: choose by finetune.network=NAME"
            )
        return wanted


def read_start(run: Path, chosen: str | None) -> Start:
    """Read a finished run.

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
    return Start(run, read_export(model), summary.data, chosen)


def start_networks(trainer: Trainer) -> None:
    """Put a new run's networks, and the averages over them, where its configuration says."""
    config: Config = trainer.config
    if config.start is None:
        return
    start = read_start(Path(config.start), config.finetune.network)
    for name, network in trainer.networks.items():
        start.load_into(network.module, name)
    for name, average in trainer.averages.items():
        average.network.load_state_dict(trainer.networks[name].module.state_dict())
