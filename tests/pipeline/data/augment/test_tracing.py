"""As a GPU makes them, views are one graph: no branch and no shape depends on data, and nothing is read back."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from pipeline.data.augment.stages import Stages
from tests.pipeline.data.augment.batches import every_view, noise

VIEWS = every_view()
SAMPLES = torch.arange(8)


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(Stages, "__call__", Stages.apply_to_batch)


@pytest.mark.slow
@pytest.mark.parametrize("name", VIEWS)
def test_compiles_to_one_graph(name):
    torch.compiler.reset()  # the views share code, and a function may be compiled for a limited number of them
    compiled = torch.compile(VIEWS[name], backend="eager", fullgraph=True)
    for key in (torch.tensor(5), torch.tensor(-6)):
        assert torch.equal(compiled(noise(), key, SAMPLES), VIEWS[name](noise(), key, SAMPLES))


@pytest.mark.slow
@pytest.mark.parametrize("name", VIEWS)
def test_a_recorded_graph_replays_for_other_images_and_keys(name):
    """A CUDA graph does this: it records the kernels once and runs them again on new data."""
    view = VIEWS[name]
    recorded = make_fx(view)(noise(), torch.tensor(5), SAMPLES)
    other = noise().flip(0)
    assert torch.equal(recorded(other, torch.tensor(9), SAMPLES + 3), view(other, torch.tensor(9), SAMPLES + 3))


@pytest.mark.parametrize("name", VIEWS)
def test_never_reads_back_from_the_device(name):
    """The meta device has no data: any read of a value raises."""
    view = VIEWS[name](noise().to("meta"), 5, SAMPLES.to("meta"))
    assert view.shape == (8, 3, 32, 32)
    assert view.dtype == torch.uint8


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", VIEWS)
def test_captured_in_a_cuda_graph(name):
    images, samples, key = noise().cuda(), SAMPLES.cuda(), torch.tensor(5, device="cuda")
    VIEWS[name](images, key, samples)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        view = VIEWS[name](images, key, samples)
    graph.replay()
    torch.cuda.synchronize()
    off = (view.cpu().int() - VIEWS[name](noise(), 5, SAMPLES).int()).abs()
    assert (off > 1).float().mean() < 0.01
