"""The parts of a run, built from its configuration: prepared data, networks, method and loader."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from data_prep.dataset.manifest import load_manifest
from data_prep.system.errors import UsageError
from pipeline.config.schema import Config
from pipeline.data.augment import build_views
from pipeline.data.batches.assemble import Loader, Views
from pipeline.data.loader_choice import RESIDENT, choose_loader
from pipeline.data.prepared_set import PreparedSet
from pipeline.data.sampling.stateless_rng import derive_key
from pipeline.data.streaming.split import StreamOptions
from pipeline.data.training_splits import TrainingData
from pipeline.distributed.world import World
from pipeline.methods import METHODS
from pipeline.methods.method import Method
from pipeline.models import MODELS
from pipeline.models.export import assemble
from pipeline.precision import Precision
from pipeline.task import Task
from pipeline.training.compilation import Compiler
from pipeline.training.initialization import initialize_from_images
from pipeline.training.trainable import Network


def build_module(config: Config, network: str, task: Task) -> nn.Sequential:
    """Return a network on the CPU whose initial weights are a function of the run's seed and the network's name."""
    torch.manual_seed(derive_key(config.seed, "weights", network) & 0x7FFFFFFFFFFFFFFF)
    return assemble(MODELS.load(config.model["name"]), config.model_options_of(network), task)


def open_data(config: Config, folder: Path, world: World) -> PreparedSet:
    """Return the prepared set, with the loader that rank 0 chooses for all, since the free memory of ranks differs.

    Raises:
        DataError: the manifest is missing or damaged.
        UsageError: the loader cannot read this set, or is not installed.
    """
    manifest, size = load_manifest(folder), config.augment.size
    choice = world.run_on_all(lambda: choose_loader(config.loader.name, manifest, size, world.device))
    choice = world.gather(choice)[0]
    options, scale = config.loader, config.augment.scale
    stream = StreamOptions(choice.name, size, scale, options.workers, options.verify)
    return PreparedSet(folder, manifest, world, choice, None if choice.name == RESIDENT else stream)


def build_networks(
    config: Config, data: TrainingData, world: World, precision: Precision, compiler: Compiler, *, begins: bool
) -> dict[str, Network]:
    """Return the networks of the method by name, on the device of this rank.

    Args:
        config: the configuration of the run.
        data: the training data.
        world: the ranks.
        precision: the number format of the passes.
        compiler: compiles the passes.
        begins: whether training begins with these weights, so that models may compute some from training images. If
            not, a checkpoint or another run replaces them.

    Raises:
        DataError: an image is broken.
    """
    kind = METHODS.load(config.method)
    start_steps, inner_rates = kind.start_steps(config.method_options()), kind.inner_rates(config.method_options())
    modules = {name: _place(build_module(config, name, data.task), world) for name in kind.networks_needed}
    if begins:
        world.run_on_all(lambda: initialize_from_images(modules.values(), data))
    return {
        name: Network(
            module,
            config.optimizer_of(name),
            world,
            precision,
            compiler=compiler,
            total=config.steps,
            wait=start_steps.get(name, 0),
            inner_rate=inner_rates.get(name),
        )
        for name, module in modules.items()
    }


def build_method(config: Config, networks: Mapping[str, Network]) -> Method:
    """Return the method. Raises UsageError if it needs a derivative that its networks do not have."""
    kind, options = METHODS.load(config.method), config.method_options()
    for name in kind.differentiated_forward(options):
        if any(isinstance(norm, nn.SyncBatchNorm) for norm in networks[name].norms):
            problem = f"this form of {config.method} differentiates the {name} forward, through BN over several GPUs"
            raise UsageError(f"{problem}, which torch cannot; take another form, --nproc 1, or a model without BN")
    method: Method = kind(
        networks,
        options,
        label_smoothing=config.label_smoothing,
        batch_statistics=config.batch_statistics,
        ramp=config.ramp,
        unlabeled=config.batch_size * config.mu,
    )
    return method


def build_loader(config: Config, data: TrainingData, world: World, compiler: Compiler) -> Loader:
    """Return the loader of this rank's batches, with the views that the method needs."""
    _, height, width = data.task.shape
    weak, strong = (compiler.view(view, world.device) for view in build_views(config.augment, height, width))
    wanted = METHODS.load(config.method).views
    return data.loader(
        data.labeled,
        data.unlabeled,
        Views(
            labeled={"weak": weak, "strong": strong}[config.augment.labeled],
            weak=weak if "weak" in wanted else None,
            strong=strong if "strong" in wanted else None,
            alternate_flip=config.augment.flip == "alternate",
        ),
        world,
        batch_size=config.batch_size,
        mu=config.mu,
        seed=config.seed,
        block=config.loader.block,
    )


def _place(module: nn.Sequential, world: World) -> nn.Sequential:
    """Move a network to the device, channels last; on several GPUs its BN statistics are those of all GPUs."""
    module = module.to(world.device).to(memory_format=torch.channels_last)
    if world.size > 1 and world.device.type == "cuda":
        synchronize_norms(module)
    return module


def synchronize_norms(module: nn.Module) -> nn.Module:
    """Make the BN layers of ``module`` compute statistics over all ranks; change ``module`` in place and return it.

    BN layers of other libraries may do more, such as an activation, and ``nn.SyncBatchNorm`` would drop it. A child
    with such layers has a method ``synchronize_norms`` that replaces them.
    """
    for name, child in module.named_children():
        own = getattr(child, "synchronize_norms", None)
        module.add_module(name, own() if own else nn.SyncBatchNorm.convert_sync_batchnorm(child))
    return module
