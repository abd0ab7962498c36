"""Residual coexpression: the kernel against other ways to the same matrix, memory and time over the number of cells, and what follows the sums.

    python benchmarks/coexpression.py [--output benchmarks/results/coexpression.json] [--quick]

Only ratios within one run mean anything: machines differ, and shared ones differ from minute to minute. Peers are therefore measured in turns with
the kernel, and the median of the ratios of neighbouring measurements is reported with its spread. Memory is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from coexpression_gpu import measure as measure_precision
from screen import simulate_blocks, simulate_counts

from causcade.cells import CellStore, log_normalise, write_store
from causcade.coexpression import (
    add_moments,
    measure_moments,
    residual_correlation,
    top_partners,
    write_coexpression,
    write_moments,
)
from causcade.coexpression.blocks import Preparation, anchored_counts
from causcade.coexpression.dense import PRECISIONS
from causcade.coexpression.kernels import KERNEL_CELLS, HybridGram
from causcade.files import read_json, write_json

NUM_GENES = 14_142
ATLAS_DENSITY = 0.066
DENSITIES = (0.01, 0.026, 0.066, 0.11, 0.18, 0.26)
TERMS = ["log_counts", "mito_fraction", "s_score", "g2m_score", "plate", "cell_line"]
NUM_LINES = 50
PARTS = ["compared", "scaling", "precisions"]
SEED = 0


def expression(num_cells: int, density: float) -> sp.csr_matrix:
    """Log-normalised simulated cells, float32."""
    counts = simulate_counts(num_cells, NUM_GENES, density, seed=SEED)
    return log_normalise(counts, np.asarray(counts.sum(axis=1), dtype=np.float64).ravel())


def timed(function: Callable[[], Any]) -> float:
    """Seconds of one call; what it returns is dropped before the next."""
    start = time.perf_counter()
    result = function()
    seconds = time.perf_counter() - start
    del result
    return seconds


def load_mkl() -> Any:
    """Return sparse_dot_mkl, or None where it or MKL is not installed."""
    libraries = sorted(Path(sys.prefix, "lib").glob("libmkl_rt.so*"))
    if libraries:
        os.environ.setdefault("MKL_RT", str(libraries[0]))
    try:
        import sparse_dot_mkl
    except ImportError:
        return None
    return sparse_dot_mkl


def peers(x: sp.csr_matrix, *, all_of_them: bool) -> dict[str, tuple[int, Callable[[], Any]]]:
    """Other ways to X'X or to the correlations of the cells: number of cells given to each, and the call."""
    import torch
    from scipy.linalg.blas import ssyrk

    dense = x[:KERNEL_CELLS].toarray()
    total = np.zeros((NUM_GENES, NUM_GENES), dtype=np.float32, order="F")
    found: dict[str, tuple[int, Callable[[], Any]]] = {
        "BLAS ssyrk": (len(dense), lambda: ssyrk(1.0, dense, trans=1, c=total, beta=1.0, overwrite_c=1)),
    }
    mkl = load_mkl() if x.nnz < np.prod(x.shape) else None  # nobody would multiply a full matrix as a sparse one
    part = x[:KERNEL_CELLS]
    if mkl is not None:
        transposed = sp.csr_matrix(part.T)
        found["MKL sparse x sparse to dense"] = (part.shape[0], lambda: mkl.dot_product_mkl(transposed, part, dense=True))
    if not all_of_them:
        return found
    long = x[: 2 * KERNEL_CELLS].toarray()  # so long that dividing G x G numbers does not decide
    tensor = torch.from_numpy(long)
    found["np.corrcoef"] = (len(long), lambda: np.corrcoef(long, rowvar=False))
    found["torch.corrcoef"] = (len(long), lambda: torch.corrcoef(tensor.T))
    found["BLAS sgemm"] = (len(dense), lambda: dense.T @ dense)
    few = part[: KERNEL_CELLS // 4]
    found["scipy.sparse"] = (few.shape[0], lambda: few.T @ few)
    sparse_tensor = torch.sparse_csr_tensor(
        torch.from_numpy(few.indptr.astype(np.int64)), torch.from_numpy(few.indices.astype(np.int64)), torch.from_numpy(few.data), size=few.shape
    )
    found["torch.sparse"] = (few.shape[0], lambda: sparse_tensor.t().to_sparse_csr() @ sparse_tensor)
    if mkl is not None:
        found["MKL syrkd"] = (few.shape[0], lambda: mkl.gram_matrix_mkl(few, dense=True))
    return found


def compare(density: float, *, rounds: int, threads: int, all_of_them: bool) -> dict[str, Any]:
    """Cells per second of the kernel and of each peer, in turns."""
    x = (
        expression(2 * KERNEL_CELLS, density)
        if density < 1
        else sp.csr_matrix(np.random.default_rng(SEED).normal(size=(KERNEL_CELLS, NUM_GENES)).astype(np.float32))
    )
    gram = HybridGram(x.getnnz(axis=0) / x.shape[0], num_threads=threads)
    gram.add(x[:64])  # compiles

    blocks = [x[start : start + KERNEL_CELLS] for start in range(0, x.shape[0], KERNEL_CELLS)]

    def kernel() -> None:
        for block in blocks:
            gram.add(block)

    table: dict[str, dict[str, list[float]]] = {}
    for name, (num_cells, call) in peers(x, all_of_them=all_of_them).items():
        rates, ratios = [], []
        for _ in range(rounds):
            ours, theirs = x.shape[0] / timed(kernel), num_cells / timed(call)
            rates.append((ours, theirs))
            ratios.append(ours / theirs)
        median = sorted(range(rounds), key=ratios.__getitem__)[rounds // 2]
        table[name] = {"kernel": rates[median][0], "peer": rates[median][1], "ratio": ratios[median], "range": [min(ratios), max(ratios)]}
        print(
            f"  {density:6.1%}  {name:30s} kernel {rates[median][0]:9.0f}  peer {rates[median][1]:9.0f} cells/s  ratio {ratios[median]:6.1f}",
            flush=True,
        )
    return {"density": x.nnz / np.prod(x.shape), "cuts": list(gram.cuts), "peers": table}


def make_store(path: Path, num_cells: int) -> None:
    """Write a cell store with the obs columns that covariates need."""
    rng = np.random.default_rng(SEED)
    ids = pd.Index([f"ENSG{number:011d}" for number in range(NUM_GENES)], name="gene_id")
    totals, nonzero, largest, expressing = [], 0, 0, np.zeros(NUM_GENES, dtype=np.int64)
    for counts in simulate_blocks(num_cells, NUM_GENES, ATLAS_DENSITY, seed=SEED):
        totals.append(np.asarray(counts.sum(axis=1, dtype=np.int64)).ravel())
        nonzero, largest = nonzero + counts.nnz, max(largest, int(counts.data.max()))
        expressing += np.bincount(counts.indices, minlength=NUM_GENES)
    obs = pd.DataFrame(
        {
            "total_counts": np.concatenate(totals).astype(np.float64),
            "mito_fraction": rng.beta(2, 30, num_cells),
            "plate": pd.Categorical(["plate1"] * num_cells),
            "cell_line": pd.Categorical.from_codes(rng.integers(0, NUM_LINES, num_cells), [f"line{number}" for number in range(NUM_LINES)]),
        },
        index=pd.Index([f"cell{number}" for number in range(num_cells)], name="cell"),
    )
    var = pd.DataFrame({"gene": ids.to_numpy(dtype=str), "num_cells": expressing}, index=ids)
    write_store(path, obs, var, simulate_blocks(num_cells, NUM_GENES, ATLAS_DENSITY, seed=SEED), num_nonzero=nonzero, largest=largest)


def cell_cycle_roles() -> pd.DataFrame:
    """Cell-cycle genes and their controls, as the panel stage fixes them."""
    ids = [f"ENSG{number:011d}" for number in range(NUM_GENES)]
    roles = ["s"] * 43 + ["s_control"] * 900 + ["g2m"] * 54 + ["g2m_control"] * 900
    return pd.DataFrame({"gene_id": ids[: len(roles)], "role": roles})


def _child(queue: Any, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    start = time.perf_counter()
    work(*arguments)
    queue.put((time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6))


def in_a_process(work: Callable[..., Any], *arguments: Any) -> tuple[float, float]:
    """Seconds and peak memory (GB) of a call in a process of its own."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_child, args=(queue, work, arguments))
    process.start()
    result: tuple[float, float] = queue.get()
    process.join()
    return result


def measure_plate(store_path: str, moments_path: str, num_cells: int, threads: int) -> None:
    """Take the sums of the first cells of a store, as the job of a plate does it."""
    ids = pd.Index([f"ENSG{number:011d}" for number in range(NUM_GENES)])
    with CellStore(store_path) as store:
        moments = measure_moments(store, ids, TERMS, cell_cycle_roles(), block_cells=4096, backend="cpu", threads=threads, last=num_cells)
    write_moments(moments_path, moments)


def correlate(moments_path: str, folder: str, num_plates: int) -> None:
    """All that follows the sums: add plates, residualise, correlate, best partners, write."""
    result = residual_correlation(add_moments([moments_path] * num_plates))
    partners = top_partners(result.correlation_GG, [str(number) for number in range(NUM_GENES)], 100)
    write_coexpression(Path(folder, "coexpression.zarr"), result)
    partners.to_parquet(Path(folder, "partners.parquet"))


def preparation_rate(store_path: str, num_cells: int) -> float:
    """Cells per second of one core from the store to blocks of x and their sums with the covariates: what a GPU waits for."""
    ids = pd.Index([f"ENSG{number:011d}" for number in range(NUM_GENES)])
    with CellStore(store_path) as store:
        prepare = Preparation(store, ids, TERMS, cell_cycle_roles())
        blocks = anchored_counts(store.iter_counts(4096, np.arange(num_cells)))
        prepare(next(blocks))  # compiles
        start = time.process_time()
        done = sum(prepare(part).x_BG.shape[0] for part in blocks)
        return done / (time.process_time() - start)


def precision_errors() -> dict[str, dict[str, float]]:
    """Errors of correlations with numbers rounded as a GPU would take them, multiplied on the CPU."""
    x = expression(2 * KERNEL_CELLS, ATLAS_DENSITY)[:, ::7].tocsr()
    found = {}
    for precision in PRECISIONS:
        result = measure_precision(x, precision, "cpu")
        found[precision] = {"max_error": result["max_error"], "rms_error": result["rms_error"]}
        print(f"  {precision:10s} error {result['max_error']:.1e} at most, {result['rms_error']:.1e} rms", flush=True)
    return found


def scaling(sizes: list[int], threads: int) -> dict[str, Any]:
    """Time and memory of the job of a plate over its number of cells, and of what follows."""
    with tempfile.TemporaryDirectory() as folder:
        store, moments = str(Path(folder, "cells.zarr")), str(Path(folder, "moments.npz"))
        make_store(Path(store), max(sizes))
        measure_plate(store, moments, min(*sizes, KERNEL_CELLS), threads)  # compiles
        rows = []
        for num_cells in sizes:
            seconds, memory = in_a_process(measure_plate, store, moments, num_cells, threads)
            rows.append({"cells": num_cells, "seconds": seconds, "peak_gb": memory})
            print(f"  {num_cells:8d} cells  {seconds:7.1f} s  {memory:.2f} GB", flush=True)
        num_bytes = Path(moments).stat().st_size
        prepared = preparation_rate(store, min(sizes))
        print(f"  prepared for a GPU: {prepared:.0f} cells per core-second", flush=True)
        after = {}
        for num_plates in (1, 14):
            seconds, memory = in_a_process(correlate, moments, folder, num_plates)
            after[str(num_plates)] = {"seconds": seconds, "peak_gb": memory}
            print(f"  coexpression of {num_plates} plate(s)  {seconds:7.1f} s  {memory:.2f} GB", flush=True)
    # the slope leaves out what a job costs whatever its size
    slope = np.polyfit([row["cells"] for row in rows], [row["seconds"] for row in rows], 1)
    return {
        "plate": rows,
        "cells_per_s": 1 / slope[0],
        "fixed_s": slope[1],
        "moments_bytes": num_bytes,
        "coexpression": after,
        "prepared_per_core_s": prepared,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="benchmarks/results/coexpression.json")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="measure these; the others stay as the output has them")
    parser.add_argument("--quick", action="store_true", help="one density, two sizes, fewer rounds")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    rounds = 1 if arguments.quick else arguments.rounds
    output = Path(arguments.output)
    results: dict[str, Any] = read_json(output) if output.is_file() else {}
    facts = {"machine": platform.machine(), "cores": os.cpu_count(), "threads": arguments.threads}
    facts |= {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__}
    results |= {"facts": facts, "genes": NUM_GENES}
    if "compared" in arguments.parts:
        print(f"kernel against peers, {NUM_GENES} genes, {arguments.threads} threads")
        densities = (ATLAS_DENSITY,) if arguments.quick else (*DENSITIES, 1.0)
        results["compared"] = [
            compare(density, rounds=rounds, threads=arguments.threads, all_of_them=density == ATLAS_DENSITY) for density in densities
        ]
        write_json(output, results)
    if "scaling" in arguments.parts:
        print("job of a plate, from the cell store to its sums, and what follows")
        results["scaling"] = scaling([20_000, 50_000] if arguments.quick else [20_000, 50_000, 100_000, 200_000], arguments.threads)
        write_json(output, results)
    if "precisions" in arguments.parts:
        print("precisions of a GPU, emulated")
        results["precisions"] = precision_errors()
        write_json(output, results)
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
