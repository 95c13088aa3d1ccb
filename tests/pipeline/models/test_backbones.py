"""Networks of torchvision and timm: their weights, their frozen layers, and their error messages."""

import copy
import json
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from data_prep.system.errors import DataError, UsageError, UserError
from pipeline.config.resolve import resolve
from pipeline.models import MODELS
from pipeline.models.backbone import Backbone
from pipeline.models.dry_run import find_unused_parameters
from pipeline.models.export import assemble, export_model, load_model, read_export
from pipeline.models.freeze import frozen_modules
from pipeline.models.pretrained import read_weights
from pipeline.models.timm_model import TimmModel, load_timm
from pipeline.task import Task
from pipeline.training.factory import build_module, synchronize_norms
from pipeline.training.trainer import Trainer
from tests.pipeline.conftest import make_config

pytest.importorskip("timm")

State = dict[str, Tensor]


def task(channels: int = 3, size: int = 32, classes: int = 5) -> Task:
    return Task((channels, size, size), (125.0,) * channels, (62.0,) * channels, classes)


def build(name: str = "torchvision", of: Task | None = None, seed: int = 0, **options: Any) -> Backbone:
    torch.manual_seed(seed)
    model_class = MODELS.load(name)
    model: Backbone = model_class(model_class.Options(**options), of or task())
    return model


def images(channels: int = 3, size: int = 32) -> Tensor:
    return torch.randn(4, channels, size, size, generator=torch.Generator().manual_seed(7))


def tensors(model: Backbone) -> State:
    return {name: tensor.clone() for name, tensor in model.network.state_dict().items()}


def differing(left: State, right: State) -> set[str]:
    assert left.keys() == right.keys()
    return {name for name in left if not torch.equal(left[name], right[name])}


def refusal(action: Callable[[], object], model_class: type[UserError]) -> str:
    """Return the message of the error that ``action`` raises."""
    with pytest.raises(model_class) as caught:
        action()
    line = str(caught.value)
    assert "\n" not in line
    return line


