"""The configuration of a run: every key with its type, default and meaning, and the keys that may change in a run."""

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from data_prep.splits.label_counts import read_labels
from pipeline.data.augment import AugmentOptions
from pipeline.methods import METHODS
from pipeline.models import MODELS
from pipeline.models.view_average import TestViews
from pipeline.options import Options
from pipeline.registry import nearest
from pipeline.step_units import Interval, Length, StepNumbers

ImageCount = Annotated[int | str, BeforeValidator(read_labels)] | None
"""How many images: a number, a number for each class (``5+1``), or a share (``10%``)."""


class DataOptions(Options):
    """How the set is prepared: which images are labeled, and how large they are stored."""

    labels: ImageCount = Field(
        None, description="labeled images: a number, 5+1 for each class, or 10%; default: the data set's usual number"
    )
    val: ImageCount = Field(None, description="validation images, taken from the training images; see labels")
    seed: int = Field(0, description="seed of the split into labeled, unlabeled and validation images")
    include_labeled: bool = Field(True, description="whether the labeled images are among the unlabeled ones as well")
    extra: bool = Field(False, description="SVHN: whether to use the 531,131 additional images")
    test: str | None = Field(None, description="image folders without a test split: how many images to test on")
    resize: int | None = Field(None, ge=0, description="image files: longest allowed shorter side, in pixels")


class LoaderOptions(Options):
    """How samples are read and brought to the device; only ``block`` changes which batch a sample is in."""

    name: Literal["auto", "resident", "webdataset", "dali"] = Field(
        "auto", description="resident decodes once and keeps all on the device, the others stream; auto: what fits"
    )
    workers: int | None = Field(None, ge=1, description="streams: decoding threads of each process; default: its CPUs")
    block: int = Field(0, ge=0, description="shards that are shuffled together, if the cache holds no more; 0: all")
    verify: Literal["always", "once", "never"] = Field(
        "once", description="streams: when the sha256 of shards is checked; resident always checks it"
    )


class OptimizerOptions(Options):
    """The optimizer of every network and its learning rate schedule."""

    name: Literal["sgd", "adamw"] = Field("sgd", description="the optimizer")
    lr: float = Field(0.03, ge=0, description="base learning rate")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD, first beta of AdamW")
    nesterov: bool = Field(True, description="sgd: Nesterov's form of momentum instead of the plain one")
    weight_decay: float = Field(5e-4, ge=0, description="L2 penalty; adamw: decoupled weight decay")
    decayed: Literal["weights", "all"] = Field(
        "weights", description="parameters with weight decay: weights, which leaves out BN and biases; or all"
    )
    clip: float | None = Field(None, gt=0, description="norm to which larger gradients are clipped")
    warmup: Length = Field(0, ge=0, description="steps of linear warm-up; of one-cycle, of its rise (0: 30 % of all)")
    bn_bias_lr_factor: float = Field(
        1.0, gt=0, description="how many times higher the learning rate of BN's biases is; plain descent has no factor"
    )
    schedule: Literal["cosine", "triangular", "constant", "step", "one-cycle"] = Field(
        "cosine", description="learning rate schedule after the warm-up; triangular falls in a straight line"
    )
    milestones: StepNumbers = Field([], description="schedule step: the steps at which the rate falls")
    decay: float = Field(0.1, gt=0, le=1, description="schedule step: the factor at each milestone")


class NetworkOptions(Options):
    """The options in which one network differs from the others, such as the teacher's learning rate."""

    lr: float | None = Field(None, ge=0, description="base learning rate")
    weight_decay: float | None = Field(None, ge=0, description="L2 penalty")
    dropout: float | None = Field(None, ge=0, lt=1, description="dropout before the classifier")


class FinetuneOptions(Options):
    """Options of a later ``--finetune`` of this run; the run itself reads only ``network``, and only with ``start``."""

    lr: float = Field(5e-6, ge=0, description="constant learning rate of the fine-tuning")
    steps: int = Field(
        8000, ge=1, description="training steps: the SMPL paper's 8,000 epochs, as its authors' library counts them"
    )
    network: str | None = Field(None, description="network to start from, if the run evaluates several")


