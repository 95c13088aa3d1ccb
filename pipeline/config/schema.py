"""The configuration of a run: every key, its type, its default and its meaning."""

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from data_prep.splits.label_counts import read_labels
from pipeline.data.augment import AugmentOptions
from pipeline.methods import METHODS
from pipeline.models import MODELS
from pipeline.options import Options
from pipeline.registry import nearest
from pipeline.step_units import Interval, Length, Moments

Numbers = Annotated[int | str, BeforeValidator(read_labels)] | None


class DataOptions(Options):
    labels: Numbers = Field(None, description="labeled images, 5+1: of each class, or 10%; the set's usual number")
    val: Numbers = Field(None, description="validation images, taken from the training images; counted as labels are")
    seed: int = Field(0, description="of the split into labeled, unlabeled and validation images")
    include_labeled: bool = Field(True, description="whether labeled images are among the unlabeled ones too")
    extra: bool = Field(False, description="SVHN: use the 531,131 additional images")
    test: str | None = Field(None, description="folder without test images: how many of the others become such")
    resize: int | None = Field(None, ge=0, description="image files: pixels of the shorter side, where it is longer")


class LoaderOptions(Options):
    """How samples come to the device; which sample is where in which batch depends on ``block`` alone."""

    name: Literal["auto", "resident", "webdataset", "dali"] = Field(
        "auto", description="resident: decoded once, kept on the device; the others stream; auto: what fits"
    )
    workers: int | None = Field(None, ge=1, description="streams: decoding threads of a process; its CPUs if absent")
    block: int = Field(0, ge=0, description="shards shuffled together, for a cache that holds no more; 0 is all")
    verify: Literal["always", "once", "never"] = Field(
        "once", description="streams: when sha256 are checked; resident reads all and always does"
    )


class OptimizerOptions(Options):
    name: Literal["sgd", "adamw"] = Field("sgd", description="sgd has Nesterov momentum")
    lr: float = Field(0.03, ge=0, description="base learning rate")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum; AdamW's first beta")
    weight_decay: float = Field(5e-4, ge=0, description="L2 penalty on weights; never on BN and biases")
    clip: float | None = Field(None, gt=0, description="largest gradient norm")
    warmup: Length = Field(0, ge=0, description="steps of linear warm-up, or of one-cycle's rise (30 % of all if 0)")
    schedule: Literal["cosine", "constant", "step", "one-cycle"] = Field("cosine", description="after the warm-up")
    milestones: Moments = Field([], description="step: where the rate falls")
    decay: float = Field(0.1, gt=0, le=1, description="step: the factor by which it falls")


class NetworkOptions(Options):
    """What one network has otherwise than the rest, such as the teacher's learning rate."""

    lr: float | None = Field(None, ge=0, description="base learning rate")
    weight_decay: float | None = Field(None, ge=0, description="L2 penalty")
    dropout: float | None = Field(None, ge=0, lt=1, description="dropout before the classifier")


class FinetuneOptions(Options):
    """What ``--finetune`` makes of this run; the run itself reads only ``network``, and only with ``start``."""

    lr: float = Field(5e-6, ge=0, description="constant learning rate of the fine-tuning")
    steps: int = Field(8000, ge=1, description="training steps of the fine-tuning")
    network: str | None = Field(None, description="which network to start from, of a run that evaluates several")


