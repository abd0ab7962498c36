"""Embedding of a cell store in shards: several processes, one device each, and a killed job goes on after the last finished shard.

Embeddings are written to one file in `scratch`, each shard to its rows; a shard counts as finished once a small file of its own says so, which also
holds its sums over genes. What is there from another model, other settings or other cells is removed first.

Axes: N cells, G genes of the vocabulary that the store has, D dimensions.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from causcade.cells import CellStore
from causcade.errors import InputError
from causcade.files import read_json, replacing, write_json
from causcade.runtime import EXIT_USER_ERROR, Progress, num_threads
from causcade.tx1.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from causcade.tx1.embedded import CellBlock, Embedded, EmbedSettings, check_coverage, drug_rows, share_covered
from causcade.tx1.inference import EARLY_CELLS, CellEmbedder, finish

__all__ = ["embed_store", "run_worker"]

logger = logging.getLogger(__name__)

# Settings that change no result but by rounding: what was made with others is as good.
ONLY_SPEED = ("batch_tokens", "block_cells", "compile")
READ_CELLS = 4096
POLL_S = 0.5
LOG_LINES = 20
WARNED_BYTES = 8 << 30


class _Shard(NamedTuple):
    """Some of the cells: the number of the shard and its part of the rows."""

    number: int
    start: int
    stop: int


def embed_store(
    store: CellStore,
    rows: np.ndarray,
    model: str | Path | Checkpoint,
    settings: EmbedSettings,
    *,
    scratch: Path | None = None,
    devices: Sequence[str] = ("cpu",),
    workers: int = 1,
    drugs: Sequence[str] | None = None,
) -> Embedded:
    """Embed cells of a cell store.

    Parameters
    ----------
    store
        Cells of a plate.
    rows
        Rows to embed [N], ascending.
    model
        Folder or hub name of a checkpoint, or a checkpoint that was read already (it is moved to the first device, and written to `scratch` for
        several workers).
    settings
        How; `shard_cells` is the number of cells after which results are saved.
    scratch
        Folder for what is finished, so that a call with the same model, settings and cells goes on there; the caller removes it. The embeddings that
        are returned are then a view of a file in it. None: nothing outlives the call.
    devices
        Devices to compute on, such as ``cuda:0``; worker i takes number i, modulo their number.
    workers
        Processes. 1: this one; more: each has `num_threads() / workers` threads and reads the store for itself.
    drugs
        Name of each cell's drug [N], for a model with drugs.

    Returns
    -------
    Embedded
        Aligned with `rows`, the same up to rounding for any number of workers, shards or batches.

    Raises
    ------
    InputError
        As :func:`causcade.tx1.embed_blocks` says; what a worker says comes through.
    """
    rows = np.asarray(rows, dtype=np.int64)
    if len(rows) > 1 and (np.diff(rows) <= 0).any():
        raise InputError(f"{store.path}: expected rows in ascending order, found others. Sort them, and put the embeddings back in order afterwards.")
    checkpoint = model if isinstance(model, Checkpoint) else read_checkpoint(model, device=devices[0] if workers == 1 else "cpu")
    if workers == 1:
        checkpoint.model.to(devices[0])
    drug_N = None
    if drugs is not None and checkpoint.drug_ids is not None and checkpoint.shape.drugs is not None:
        drug_N = drug_rows(drugs, checkpoint.drug_ids)
    with contextlib.ExitStack() as stack:
        folder = Path(scratch) if scratch is not None else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="causcade-")))
        shards = _prepare(folder, store, rows, drug_N, checkpoint, settings)
        left = [shard for shard in shards if not _finished(folder, shard).exists()]
        if len(left) < len(shards):
            logger.info("%s: %d of %d shards are embedded already", store.path, len(shards) - len(left), len(shards))
        if left:
            _check_first(store, rows, checkpoint, settings)
        if workers == 1 or len(left) <= 1:
            checkpoint.model.to(devices[0])
            _embed_shards(store, folder, left, checkpoint, settings, progress=Progress(max(1, sum(s.stop - s.start for s in left)), "cells"))
        else:
            where = _place_for_workers(folder, model, checkpoint)
            _run_workers(store, folder, left, where, settings, devices=devices, workers=min(workers, len(left)), checkpoint=checkpoint)
        return _collect(folder, shards, store, checkpoint, settings, copies=scratch is None)


def _prepare(
    folder: Path, store: CellStore, rows: np.ndarray, drug_N: np.ndarray | None, checkpoint: Checkpoint, settings: EmbedSettings
) -> list[_Shard]:
    """Cut the cells into shards, and make the files for them unless they are there."""
    step = settings.aligned(settings.shard_cells)
    shards = [_Shard(number, start, min(start + step, len(rows))) for number, start in enumerate(range(0, len(rows), step))]
    deciding = {name: value for name, value in asdict(settings).items() if name not in ONLY_SPEED}
    plan = {
        "settings": deciding,
        "num_cells": len(rows),
        "num_dimensions": checkpoint.shape.d_model,
        "cells": _digest(rows, pd.util.hash_array(store.obs.index.to_numpy(dtype=object)[rows]), *([] if drug_N is None else [drug_N])),
        "genes": _digest(np.array("\n".join(store.var.index).encode())),
        "store": _modified(store.path),
        "model": _fingerprint(checkpoint),
    }
    if not (all((folder / name).exists() for name in ("plan.json", "z.npy")) and read_json(folder / "plan.json") == plan):
        if folder.exists():
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        shape = (len(rows), checkpoint.shape.d_model)
        if len(rows):
            np.lib.format.open_memmap(folder / "z.npy", mode="w+", dtype=np.float32, shape=shape).flush()
        else:  # nothing can be mapped
            np.save(folder / "z.npy", np.zeros(shape, dtype=np.float32))
        np.save(folder / "rows.npy", rows)
        if drug_N is not None:
            np.save(folder / "drugs.npy", drug_N)
        write_json(folder / "plan.json", plan)
    size = len(store.var) * checkpoint.shape.d_model * 8 * len(shards)
    if settings.gene_embeddings and size > WARNED_BYTES:
        logger.warning("sums over genes may take %.0f GB in %s; larger shards (`shard_cells`) take less", size / 1e9, folder)
    return shards


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(str((array.dtype.str, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _modified(path: Path) -> list[Any]:
    """Return path and time of writing of a store; a store is written once, as a whole."""
    return [str(path.resolve()), (path / "zarr.json").stat().st_mtime_ns]


def _fingerprint(checkpoint: Checkpoint) -> str:
    """Tell models apart: by their shape, their vocabulary, and a sum and some numbers of each tensor."""
    digest = hashlib.sha256(repr((checkpoint.shape, checkpoint.collator, sorted(checkpoint.vocabulary.tokens.items()))).encode())
    for name, tensor in sorted(checkpoint.model.state_dict().items()):
        # the sum is taken in float64, and again over every other number, so that two numbers that change places are seen
        flat = tensor.detach().flatten()
        sums = [float(flat.sum(dtype=torch.float64)), float(flat[::2].sum(dtype=torch.float64))]
        digest.update(repr((name, tuple(tensor.shape), sums, flat[:8].tolist())).encode())
    return digest.hexdigest()


def _finished(folder: Path, shard: _Shard) -> Path:
    """Path of the file that says that a shard is finished, and holds its sums."""
    return folder / f"shard-{shard.number:05d}.npz"


def _check_first(store: CellStore, rows: np.ndarray, checkpoint: Checkpoint, settings: EmbedSettings) -> None:
    """Check the share of known genes in the first cells, before anything takes time."""
    _, counts = next(store.iter_counts(READ_CELLS, rows))
    if counts.shape[0] >= EARLY_CELLS:
        token_F = checkpoint.vocabulary.columns(store.var.index)
        check_coverage(share_covered(counts, token_F), store.var.index, checkpoint, settings, str(store.path))


def _read_blocks(store: CellStore, rows: np.ndarray, drug_N: np.ndarray | None, num_cells: int) -> Iterator[CellBlock]:
    """Cells of the rows in blocks of exactly `num_cells`, but for the last one."""
    names = store.obs.index.to_numpy(dtype=object)
    done, waiting, num_waiting = 0, [], 0

    def block(counts: sp.csr_matrix) -> CellBlock:
        part = slice(done, done + counts.shape[0])
        return CellBlock(counts, pd.util.hash_array(names[rows[part]]), None if drug_N is None else drug_N[part])

    for _, counts in store.iter_counts(READ_CELLS, rows):
        waiting.append(counts)
        num_waiting += counts.shape[0]
        while num_waiting >= num_cells:
            whole = sp.vstack(waiting, format="csr") if len(waiting) > 1 else waiting[0]
            yield block(whole[:num_cells])
            done, num_waiting = done + num_cells, num_waiting - num_cells
            waiting = [whole[num_cells:]]
    if num_waiting:
        yield block(sp.vstack(waiting, format="csr") if len(waiting) > 1 else waiting[0])


def _embed_shards(
    store: CellStore,
    folder: Path,
    shards: Sequence[_Shard],
    checkpoint: Checkpoint,
    settings: EmbedSettings,
    *,
    progress: Progress | None = None,
    parent: int | None = None,
) -> None:
    """Embed shards one after another in this process; stop where the process that started this one is gone."""
    rows = np.load(folder / "rows.npy")
    drug_N = np.load(folder / "drugs.npy") if (folder / "drugs.npy").exists() else None
    z_ND = np.lib.format.open_memmap(folder / "z.npy", mode="r+") if shards and len(rows) else None
    block_cells = settings.aligned(settings.block_cells)
    # each shard has its own sums, but the model is prepared once
    embedder = CellEmbedder(checkpoint, store.var.index, settings) if shards else None
    for shard in shards:
        assert embedder is not None
        assert z_ND is not None
        embedder.reset()
        place = shard.start
        part = slice(shard.start, shard.stop)
        for block in _read_blocks(store, rows[part], None if drug_N is None else drug_N[part], block_cells):
            if parent is not None and os.getppid() != parent:
                sys.exit("the process that asked for this one is gone")
            stop = place + block.counts_BF.shape[0]
            embedder.measure(block.counts_BF, str(store.path))
            z_ND[place:stop] = embedder.embed(block, str(store.path))
            if progress is not None:
                progress.advance(stop - place)
            place = stop
        z_ND.flush()
        with replacing(_finished(folder, shard)) as temporary, temporary.open("wb") as handle:
            np.savez(
                handle, covered_sum=embedder.covered_sum, total_sum=embedder.total_sum, gene_sum_GD=embedder.gene_sum_GD,
                gene_cells_G=embedder.gene_cells_G,
            )  # fmt: skip


def _place_for_workers(folder: Path, model: str | Path | Checkpoint, checkpoint: Checkpoint) -> str:
    """Return where workers find the model; one that is only in memory is written to the folder."""
    if not isinstance(model, Checkpoint):
        return str(model)
    write_checkpoint(folder / "model", checkpoint)
    return str(folder / "model")


def _run_workers(
    store: CellStore,
    folder: Path,
    left: Sequence[_Shard],
    where: str,
    settings: EmbedSettings,
    *,
    devices: Sequence[str],
    workers: int,
    checkpoint: Checkpoint,
) -> None:
    """Share shards out among processes, and wait for all; the first that fails ends them."""
    threads = max(1, num_threads() // workers)
    environment = os.environ | {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}
    processes: list[tuple[subprocess.Popen[bytes], Path]] = []
    try:
        for number in range(workers):
            job = {
                "store": str(store.path), "model": where, "drugs": checkpoint.shape.drugs is not None, "device": devices[number % len(devices)],
                "threads": threads, "settings": asdict(settings), "shards": [list(shard) for shard in left[number::workers]],
            }  # fmt: skip
            write_json(folder / f"worker-{number}.json", job)
            log = folder / f"worker-{number}.log"
            command = [sys.executable, "-m", "causcade.tx1.worker", str(folder / f"worker-{number}.json")]
            with log.open("wb") as handle:
                processes.append((subprocess.Popen(command, stdout=handle, stderr=subprocess.STDOUT, env=environment), log))
        _wait(processes, folder, left)
    finally:
        for process, _ in processes:
            if process.poll() is None:
                process.terminate()
        for process, _ in processes:
            process.wait()


def _wait(processes: list[tuple[subprocess.Popen[bytes], Path]], folder: Path, left: Sequence[_Shard]) -> None:
    """Wait for all workers, and tell of finished shards."""
    progress = Progress(sum(shard.stop - shard.start for shard in left), "cells")
    waiting = list(left)
    while waiting or any(process.poll() is None for process, _ in processes):
        for process, log in processes:
            if process.poll():
                text = log.read_text(encoding="utf-8", errors="replace").strip()
                if process.returncode == EXIT_USER_ERROR:
                    raise InputError(log.with_suffix(".error").read_text(encoding="utf-8"))
                last = "\n".join(text.splitlines()[-LOG_LINES:])
                raise RuntimeError(f"a worker of the embedding ended with status {process.returncode}; its last lines:\n{last}")
        done = [shard for shard in waiting if _finished(folder, shard).exists()]
        progress.advance(sum(shard.stop - shard.start for shard in done))
        waiting = [shard for shard in waiting if shard not in done]
        if waiting and all(process.poll() == 0 for process, _ in processes):
            raise RuntimeError(f"all workers of the embedding ended, but {len(waiting)} shards are not finished")
        time.sleep(POLL_S if waiting else 0.01)


def run_worker(job_path: Path) -> None:
    """Do the part of one worker, as the file that :func:`embed_store` wrote says."""
    job = json.loads(job_path.read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    settings = EmbedSettings(**job["settings"])
    checkpoint = read_checkpoint(job["model"], drugs=job["drugs"], device=job["device"])
    with CellStore(job["store"]) as store:
        _embed_shards(store, job_path.parent, [_Shard(*shard) for shard in job["shards"]], checkpoint, settings, parent=os.getppid())


def _collect(folder: Path, shards: Sequence[_Shard], store: CellStore, checkpoint: Checkpoint, settings: EmbedSettings, *, copies: bool) -> Embedded:
    """Add up what the shards say."""
    embedder = CellEmbedder(checkpoint, store.var.index, replace(settings, compile=False))
    gene_sum_GD = np.zeros((len(embedder.gene_ids) if settings.gene_embeddings else 0, embedder.num_dimensions))
    for shard in shards:
        with np.load(_finished(folder, shard)) as data:
            embedder.covered_sum += float(data["covered_sum"])
            embedder.total_sum += float(data["total_sum"])
            if settings.gene_embeddings:
                gene_sum_GD += data["gene_sum_GD"]
                embedder.gene_cells_G += data["gene_cells_G"]
    check_coverage(embedder.covered, store.var.index, checkpoint, settings, str(store.path))
    z_ND: np.ndarray = np.load(folder / "z.npy", mmap_mode=None if copies or not shards else "r")
    return finish(z_ND, embedder, gene_sum_GD=gene_sum_GD, where=str(store.path))