class Config(Options):
    """The resolved configuration of a run.

    ``model`` and ``sections`` have been checked by the options of the chosen model and method.
    """

    dataset: str = Field("digits", description="name of the data set")
    method: str = Field("smpl", description="training method")
    seed: int = Field(0, ge=0, description="seed of weights, sample order, views and dropout")
    steps: int = Field(1000, ge=1, description="training steps")
    budget_minutes: float | None = Field(
        None, gt=0, description="wall-clock minutes of the whole run, to which all numbers of steps are fitted"
    )
    batch_size: int = Field(64, ge=1, description="labeled images per step, over all processes")
    mu: int = Field(7, ge=1, description="unlabeled images for each labeled one")
    accumulate: int = Field(1, ge=1, description="micro-batches per step on each process")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="number format of forward passes")
    compile: Literal["auto", "off", "max"] = Field(
        "auto", description="compiled networks and views; auto: on one GPU; max: with CUDA graphs, and on a CPU as well"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing of the labeled loss")
    batch_statistics: Literal["joint", "separate"] = Field(
        "joint", description="BN of labeled and unlabeled images in one loss: in one pass, or in separate passes"
    )
    ramp: Length = Field(
        0, ge=0, description="steps over which the weight of the unlabeled loss grows from 0, in every method"
    )
    ema: float = Field(0.995, ge=0, lt=1, description="decay of the averaged weights; a time budget does not change it")
    test_views: TestViews = Field(
        "plain", description="copies of an image over which the final scores average the logits; plain: the image alone"
    )
    eval_every: Interval = Field(500, ge=1, description="steps between evaluations on the validation split")
    save_every: Interval = Field(500, ge=1, description="steps between checkpoints")
    log_every: int = Field(10, ge=1, description="steps between log lines")
    data: DataOptions = DataOptions()
    loader: LoaderOptions = LoaderOptions()
    augment: AugmentOptions = AugmentOptions()
    optimizer: OptimizerOptions = OptimizerOptions()
    networks: dict[str, NetworkOptions] = Field({}, description="options of individual networks, by name")
    model: dict[str, Any] = Field({"name": "wide_resnet"}, description="name and options of the network")
    start: str | None = Field(None, description="run folder with the averaged weights that training starts from")
    origin: str | None = Field(None, description="fingerprint of the run at start, which smpl-train records")
    finetune: FinetuneOptions = FinetuneOptions()
    sections: dict[str, dict[str, Any]] = Field({}, description="options of the method, by section")

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in self.networks:
            if name not in (known := METHODS.load(self.method).networks_needed):
                raise ValueError(f"networks.{name}: {self.method} has no such network; {nearest(name, known)}")
        return self

    def method_options(self) -> dict[str, BaseModel]:
        """Return the options of the method, by section."""
        return {name: kind(**self.sections[name]) for name, kind in METHODS.load(self.method).sections.items()}

    def lengths_beyond_the_run(self) -> list[str]:
        """Return ``key=value`` of the ramp, the warm-up and the milestones that the run ends before, if it uses them.

        A network's warm-up begins when the network begins to learn.
        """
        method, optimizer = METHODS.load(self.method), self.optimizer
        found = [f"ramp={self.ramp}"] if method.views and not method.needs_truth and self.ramp > self.steps else []
        start_steps = method.start_steps(self.method_options())
        for name in method.networks_needed:
            start = start_steps.get(name, 0)
            if start + optimizer.warmup > self.steps:
                of = f" of the {name}, which begins at step {start}" if start else ""
                found.append(f"optimizer.warmup={optimizer.warmup}{of}")
        if optimizer.schedule == "step" and any(milestone >= self.steps for milestone in optimizer.milestones):
            found.append(f"optimizer.milestones={optimizer.milestones}")
        return list(dict.fromkeys(found))

    def optimizer_of(self, network: str) -> OptimizerOptions:
        """Return the optimizer options of one network."""
        changes = self.networks.get(network, NetworkOptions()).model_dump(exclude_none=True, exclude={"dropout"})
        return self.optimizer.model_copy(update=changes)

    def model_options_of(self, network: str) -> BaseModel:
        """Return the model options of one network."""
        changes = self.networks.get(network, NetworkOptions()).model_dump(exclude_none=True, include={"dropout"})
        options = {name: value for name, value in self.model.items() if name != "name"}
        return MODELS.load(self.model["name"]).Options(**options | changes)

    def without_weights(self) -> Self:
        """Return the configuration without pretrained weights, because a checkpoint or another run replaces them."""
        return self.model_copy(update={"model": self.model | dict.fromkeys(self.model.keys() & {"weights"})})

    def tree(self) -> dict[str, Any]:
        """Return the configuration as the nested mapping that a recipe is."""
        tree = self.model_dump(mode="json", exclude={"sections"}, exclude_defaults=False)
        return tree | self.sections

    def fingerprint(self) -> str:
        """Return a hash of all keys that shape the weights; the data have a fingerprint of their own."""
        ignored = MAY_CHANGE | {"budget_minutes", "data", "finetune", "loader"}
        shaping = {key: value for key, value in self.tree().items() if key not in ignored}
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
"""Keys that may change when a run is resumed.

``precision`` is not compared because it may be ``auto``; a checkpoint records the number format that was chosen, and
that one must stay. All loaders give the same samples, except that two JPEG decoders round pixels differently. The
``finetune`` keys are options of another run, and the run at ``start`` is identified by its ``origin``.
"""


def batch_error(config: Config, world_size: int) -> str | None:
    """Return why the batch cannot be divided into equal micro-batches, as an error line, or None."""
    parts = world_size * config.accumulate
    if config.batch_size % parts == 0:
        return None
    fitting = max(parts, config.batch_size // parts * parts)
    return (
        f"batch_size: {config.batch_size} cannot be divided into {world_size} processes x {config.accumulate} "
        f"micro-batches; try --batch-size {fitting}"
    )
