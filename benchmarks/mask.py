"""Candidate edges at the size of the atlas: seconds and peak memory of the stage `mask`, from stored tables to a written one.

    python benchmarks/mask.py [--genes 14142] [--priors 70000] [--output benchmarks/results/mask.json]

Partners, curated edges and the correlation matrix (float32 zarr, chunked as the stage `coexpression` writes it) are drawn at random and written
first; curated regulators are drawn from a tenth of the genes, as transcription factors are. The stage then runs in a process of its own, whose peak
memory is what the system reports. The files are in the page cache.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import zarr

from causcade.coexpression.correlation import ROWS
from causcade.config import MaskConfig
from causcade.files import read_parquet, write_json, write_parquet
from causcade.mask import build_mask, mask_summary

PARTNERS = 100
SEED = 0
BYTES_PER_KB = 1024


def write_inputs(folder: Path, num_genes: int, num_priors: int) -> None:
    """Write panel, partners, curated edges and the matrix."""
    rng = np.random.default_rng(SEED)
    names = np.array([f"GENE{number:05d}" for number in range(num_genes)], dtype=object)
    write_parquet(folder / "panel.parquet", pd.DataFrame({"gene": names}))
    # Distinct partners other than the gene itself: steps around the circle of genes.
    steps = np.sort(rng.permuted(np.tile(np.arange(1, num_genes, max(1, num_genes // (3 * PARTNERS))), (num_genes, 1)), axis=1)[:, :PARTNERS], axis=1)
    partner = (np.arange(num_genes)[:, None] + steps) % num_genes
    partners = pd.DataFrame({"gene": np.repeat(names, PARTNERS), "partner": names[partner.ravel()]})
    partners["correlation"] = rng.uniform(-1, 1, len(partners)).astype(np.float32)
    partners["rank"] = np.tile(np.arange(1, PARTNERS + 1), num_genes)
    write_parquet(folder / "partners.parquet", partners)
    priors = pd.DataFrame({"regulator": rng.choice(names[: num_genes // 10], 2 * num_priors), "target": rng.choice(names, 2 * num_priors)})
    priors = priors[priors["regulator"] != priors["target"]].drop_duplicates().head(num_priors).reset_index(drop=True)
    priors["sign"] = rng.choice(np.array([-1, 0, 1], dtype=np.int8), len(priors))
    priors["sources"] = rng.choice(["collectri", "dorothea", "collectri;dorothea;trrust", "trrust"], len(priors))
    priors["confidence"] = rng.uniform(0.5, 0.95, len(priors))
    write_parquet(folder / "prior_edges.parquet", priors)
    array = zarr.open_group(folder / "coexpression.zarr", mode="w").create_array(
        "correlation", shape=(num_genes, num_genes), chunks=(min(num_genes, ROWS),) * 2, dtype="float32"
    )
    for start in range(0, num_genes, ROWS):
        stop = min(start + ROWS, num_genes)
        array[start:stop] = rng.uniform(-1, 1, (stop - start, num_genes)).astype(np.float32)


def run_stage(folder: Path) -> None:
    """Do what the workflow's job does, and print what it took."""
    start = time.perf_counter()
    genes = read_parquet(folder / "panel.parquet")["gene"].tolist()
    priors = read_parquet(folder / "prior_edges.parquet")
    correlation = zarr.open_group(folder / "coexpression.zarr", mode="r")["correlation"]
    edges = build_mask(read_parquet(folder / "partners.parquet"), correlation, priors, genes, MaskConfig(partners=PARTNERS))
    summary = mask_summary(edges, priors, genes)
    write_parquet(folder / "candidate_edges.parquet", edges)
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_PER_KB / 1e9
    print(json.dumps({"seconds": time.perf_counter() - start, "peak_gb": peak_gb, **summary}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--genes", type=int, default=14_142)
    parser.add_argument("--priors", type=int, default=70_000)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/mask.json"))
    parser.add_argument("--stage", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage is not None:
        run_stage(arguments.stage)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(Path(folder), arguments.genes, arguments.priors)
        command = [sys.executable, __file__, "--stage", folder]
        measured = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    measured |= {"genes": arguments.genes, "partners": PARTNERS, "machine": platform.machine(), "python": platform.python_version()}
    write_json(arguments.output, measured)
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
