"""Checks of torch and the libraries that use it. Run as a program, this module prints the results as lines of JSON.

The program runs in a process of its own: libraries that do not fit the driver or the processor may crash or hang.
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
from pipeline.doctor.check import Check, CheckOptions, CheckResult, Level, one_line, run_checks
from pipeline.doctor.machine import gpus as gpus_shown
from pipeline.precision import choose_precision
from pipeline.training.compilation import choose_compiler, missing_here

OLDEST = (2, 11)
"""The oldest version of torch that works."""
SIDE = 64
"""Rows and columns of the matrices that a GPU multiplies."""
GRAY = 100
"""The value, of 255, of all pixels of the image that is decoded."""
MATCHING_VERSIONS = "install torch and torchvision that were built for each other, as in requirements.lock"


def torch_build(_: CheckOptions) -> Iterator[CheckResult]:
    """Check torch's version and the backends that it was built with."""
    backends = {"gloo": dist.is_available() and dist.is_gloo_available(), "NCCL": dist.is_nccl_available()}
    built = [name for name, available in backends.items() if available]
    cuda = torch.version.cuda
    found = f"{torch.__version__}, {f'CUDA {cuda}' if cuda else 'without CUDA'}, {' and '.join(built) or 'no backend'}"
    if tuple(map(int, re.findall(r"\d+", torch.__version__)[:2])) < OLDEST:
        yield CheckResult("torch", Level.FAILURE, found, f"install torch {'.'.join(map(str, OLDEST))} or newer")
    elif "gloo" not in built or (cuda and "NCCL" not in built):
        yield CheckResult("torch", Level.WARNING, found, "several processes need both: install torch's own wheel")
    else:
        yield CheckResult("torch", Level.OK, found)


def vision(_: CheckOptions) -> Iterator[CheckResult]:
    """Run an operator that torchvision registers only with the torch that it was built for, and decode an image."""
    try:
        import torchvision  # noqa: PLC0415

        boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2], [4, 4, 6, 6]])
        kept = torchvision.ops.nms(boxes, torch.tensor([1.0, 0.5, 0.8]), 0.5).tolist()
    except (ImportError, RuntimeError, AttributeError) as error:
        yield CheckResult("torchvision", Level.FAILURE, one_line(error), MATCHING_VERSIONS)
        return
    if kept != [0, 2]:
        yield CheckResult(
            "torchvision",
            Level.FAILURE,
            f"{torchvision.__version__}: nms kept boxes {kept}, not [0, 2]",
            MATCHING_VERSIONS,
        )
    elif problem := _decoding_problem():
        found = f"{torchvision.__version__}, whose image decoder does not work: {problem}"
        yield CheckResult("torchvision", Level.NOTE, f"{found}; Pillow decodes instead")
    else:
        yield CheckResult("torchvision", Level.OK, f"{torchvision.__version__} fits torch, and decodes images")


def gpus(_: CheckOptions) -> Iterator[CheckResult]:
    """Multiply two matrices on every GPU."""
    if not torch.cuda.is_available():
        remedy = "make nvidia-smi work here; install a driver that is new enough for torch's CUDA"
        level, remedy = (Level.WARNING, remedy) if gpus_shown() else (Level.NOTE, "")
        yield CheckResult("GPUs", level, f"none, CPU only: {_reason()}", remedy)
        return
    for number in range(torch.cuda.device_count()):
        yield _try_gpu(number)


def precision(_: CheckOptions) -> Iterator[CheckResult]:
    """Report what ``--precision auto`` chooses here."""
    device = this_device()
    yield CheckResult("precision", Level.OK, f"auto is {choose_precision('auto', device).name} on {device.type}")


def compiling(_: CheckOptions) -> Iterator[CheckResult]:
    """Report what ``--compile`` can do here."""
    device = this_device()
    gpu, missing = device.type == "cuda", missing_here(device)
    if missing:
        level = Level.WARNING if gpu else Level.NOTE
        yield CheckResult(
            "compile", level, f"off: it needs {missing}", "install it, or train more slowly" if gpu else ""
        )
    else:
        found = f"auto is {choose_compiler('auto', device, 1).name} on {device.type}; max is possible"
        yield CheckResult("compile", Level.OK, found)


def dali(_: CheckOptions) -> Iterator[CheckResult]:
    """Decode an image with DALI, on the CPU and on a GPU if there is one."""
    try:
        from nvidia import dali as library  # noqa: PLC0415
    except ImportError:
        yield CheckResult("DALI", Level.NOTE, "not installed; Pillow and torchvision decode the images")
        return
    found = f"{library.__version__} decodes on the "
    devices = sorted({"cpu", this_device().type})
    for device in devices:
        try:
            _decode_with_dali(device)
        except Exception as error:  # DALI raises errors of many types
            remedy = "install a DALI of torch's CUDA version, or train with --loader webdataset"
            level = Level.FAILURE if device == "cuda" else Level.WARNING
            yield CheckResult("DALI", level, f"{library.__version__} on {device}: {one_line(error)}", remedy)
            return
    yield CheckResult("DALI", Level.OK, found + " and ".join(devices))


CHECKS: tuple[Check, ...] = (torch_build, vision, gpus, precision, compiling, dali)


def _try_gpu(number: int) -> CheckResult:
    name = f"GPU {number}"
    try:
        properties = torch.cuda.get_device_properties(number)
        ones = torch.ones(SIDE, SIDE, device=f"cuda:{number}")
        total = (ones @ ones).sum().item()
        free, size = torch.cuda.mem_get_info(number)
    except RuntimeError as error:
        return CheckResult(
            name, Level.FAILURE, one_line(error), "install a driver and a torch that fit this GPU; see nvidia-smi"
        )
    found = f"{properties.name}, {free / 1e9:.1f} of {size / 1e9:.1f} GB free"
    if total != SIDE**3:
        return CheckResult(
            name, Level.FAILURE, f"{found}; its products are wrong", "leave it out with CUDA_VISIBLE_DEVICES"
        )
    if free < size / 2:
        return CheckResult(name, Level.WARNING, found, "end the other programs on it, which nvidia-smi lists")
    return CheckResult(name, Level.OK, found)


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
    """Return why torchvision cannot decode a JPEG, or None if it can."""
    try:
        image = torch.ops.image.decode_image(torch.frombuffer(bytearray(_jpeg()), dtype=torch.uint8), 3, False)
    except (RuntimeError, AttributeError) as error:
        return one_line(error)
    return None if tuple(image.shape) == (3, 16, 16) else f"shape {tuple(image.shape)}"


def _decode_with_dali(device: str) -> None:
    target = torch.device(device, 0) if device == "cuda" else torch.device(device)
    batch = torch.empty(1, 3, 16, 16, dtype=torch.uint8, device=target)
    DaliDecoder((3, 16, 16), target, resized=False, workers=1)([Sample(0, "jpg", _jpeg(), 0)], [], [batch])
    if abs(batch.float().mean().item() - GRAY) > 2:
        raise ValueError(f"pixels of value {GRAY} were decoded as {batch.float().mean().item():.0f}")


def _jpeg() -> bytes:
    """Return a gray image of 16 x 16 pixels."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16), (GRAY, GRAY, GRAY)).save(file, "JPEG")
    return file.getvalue()


def main() -> None:
    """Print each result as a line of JSON."""
    for result in run_checks(CHECKS, CheckOptions()):
        print(json.dumps(asdict(result)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
