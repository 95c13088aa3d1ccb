"""The way from the threads that decode to the device that trains."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class DeviceCopier:
    """Memory that worker threads fill, brought to the device beside what the device computes.

    On the CPU there is no way to go. On CUDA the memory is pinned and copied on a stream of its own; where decoding
    happens on the GPU, the memory is there from the beginning and the decoder works on that stream. The training
    stream waits for the copy, not the host.

    No test has run the CUDA half so far: no machine with a GPU was at hand when it was written.

    Args:
        device: that trains.
        decoder_device: the device that the decoder writes to.
    """

    def __init__(self, device: torch.device, decoder_device: torch.device) -> None:
        self.device, self.decoder_device = device, decoder_device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def allocate(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return memory [B, C, H, W] for a batch, channels last."""
        layout = torch.channels_last
        if self.decoder_device.type == "cuda":
            with torch.cuda.stream(self.stream):
                return torch.empty(shape, dtype=dtype, device=self.decoder_device, memory_format=layout)
        return torch.empty(shape, dtype=dtype, memory_format=layout, pin_memory=self.stream is not None)

    @contextmanager
    def copy_stream(self) -> Iterator[None]:
        """Inside, a worker may write to the memory."""
        with torch.cuda.stream(self.stream):  # without a stream this does nothing
            yield

    def to_device(self, tensors: list[Tensor]) -> list[Tensor]:
        """Return what was written, on the device, for the stream that is current here."""
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
