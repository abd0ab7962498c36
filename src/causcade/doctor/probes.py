"""Short measurements on the spot: the disk that results go to, sums over processes, and how fast this processor is.

Each takes a few seconds at most and leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from causcade.doctor.rates import Rates
from causcade.errors import InputError

__all__ = ["PROBES", "AllReduce", "DiskRate", "all_reduce", "disk_rate", "processor_factor"]

MB = 1_000_000
DISK_MB = 100
PART_MB = 4
REDUCED_MB = {"nccl": 256, "gloo": 16}
REDUCE_LIMIT_S = 120
STARTED_PROCESSES = 2
START = "import numpy, pandas, scipy.sparse, torch"


class DiskRate(NamedTuple):
    """Bytes a second written (to the disk, not to its cache) and read; `is_cached`: what was read may have come from memory."""

    written: float
    read: float
    is_cached: bool


class AllReduce(NamedTuple):
    """Sums over processes: `backend` (nccl or gloo), processes, bytes a second that pass each of them; 0 and what went wrong if they failed."""

    backend: str
    num_processes: int
    rate: float
    problem: str = ""


def disk_rate(folder: Path, size_mb: int = DISK_MB) -> DiskRate:
    """Write a file, have the disk finish it, and read it, as asked from the disk and not from memory where the system allows it.

    Parameters
    ----------
    folder
        Where; made where it is absent, and taken away again then. The file is removed.
    size_mb
        Size of the file in MB.

    Raises
    ------
    InputError
        If the folder cannot be written to.
    """
    part = np.random.default_rng(0).bytes(PART_MB * MB)  # not compressible
    try:
        with _there(folder), tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            started = time.perf_counter()
            for _ in range(max(1, size_mb // PART_MB)):
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
            written = file.tell() / (time.perf_counter() - started)
            is_cached = not hasattr(os, "posix_fadvise")
            if not is_cached:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            file.seek(0)
            started, size = time.perf_counter(), 0
            while block := file.read(PART_MB * MB):
                size += len(block)
            return DiskRate(written, size / (time.perf_counter() - started), is_cached)
    except OSError as error:
        raise InputError(f"{folder}: expected a folder to write results to, found {error.strerror}. Set `results` to another one.") from None


@contextlib.contextmanager
def _there(folder: Path):  # type: ignore[no-untyped-def]
    absent = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for place in absent:
            with contextlib.suppress(OSError):
                place.rmdir()


_REDUCE = """
import sys, time, torch, torch.distributed as dist
backend, rank, size, store, megabytes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], int(sys.argv[5])
torch.set_num_threads(1)
device = torch.device("cuda", rank) if backend == "nccl" else torch.device("cpu")
if backend == "nccl": torch.cuda.set_device(device)
dist.init_process_group(backend, init_method="file://" + store, rank=rank, world_size=size)
value = torch.full((megabytes * 250_000,), float(rank + 1), device=device)
dist.all_reduce(value)
assert abs(value[0].item() - size * (size + 1) / 2) < 1e-6 * size, value[0].item()
number, started = 5, time.perf_counter()
for _ in range(number): dist.all_reduce(value)
if backend == "nccl": torch.cuda.synchronize()
taken = (time.perf_counter() - started) / number
if rank == 0: print(2 * (size - 1) / size * value.numel() * 4 / taken)
dist.destroy_process_group()
"""


def all_reduce(num_gpus: int) -> AllReduce:
    """Let processes add up numbers: one for each GPU by NCCL, or two on processors by gloo where there is no GPU.

    Parameters
    ----------
    num_gpus
        GPUs of this machine.
    """
    backend = "nccl" if num_gpus else "gloo"
    size = num_gpus or STARTED_PROCESSES
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "store")
        arguments = [str(size), store, str(REDUCED_MB[backend])]
        started = [
            subprocess.Popen(
                [sys.executable, "-c", _REDUCE, backend, str(rank), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            for rank in range(size)
        ]
        deadline = time.monotonic() + REDUCE_LIMIT_S
        told = []
        try:
            told = [process.communicate(timeout=max(0.1, deadline - time.monotonic())) for process in started]
        except subprocess.TimeoutExpired:
            return AllReduce(backend, size, 0.0, f"not done within {REDUCE_LIMIT_S} s")
        finally:
            for process in started:
                process.kill()
    failed = next((error for process, (_, error) in zip(started, told, strict=True) if process.returncode), None)
    if failed is not None:
        return AllReduce(backend, size, 0.0, (failed.strip().splitlines() or ["no message"])[-1])
    return AllReduce(backend, size, float(told[0][0].split()[-1]))


def _start() -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", START], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _processor_time(work: Callable[[], object]) -> float:
    work()
    started = time.process_time()
    for _ in range(3):
        work()
    return (time.process_time() - started) / 3


def _sparse() -> float:
    import scipy.sparse as sp

    x = sp.random(4000, 2000, density=0.07, format="csr", random_state=0, dtype=np.float32)
    return _processor_time(lambda: (x.T.tocsr(), np.log1p(x.data), np.sort(x.data)))


def _product() -> float:
    import torch

    value = torch.rand((1024, 1024), generator=torch.Generator().manual_seed(0))
    return _processor_time(lambda: value @ value)


PROBES: dict[str, Callable[[], float]] = {"probe_start": _start, "probe_sparse": _sparse, "probe_product": _product}
"""Processor seconds of loading the libraries, of sparse counts, and of a product of matrices; the shipped rates have the same."""


def processor_factor(rates: Rates, probes: Mapping[str, Callable[[], float]] = PROBES) -> tuple[float, dict[str, float]]:
    """How many times longer this processor takes than that of the shipped rates: the geometric mean over the probes, and each of them.

    Parameters
    ----------
    rates
        Shipped rates, among them those of the probes.
    probes
        Functions that measure processor seconds, by the name of their rate.
    """
    found = {name: probe() / rates[name, ""].start_s for name, probe in probes.items()}
    return float(np.exp(np.mean(np.log(list(found.values()))))), found
