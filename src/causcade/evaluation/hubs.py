"""Hubs: transcription factors among the genes with most outgoing edges, drug targets among those with most incoming edges.

The degree of a gene is its number of edges among the best tenth of the candidate edges, so that every ranking spends the same number of edges. Edges
tied at that cut count by the share of the tie that fits, hence fractional degrees. Genes of equal degree are ordered by the mean standing of their
edges, then by name. The mask itself (degree = number of candidate edges) and the nulls stand beside each ranking: the mask alone is full of
transcription factors, so enrichment counts only beyond both.

p values are hypergeometric, against the genes that are a regulator (out) or a target (in) of a candidate edge.

Legend of axes: E candidate edges, G panel genes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from causcade.evaluation.edges import CodedEdges, FloatArray
from causcade.evaluation.rankings import Ranking, is_null

__all__ = ["HUB_EDGE_SHARE", "edge_share_at_cut", "hub_tables"]

HUB_EDGE_SHARE = 0.1
MASK_NAME = "mask"


def edge_share_at_cut(score_E: FloatArray, num_edges: int) -> FloatArray:
    """Compute the share [E] of each edge that is among the best `num_edges`: 1 above the cut, 0 below, the fitting share for edges tied at it."""
    if num_edges >= score_E.size:
        return np.ones(score_E.size)
    if num_edges == 0:
        return np.zeros(score_E.size)
    cut = np.partition(score_E, score_E.size - num_edges)[score_E.size - num_edges]
    tied_E = score_E == cut
    share_E: FloatArray = (score_E > cut).astype(np.float64)
    share_E[tied_E] = (num_edges - share_E.sum()) / tied_E.sum()
    return share_E


def _top_genes(edges: CodedEdges, end_E: np.ndarray, weight_E: FloatArray, standing_E: FloatArray) -> pd.DataFrame:
    """Order the genes that have candidate edges at this end, best first: `index` in the panel, `gene` and `degree`."""
    num_G = np.bincount(end_E, minlength=edges.num_genes)
    index = np.flatnonzero(num_G)
    # Rounded, so that the order of summation cannot decide between genes of equal degree.
    degree = np.round(np.bincount(end_E, weight_E, minlength=edges.num_genes)[index], 9)
    standing = np.round(np.bincount(end_E, standing_E, minlength=edges.num_genes)[index] / num_G[index], 9)
    name = np.asarray(edges.gene_G, dtype=str)[index]
    order = np.lexsort((name, -standing, -degree))
    return pd.DataFrame({"index": index[order], "gene": name[order], "degree": degree[order]})


def hub_tables(edges: CodedEdges, panel: pd.DataFrame, rankings: Sequence[Ranking], num_hubs: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Hubs of each ranking and of the mask, and their enrichment.

    Parameters
    ----------
    edges
        From :func:`causcade.evaluation.edges.code_edges`.
    panel
        Columns `gene`, `is_tf`, `is_drug_target`.
    rankings
        Rankings to take hubs from; the mask is added.
    num_hubs
        Genes that count as hubs.

    Returns
    -------
    hubs
        ranking, kind (out | in), position (from 1), gene, degree, is_tf, is_drug_target.
    tests
        ranking, test (tf_out | target_in), num_hubs, hits, expected, p_value, num_background, num_marked; and beside them mask_hits and the largest
        number of hits of any null, edge_null_hits and label_null_hits (missing where there is no such null).
    """
    num_top = int(np.ceil(HUB_EDGE_SHARE * edges.num_edges))
    weights = [(MASK_NAME, np.ones(edges.num_edges), np.zeros(edges.num_edges))]
    weights += [(one.name, edge_share_at_cut(one.score_E, num_top), stats.rankdata(one.score_E) / max(edges.num_edges, 1)) for one in rankings]
    is_tf_G, is_drug_target_G = panel["is_tf"].to_numpy(dtype=bool), panel["is_drug_target"].to_numpy(dtype=bool)
    hubs, tests = [], []
    for name, weight_E, standing_E in weights:
        for kind, test, end_E, mark_G in (("out", "tf_out", edges.source_E, is_tf_G), ("in", "target_in", edges.target_E, is_drug_target_G)):
            genes = _top_genes(edges, end_E, weight_E, standing_E)
            top = genes.head(num_hubs)
            row = top["index"].to_numpy()
            hubs.append(pd.DataFrame({
                "ranking": name, "kind": kind, "position": np.arange(1, len(top) + 1), "gene": top["gene"], "degree": top["degree"],
                "is_tf": is_tf_G[row], "is_drug_target": is_drug_target_G[row],
            }))  # fmt: skip
            tests.append({"ranking": name, "test": test, **_enrichment(mark_G[genes["index"].to_numpy()], len(top))})
    return pd.concat(hubs, ignore_index=True), _beside(pd.DataFrame(tests))


def _beside(tests: pd.DataFrame) -> pd.DataFrame:
    """Put the hits of the mask and of the best null of each kind beside the hits of every ranking."""
    is_kind = {"mask_hits": tests["ranking"] == MASK_NAME}
    is_kind |= {f"{kind}_null_hits": tests["ranking"].map(lambda name, kind=kind: is_null(name, kind)) for kind in ("edge", "label")}
    most = {column: tests["test"].map(tests[mark].groupby("test")["hits"].max()).astype("Int64") for column, mark in is_kind.items()}
    return tests.assign(**most)


def _enrichment(is_marked: np.ndarray, num_hubs: int) -> dict[str, int | float]:
    """Hypergeometric enrichment of marked genes among the first `num_hubs` of the background."""
    num_background, num_marked, hits = is_marked.size, int(is_marked.sum()), int(is_marked[:num_hubs].sum())
    expected = num_hubs * num_marked / num_background if num_background else 0.0
    p_value = float(stats.hypergeom.sf(hits - 1, num_background, num_marked, num_hubs)) if num_background else 1.0
    return {
        "num_hubs": num_hubs, "hits": hits, "expected": expected, "p_value": min(p_value, 1.0),
        "num_background": num_background, "num_marked": num_marked,
    }  # fmt: skip