class Config(Options):
    """A run, resolved. ``model`` and ``sections`` are checked against the chosen model's and method's own options."""

    dataset: str = Field("digits", description="name of the data set")
    method: str = Field("smpl", description="training method")
    seed: int = Field(0, ge=0, description="of weights, order, views and dropout")
    steps: int = Field(1000, ge=1, description="training steps")
    budget_minutes: float | None = Field(
        None, gt=0, description="wall clock of the whole run; steps, and all that is counted in them, are fitted to it"
    )
    batch_size: int = Field(64, ge=1, description="labeled images a step, over all processes")
    mu: int = Field(7, ge=1, description="unlabeled images for each labeled one")
    accumulate: int = Field(1, ge=1, description="micro-batches a step on each process")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="number format of forward passes")
    compile: Literal["auto", "off", "max"] = Field(
        "auto", description="compiled networks and views; auto: on a GPU; max: with CUDA graphs, and on a CPU too"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="of the labeled loss")
    batch_statistics: Literal["joint", "separate"] = Field(
        "joint", description="of BN, where a loss takes several kinds of images: of one pass, or of a pass each"
    )
    ema: float = Field(
        0.995, ge=0, lt=1, description="decay of the evaluated average of the weights; a budget does not change it"
    )
    eval_every: Interval = Field(500, ge=1, description="steps between evaluations on the validation split")
    save_every: Interval = Field(500, ge=1, description="steps between checkpoints")
    log_every: int = Field(10, ge=1, description="steps between lines of the log")
    data: DataOptions = DataOptions()
    loader: LoaderOptions = LoaderOptions()
    augment: AugmentOptions = AugmentOptions()
    optimizer: OptimizerOptions = OptimizerOptions()
    networks: dict[str, NetworkOptions] = Field({}, description="options of single networks, by name")
    model: dict[str, Any] = Field({"name": "wide_resnet"}, description="name and options of the network")
    start: str | None = Field(None, description="run folder whose averaged weights training starts from")
    origin: str | None = Field(None, description="fingerprint of the run at start; noted by itself")
    finetune: FinetuneOptions = FinetuneOptions()
    sections: dict[str, dict[str, Any]] = Field({}, description="options of the method, by section")

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in self.networks:
            if name not in (known := METHODS.load(self.method).networks_needed):
                raise ValueError(f"networks.{name}: {self.method} has no such network; {nearest(name, known)}")
        return self

    def method_options(self) -> dict[str, BaseModel]:
        return {name: kind(**self.sections[name]) for name, kind in METHODS.load(self.method).sections.items()}

    def optimizer_of(self, network: str) -> OptimizerOptions:
        own = self.networks.get(network, NetworkOptions()).model_dump(exclude_none=True, exclude={"dropout"})
        return self.optimizer.model_copy(update=own)

    def model_options_of(self, network: str) -> BaseModel:
        own = self.networks.get(network, NetworkOptions()).model_dump(exclude_none=True, include={"dropout"})
        options = {name: value for name, value in self.model.items() if name != "name"}
        return MODELS.load(self.model["name"]).Options(**options | own)

    def without_weights(self) -> Self:
        """Return the configuration of networks whose weights, of a file or a hub, come from elsewhere by now."""
        return self.model_copy(update={"model": self.model | dict.fromkeys(self.model.keys() & {"weights"})})

    def tree(self) -> dict[str, Any]:
        """Return the resolved configuration as the nested mapping that a recipe would be."""
        tree = self.model_dump(mode="json", exclude={"sections"}, exclude_defaults=False)
        return tree | self.sections

    def fingerprint(self) -> str:
        """Return a hash over all that shapes the weights but the data, which have a fingerprint of their own."""
        apart = MAY_CHANGE | {"budget_minutes", "data", "finetune", "loader"}
        shaping = {key: value for key, value in self.tree().items() if key not in apart}
        shaping |= {"finetune.network": self.finetune.network, "loader.block": self.loader.block}
        shaping["start"] = shaping.pop("origin") or self.start
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()


MAY_CHANGE = frozenset(
    {
        *("steps", "accumulate", "precision", "compile", "eval_every", "save_every", "log_every"),
        *("loader.name", "loader.workers", "loader.verify"),
        *("finetune.lr", "finetune.steps"),
        "start",
    }
)
"""Keys that a resumed run may have otherwise than the run it continues; the finetune ones speak of another run,
and the run at ``start`` is known by its ``origin``.

A checkpoint knows the precision it was made in, which ``auto`` does not. Loaders give the same samples; of JPEGs two
decoders make pixels that differ by rounding.
"""


def batch_error(config: Config, world_size: int) -> str | None:
    """Return why the batch cannot be cut into equal micro-batches, or None."""
    parts = world_size * config.accumulate
    if config.batch_size % parts == 0:
        return None
    fitting = max(parts, config.batch_size // parts * parts)
    return (
        f"batch_size: {config.batch_size} cannot be cut into {world_size} processes x {config.accumulate} "
        f"micro-batches; try --batch-size {fitting}"
    )
