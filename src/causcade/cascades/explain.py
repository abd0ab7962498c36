"""From a fit to tables that explain each perturbation.

Axes: D perturbations, G genes.

Shares. With b the observed response and p = direct + propagated + shared its prediction, the share of a part is <part, b> / <b, b>, weighted by
1 / (s^2 + tau^2). Shares add up to <p, b> / <b, b>; a part that points the other way has a negative share. The own mRNA of a target that is hit
in its activity only is left out, as in the fit. The propagated part uses every edge of the fit; `share_unlisted` is what of it needs a pair that
is no candidate edge.
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.cascades.gene_sets import COLUMNS as SET_COLUMNS
from causcade.cascades.gene_sets import enriched_sets
from causcade.cascades.paths import best_paths
from causcade.causal import CausalFit, Response
from causcade.config import CascadesConfig
from causcade.errors import InputError
from causcade.files import write_parquet
from causcade.responses import DrugEffects, Responses, as_effects

__all__ = ["CascadeTables", "build_cascades", "write_cascades"]

logger = logging.getLogger("causcade")

NUM_NOVEL = 500
SUMMARY_COLUMNS = [
    "perturbation", "num_targets", "num_conditions", "num_cells", "share_direct", "share_propagated", "share_shared", "share_unlisted", "correlation",
]  # fmt: skip
HOP_COLUMNS = ["perturbation", "hop", "gene", "effect", "rank"]
PATH_COLUMNS = ["perturbation", "rank", "path", "hops", "effect", "num_curated"]
SIMILARITY_COLUMNS = ["perturbation_a", "perturbation_b", "cosine", "shared_targets"]
NOVEL_COLUMNS = ["regulator", "target", "score", "rank", "effect", "stability", "num_perturbations"]

FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class CascadeTables:
    """One table per file of the stage; see :func:`build_cascades`."""

    summary: pd.DataFrame
    direct: pd.DataFrame
    hops: pd.DataFrame
    paths: pd.DataFrame
    similarity: pd.DataFrame
    novel_edges: pd.DataFrame
    gene_sets: pd.DataFrame


def build_cascades(
    fit: CausalFit, network: pd.DataFrame, responses: Responses | DrugEffects, gene_sets: pd.DataFrame, settings: CascadesConfig
) -> CascadeTables:
    """Explain every perturbation that took part in the fit.

    Parameters
    ----------
    fit
        The fit `main`.
    network
        network/edges.parquet, in the order of the candidates of the fit.
    responses
        What was observed, of conditions or, summed, of perturbations.
    gene_sets
        collection, gene_set, gene.
    settings
        Section `cascades`.

    Returns
    -------
    CascadeTables
        Without rows, but with all columns, when no perturbation took part in the fit.

    Raises
    ------
    InputError
        If the fit is of other edges, genes or perturbations.
    """
    effects = as_effects(responses)
    _check(fit, network, effects)
    novel = _novel_edges(network)
    if not fit.perturbations:
        logger.warning("no perturbation has a known target in the panel, so there is no cascade to explain: the tables are empty")
    response = fit.predict()
    row = {name: d for d, name in enumerate(effects.table["perturbation"])}
    observed = effects.take(np.array([row[name] for name in fit.perturbations], dtype=np.int64))
    network_DG = response.network
    return CascadeTables(
        summary=_summary(fit, response, observed), direct=fit.direct_effects(), hops=_hops(fit, response, settings.num_genes),
        paths=_paths(fit, network, settings.num_paths), similarity=_similarity(fit, network_DG), novel_edges=novel,
        gene_sets=enriched_sets(network_DG, fit.perturbations, fit.genes, gene_sets, num_top=settings.num_genes)[SET_COLUMNS],
    )  # fmt: skip


def write_cascades(tables: CascadeTables, folder: Path) -> None:
    """Write each table to <name>.parquet."""
    for item in fields(tables):
        write_parquet(folder / f"{item.name}.parquet", getattr(tables, item.name))


def _check(fit: CausalFit, network: pd.DataFrame, effects: DrugEffects) -> None:
    if len(network) != len(fit.weight_C):
        raise InputError(
            f"network: expected the {len(fit.weight_C)} candidate edges of the fit, found {len(network)}. Rerun the stages `causal` and `network`."
        )
    if fit.genes != effects.genes["gene"].astype(str).tolist():
        raise InputError("cascades: expected a fit on the genes of the conditions, found other genes. Rerun the stage `causal`.")
    unknown = sorted(set(fit.perturbations) - set(effects.table["perturbation"]))
    if unknown:
        raise InputError(f"cascades: expected conditions of every perturbation of the fit, found none of {unknown[:5]}. Rerun the stage `causal`.")


def _summary(fit: CausalFit, response: Response, observed: DrugEffects) -> pd.DataFrame:
    weight_DG = 1.0 / (observed.se_DG.astype(np.float64) ** 2 + fit.tau_G.astype(np.float64) ** 2)
    left_out = fit.direct_is_target_S & ~fit.direct_is_seen_S
    weight_DG[fit.direct_drug_S[left_out], fit.direct_gene_S[left_out]] = 0
    effect_DG = observed.effect_DG.astype(np.float64)
    size_D = (weight_DG * effect_DG**2).sum(axis=1)

    def share(part_DG: FloatArray) -> FloatArray:
        explained_D = (weight_DG * effect_DG * part_DG).sum(axis=1)
        return np.asarray(np.divide(explained_D, size_D, out=np.full(len(size_D), np.nan), where=size_D > 0))

    propagated_DG = response.network - response.hops[0]
    inside_DG = np.sum(fit.propagate(response.hops[0], candidates_only=True), axis=0) - response.hops[0]
    total_DG = response.total
    counted_DG = weight_DG > 0
    return pd.DataFrame(
        {
            "perturbation": np.asarray(fit.perturbations, dtype=object),
            "num_targets": observed.num_targets_D,
            "num_conditions": observed.table["num_conditions"].to_numpy(np.int64),
            "num_cells": observed.table["num_cells"].to_numpy(np.int64),
            "share_direct": share(response.hops[0]),
            "share_propagated": share(propagated_DG),
            "share_shared": share(response.shared),
            "share_unlisted": share(propagated_DG - inside_DG),
            "correlation": [_pearson(total_DG[d, kept], effect_DG[d, kept]) for d, kept in enumerate(counted_DG)],
        }
    )[SUMMARY_COLUMNS]


def _pearson(a: FloatArray, b: FloatArray) -> float:
    """Correlation; NaN where either is constant."""
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else float("nan")


def _hops(fit: CausalFit, response: Response, num_genes: int) -> pd.DataFrame:
    """Strongest genes of each hop; hop 0 is the table of direct effects."""
    rows = []
    for hop, effect_DG in enumerate(response.hops[1:], start=1):
        for name, effect_G in zip(fit.perturbations, effect_DG, strict=True):
            best = np.argsort(-np.abs(effect_G), kind="stable")[:num_genes]
            rows += [(name, hop, fit.genes[gene], effect_G[gene], rank) for rank, gene in enumerate(best[effect_G[best] != 0], start=1)]
    return pd.DataFrame(rows, columns=HOP_COLUMNS).sort_values(["perturbation", "hop", "rank"], ignore_index=True)


def _paths(fit: CausalFit, network: pd.DataFrame, num_paths: int) -> pd.DataFrame:
    curated_C = network["prior_confidence"].to_numpy() > 0
    curated = set(zip(fit.source_C[curated_C].tolist(), fit.target_C[curated_C].tolist(), strict=True))
    rows = []
    for name, direct_G in zip(fit.perturbations, fit.direct_DG, strict=True):
        for rank, path in enumerate(best_paths(fit.candidate_operator, direct_G, num_hops=fit.num_hops, num_paths=num_paths), start=1):
            steps = list(itertools.pairwise(path.genes))
            text, num_curated = ">".join(fit.genes[gene] for gene in path.genes), sum(step in curated for step in steps)
            rows.append((name, rank, text, len(steps), path.effect, num_curated))
    return pd.DataFrame(rows, columns=PATH_COLUMNS)


def _similarity(fit: CausalFit, network_DG: FloatArray) -> pd.DataFrame:
    """Cosine of the predicted network responses of each pair; NaN where a perturbation has none."""
    size_D = np.linalg.norm(network_DG, axis=1)
    unit_DG = np.divide(network_DG, size_D[:, None], out=np.full(network_DG.shape, np.nan), where=size_D[:, None] > 0)
    cosine_DD = unit_DG @ unit_DG.T
    target_DG = np.zeros(network_DG.shape, np.float32)
    target_DG[fit.direct_drug_S[fit.direct_is_target_S], fit.direct_gene_S[fit.direct_is_target_S]] = 1
    shared_DD = target_DG @ target_DG.T
    first, second = np.triu_indices(len(fit.perturbations), k=1)
    names = np.asarray(fit.perturbations, dtype=object)
    columns = [names[first], names[second], cosine_DD[first, second], shared_DD[first, second].astype(np.int64)]
    return pd.DataFrame(dict(zip(SIMILARITY_COLUMNS, columns, strict=True)))


def _novel_edges(network: pd.DataFrame) -> pd.DataFrame:
    """Best edges that no curated source lists and whose regulator a perturbation hits."""
    is_uncurated = (network["prior_confidence"] == 0) & (network["sources"] == "coexpression")
    is_novel = is_uncurated & (network["identifiability"] == "direct") & (network["score"] > 0)
    return network.loc[is_novel, NOVEL_COLUMNS].nsmallest(NUM_NOVEL, "rank").reset_index(drop=True)