ARCHITECTURES = [
    ("torchvision", "resnet18"),
    ("torchvision", "mobilenet_v3_small"),
    ("torchvision", "squeezenet1_1"),
    ("torchvision", "googlenet"),
    ("timm", "resnet18"),
    ("timm", "test_efficientnet"),
    ("timm", "vit_tiny_patch16_224"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("library", "architecture"), ARCHITECTURES)
def test_every_image_gives_a_row_of_logits_and_every_parameter_a_gradient(library: str, architecture: str) -> None:
    model = build(library, architecture=architecture)
    logits = model(images())
    assert logits.shape == (4, 5)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_initial_weights_are_a_function_of_the_seed(library: str) -> None:
    first, again, other = (tensors(build(library, seed=seed)) for seed in (0, 0, 1))
    assert not differing(first, again)
    assert "conv1.weight" in differing(first, other)


def test_gray_images_are_shown_in_all_three_channels() -> None:
    gray = images(channels=1)
    model = build(of=task(channels=1)).eval()
    assert torch.equal(model(gray), model.network(torch.cat([gray, gray, gray], 1)))


def bare(state: State, path: Path) -> Path:
    torch.save(state, path / "bare.pth")
    return path / "bare.pth"


def checkpoint(state: State, path: Path) -> Path:
    """Return a checkpoint as another training loop saves it under DataParallel."""
    parallel = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save({"epoch": 3, "state_dict": parallel}, path / "checkpoint.pt")
    return path / "checkpoint.pt"


def nested(state: State, path: Path) -> Path:
    torch.save({"model": OrderedDict(state), "best": 0.9}, path / "nested.pt")
    return path / "nested.pt"


def tensors_only(state: State, path: Path) -> Path:
    save_file(state, path / "tensors.safetensors")
    return path / "tensors.safetensors"


@pytest.mark.slow
@pytest.mark.parametrize("save", [bare, checkpoint, nested, tensors_only])
@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_a_file_gives_all_tensors_but_a_classifier_for_other_classes(
    library: str, save: Callable[[State, Path], Path], tmp_path: Path
) -> None:
    saved = tensors(build(library, task(classes=9), seed=1))
    model = tensors(build(library, weights=str(save(saved, tmp_path))))
    head = {"fc.weight", "fc.bias"}
    assert not differing(
        {name: tensor for name, tensor in model.items() if name not in head},
        {name: tensor for name, tensor in saved.items() if name not in head},
    )
    fresh = tensors(build(library))
    assert all(torch.equal(model[name], fresh[name]) for name in head)


def test_a_classifier_for_as_many_classes_comes_along(tmp_path: Path) -> None:
    saved = tensors(build(seed=1))
    assert not differing(tensors(build(weights=str(bare(saved, tmp_path)))), saved)


def test_a_file_needs_no_classifier_and_no_counts_of_batches(tmp_path: Path) -> None:
    saved = tensors(build(seed=1))
    less = {name: tensor for name, tensor in saved.items() if not name.startswith("fc") and "num_batches" not in name}
    model = tensors(build(weights=str(bare(less, tmp_path))))
    assert differing(model, saved) == {"fc.weight", "fc.bias"}


def before_names_were_split(state: State) -> State:
    return {
        name.replace("norm1.", "norm.1.").replace("conv1.", "conv.1.").replace("conv2.", "conv.2."): tensor
        for name, tensor in state.items()
    }


def with_auxiliary_classifier(state: State) -> State:
    return state | {"aux1.fc1.weight": torch.zeros(1024, 2048)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "published"),
    [("densenet121", before_names_were_split), ("googlenet", with_auxiliary_classifier), ("mnasnet0_5", dict)],
)
def test_files_that_torchvision_publishes_fit(
    architecture: str, published: Callable[[State], State], tmp_path: Path
) -> None:
    saved = tensors(build(architecture=architecture, seed=1))
    path = bare(published(saved), tmp_path)
    assert not differing(tensors(build(architecture=architecture, weights=str(path))), saved)


@pytest.mark.slow
def test_position_embeddings_are_fitted_to_the_size_of_the_images(tmp_path: Path) -> None:
    large = tensors(build("timm", task(size=64), seed=1, architecture="vit_tiny_patch16_224"))
    path = bare(large, tmp_path)
    small = tensors(build("timm", architecture="vit_tiny_patch16_224", weights=str(path)))
    assert small.pop("pos_embed").shape == (1, 1 + 2 * 2, 192)
    large.pop("pos_embed")
    assert not differing(small, large)


def without_a_layer(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if name != "layer1.0.conv1.weight"}


def with_a_layer_more(state: State) -> State:
    return state | {"layer1.2.conv1.weight": torch.zeros(64, 64, 3, 3)}


def with_another_width(state: State) -> State:
    return state | {"bn1.weight": torch.zeros(32)}


def of_another_network(state: State) -> State:
    return {f"encoder.{name}": tensor for name, tensor in state.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "find_mismatch"),
    [
        (without_a_layer, "it lacks layer1.0.conv1.weight"),
        (with_a_layer_more, "the network has no layer1.2.conv1.weight"),
        (with_another_width, "bn1.weight has shape [32], not [64]"),
        (of_another_network, "the network has no encoder.conv1.weight"),
    ],
)
@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_a_file_of_another_network_is_refused_with_the_first_tensor_that_does_not_fit(
    library: str, change: Callable[[State], State], find_mismatch: str, tmp_path: Path
) -> None:
    path = bare(change(tensors(build(library))), tmp_path)
    line = refusal(lambda: build(library, weights=str(path)), DataError)
    assert line == f"model.weights: {path} does not fit: {find_mismatch}"


def test_a_file_for_another_kind_of_timm_network_is_refused(tmp_path: Path) -> None:
    path = bare(tensors(build("timm")), tmp_path)
    options = {"architecture": "vit_tiny_patch16_224", "weights": str(path)}
    assert "does not fit" in refusal(lambda: build("timm", **options), DataError)


