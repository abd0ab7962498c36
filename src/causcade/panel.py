"""The gene panel: highly variable genes by consensus over plates, united with genes of known roles.

Each plate votes once (:func:`plate_votes`); the panel is made from all votes and then pinned, so that a new plate costs only itself. The control
genes of cell-cycle scores are fixed at the same moment. Highly variable genes: dispersion normalised within bins of mean expression (Satija 2015,
doi:10.1038/nbt.3192), by scanpy or rapids-singlecell.

Axes: N cells, F genes of the plates, G genes of the panel.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from causcade.backend import Backend, single_cell
from causcade.cells import CellStore, log_normalise
from causcade.config import PanelConfig
from causcade.errors import InputError
from causcade.gene_lists import G2M_GENES, S_GENES
from causcade.runtime import Progress

if TYPE_CHECKING:
    from causcade.resources.identifiers import Resolver

__all__ = ["build_panel", "cell_cycle_genes", "consensus", "plate_votes", "source_members", "summarise_panel"]

logger = logging.getLogger(__name__)

FLAG_OF_SOURCE = {"tfs": "is_tf", "rbps": "is_rbp", "hallmarks": "is_hallmark", "drug_targets": "is_drug_target"}
# A gene whose variance is below this share of its mean square does not vary, as far as float32 can tell.
CONSTANT = 1e-7
MAX_MARKED = 2000  # scanpy marks so many genes as variable; only their dispersions are used here
NUM_BINS = 25
CONTROLS_PER_GENE = 50


def plate_votes(store: CellStore, settings: PanelConfig, *, seed: int, block_cells: int, backend: Backend = "auto") -> pd.DataFrame:
    """Rank the genes of one plate by normalised dispersion.

    Parameters
    ----------
    store
        Cells of the plate. At most `settings.vote_cells` of them (a seeded sample) are ranked on; all are counted.
    settings
        Section `panel`.
    seed
        Seed of the sample.
    block_cells
        Cells read at a time; changes no result.
    backend
        Where dispersions are computed.

    Returns
    -------
    pandas.DataFrame
        gene_id, gene, rank (1 = most variable; NaN where no ranked cell expresses the gene; equal dispersions in the order of gene_id), mean (of x
        over the ranked cells), num_cells (cells that express it) [F].
    """
    x_NF, num_cells = _ranked_cells(store, settings.vote_cells, seed, block_cells)
    mean = np.asarray(x_NF.mean(axis=0, dtype=np.float64)).ravel() if x_NF.shape[0] else np.zeros(len(store.var))
    gene_ids = store.var.index.to_numpy(dtype=str)
    rank = np.full(len(store.var), np.nan)
    expressed = np.flatnonzero(mean > 0)
    if x_NF.shape[0] > 1 and len(expressed) > 1:
        order = np.lexsort((gene_ids[expressed], -_dispersions(x_NF[:, expressed], backend)))
        rank[expressed[order]] = np.arange(1, len(expressed) + 1)
    return pd.DataFrame({"gene_id": gene_ids, "gene": store.var["gene"].to_numpy(dtype=str), "rank": rank, "mean": mean, "num_cells": num_cells})


def _ranked_cells(store: CellStore, most: int, seed: int, block_cells: int) -> tuple[sp.csr_matrix, np.ndarray]:
    """Take x of the cells that are ranked on [N, F], and the number of cells that express each gene, over all cells [F]."""
    is_chosen = np.ones(store.num_cells, dtype=bool)
    if store.num_cells > most:
        is_chosen[:] = False
        is_chosen[np.random.default_rng(seed).choice(store.num_cells, most, replace=False)] = True
    totals = store.obs["total_counts"].to_numpy(dtype=np.float64)
    num_cells = np.zeros(len(store.var), dtype=np.int64)
    kept = []
    progress = Progress(store.num_cells, "cells")
    for rows, counts in store.iter_counts(block_cells):
        num_cells += np.bincount(counts.indices[counts.data > 0], minlength=len(store.var))
        if is_chosen[rows].any():
            kept.append(log_normalise(counts[is_chosen[rows]], totals[rows][is_chosen[rows]]))
        progress.advance(len(rows))
    x_NF = sp.vstack(kept, format="csr") if kept else sp.csr_matrix((0, len(store.var)), dtype=np.float32)
    return x_NF, num_cells


def _dispersions(x_NF: sp.csr_matrix, backend: Backend) -> np.ndarray:
    """Normalised dispersions, as float64; genes for which none is defined (constant ones) are -inf: they come last."""
    import anndata

    square = np.asarray(x_NF.multiply(x_NF).mean(axis=0, dtype=np.float64)).ravel()
    varies = square - np.asarray(x_NF.mean(axis=0, dtype=np.float64)).ravel() ** 2 > CONSTANT * square
    if not varies.any():
        return np.full(x_NF.shape[1], -np.inf)
    module: Any = single_cell(backend)
    data = anndata.AnnData(x_NF)
    if module.__name__ == "rapids_singlecell":
        module.get.anndata_to_GPU(data)
    module.pp.highly_variable_genes(data, flavor="seurat", n_top_genes=min(x_NF.shape[1], MAX_MARKED))
    values: np.ndarray = data.var["dispersions_norm"].to_numpy(dtype=np.float64)
    # A constant gene that is alone in its bin would get 1 by convention.
    return np.where(varies & ~np.isnan(values), values, -np.inf)


def consensus(votes: dict[str, pd.DataFrame], settings: PanelConfig) -> pd.DataFrame:
    """Agree on the most variable genes from the votes of all plates, whatever their order.

    Parameters
    ----------
    votes
        Table of :func:`plate_votes` by plate.
    settings
        Section `panel`.

    Returns
    -------
    pandas.DataFrame
        gene_id, gene, hvg_rank (median rank over the plates that rank it), num_plates (plates in which it is among the `num_hvg` most variable),
        num_cells (sum over plates), mean (mean of the plates' means), is_hvg; sorted by gene_id. `is_hvg` marks the `num_hvg` best by num_plates,
        then by hvg_rank, among the genes that `min_cells` cells express.

    Raises
    ------
    InputError
        If no plate votes.
    """
    if not votes:
        raise InputError("panel: expected votes of at least one plate, found none. Give a plate table with a plate.")
    table = pd.concat([votes[name].assign(plate=name) for name in sorted(votes)], ignore_index=True)
    table["top"] = table["rank"] <= settings.num_hvg
    grouped = table.groupby("gene_id", sort=True)
    result = grouped.agg(
        gene=("gene", "first"), hvg_rank=("rank", "median"), num_plates=("top", "sum"), num_cells=("num_cells", "sum"), mean=("mean", "mean")
    ).reset_index()
    expressed = result[result["num_cells"] >= settings.min_cells]
    best = expressed.sort_values(["num_plates", "hvg_rank", "gene_id"], ascending=[False, True, True]).head(settings.num_hvg)
    result["is_hvg"] = result["gene_id"].isin(best.loc[best["hvg_rank"].notna(), "gene_id"])
    return result


def build_panel(agreed: pd.DataFrame, members: dict[str, set[str]], settings: PanelConfig) -> pd.DataFrame:
    """Unite the highly variable genes and the genes of the other sources.

    Parameters
    ----------
    agreed
        Table of :func:`consensus`.
    members
        Genes (symbols) of each source in `tfs`, `rbps`, `hallmarks`, `drug_targets`; an absent source has none.
    settings
        Section `panel`; a source that it leaves out adds no gene, but its flag is set all the same.

    Returns
    -------
    pandas.DataFrame
        Columns of `panel.parquet`: gene_id, gene, is_tf, is_rbp, is_hallmark, is_drug_target, is_hvg, hvg_rank, num_plates, num_cells; sorted by
        gene.

    Raises
    ------
    InputError
        If the panel would hold fewer than two genes.
    """
    table = agreed.copy()
    chosen = table["is_hvg"] if "hvg" in settings.sources else pd.Series(False, index=table.index)  # noqa: FBT003
    for source, flag in FLAG_OF_SOURCE.items():
        table[flag] = table["gene"].isin(members.get(source, set()))
        if source in settings.sources:
            chosen = chosen | table[flag]
    table = table[chosen & (table["num_cells"] >= settings.min_cells)]
    if len(table) < 2:
        raise InputError(
            f"panel: expected at least 2 genes that {settings.min_cells} cells express, found {len(table)}. "
            "Lower `panel: {min_cells: ...}`, or check that the gene ids are human."
        )
    columns = ["gene_id", "gene", *FLAG_OF_SOURCE.values(), "is_hvg", "hvg_rank", "num_plates", "num_cells"]
    return table.sort_values(["gene", "gene_id"], ignore_index=True)[columns]


def source_members(gene_sets: pd.DataFrame, targets: pd.DataFrame) -> dict[str, set[str]]:
    """Genes of each panel source, from `gene_sets.parquet` (collection, gene) and `targets.parquet` (target)."""
    members = {name: set(gene_sets.loc[gene_sets["collection"] == name, "gene"]) for name in ("tfs", "rbps", "hallmarks")}
    return members | {"drug_targets": set(targets["target"])}


def cell_cycle_genes(agreed: pd.DataFrame, resolver: Resolver | None, *, seed: int) -> pd.DataFrame:
    """Find the S and G2/M genes that the data have, and for each list its control genes of similar mean expression.

    Control genes are drawn, as in scanpy's `score_genes`, from the genes of the same bins of mean expression; they are drawn once, here, so that all
    plates agree.

    Parameters
    ----------
    agreed
        Table of :func:`consensus` (all genes, not only the panel).
    resolver
        Translates the listed symbols to approved ones; None takes them as they are.
    seed
        Seed of the draw.

    Returns
    -------
    pandas.DataFrame
        gene_id, role (s, s_control, g2m, g2m_control); without rows where fewer than two genes of a list are there.
    """
    rng = np.random.default_rng(seed)
    table = agreed[agreed["num_cells"] > 0].sort_values("gene_id", ignore_index=True)
    listed = {"s": _approved(S_GENES, resolver), "g2m": _approved(G2M_GENES, resolver)}
    in_any = table["gene"].isin(listed["s"] | listed["g2m"])
    rank = table["mean"].rank(method="first").to_numpy() - 1
    bins = (rank * NUM_BINS // max(len(table), 1)).astype(int)
    parts = []
    for role, names in listed.items():
        member = table["gene"].isin(names).to_numpy()
        if member.sum() < 2:
            logger.warning("cell cycle: %d of the %s genes are in the data; the %s score is left out", member.sum(), role.upper(), role.upper())
            continue
        pool: list[str] = []
        for number in np.unique(bins[member]):
            candidates = table.loc[(bins == number) & ~in_any, "gene_id"].to_numpy()
            pool.extend(rng.permutation(candidates)[:CONTROLS_PER_GENE])
        parts.append(pd.DataFrame({"gene_id": table.loc[member, "gene_id"], "role": role}))
        parts.append(pd.DataFrame({"gene_id": sorted(pool), "role": f"{role}_control"}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"gene_id": pd.Series(dtype=str), "role": pd.Series(dtype=str)})


def _approved(names: tuple[str, ...], resolver: Resolver | None) -> set[str]:
    """Approved symbols of the listed genes; a name that the resolver does not know stays as it is."""
    if resolver is None:
        return set(names)
    resolved = resolver.resolve(list(names))
    return set(resolved["gene"].where(resolved["gene"].notna(), resolved["identifier"]))


def summarise_panel(panel: pd.DataFrame, plates: list[str]) -> dict[str, Any]:
    """Return `panel_summary.json`: how many genes, from which sources, by the votes of which plates."""
    by_source = {"hvg": int(panel["is_hvg"].sum())} | {source: int(panel[flag].sum()) for source, flag in FLAG_OF_SOURCE.items()}
    return {"num_genes": len(panel), "by_source": by_source, "plates_voted": sorted(plates)}
