"""Sums of a plate: Sxx = X'X, Sxc = X'C and Scc = C'C over its cells, exact enough to be subtracted from each other, additive over shards and plates.

X is x = log(1 + CP10k) of the panel's genes, C the covariates with the intercept. The kernel gives Sxx from float32 products within a block, added in
float64; Sxc, Scc and the diagonal of Sxx are sums in float64, so that a gene without variance is told from one with little.

Axes: G genes of the panel, K covariate columns, P = G (G + 1) / 2 packed pairs (:mod:`causcade.coexpression.packed`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pandas as pd
import scipy.sparse as sp

from causcade.backend import Backend, torch_device
from causcade.cells import CellStore
from causcade.coexpression.blocks import Block, Preparation, anchored_counts, in_order, read_ahead
from causcade.coexpression.centring import Centre, fit_centre, mean_centre, spread_cells
from causcade.coexpression.dense import DenseGram, Precision
from causcade.coexpression.kernels import KERNEL_CELLS, HybridGram
from causcade.coexpression.packed import packed_length
from causcade.covariates import INTERCEPT
from causcade.errors import InputError
from causcade.files import replacing
from causcade.runtime import Progress

__all__ = ["Moments", "add_moments", "measure_moments", "measure_rows", "read_moments", "shard_range", "sum_options", "write_moments"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Sums of one or more plates.

    Attributes
    ----------
    sxx_upper : numpy.ndarray
        X'X, float64, packed upper triangle [G (G + 1) / 2].
    sxc_GK, scc_KK : numpy.ndarray
        X'C and C'C, float64.
    covariates : tuple of str
        Names of the K columns: the intercept, then numbers, then levels.
    num_cells : int
        Number of cells.
    gene_ids : tuple of str
        Ids of the G genes.
    """

    sxx_upper: np.ndarray
    sxc_GK: np.ndarray
    scc_KK: np.ndarray
    covariates: tuple[str, ...]
    num_cells: int
    gene_ids: tuple[str, ...]


