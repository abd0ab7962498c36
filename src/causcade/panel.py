"""The gene panel: genes of known roles, and highly variable genes by consensus over plates, up to a size.

Each plate votes once (:func:`plate_votes`); the panel is made from all votes and then pinned, so that a new plate costs only itself. The control
genes of cell-cycle scores are fixed at the same moment.

Variability is ranked by scanpy or rapids-singlecell, in one of three flavours: `seurat` (dispersion of x, normalised within bins of mean expression;
Satija 2015, doi:10.1038/nbt.3192), `cell_ranger` (the same with other bins and medians; Zheng 2017, doi:10.1038/ncomms14049) and `seurat_v3`
(variance of raw counts over what their mean lets expect; Stuart 2019, doi:10.1016/j.cell.2019.05.031).

Axes: N cells, F genes of the plates, E those of them that are expressed, G genes of the panel.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from causcade.backend import Backend, require_flavor, single_cell
from causcade.cells import CellStore, log_normalise
from causcade.config import PanelConfig
from causcade.errors import InputError
from causcade.gene_lists import G2M_GENES, S_GENES
from causcade.runtime import Progress

if TYPE_CHECKING:
    from causcade.resources.identifiers import Resolver

__all__ = ["build_panel", "cell_cycle_genes", "consensus", "plate_votes", "source_members", "summarise_panel"]

logger = logging.getLogger(__name__)

FLAG_OF_SOURCE = {"hvg": "is_hvg", "tfs": "is_tf", "rbps": "is_rbp", "hallmarks": "is_hallmark", "drug_targets": "is_drug_target"}
LISTED = {source: flag for source, flag in FLAG_OF_SOURCE.items() if source != "hvg"}
STATISTIC = {"seurat": "dispersions_norm", "cell_ranger": "dispersions_norm", "seurat_v3": "variances_norm"}
# A gene whose variance is below this share of its mean square does not vary, as far as float32 can tell.
CONSTANT = 1e-7
MIN_FOLLOWED = 20  # the local regression of seurat_v3 needs so many genes; scikit-misc ends the process with fewer than four
NUM_BINS = 25
SUMMED = 1 << 22  # entries that are summed at a time: a plate's votes hold some 10^8 of them
CONTROLS_PER_GENE = 50


def plate_votes(store: CellStore, settings: PanelConfig, *, seed: int, block_cells: int, backend: Backend = "auto") -> pd.DataFrame:
    """Rank the genes of one plate by variability.

    Parameters
    ----------
    store
        Cells of the plate. At most `settings.vote_cells` of them (a seeded sample) are ranked on; `num_cells` is of all.
    settings
        Section `panel`.
    seed
        Seed of the sample.
    block_cells
        Cells read at a time; changes no result.
    backend
        Where variability is computed.

    Returns
    -------
    pandas.DataFrame
        gene_id, gene, rank (1 = most variable; NaN where the gene does not vary over the ranked cells, or the flavour cannot tell; ties in the order
        of gene_id), mean (of x over the ranked cells), num_cells (cells that express it) [F].

    Raises
    ------
    InputError
        If the flavour needs a package that is not installed, or cannot be computed on these cells.
    """
    require_flavor(settings.flavor)
    x_NF, counts_NF = _ranked_cells(store, settings, seed, block_cells)
    num_ranked = x_NF.shape[0]
    sums = _column_sums(x_NF)
    gene_ids = store.var.index.to_numpy(dtype=str)
    rank = np.full(len(store.var), np.nan)
    expressed = np.flatnonzero(sums > 0)
    if num_ranked > 1 and len(expressed) > 1:
        matrix_NE = _without_empty(x_NF if counts_NF is None else counts_NF, expressed)
        try:
            variability_E = _variability(matrix_NE, settings.flavor, backend)
        except (ValueError, IndexError) as error:  # IndexError: scanpy's, where no gene gets a statistic
            raise InputError(
                f"{store.path}: expected genes whose means and variances `panel.flavor: {settings.flavor}` can group or follow, found some that it "
                f"cannot ({error}). Write `panel: {{flavor: seurat}}`, or filter the cells more strictly."
            ) from None
        order = np.lexsort((gene_ids[expressed], -variability_E))[: np.count_nonzero(variability_E > -np.inf)]
        rank[expressed[order]] = np.arange(1, len(order) + 1)
    gene, num_cells = store.var["gene"].to_numpy(dtype=str), store.var["num_cells"].to_numpy(dtype=np.int64)
    return pd.DataFrame({"gene_id": gene_ids, "gene": gene, "rank": rank, "mean": sums / max(num_ranked, 1), "num_cells": num_cells})


def _ranked_cells(store: CellStore, settings: PanelConfig, seed: int, block_cells: int) -> tuple[sp.csr_matrix, sp.csr_matrix | None]:
    """Take x of the cells that are ranked on [N, F], and their counts where the flavour takes them."""
    rows = None
    if store.num_cells > settings.vote_cells:
        rows = np.sort(np.random.default_rng(seed).choice(store.num_cells, settings.vote_cells, replace=False))
    totals = store.obs["total_counts"].to_numpy(dtype=np.float64)
    x_parts, count_parts = [], []
    progress = Progress(store.num_cells if rows is None else len(rows), "cells")
    for part, counts in store.iter_counts(block_cells, rows):
        x_parts.append(log_normalise(counts, totals[part]))
        if settings.flavor == "seurat_v3":
            count_parts.append(counts.astype(np.float32))
        progress.advance(len(part))
    empty = sp.csr_matrix((0, len(store.var)), dtype=np.float32)
    x_NF = sp.vstack(x_parts, format="csr") if x_parts else empty
    return x_NF, sp.vstack(count_parts, format="csr") if count_parts else None


def _column_sums(matrix: sp.csr_matrix, power: int = 1) -> np.ndarray:
    """Sum a power of the entries of each column, in float64, part by part: numpy would take a float64 copy of them all."""
    sums = np.zeros(matrix.shape[1])
    for start in range(0, matrix.nnz, SUMMED):
        part = slice(start, start + SUMMED)
        sums += np.bincount(matrix.indices[part], weights=matrix.data[part].astype(np.float64) ** power, minlength=len(sums))
    return sums


def _without_empty(matrix_NF: sp.csr_matrix, expressed: np.ndarray) -> sp.csr_matrix:
    """Leave out columns without an entry, in place: only the numbers of the other columns change."""
    position = np.full(matrix_NF.shape[1], -1, dtype=matrix_NF.indices.dtype)
    position[expressed] = np.arange(len(expressed))
    np.take(position, matrix_NF.indices, out=matrix_NF.indices, mode="clip")
    return sp.csr_matrix((matrix_NF.data, matrix_NF.indices, matrix_NF.indptr), shape=(matrix_NF.shape[0], len(expressed)))


def _variability(matrix_NE: sp.csr_matrix, flavor: str, backend: Backend) -> np.ndarray:
    """Statistic of the flavour, as float64; genes for which none is defined (constant ones, or alone in their bin) are -inf."""
    import anndata

    num_cells, num_genes = matrix_NE.shape
    mean_E, square_E = (_column_sums(matrix_NE, power) / num_cells for power in (1, 2))
    varies = square_E - mean_E**2 > CONSTANT * square_E
    if not varies.any():
        return np.full(num_genes, -np.inf)
    if flavor == "seurat_v3" and varies.sum() < MIN_FOLLOWED:
        raise ValueError(f"{varies.sum()} genes vary, fewer than {MIN_FOLLOWED}")
    module: Any = single_cell(backend)
    data = anndata.AnnData(matrix_NE)
    if module.__name__ == "rapids_singlecell":
        module.get.anndata_to_GPU(data)
    module.pp.highly_variable_genes(data, flavor=flavor, n_top_genes=1)  # how many are marked does not matter: the statistic behind it is used
    values: np.ndarray = data.var[STATISTIC[flavor]].to_numpy(dtype=np.float64)
    # A constant gene that is alone in its bin would get 1 by convention.
    return np.where(varies & np.isfinite(values), values, -np.inf)


def consensus(votes: dict[str, pd.DataFrame], settings: PanelConfig) -> pd.DataFrame:
    """Gather the votes of all plates, whatever their order.

    Parameters
    ----------
    votes
        Table of :func:`plate_votes` by plate.
    settings
        Section `panel`.

    Returns
    -------
    pandas.DataFrame
        gene_id, gene, hvg_rank (median rank over the plates that rank it), num_plates (plates that vote for it: it is among their `num_hvg` most
        variable), num_cells (sum over plates), mean (mean of the plates' means), plates_voted and plates_silent (names of the plates that rank a
        gene, and of those that rank none, joined by `;`; the same in each row); sorted by gene_id.

    Raises
    ------
    InputError
        If there is no plate.
    """
    if not votes:
        raise InputError("panel: expected votes of at least one plate, found none. Give a plate table with a plate.")
    table = pd.concat([votes[name].assign(plate=name) for name in sorted(votes)], ignore_index=True)
    table["top"] = table["rank"] <= settings.num_hvg
    grouped = table.groupby("gene_id", sort=True)
    result = grouped.agg(
        gene=("gene", "first"), hvg_rank=("rank", "median"), num_plates=("top", "sum"), num_cells=("num_cells", "sum"), mean=("mean", "mean")
    ).reset_index()
    voted = [name for name in sorted(votes) if votes[name]["rank"].notna().any()]
    return result.assign(plates_voted=";".join(voted), plates_silent=";".join(sorted(set(votes) - set(voted))))


def build_panel(agreed: pd.DataFrame, members: dict[str, set[str]], settings: PanelConfig) -> pd.DataFrame:
    """Take the genes of the listed sources, and fill up with highly variable ones.

    Genes of the listed sources always enter, if `min_cells` cells express them. Highly variable genes follow in the order of the number of plates
    that vote for them, then of their median rank, then of their id: until the panel has `num_genes` genes, or, where that is null, `num_hvg` of
    them. A gene that no plate votes for is not highly variable.

    Parameters
    ----------
    agreed
        Table of :func:`consensus`.
    members
        Genes (symbols) of each source in `tfs`, `rbps`, `hallmarks`, `drug_targets`; an absent source has none.
    settings
        Section `panel`; a listed source that it leaves out adds no gene, but its flag is set all the same.

    Returns
    -------
    pandas.DataFrame
        Columns of `panel.parquet`: gene_id, gene, is_tf, is_rbp, is_hallmark, is_drug_target, is_hvg (enters as a highly variable gene, whether or
        not a list has it too), hvg_rank, num_plates, num_cells; sorted by gene.

    Raises
    ------
    InputError
        If the panel would hold fewer than two genes.
    """
    table = _with_flags(agreed[agreed["num_cells"] >= settings.min_cells], members)
    is_listed = table[[flag for source, flag in LISTED.items() if source in settings.sources]].any(axis=1)
    table["is_hvg"] = table["gene_id"].isin(_highly_variable(table, is_listed, settings))
    table = table[is_listed | table["is_hvg"]]
    if len(table) < 2:
        raise InputError(
            f"panel: expected at least 2 genes that {settings.min_cells} cells express, found {len(table)}. "
            "Lower `panel: {min_cells: ...}`, or check that the gene ids are human."
        )
    columns = ["gene_id", "gene", *LISTED.values(), "is_hvg", "hvg_rank", "num_plates", "num_cells"]
    return table.sort_values(["gene", "gene_id"], ignore_index=True)[columns]


def _with_flags(agreed: pd.DataFrame, members: dict[str, set[str]]) -> pd.DataFrame:
    """Add a boolean column for each listed source."""
    return agreed.assign(**{flag: agreed["gene"].isin(members.get(source, set())) for source, flag in LISTED.items()})


def _highly_variable(table: pd.DataFrame, is_listed: pd.Series, settings: PanelConfig) -> pd.Series:
    """Ids of the genes that enter as highly variable ones, best first."""
    voted = table[table["num_plates"] > 0].sort_values(["num_plates", "hvg_rank", "gene_id"], ascending=[False, True, True])
    if "hvg" not in settings.sources:
        return voted["gene_id"].head(0)
    if settings.num_genes is None:
        return voted["gene_id"].head(settings.num_hvg)
    num_free = settings.num_genes - int(is_listed.sum())
    if num_free < 0:
        logger.warning("panel: the lists alone hold %d genes, more than `num_genes` (%d); all of them enter", is_listed.sum(), settings.num_genes)
    if num_free <= 0:
        return voted["gene_id"].head(0)
    # The shortest list whose genes fill the panel: a listed gene takes no place of its own.
    num_new = (~is_listed[voted.index]).cumsum().to_numpy()
    return voted["gene_id"].head(int(np.searchsorted(num_new, num_free)) + 1)


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


def summarise_panel(panel: pd.DataFrame, agreed: pd.DataFrame, members: dict[str, set[str]], settings: PanelConfig) -> dict[str, Any]:
    """Count where the genes of a panel come from.

    Parameters
    ----------
    panel
        Table of :func:`build_panel`.
    agreed, members, settings
        What it was built from.

    Returns
    -------
    dict
        `panel_summary.json`: num_genes, num_wanted (`panel.num_genes`), sources (in use); in_data (genes of each source among all genes of the
        plates; of `hvg`, those that a plate votes for), by_source (those of them in the panel), only (those that no other source in use brings),
        overlaps ({source: {other source: genes of both in the panel}}); num_listed (genes of the lists in use), num_filled (highly variable genes
        beyond them); plates_voted, plates_silent (plates of which no gene could be ranked).
    """
    flags = panel[list(FLAG_OF_SOURCE.values())].set_axis(list(FLAG_OF_SOURCE), axis=1).astype(bool)
    everything = _with_flags(agreed, members).assign(is_hvg=agreed["num_plates"] > 0)
    in_use = flags[[source for source in FLAG_OF_SOURCE if source in settings.sources]]
    is_alone = in_use.sum(axis=1) == 1
    num_listed = int(in_use.drop(columns="hvg", errors="ignore").any(axis=1).sum())
    names = {name: str(agreed[name].iloc[0]).split(";") if agreed[name].iloc[0] else [] for name in ("plates_voted", "plates_silent")}
    return {
        "num_genes": len(panel),
        "num_wanted": settings.num_genes,
        "sources": list(in_use),
        "in_data": {source: int(everything[flag].sum()) for source, flag in FLAG_OF_SOURCE.items()},
        "by_source": {source: int(flags[source].sum()) for source in flags},
        "only": {source: int((is_alone & flags[source]).sum()) if source in in_use else 0 for source in flags},
        "overlaps": {one: {other: int((flags[one] & flags[other]).sum()) for other in flags if other != one} for one in flags},
        "num_listed": num_listed,
        "num_filled": len(panel) - num_listed,
        **names,
    }
