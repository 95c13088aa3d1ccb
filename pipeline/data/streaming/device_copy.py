"""Copy batches from the threads that decode them to the device that trains, while that device computes."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class DeviceCopier:
    """Allocates the memory that worker threads fill, and copies it to the device on a CUDA stream of its own.

    On the CPU nothing is copied. On CUDA the memory is pinned. If the decoder works on the GPU, the memory is
    allocated there and the decoder uses this stream. The training stream waits for the copy; the host does not.

    The CUDA half has not been tested yet: it was written on a machine without a GPU.

    Args:
        device: the device that trains.
        decoder_device: the device that the decoder writes to.
    """

    def __init__(self, device: torch.device, decoder_device: torch.device) -> None:
        self.device, self.decoder_device = device, decoder_device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def allocate(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return uninitialized memory [B, C, H, W] for a batch, channels last."""
        layout = torch.channels_last
        if self.decoder_device.type == "cuda":
            with torch.cuda.stream(self.stream):
                return torch.empty(shape, dtype=dtype, device=self.decoder_device, memory_format=layout)
        return torch.empty(shape, dtype=dtype, memory_format=layout, pin_memory=self.stream is not None)

    @contextmanager
    def copy_stream(self) -> Iterator[None]:
        """Return a context in which a worker thread may write to the memory, on the copy stream."""
        with torch.cuda.stream(self.stream):  # does nothing if the stream is None
            yield

    def to_device(self, tensors: list[Tensor]) -> list[Tensor]:
        """Return the tensors on the device, ready for the stream that is current in the calling thread."""
        if self.stream is None:
            return tensors
        with torch.cuda.stream(self.stream):
            moved = [tensor.to(self.device, non_blocking=True) for tensor in tensors]
            copied = self.stream.record_event()
        current = torch.cuda.current_stream(self.device)
        current.wait_event(copied)
        for tensor in moved:
            tensor.record_stream(current)
        return moved