def shard_range(num_cells: int, shard: int, num_shards: int) -> tuple[int, int]:
    """Cells [first, last) of a shard of a plate: consecutive, of about equal number, cut at multiples of `KERNEL_CELLS`.

    Together the shards hold each cell once. A shard is empty where there are more shards than blocks.

    Raises
    ------
    ValueError
        If `shard` is not among 0 .. `num_shards` - 1.
    """
    if not 0 <= shard < num_shards:
        raise ValueError(f"expected a shard from 0 to {num_shards - 1}, found {shard}")
    num_blocks = -(-num_cells // KERNEL_CELLS)
    first, last = (min(part * num_blocks // num_shards * KERNEL_CELLS, num_cells) for part in (shard, shard + 1))
    return first, last


class _CovariateSums:
    """Sums that involve covariates, and square sums; columns appear as the blocks or plates bring them."""

    def __init__(self, num_genes: int) -> None:
        self._names: list[str] = []
        self._sxc_KG, self._scc_KK = np.zeros((0, num_genes)), np.zeros((0, 0))

    def add(self, sxc_KG: np.ndarray, scc_KK: np.ndarray, names: Iterable[str]) -> None:
        """Add sums whose columns have these names."""
        names = list(names)
        fresh = [name for name in names if name not in self._names]
        if fresh:
            self._names.extend(fresh)
            self._sxc_KG = np.pad(self._sxc_KG, ((0, len(fresh)), (0, 0)))
            self._scc_KK = np.pad(self._scc_KK, (0, len(fresh)))
        index = np.array([self._names.index(name) for name in names], dtype=np.intp)  # none on a plate without cells
        self._sxc_KG[index] += sxc_KG
        self._scc_KK[np.ix_(index, index)] += scc_KK

    def of(self, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        """C'X [L, G] and C'C [L, L] of these columns; 0 where none of the cells had that level."""
        places = {name: place for place, name in enumerate(self._names)}
        there = [number for number, name in enumerate(names) if name in places]
        index = np.array([places[names[number]] for number in there], dtype=np.intp)
        sxc_LG, scc_LL = np.zeros((len(names), self._sxc_KG.shape[1])), np.zeros((len(names), len(names)))
        sxc_LG[there] = self._sxc_KG[index]
        scc_LL[np.ix_(there, there)] = self._scc_KK[np.ix_(index, index)]
        return sxc_LG, scc_LL

    def finish(self, sxx_upper: np.ndarray, num_cells: int, gene_ids: tuple[str, ...]) -> Moments:
        """Return the sums with the columns in their fixed order."""
        order = np.array(sorted(range(len(self._names)), key=lambda number: _column_order(self._names[number])), dtype=np.intp)
        return Moments(
            sxx_upper=sxx_upper,
            sxc_GK=np.ascontiguousarray(self._sxc_KG[order].T),
            scc_KK=self._scc_KK[np.ix_(order, order)],
            covariates=tuple(self._names[number] for number in order),
            num_cells=num_cells,
            gene_ids=gene_ids,
        )


def _column_order(name: str) -> tuple[bool, bool, str]:
    """Intercept first, then numbers, then levels: a fixed order whatever plates come first."""
    return (name != INTERCEPT, "=" in name, name)


def _centre(store: CellStore, prepare: Preparation, cells: np.ndarray, *, block_cells: int, precision: Precision) -> Centre:
    """Find what the kernel takes from each gene: by a sample of all the cells, so that it is the same for all shards of a plate."""
    for part in anchored_counts(store.iter_counts(block_cells, spread_cells(cells))):
        block = prepare(part)
        return fit_centre(block, prepare.spans) if precision == "float32" else mean_centre(block)
    return Centre(names=(), beta_LG=np.zeros((0, prepare.num_genes)))  # there are no cells


def _density(store: CellStore, gene_ids: pd.Index) -> np.ndarray:
    """Share of the plate's cells that express a gene, [G]."""
    density_G: np.ndarray = store.var["num_cells"].reindex(gene_ids, fill_value=0).to_numpy(dtype=np.float64) / max(store.num_cells, 1)
    return density_G


def measure_rows(
    store: CellStore, gene_ids: pd.Index, terms: list[str], roles: pd.DataFrame,
    *, cells: np.ndarray, first: int, last: int, block_cells: int, backend: Backend, threads: int, precision: Precision,
) -> Moments:  # fmt: skip
    """Measure the sums of some cells of a plate, such as one cell line, or of a shard of them; see :func:`measure_moments`.

    Parameters
    ----------
    store, gene_ids, terms, roles, block_cells, backend, threads, precision
        As there.
    cells
        Row numbers of the cells in the store, ascending. Blocks are anchored at the first of them.
    first, last
        Those of the cells that are summed, by their position in `cells`.
    """
    device = torch_device(backend)
    if device == "cpu":
        precision = "float32"
    prepare = Preparation(store, gene_ids, terms, roles)
    centre = _centre(store, prepare, cells, block_cells=block_cells, precision=precision)
    kernel: HybridGram | DenseGram
    to_block: Callable[[tuple[np.ndarray, sp.csr_matrix]], Block] = prepare
    if device == "cpu":
        kernel = HybridGram(_density(store, gene_ids), beta_LG=centre.beta_LG, num_threads=threads)
        num_workers = 1  # preparing is a few hundredths of the work, and the kernel needs the threads itself
    else:
        kernel = DenseGram(len(gene_ids), device=device, precision=precision, beta_LG=centre.beta_LG)
        to_block, num_workers = partial(prepare, rounded=kernel.rounded), threads  # a GPU multiplies faster than one thread prepares
    sums = _CovariateSums(len(gene_ids))
    progress = Progress(last - first, "cells")
    counts = read_ahead(anchored_counts(store.iter_counts(block_cells, cells[first:last]), first))
    for block in in_order(to_block, counts, num_workers):
        kernel.add(block.x_BG, centre.columns(block))
        sums.add(block.sxc_KG, block.scc_KK, block.names)
        progress.advance(block.x_BG.shape[0])
    return sums.finish(kernel.finish(*sums.of(centre.names)), last - first, tuple(gene_ids))


class SumOptions(TypedDict):
    """Keywords of :func:`measure_moments` and :func:`causcade.coexpression.measure_moments_by_line`."""

    block_cells: int
    backend: Backend
    threads: int
    precision: Precision


def sum_options(settings: Mapping[str, Any], threads: int) -> SumOptions:
    """Keywords of a measurement from the settings of a job, by the names of the configuration."""
    return SumOptions(
        block_cells=settings["input.block_cells"], backend=settings["backend"], threads=threads, precision=settings["coexpression.precision"]
    )


def measure_moments(
    store: CellStore, gene_ids: pd.Index, terms: list[str], roles: pd.DataFrame,
    *, block_cells: int, backend: Backend = "auto", threads: int = 1, precision: Precision = "float32", first: int = 0, last: int | None = None,
) -> Moments:  # fmt: skip
    """Measure the sums of one plate, or of a shard of it, in one pass over its cells.

    Memory does not grow with the number of cells: the sums, the kernel's own copy of them, and a few blocks.

    Parameters
    ----------
    store
        Cells of the plate.
    gene_ids
        Genes of the panel [G]; absent ones count as zero.
    terms
        Section `covariates.terms`.
    roles
        `cell_cycle.parquet`.
    block_cells
        Cells read at a time; changes nothing in the sums.
    backend
        Where the blocks are multiplied.
    threads
        Threads of the CPU kernel, or threads that prepare blocks for a GPU; changes nothing in the sums.
    precision
        Section `coexpression.precision`: the numbers that a GPU multiplies.
    first, last
        Cells [first, last) of the plate, as of :func:`shard_range`; all by default.

    Raises
    ------
    InputError
        If a term is no column of the cells, or has values that are missing or infinite.
    ValueError
        If the range is not within the plate.
    """
    stop = store.num_cells if last is None else last
    if not 0 <= first <= stop <= store.num_cells:
        raise ValueError(f"expected cells within 0 to {store.num_cells}, found {first} to {stop}")
    return measure_rows(
        store, gene_ids, terms, roles,
        cells=np.arange(store.num_cells), first=first, last=stop,
        block_cells=block_cells, backend=backend, threads=threads, precision=precision,
    )  # fmt: skip


def add_moments(parts: Iterable[Moments | str | Path]) -> Moments:
    """Sum over plates or shards; covariate columns are joined by name.

    The parts are added in the order given, in float64, in place, one after another: memory is that of two, however many there are, if they
    are given as paths or by a generator.

    Parameters
    ----------
    parts
        Sums, or files of :func:`write_moments`.

    Raises
    ------
    InputError
        If there is none, the gene axes differ, or a term is numeric on one plate and text on another.
    """
    gene_ids: tuple[str, ...] | None = None
    num_cells = 0
    for part in parts:
        moments = part if isinstance(part, Moments) else read_moments(part)
        del part  # a generator makes the next one before this name would let go of it
        if gene_ids is None:
            gene_ids = moments.gene_ids
            sums, sxx_upper = _CovariateSums(len(gene_ids)), np.zeros(packed_length(len(gene_ids)))
        elif moments.gene_ids != gene_ids:
            raise InputError("moments: expected plates with one gene panel, found two. Delete the older moments; the panel was renewed after them.")
        sums.add(moments.sxc_GK.T, moments.scc_KK, moments.covariates)
        sxx_upper += moments.sxx_upper
        num_cells += moments.num_cells
        del moments
    if gene_ids is None:
        raise InputError("moments: expected sums of at least one plate, found none. Give a plate table with a plate.")
    total = sums.finish(sxx_upper, num_cells, gene_ids)
    mixed = sorted({name.split("=", 1)[0] for name in total.covariates if "=" in name} & set(total.covariates))
    if mixed:
        raise InputError(
            f"covariates.terms: expected {mixed[0]!r} to be a number on every plate or text on every plate, found both. "
            "Make the column alike in all files."
        )
    return total


def write_moments(path: str | Path, moments: Moments) -> None:
    """Write sums as an uncompressed npz, 8 bytes for each pair of genes (0.8 GB at 14,142 genes); equal sums give equal bytes.

    Arrays sxx_upper [G (G + 1) / 2] (rows of the upper triangle one after another), sxc [G, K], scc [K, K], covariates [K], num_cells, gene_ids [G].
    """
    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.savez(
            handle,
            sxx_upper=moments.sxx_upper,
            sxc=moments.sxc_GK,
            scc=moments.scc_KK,
            covariates=np.array(moments.covariates, dtype=np.str_),
            num_cells=np.int64(moments.num_cells),
            gene_ids=np.array(moments.gene_ids, dtype=np.str_),
        )


def read_moments(path: str | Path) -> Moments:
    """Read what :func:`write_moments` wrote."""
    with np.load(path) as data:
        return Moments(
            sxx_upper=data["sxx_upper"],
            sxc_GK=data["sxc"],
            scc_KK=data["scc"],
            covariates=tuple(str(name) for name in data["covariates"]),
            num_cells=int(data["num_cells"]),
            gene_ids=tuple(str(name) for name in data["gene_ids"]),
        )
