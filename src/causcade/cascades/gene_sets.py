"""Gene sets among the top responders of a perturbation: hypergeometric tests, Benjamini-Hochberg within the perturbation.

Axes: D perturbations, G genes, S gene sets.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse, stats

__all__ = ["COLUMNS", "enriched_sets"]

COLUMNS = ["perturbation", "collection", "gene_set", "hits", "size", "expected", "p_value", "fdr"]
COLLECTIONS = ("hallmarks", "reactome")  # the lists of TFs and RBPs are no pathways
MIN_SIZE, MAX_SIZE = 5, 500
MIN_HITS = 2


def enriched_sets(
    response_DG: npt.NDArray[np.floating], perturbations: list[str], genes: list[str], gene_sets: pd.DataFrame, *, num_top: int
) -> pd.DataFrame:
    """Overlap of each perturbation's `num_top` strongest responders with each gene set; the universe is the panel.

    Sets with fewer than 5 or more than 500 genes in the panel are left out; the false discovery rate counts every set that was tested, the table
    holds those with at least two hits. Responders are genes with a nonzero response, so there may be fewer.

    Parameters
    ----------
    response_DG
        Responses.
    perturbations, genes
        Names along the axes.
    gene_sets
        collection, gene_set, gene.
    num_top
        Number of responders.

    Returns
    -------
    pandas.DataFrame
        perturbation, collection, gene_set, hits, size (genes of the set in the panel), expected, p_value, fdr.
    """
    names, member_SG = _membership(genes, gene_sets)
    frames = []
    for perturbation, response_G in zip(perturbations, response_DG, strict=True):
        order = np.argsort(-np.abs(response_G), kind="stable")[:num_top]
        top = order[response_G[order] != 0]
        if not len(names) or not len(top):
            continue
        indicator_G = np.zeros(len(genes))
        indicator_G[top] = 1
        size_S, hits_S = np.asarray(member_SG.sum(axis=1)).ravel(), member_SG @ indicator_G
        p_S = stats.hypergeom.sf(hits_S - 1, len(genes), size_S, len(top))
        table = names.assign(
            perturbation=perturbation, hits=hits_S.astype(np.int64), size=size_S.astype(np.int64), expected=size_S * len(top) / len(genes),
            p_value=p_S, fdr=stats.false_discovery_control(p_S),
        )  # fmt: skip
        frames.append(table[table["hits"] >= MIN_HITS].sort_values(["p_value", "collection", "gene_set"]))
    return pd.concat(frames, ignore_index=True)[COLUMNS] if frames else pd.DataFrame(columns=COLUMNS)


def _membership(genes: list[str], gene_sets: pd.DataFrame) -> tuple[pd.DataFrame, sparse.csr_matrix]:
    """Keep the sets of 5 to 500 genes; their names, and which genes they hold, [S, G]."""
    place = {gene: i for i, gene in enumerate(genes)}
    rows = gene_sets[gene_sets["collection"].isin(COLLECTIONS) & gene_sets["gene"].isin(place)]
    rows = rows[["collection", "gene_set", "gene"]].astype(str).drop_duplicates()
    size = rows.groupby(["collection", "gene_set"])["gene"].transform("size")
    rows = rows[(size >= MIN_SIZE) & (size <= MAX_SIZE)]
    groups = rows.groupby(["collection", "gene_set"], sort=True)
    names = groups.size().reset_index()[["collection", "gene_set"]]
    places = (groups.ngroup().to_numpy(), rows["gene"].map(place).to_numpy(np.int64))
    return names, sparse.csr_matrix((np.ones(len(rows)), places), shape=(len(names), len(genes)))
