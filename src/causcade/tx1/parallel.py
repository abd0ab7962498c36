"""Several processes that train one model: torchrun's environment, DDP and FSDP2, and what the processes tell each other.

gloo joins processes on CPUs, NCCL those on GPUs. A single process goes through the same code without any of it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from causcade.backend import Backend, torch_device
from causcade.errors import InputError

__all__ = ["Group", "Kind", "open_group", "sharded", "whole_state"]

Kind = Literal["ddp", "fsdp"]


class Group:
    """The processes of a training.

    Attributes
    ----------
    rank, size
        Number of this process, and of all.
    device
        Where it computes.
    kind
        `ddp`: each process holds the model; `fsdp`: they share it.
    """

    def __init__(self, rank: int, size: int, device: torch.device, kind: Kind) -> None:
        self.rank, self.size, self.device, self.kind = rank, size, device, kind

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    @property
    def is_sharded(self) -> bool:
        """Whether the parameters are spread over the processes."""
        return self.kind == "fsdp" and self.size > 1

    def wrap(self, model: nn.Module, layers: Sequence[nn.Module], *, in_bfloat16: bool = False) -> nn.Module:
        """Make a model on `device` train together: its gradients are then means over the processes.

        Parameters
        ----------
        model
            With equal weights in all processes.
        layers
            Units that FSDP gathers one at a time.
        in_bfloat16
            FSDP only: gather parameters as bfloat16; gradients are added in float32.
        """
        if self.size == 1:
            return model
        if self.kind == "fsdp":
            return sharded(model, layers, in_bfloat16=in_bfloat16)
        ids = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)

    @contextlib.contextmanager
    def gradients(self, model: nn.Module, *, are_complete: bool) -> Iterator[None]:
        """Backward passes in this block exchange gradients only if they complete the step."""
        if self.size == 1:
            yield
        elif self.kind == "fsdp":
            model.set_requires_gradient_sync(are_complete)  # type: ignore[operator]
            yield
        else:
            with contextlib.nullcontext() if are_complete else model.no_sync():  # type: ignore[operator]
                yield

    def sums(self, *values: float) -> list[float]:
        """Sum numbers over the processes, in float64; waits for all of them."""
        if self.size == 1:
            return [float(value) for value in values]
        summed = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(summed)
        return [float(value) for value in summed.tolist()]

    def largest(self, value: int) -> int:
        """Return the largest of the processes' numbers."""
        if self.size == 1:
            return value
        shared = torch.tensor(value, dtype=torch.int64, device=self.device)
        dist.all_reduce(shared, op=dist.ReduceOp.MAX)
        return int(shared)

    def wait(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()

    def gathered(self, value: Any) -> list[Any]:
        """Objects of all processes, in the order of their numbers, in every process."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found


def sharded(model: nn.Module, layers: Sequence[nn.Module], *, in_bfloat16: bool = False) -> nn.Module:
    """Spread the parameters of a model over the processes (FSDP2), in place."""
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    # Inputs are not cast: raw counts above 256 would lose digits.
    policy = (
        MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
        if in_bfloat16
        else MixedPrecisionPolicy(cast_forward_inputs=False)
    )
    for part in [*layers, model]:
        fully_shard(part, mp_policy=policy)
    return model


@contextlib.contextmanager
def open_group(backend: Backend = "auto", *, kind: Kind = "ddp") -> Iterator[Group]:
    """Join the processes that torchrun started (`RANK`, `WORLD_SIZE`, `LOCAL_RANK`), or be the only one; leave them when the block ends.

    Raises
    ------
    InputError
        If there are more processes than GPUs on this machine.
    """
    size, rank, local = (int(os.environ.get(name, default)) for name, default in (("WORLD_SIZE", "1"), ("RANK", "0"), ("LOCAL_RANK", "0")))
    device = torch.device(torch_device(backend))
    if device.type == "cuda":
        if local >= torch.cuda.device_count():
            raise InputError(
                f"pretraining.processes: expected at most one process for each GPU, found {torch.cuda.device_count()} GPUs for process {local + 1}. "
                "Lower `processes`, or ask for more GPUs."
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if size == 1:
        yield Group(0, 1, device, kind)
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Group(rank, size, device, kind)
    finally:
        dist.destroy_process_group()


def whole_state(model: nn.Module) -> dict[str, Tensor]:
    """All parameters of a model, whole and on the CPU; in a group of processes that share it, empty in all but the first.

    All processes have to call it.
    """
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    found = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}
