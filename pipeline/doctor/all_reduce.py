"""A program in which two processes add up a number together, as the ranks of a run do."""

import os
import socket
from contextlib import closing

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes

from pipeline.distributed.world import World, join_world, leave_world


def main() -> None:
    """Start both ranks as forks, which need not import torch again. This process must not have used a GPU before."""
    start_processes(add_up, (_free_port(),), nprocs=2, start_method="fork")


def add_up(rank: int, port: int) -> None:
    """Add up the numbers 1 and 2 of the two ranks; rank 0 prints the backend that did it.

    Raises:
        RuntimeError: the sum is wrong.
    """
    variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in variables.items()})
    if torch.cuda.device_count() > 1:
        world = join_world()
    else:  # ranks never share a GPU
        dist.init_process_group("gloo")
        world = World(rank, 2, torch.device("cpu"))
    total = world.sum(torch.tensor([rank + 1.0], device=world.device)).item()
    agreed = world.any(rank == 1)
    leave_world()
    if (total, agreed) != (3.0, True):
        raise RuntimeError(f"the sum of 1 and 2 was {total}")
    if world.main:
        print("NCCL, with gloo beside it" if world.device.type == "cuda" else "gloo")  # noqa: T201


def _free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("localhost", 0))
        port: int = listener.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
