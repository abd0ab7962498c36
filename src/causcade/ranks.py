"""Several processes that make one fit. Each takes a part of the batch of a step; gradients are added.

gloo joins processes on CPUs, NCCL those on GPUs. What must be equal everywhere is either computed from equal numbers (edge dropout and first values
are drawn on the CPU from one seed) or taken from the first process (radius, penalties), so parameters stay equal to the bit.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from causcade.errors import InputError

__all__ = ["ALONE", "Ranks", "join_ranks"]

T = TypeVar("T")
WAIT = datetime.timedelta(hours=6)  # the others wait while the first process reads the conditions


class Ranks:
    """The processes of a fit.

    Attributes
    ----------
    rank, count
        Number of this process, and of all.
    device
        Where messages between processes live: a GPU's memory under NCCL.
    """

    def __init__(self, rank: int = 0, count: int = 1, device: str = "cpu") -> None:
        self.rank, self.count, self.device = rank, count, torch.device(device)

    @property
    def is_first(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def part(self, num: int) -> slice:
        """Positions, of `num`, that are this process' own; those of all processes follow one another."""
        return slice(num * self.rank // self.count, num * (self.rank + 1) // self.count)

    def add(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Sum tensors over the processes; one message for all of them."""
        if self.count == 1:
            return list(tensors)
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]

    def take_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite tensors with those of the first process."""
        if self.count > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def number_of_first(self, make: Callable[[], float]) -> float:
        """Return the number that the first process makes; the others make none."""
        value = torch.tensor(make() if self.is_first else 0.0, dtype=torch.float64, device=self.device)
        self.take_from_first([value])
        return float(value)

    def object_of_first(self, make: Callable[[], T]) -> T:
        """Return what the first process makes; the others make nothing, and wait."""
        if self.count == 1:
            return make()
        box: list[T | None] = [make() if self.is_first else None]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]  # type: ignore[return-value]

    def any(self, *, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.count == 1:
            return flag
        found = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(found, op=dist.ReduceOp.MAX)
        return bool(found)

    def check_equal(self, tensors: Sequence[Tensor]) -> None:
        """Make sure that tensors are the same in all processes.

        Raises
        ------
        RuntimeError
            If they are not; a fit whose processes drift apart must not go on.
        """
        if self.count == 1:
            return
        sums = torch.stack([tensor.detach().double().sum() for tensor in tensors])
        low, high = sums.clone(), sums.clone()
        dist.all_reduce(low, op=dist.ReduceOp.MIN)
        dist.all_reduce(high, op=dist.ReduceOp.MAX)
        if not torch.equal(low, high):
            raise RuntimeError(f"the processes of a fit differ: sums of parameters from {low.tolist()} to {high.tolist()}")


ALONE = Ranks()


@contextlib.contextmanager
def join_ranks(device: str, setting: str) -> Iterator[tuple[Ranks, str]]:
    """Join the processes that torchrun started (`RANK`, `WORLD_SIZE`, `LOCAL_RANK`), or be the only one; leave them when the block ends.

    Parameters
    ----------
    device
        ``"cpu"`` or ``"cuda"``.
    setting
        Key of the configuration that asked for the processes, for the message.

    Yields
    ------
    tuple
        The processes, and the device of this one.

    Raises
    ------
    InputError
        If there are more processes than GPUs.
    """
    count, rank, local = (int(os.environ.get(name, default)) for name, default in (("WORLD_SIZE", "1"), ("RANK", "0"), ("LOCAL_RANK", "0")))
    if count == 1:
        yield ALONE, device
        return
    if device == "cuda":
        if local >= torch.cuda.device_count():
            raise InputError(
                f"{setting}: expected at most one process for each GPU, found {torch.cuda.device_count()} GPU(s) for process {local + 1}. "
                f"Lower `{setting}`, or ask for more GPUs."
            )
        device = f"cuda:{local}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=WAIT)
    try:
        yield Ranks(rank, count, device), device
    finally:
        dist.destroy_process_group()
