"""torch and what builds on it; as a program it prints its findings as lines of JSON.

It is run in a process of its own, where libraries that do not fit the driver, or the processor, may crash or hang.
"""

import io
import json
import re
from collections.abc import Iterator
from dataclasses import asdict

import torch
import torch.distributed as dist
from PIL import Image

from data_prep.formats.sample import Sample
from pipeline.data.streaming.dali import DaliDecoder
from pipeline.distributed.world import this_device
from pipeline.doctor.finding import Check, Finding, Level, Request, examine, one_line
from pipeline.doctor.machine import gpus as gpus_shown
from pipeline.precision import choose_precision
from pipeline.training.compilation import choose_compiler, missing_here

OLDEST = (2, 11)
SIDE = 64
"""Of the matrices that a GPU multiplies on trial."""
GRAY = 100
"""Of the image that is decoded on trial."""
FIT = "install torch and torchvision that were built for each other, as in requirements.lock"


def torch_itself(_: Request) -> Iterator[Finding]:
    backends = {"gloo": dist.is_available() and dist.is_gloo_available(), "NCCL": dist.is_nccl_available()}
    there = [name for name, available in backends.items() if available]
    cuda = torch.version.cuda
    found = f"{torch.__version__}, {f'CUDA {cuda}' if cuda else 'without CUDA'}, {' and '.join(there) or 'no backend'}"
    if tuple(map(int, re.findall(r"\d+", torch.__version__)[:2])) < OLDEST:
        yield Finding("torch", Level.FAILURE, found, f"install torch {'.'.join(map(str, OLDEST))} or newer")
    elif "gloo" not in there or (cuda and "NCCL" not in there):
        yield Finding("torch", Level.WARNING, found, "several processes need both: install torch's own wheel")
    else:
        yield Finding("torch", Level.OK, found)


def vision(_: Request) -> Iterator[Finding]:
    """Run an operator that only a torchvision that fits its torch has, and decode an image."""
    try:
        import torchvision  # noqa: PLC0415

        boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2], [4, 4, 6, 6]])
        kept = torchvision.ops.nms(boxes, torch.tensor([1.0, 0.5, 0.8]), 0.5).tolist()
    except (ImportError, RuntimeError, AttributeError) as error:
        yield Finding("torchvision", Level.FAILURE, one_line(error), FIT)
        return
    if kept != [0, 2]:
        yield Finding(
            "torchvision", Level.FAILURE, f"{torchvision.__version__}: nms kept boxes {kept}, not [0, 2]", FIT
        )
    elif problem := _decoding_problem():
        found = f"{torchvision.__version__}, whose image decoder does not work: {problem}"
        yield Finding("torchvision", Level.NOTE, f"{found}; Pillow decodes instead")
    else:
        yield Finding("torchvision", Level.OK, f"{torchvision.__version__} fits torch, and decodes images")


def gpus(_: Request) -> Iterator[Finding]:
    """Multiply matrices on every GPU."""
    if not torch.cuda.is_available():
        level = Level.WARNING if gpus_shown() else Level.NOTE
        remedy = (
            "nvidia-smi must work here; install a driver that is new enough for torch's CUDA" if gpus_shown() else ""
        )
        yield Finding("GPUs", level, f"none, CPU only: {_reason()}", remedy)
        return
    for number in range(torch.cuda.device_count()):
        yield _try_gpu(number)


def precision(_: Request) -> Iterator[Finding]:
    """Tell what ``--precision auto`` takes here."""
    device = this_device()
    yield Finding("precision", Level.OK, f"auto is {choose_precision('auto', device).name} on {device.type}")


def compiling(_: Request) -> Iterator[Finding]:
    """Tell what ``--compile`` can do here."""
    device = this_device()
    gpu, missing = device.type == "cuda", missing_here(device)
    if missing:
        level = Level.WARNING if gpu else Level.NOTE
        yield Finding("compile", level, f"off: it needs {missing}", "see to it, or train slower" if gpu else "")
    else:
        found = f"auto is {choose_compiler('auto', device, 1).name} on {device.type}; max is possible"
        yield Finding("compile", Level.OK, found)


def dali(_: Request) -> Iterator[Finding]:
    """Decode an image by DALI, on the CPU and on a GPU if there is one."""
    try:
        from nvidia import dali as library  # noqa: PLC0415
    except ImportError:
        yield Finding("DALI", Level.NOTE, "not installed; images are decoded by Pillow and torchvision")
        return
    found = f"{library.__version__} decodes on the "
    devices = sorted({"cpu", this_device().type})
    for device in devices:
        try:
            _decode_by_dali(device)
        except Exception as error:  # it raises errors of many kinds
            remedy = "install a DALI of torch's CUDA version, or train with --loader webdataset"
            level = Level.FAILURE if device == "cuda" else Level.WARNING
            yield Finding("DALI", level, f"{library.__version__} on {device}: {one_line(error)}", remedy)
            return
    yield Finding("DALI", Level.OK, found + " and ".join(devices))


CHECKS: tuple[Check, ...] = (torch_itself, vision, gpus, precision, compiling, dali)


def _try_gpu(number: int) -> Finding:
    name = f"GPU {number}"
    try:
        properties = torch.cuda.get_device_properties(number)
        ones = torch.ones(SIDE, SIDE, device=f"cuda:{number}")
        total = (ones @ ones).sum().item()
        free, size = torch.cuda.mem_get_info(number)
    except RuntimeError as error:
        return Finding(name, Level.FAILURE, one_line(error), "a driver and a torch that fit this GPU; see nvidia-smi")
    found = f"{properties.name}, {free / 1e9:.1f} of {size / 1e9:.1f} GB free"
    if total != SIDE**3:
        return Finding(
            name, Level.FAILURE, f"{found}; it multiplies wrongly", "take it out of use: CUDA_VISIBLE_DEVICES"
        )
    if free < size / 2:
        return Finding(name, Level.WARNING, found, "end the other programs on it; nvidia-smi names them")
    return Finding(name, Level.OK, found)


def _reason() -> str:
    """Return why torch sees no GPU."""
    if torch.version.cuda is None:
        return "this torch is built without CUDA"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error).split(". ")[0].splitlines()[0]
    return "no device is visible"


def _decoding_problem() -> str | None:
    """Return why torchvision decodes no JPEG, or None."""
    try:
        image = torch.ops.image.decode_image(torch.frombuffer(bytearray(_jpeg()), dtype=torch.uint8), 3, False)
    except (RuntimeError, AttributeError) as error:
        return one_line(error)
    return None if tuple(image.shape) == (3, 16, 16) else f"shape {tuple(image.shape)}"


def _decode_by_dali(device: str) -> None:
    place = torch.device(device, 0) if device == "cuda" else torch.device(device)
    batch = torch.empty(1, 3, 16, 16, dtype=torch.uint8, device=place)
    DaliDecoder((3, 16, 16), place, resized=False, workers=1)([Sample(0, "jpg", _jpeg(), 0)], [], [batch])
    if abs(batch.float().mean().item() - GRAY) > 2:
        raise ValueError(f"a gray of {GRAY} was decoded to {batch.float().mean().item():.0f}")


def _jpeg() -> bytes:
    """Return a gray image of 16 x 16."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16), (GRAY, GRAY, GRAY)).save(file, "JPEG")
    return file.getvalue()


def main() -> None:
    """Print a line for each finding."""
    for finding in examine(CHECKS, Request()):
        print(json.dumps(asdict(finding)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