def cut(path: Path) -> None:
    torch.save({"weight": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])


def more_than_weights(path: Path) -> None:
    torch.save(SimpleNamespace(weight=torch.zeros(3)), path)


def no_weights(path: Path) -> None:
    torch.save({"epoch": 3}, path)


def named_by_numbers(path: Path) -> None:
    torch.save({0: torch.zeros(3), 1: torch.zeros(3)}, path)


def text(path: Path) -> None:
    path.write_text("root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n")


def short_text(path: Path) -> None:
    path.write_text("c")


def other_bytes(path: Path) -> None:
    path.write_bytes(bytes(range(256)))


def empty(path: Path) -> None:
    path.touch()


SPOILED: list[tuple[Callable[[Path], object], str]] = [
    (Path.mkdir, "Is a directory"),
    (cut, "damaged"),
    (more_than_weights, "holds something other"),
    (no_weights, "no weights"),
    (named_by_numbers, "no weights"),
    (text, "holds something other"),
    (short_text, "holds something other"),
    (other_bytes, "holds something other"),
    (empty, "holds something other"),
]


@pytest.mark.parametrize(("spoil", "problem"), SPOILED)
def test_a_file_without_weights_is_refused(spoil: Callable[[Path], object], problem: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    spoil(path)
    line = refusal(lambda: build(weights=str(path)), DataError)
    assert str(path) in line
    assert problem in line


@pytest.mark.parametrize("first", range(256))
def test_no_first_byte_makes_another_file_a_traceback(first: int, tmp_path: Path) -> None:
    """The reader executes opcodes, and each of them fails in a different way."""
    path = tmp_path / "weights.pt"
    path.write_bytes(bytes([first]) + b"root:x:0:0\n")
    assert str(path) in refusal(lambda: read_weights(path), DataError)


def test_tensors_that_cannot_be_copied_are_refused(tmp_path: Path) -> None:
    path = bare({name: tensor.to("meta") for name, tensor in tensors(build()).items()}, tmp_path)
    line = refusal(lambda: build(weights=str(path)), DataError)
    assert line == f"model.weights: {path} does not fit: its tensors cannot be copied"


@pytest.mark.parametrize("name", ["absent.pt", "absent.safetensors"])
def test_a_file_that_does_not_exist_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    assert "No such file" in refusal(lambda: build(weights=str(path)), DataError)


HUBS = {
    "torchvision": "torchvision.models._api.load_state_dict_from_url",
    "timm": "timm.models._builder.load_state_dict_from_hf",
}


@pytest.mark.parametrize("library", HUBS)
def test_published_weights_arrive_with_a_classifier_of_the_tasks_own(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = tensors(build(library, task(classes=1000), seed=1))
    monkeypatch.setattr(HUBS[library], lambda *_, **__: dict(published))
    model = tensors(build(library, weights="default"))
    assert model["fc.weight"].shape == (5, 512)
    assert {name for name in model if not torch.equal(model[name], published[name])} == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize("error", [URLError("no route"), RuntimeError("invalid hash value\nexpected"), EOFError()])
@pytest.mark.parametrize("library", HUBS)
def test_a_failed_download_is_one_line_with_the_remedy(
    library: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(HUBS[library], fail)
    line = refusal(lambda: build(library, weights="default"), DataError)
    assert f"{library} resnet18" in line
    assert "model.weights=FILE" in line


def norms_of(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]


def train_a_step(model: Backbone) -> None:
    """Make one step as the engine does, with a pass that leaves the running statistics as they are."""
    norms = norms_of(model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    model.train()
    for tracks in (False, True):
        for norm in norms:
            norm.track_running_stats = tracks
        logits = model(images())
    logits.square().sum().backward()
    optimizer.step()


def below(name: str, layers: set[str]) -> bool:
    return name.split(".", maxsplit=1)[0] in layers


@pytest.mark.slow
@pytest.mark.parametrize(
    ("freeze", "still"),
    [
        ("backbone", {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}),
        ("layer3", {"conv1", "bn1", "layer1", "layer2", "layer3"}),
        ("conv1", {"conv1"}),
        (None, set()),
    ],
)
@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_frozen_layers_do_not_move_and_all_others_do(library: str, freeze: str | None, still: set[str]) -> None:
    model = build(library, freeze=freeze)
    for norm in norms_of(model):
        nn.init.ones_(norm.weight)  # timm has residual branches start at zero, where their convolutions get no gradient
    before = tensors(model)
    train_a_step(model)
    assert differing(before, tensors(model)) == {name for name in before if not below(name, still)}


def test_a_class_token_is_frozen_with_any_layer() -> None:
    model = build("timm", architecture="vit_tiny_patch16_224", freeze="patch_embed")
    learning = {name for name, parameter in model.network.named_parameters() if parameter.requires_grad}
    assert learning == {
        name for name, _ in model.network.named_parameters() if below(name, {"blocks", "norm", "fc_norm", "head"})
    }


def test_dropout_in_frozen_layers_is_off() -> None:
    model = build(architecture="mobilenet_v3_small", freeze="backbone").train()
    assert torch.equal(model(images()), model(images()))
    assert model.training
    assert not model.eval().training


def test_layers_stay_frozen_in_copies_and_under_synchronized_norms() -> None:
    model = copy.deepcopy(build(freeze="layer1"))
    converted = synchronize_norms(nn.Sequential(model)).train()
    norms = {name: layer for name, layer in converted.named_modules() if isinstance(layer, nn.SyncBatchNorm)}
    assert {name.split(".")[2] for name, norm in norms.items() if not norm.training} == {"bn1", "layer1"}
    assert {name.split(".")[2] for name, norm in norms.items() if norm.training} == {"layer2", "layer3", "layer4"}
    assert not any(parameter.requires_grad for parameter in norms["0.network.bn1"].parameters())


def test_norms_with_an_activation_keep_it_when_they_are_synchronized() -> None:
    model = nn.Sequential(build("timm", architecture="test_efficientnet")).eval()
    expected = model(images())
    synchronize_norms(model)
    assert any(isinstance(layer, nn.SyncBatchNorm) for layer in model.modules())
    assert torch.equal(model(images()), expected)


@pytest.mark.parametrize(
    ("freeze", "words"),
    [
        ("layer33", "model.freeze: no layer 'layer33': did you mean 'layer3'?"),
        ("fc", "model.freeze: 'fc' contains the classifier or comes after it; choose a layer before it"),
    ],
)
@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_a_layer_that_cannot_be_frozen_is_refused(library: str, freeze: str, words: str) -> None:
    assert refusal(lambda: build(library, freeze=freeze), UsageError) == words


def test_all_but_the_classifier_is_all_around_it_too() -> None:
    network = nn.Sequential(OrderedDict(features=nn.Conv2d(3, 4, 1), head=nn.Sequential(nn.Linear(4, 4), nn.ReLU())))
    assert frozen_modules(network, "backbone", ["head.0"]) == {"", "features", "head", "head.1"}
    assert frozen_modules(network, "features", ["head.0"]) == {"features"}
    assert frozen_modules(network, None, ["head.0"]) == frozenset()


@pytest.mark.slow
@pytest.mark.parametrize(("library", "architecture"), ARCHITECTURES)
def test_dropout_stands_before_the_classifier_and_only_in_training(library: str, architecture: str) -> None:
    plain, dropping = (build(library, architecture=architecture, dropout=rate) for rate in (0, 0.5))
    assert torch.equal(plain.eval()(images()), dropping.eval()(images()))
    assert plain.network.state_dict().keys() == dropping.network.state_dict().keys()
    (name,) = plain.classifier()
    inputs: dict[Backbone, Tensor] = {}
    for model in (plain, dropping):
        layer, own = model.train().network.get_submodule(name), model
        layer.register_forward_hook(lambda _, given, __, own=own: inputs.update({own: given[0]}))
        torch.manual_seed(3)
        model(images())
    dropped = (inputs[dropping] == 0)[inputs[plain] != 0]
    assert dropped.float().mean() == pytest.approx(0.5, abs=0.1)


def library_network(library: str, architecture: str, classes: int) -> nn.Module:
    """Return the network as a user of the library alone builds it."""
    if library == "torchvision":
        return torchvision.models.get_model(architecture, num_classes=classes)
    import timm

    network: nn.Module = timm.create_model(architecture, num_classes=classes)
    return network


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "architecture"),
    [("torchvision", "shufflenet_v2_x0_5"), ("torchvision", "densenet121"), ("timm", "test_efficientnet")],
)
def test_the_library_itself_loads_the_exported_file_and_training_starts_from_it(
    library: str, architecture: str, tmp_path: Path
) -> None:
    """With dropout in training too, and with the normalization of the metadata the logits are the same."""
    model_class, of, path = MODELS.load(library), task(), tmp_path / "model.safetensors"
    options = model_class.Options(architecture=architecture, dropout=0.5)
    trained = assemble(model_class, options, of).eval()
    described = {"name": library, **options.model_dump(mode="json")}
    metadata = {"classes": json.dumps(list("abcde")), "model": json.dumps(described)}
    export_model(path, {"model": trained}, of, metadata)

    network = library_network(library, architecture, of.classes).eval()
    network.load_state_dict(load_file(path))
    facts, pictures = read_export(path).metadata, 100 + 60 * images()
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (facts.mean, facts.std))
    assert torch.allclose(network((pictures - mean) / std), trained(pictures), atol=1e-4)
    assert torch.allclose(load_model(path)(pictures), trained(pictures), atol=1e-4)

    started = build(library, seed=1, architecture=architecture, weights=str(path))
    assert not differing(started.network.state_dict(), load_file(path))


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_an_unknown_architecture_is_refused_with_the_nearest(library: str) -> None:
    flags = {"model": {"name": library, "architecture": "resnet81"}}
    line = refusal(lambda: resolve({}, flags), UsageError)
    assert line == "command line: model.architecture: unknown architecture 'resnet81': did you mean 'resnet18'?"


def test_a_name_like_none_is_refused_with_a_few_and_not_a_thousand() -> None:
    flags = {"model": {"name": "timm", "architecture": "?"}}
    assert len(refusal(lambda: resolve({}, flags), UsageError)) < 200


@pytest.mark.parametrize("options", [{}, {"architecture": "resnet18"}])
def test_without_timm_the_line_says_what_to_install(options: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    line = refusal(lambda: build("timm", **options), UsageError)
    assert line == "model timm: needs the package timm; pip install smpl-pipeline[timm]"


@pytest.mark.parametrize(
    ("library", "architecture", "of"),
    [
        ("torchvision", "alexnet", task(size=32)),
        ("torchvision", "resnet18", task(channels=2)),
        ("timm", "vit_tiny_patch16_224", task(size=8)),
        ("timm", "crossvit_tiny_240", task(size=32)),
    ],
)
def test_images_that_an_architecture_cannot_take_are_refused(library: str, architecture: str, of: Task) -> None:
    line = refusal(lambda: build(library, of, architecture=architecture), UsageError)
    shape = "x".join(map(str, of.shape))
    assert line.startswith(f"model {library}: {architecture} does not accept images of {shape}: ")


def test_an_architecture_without_a_classifier_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = load_timm()
    encoder = timm.create_model("test_resnet")
    encoder.pretrained_cfg["classifier"] = None
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: encoder)
    line = refusal(lambda: build("timm", architecture="test_resnet"), UsageError)
    assert line.endswith(": it has no classifier")


class Forked(nn.Module):
    """A layer, another one that nothing depends on, and dropout."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.used, self.idle = nn.Linear(3, classes), nn.Linear(3, classes)
        self.dropout = nn.Dropout(0.5)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(self.dropout(self.norm(x)).mean((2, 3))) + 0 * self.idle.weight.detach().sum()


def test_unused_parameters_are_found_and_neither_network_nor_random_stream_changes() -> None:
    network = Forked(5)
    before, stream = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    assert {id(parameter) for parameter in find_unused_parameters(network, task())} == {
        id(p) for p in network.idle.parameters()
    }
    assert torch.equal(stream, torch.get_rng_state())
    assert not differing(before, network.state_dict())


@pytest.mark.parametrize("output", [lambda logits: (logits, logits), lambda logits: logits[:, :4], lambda logits: 0])
def test_an_output_that_is_no_row_of_logits_is_refused(output: Callable[[Tensor], object]) -> None:
    network = Forked(5)
    network.register_forward_hook(lambda _module, _inputs, logits: output(logits))
    with pytest.raises(ValueError, match="not a row of 5 logits"):
        find_unused_parameters(network, task())


def test_options_survive_the_way_through_a_configuration(tmp_path: Path) -> None:
    options = {"name": "torchvision", "architecture": "squeezenet1_1", "freeze": "backbone", "dropout": 0.25}
    config = make_config(model=options)
    assert config.model == options | {"weights": None}
    again = resolve(config.tree(), {})
    assert again.fingerprint() == config.fingerprint()
    assert make_config(model=options | {"freeze": None}).fingerprint() != config.fingerprint()
    first, second = (build_module(each, "model", task()) for each in (config, again))
    second.load_state_dict(first.state_dict())
    assert not differing(first.state_dict(), second.state_dict())


def test_a_run_trains_a_frozen_backbone_with_dropout_of_a_networks_own(make_trainer: Callable[..., Trainer]) -> None:
    options = {"name": "timm", "architecture": "test_resnet", "freeze": "layer2"}
    trainer = make_trainer(method="supervised", model=options, networks={"model": {"dropout": 0.5}})
    model = trainer.networks["model"].module[1]
    (dropout,) = model.network.fc._forward_pre_hooks.values()
    assert dropout.args == (0.5,)
    before = tensors(model)
    trainer.train()
    moved = {name.split(".")[0] for name in differing(before, tensors(model))}
    assert moved == {"layer3", "layer4", "fc"}
    averaged = trainer.averages["model"].network[1]
    assert {name.split(".")[0] for name in differing(before, tensors(averaged))} == moved


@pytest.mark.parametrize("published", [False, True])
def test_a_run_that_has_a_checkpoint_asks_for_its_first_weights_no_more(
    make_trainer: Callable[..., Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, published: bool
) -> None:
    path = bare(tensors(build("timm", task(channels=1, size=8, classes=4), architecture="test_resnet")), tmp_path)
    weights = "default" if published else str(path)
    monkeypatch.setattr(TimmModel, "published", lambda *_: read_weights(path))
    options = {"name": "timm", "architecture": "test_resnet", "weights": weights}
    make_trainer(method="supervised", model=options, steps=2).train()
    path.unlink()
    resumed = make_trainer(method="supervised", model=options, steps=4)
    resumed.restore()
    assert resumed.step == 2
    resumed.train()
    with pytest.raises(DataError, match=r"model\.weights: cannot read|cannot load the published weights"):
        make_trainer(out="new", method="supervised", model=options)


def test_weights_of_a_file_do_not_outlive_the_change_of_a_configuration(
    make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    """That a resumed run does not load them is no change of the configuration: another file is still refused."""
    state = tensors(build("timm", task(channels=1, size=8, classes=4), architecture="test_resnet"))
    options = {"name": "timm", "architecture": "test_resnet", "weights": str(bare(state, tmp_path))}
    make_trainer(method="supervised", model=options, steps=1).train()
    with pytest.raises(UsageError, match="another configuration"):
        make_trainer(method="supervised", model=options | {"weights": "other.pt"}).restore()
