"""Targets that are not measured: which of them enter the network as latent genes, and by which candidate edges.

A guide against a gene outside the panel changes an activity that nobody reads. Such a gene has no coexpression, so curated edges are what may leave
it, or, on request, edges to every gene of the panel. It enters if an edge leaves it; it is never the target of an edge. The others are reported only.
docs/design/010-unmeasured-targets.md says why.
"""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from causcade.config import MaskConfig

__all__ = ["EDGE_COLUMNS", "find_unmeasured", "unmeasured_edges"]

logger = logging.getLogger("causcade")

EDGE_COLUMNS = ["regulator", "target", "coexpression", "rank", "sources", "prior_confidence", "prior_sign"]
EXAMPLES = 10


def unmeasured_edges(targets: pd.DataFrame, panel: pd.DataFrame, prior_edges: pd.DataFrame, settings: MaskConfig) -> pd.DataFrame:
    """Candidate edges from targets that are not measured to genes of the panel.

    Parameters
    ----------
    targets
        `targets.parquet`: perturbation, target, sign, source.
    panel
        `panel.parquet`: gene, gene_id.
    prior_edges
        `resources/prior_edges.parquet`.
    settings
        `unmeasured_targets`: none, curated, or all (every gene of the panel).

    Returns
    -------
    pandas.DataFrame
        As `candidate_edges.parquet`: regulator, target, coexpression (0: there is none), rank (<NA>), sources ("" where no curated source has the
        edge), prior_confidence, prior_sign; sorted by regulator, and by target in the order of the panel.
    """
    names = sorted(set(targets.loc[~_is_measured(targets, panel), "target"].astype(str)))
    genes = panel["gene"].astype(str)
    curated = prior_edges[prior_edges["regulator"].isin(names) & prior_edges["target"].isin(genes)]
    curated = curated.rename(columns={"sign": "prior_sign", "confidence": "prior_confidence"})
    curated = curated[["regulator", "target", "sources", "prior_confidence", "prior_sign"]]
    match settings.unmeasured_targets:
        case "none":
            edges = curated.iloc[:0]
        case "curated":
            edges = curated
        case "all":
            every = pd.DataFrame({"regulator": np.repeat(names, len(genes)), "target": np.tile(genes, len(names))})
            edges = every.merge(curated, on=["regulator", "target"], how="left")
    edges = edges.assign(
        coexpression=0.0, rank=pd.array([pd.NA] * len(edges), dtype="Int32"), sources=edges["sources"].fillna("").astype(object),
        prior_confidence=pd.to_numeric(edges["prior_confidence"]).fillna(0.0).astype(float),
        prior_sign=pd.to_numeric(edges["prior_sign"]).fillna(0).astype("int8"),
    )  # fmt: skip
    place = edges["target"].map(pd.Series(np.arange(len(genes)), index=genes))
    order = np.lexsort((place, edges["regulator"].astype(str)))
    return edges.iloc[order].reset_index(drop=True)[EDGE_COLUMNS]


def find_unmeasured(targets: pd.DataFrame, panel: pd.DataFrame, edges: pd.DataFrame) -> pd.DataFrame:
    """Say of every target whether it is measured, and whether it enters the network.

    Parameters
    ----------
    targets, panel
        As for :func:`unmeasured_edges`.
    edges
        What that function returned.

    Returns
    -------
    pandas.DataFrame
        `targets` with is_measured, enters (true for measured targets too) and num_edges (candidate edges that leave an unmeasured one; 0 for others).
    """
    num_edges = targets["target"].astype(str).map(edges["regulator"].value_counts()).fillna(0).astype("int32")
    measured = _is_measured(targets, panel)
    table = targets.assign(is_measured=measured, enters=measured | (num_edges > 0), num_edges=num_edges)
    for enters, what in ((True, "enter the network as latent genes"), (False, "have no candidate edge and stay out of the network")):
        names = sorted(set(table.loc[~measured & (table["enters"] == enters), "target"].astype(str)))
        if names:
            more = f" and {len(names) - EXAMPLES} more" if len(names) > EXAMPLES else ""
            logger.warning("%d listed targets are not measured and %s: %s%s", len(names), what, ", ".join(names[:EXAMPLES]), more)
    return table


def _is_measured(targets: pd.DataFrame, panel: pd.DataFrame) -> pd.Series:
    names = {*panel["gene"].astype(str), *panel["gene_id"].astype(str)}
    return targets["target"].astype(str).isin(names).astype(bool)
