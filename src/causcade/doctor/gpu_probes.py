"""How fast a GPU is at what takes most of a run there: embedding with TX1, and sums of products; each on drawn data of the run's own shape.

Weights are random and counts are drawn: neither changes how long anything takes. What is measured is the computing, with tokens made and blocks
copied; reading the cells is not in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from causcade.config import Config
from causcade.doctor.sizes import Sizes
from causcade.doctor.work import Work
from causcade.embedding_cost import cell_flops, shape_of
from causcade.tx1.shape import ModelShape

__all__ = ["GpuRates", "embedding_rate", "gpu_seconds", "measure", "sums_rate"]

TOKENS = 2 * 131_072  # of a measurement: two batches of a GPU
SUMS_CELLS = 16_384
ATLAS_DENSITY = 0.066

GpuRates = Mapping[str, float]
"""`embedding`: operations a second; `sums`: cells a second. Of one GPU."""


def _seconds(work: Callable[[], Any], device: str) -> float:
    """Seconds of a call after a first one, which compiles and finds its kernels."""
    import torch

    def finished() -> float:
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        return time.perf_counter()

    work()
    started = finished()
    work()
    return finished() - started


def embedding_rate(shape: ModelShape, num_genes: float, max_length: int, *, device: str, tokens: int = TOKENS) -> float:
    """Operations a second of embedding cells, counted as :func:`causcade.embedding_cost.cell_flops` does.

    Parameters
    ----------
    shape
        Of the model; without its drugs.
    num_genes
        Expressed genes of a cell.
    max_length
        Setting `embedding.max_length`.
    device
        torch device.
    tokens
        How many tokens to embed, about.
    """
    import scipy.sparse as sp
    import torch

    from causcade.tx1 import Checkpoint, CollatorSettings, EmbedSettings, Tx1, Vocabulary, embed_counts

    expressed = max(1, round(num_genes))
    num_columns = 2 * expressed
    ids = [f"ENSG{number:011d}" for number in range(num_columns)]
    vocabulary = Vocabulary.from_genes(ids)
    shape = replace(shape, drugs=None, vocab_size=vocabulary.size)
    num_cells = max(2, tokens // min(max_length, expressed + 1))
    rng = np.random.default_rng(0)
    columns = np.concatenate([np.sort(rng.choice(num_columns, expressed, replace=False)) for _ in range(num_cells)])
    values = np.ceil(rng.lognormal(0.3, 1.0, len(columns))).astype(np.float32)
    counts = sp.csr_matrix((values, columns, np.arange(num_cells + 1) * expressed), shape=(num_cells, num_columns))
    with torch.device(device):
        model = Tx1(shape).eval()
    checkpoint = Checkpoint(model=model, shape=shape, collator=CollatorSettings(), vocabulary=vocabulary, drug_ids=None, name="measured")
    settings = EmbedSettings(max_length=max_length, min_covered=0.0)
    taken = _seconds(lambda: embed_counts(checkpoint, counts, ids, settings=settings), device)
    return num_cells * cell_flops(shape, expressed, max_length) / taken


def sums_rate(num_genes: int, precision: Any, *, device: str, num_cells: int = SUMS_CELLS) -> float:
    """Cells a second of the sums of products of so many genes, at the density of Tahoe-100M.

    Parameters
    ----------
    num_genes
        Genes of the panel.
    precision
        Setting `coexpression.precision`.
    device
        torch device.
    num_cells
        Cells to sum.
    """
    import scipy.sparse as sp

    from causcade.coexpression.dense import DenseGram
    from causcade.coexpression.kernels import KERNEL_CELLS

    rng = np.random.default_rng(0)
    each = max(1, round(ATLAS_DENSITY * num_genes))
    columns = np.sort(rng.integers(0, num_genes // each, (num_cells, each)) + np.arange(each) * (num_genes // each), axis=1).ravel()
    values = rng.lognormal(0.0, 0.5, num_cells * each).astype(np.float32)
    x = sp.csr_matrix((values, columns, np.arange(num_cells + 1) * each), shape=(num_cells, num_genes))
    gram = DenseGram(num_genes, device=device, precision=precision)
    blocks = [gram.rounded(x[start : start + KERNEL_CELLS]) for start in range(0, num_cells, KERNEL_CELLS)]

    def add() -> None:
        for block in blocks:
            gram.add(block)

    return num_cells / _seconds(add, device)


def measure(config: Config, sizes: Sizes, *, device: str = "cuda") -> dict[str, float]:
    """Measure one GPU on what the configuration will have it do."""
    found: dict[str, float] = {}
    shape = shape_of(config, "embedding") if config.embedding.source == "tx1" else None
    if shape is not None:
        found["embedding"] = embedding_rate(shape, sizes.genes_per_cell, config.embedding.max_length, device=device)
    if sizes.num_genes:
        found["sums"] = sums_rate(sizes.num_genes, config.coexpression.precision, device=device)
    return found


def gpu_seconds(works: Sequence[Work], sizes: Sizes, rates: GpuRates) -> dict[str, float]:
    """Seconds that all jobs of a rule take one GPU, by rule, as far as the rates tell."""
    found: dict[str, float] = {}
    if "embedding" in rates:
        found |= {work.rule: work.flops / rates["embedding"] for work in works if work.rule == "embedding"}
    if "sums" in rates:
        cells = {"evidence_controls": sizes.num_controls}
        summed = [work for work in works if work.rule in ("coexpression_moments", "coexpression_moments_shard", "evidence_controls")]
        whole = sum(work.flops for work in summed if work.rule != "evidence_controls")
        for work in summed:
            number = cells.get(work.rule, sizes.num_cells * work.flops / max(1.0, whole))
            found[work.rule] = number / rates["sums"]
    return found
