"""The kernel of a GPU at atlas width: cells per second in each precision, share of the measured peak of its matrix products, error against float64.

    python benchmarks/coexpression_gpu.py [--output benchmarks/results/coexpression_gpu.json] [--cells 65536] [--device cuda]

The error is that of correlations among 512 of the genes, against float64 on the CPU. `--device cpu --cells 4096 --genes 2000` tries the script
itself.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import scipy.sparse as sp
from screen import simulate_counts

from causcade.cells import log_normalise
from causcade.coexpression.dense import PRECISIONS, DenseGram, Precision
from causcade.coexpression.kernels import KERNEL_CELLS
from causcade.coexpression.packed import packed_rows
from causcade.files import write_json

DENSITY = 0.066
CHECKED_GENES = 512
PEAK_SIZE = 8192


def finished(device: str) -> float:
    """Now, when all that was asked of the device is done."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter()


def measured_peak(precision: Precision, device: str) -> float:
    """Floating-point operations per second of a large square product in a precision."""
    import torch

    kind = torch.float16 if precision.startswith("fp16") else torch.float32
    size = PEAK_SIZE if device.startswith("cuda") else 1024
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    left = torch.rand((size, size), device=device, dtype=kind)
    best = 0.0
    for _ in range(5):
        start = finished(device)
        left @ left
        best = max(best, 2 * size**3 / (finished(device) - start))
    torch.set_float32_matmul_precision(before)
    return best


def correlations(sums_GG: np.ndarray, mean_G: np.ndarray, num_cells: int) -> np.ndarray:
    """Correlate from uncentred sums."""
    covariance = sums_GG / num_cells - np.outer(mean_G, mean_G)
    sd = np.sqrt(np.diag(covariance))
    return covariance / np.outer(sd, sd)


def measure(x: sp.csr_matrix, precision: Precision, device: str) -> dict[str, Any]:
    """Rate, share of the peak, and error of one precision."""
    num_cells, num_genes = x.shape
    gram = DenseGram(num_genes, device=device, precision=precision)
    blocks = [gram.rounded(x[start : start + KERNEL_CELLS]) for start in range(0, num_cells, KERNEL_CELLS)]
    DenseGram(num_genes, device=device, precision=precision).add(blocks[0])  # warms up
    start = finished(device)
    for block in blocks:
        gram.add(block)
    seconds = finished(device) - start
    upper = packed_rows(gram.finish(), num_genes, 0, CHECKED_GENES)[:, :CHECKED_GENES]
    found = np.triu(upper) + np.triu(upper, 1).T
    # scipy sums float32 in float32 whatever dtype it is asked for
    mean_G = np.asarray(sp.vstack(blocks)[:, :CHECKED_GENES].astype(np.float64).mean(axis=0)).ravel()
    exact = x[:, :CHECKED_GENES].astype(np.float64)
    reference = correlations((exact.T @ exact).toarray(), np.asarray(exact.mean(axis=0)).ravel(), num_cells)
    with np.errstate(invalid="ignore"):
        error = np.abs(correlations(found, mean_G, num_cells) - reference)
    error = error[np.isfinite(error)]
    products = 3 if precision == "fp16_split" else 1
    rate = num_cells / seconds
    return {
        "cells_per_s": rate,
        "share_of_peak": products * rate * num_genes * (num_genes + 1) / measured_peak(precision, device),
        "max_error": float(error.max()),
        "rms_error": float(np.sqrt((error**2).mean())),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="benchmarks/results/coexpression_gpu.json")
    parser.add_argument("--cells", type=int, default=65_536)
    parser.add_argument("--genes", type=int, default=14_142)
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    import torch

    counts = simulate_counts(arguments.cells, arguments.genes, DENSITY, seed=0)
    x = log_normalise(counts, np.asarray(counts.sum(axis=1), dtype=np.float64).ravel())
    name = torch.cuda.get_device_name(arguments.device) if arguments.device.startswith("cuda") else "cpu"
    results = {}
    for precision in PRECISIONS:
        results[precision] = found = measure(x, precision, arguments.device)
        print(f"{precision:10s} {found['cells_per_s']:10.0f} cells/s  {found['share_of_peak']:6.1%} of peak  error {found['max_error']:.1e} at most")
    write_json(
        arguments.output, {"device": name, "torch": torch.__version__, "cells": arguments.cells, "genes": arguments.genes, "precisions": results}
    )


if __name__ == "__main__":
    main()
