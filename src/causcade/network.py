"""The directed network: signed, scored candidate edges with provenance, stability and identifiability, and its exports.

Units. The causal module works on x = log1p(m) with m = 10^4 * count / total, so an edge is dx_target / dx_source. With dx = m / (1 + m) dln(m), one
log2 unit of the regulator changes the target by W * f_source / f_target log2 units, where f = m / (1 + m) = 1 - exp(-x) at the mean x of controls.
Below 0.01 counts per 10^4 in controls a fold change means nothing, and the effect is NaN.

Axes: C candidate edges, G genes, B bootstraps.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.causal import EdgeWeights
from causcade.config import NetworkConfig
from causcade.errors import InputError
from causcade.files import replacing, write_parquet, write_text
from causcade.responses import Responses, aggregate

__all__ = ["build_network", "edge_stability", "log2_effect", "write_network"]

TOP_SHARE = 0.01  # of the candidates; edges that count as found in a bootstrap
MIN_EXPRESSION = 0.01  # counts per 10^4
MOVED = 5.0  # standard errors from which a perturbation moves the mRNA of a gene
MIN_MOVING = 2  # perturbations that have to move a regulator that none hits
COLUMNS = [
    "regulator", "target", "weight", "weight_no_prior", "effect", "score", "rank", "sign", "stability", "identifiability", "num_perturbations",
    "sources", "prior_confidence", "prior_sign", "coexpression",
]  # fmt: skip
FIT_OF_SCORE = {"weight": "main", "weight_no_prior": "noprior"}

FloatArray = npt.NDArray[np.floating]
IndexArray = npt.NDArray[np.int64]


def build_network(edges: pd.DataFrame, weights: Mapping[str, EdgeWeights], responses: Responses, settings: NetworkConfig) -> pd.DataFrame:
    """Table of all candidate edges, in their order.

    `score` is |W| in standard errors in the fit that `settings.score` names, `rank` its place (1 is best; equal scores keep the order of the table;
    <NA> where the score is 0), `sign` and `effect` those of the same fit. `stability` is the share of bootstraps in which the edge is among the
    best 1 % with the same sign (NaN without bootstraps). `identifiability`: `direct` where a perturbation hits the regulator; `indirect` where none
    does, but at least two perturbations move its mRNA by at least 5 standard errors, so that the data hold variation of the regulator that is not
    its own intervention; else `none`.

    Parameters
    ----------
    edges
        candidate_edges.parquet.
    weights
        By name of the fit; `main` and `noprior` are needed, `boot*` give the stability, others are ignored.
    responses
        Gives the genes, the links, the mean of controls, and what moves the mRNA of a regulator.
    settings
        Section `network`.

    Raises
    ------
    InputError
        If a fit is missing, or has another number of edges.
    """
    for name in ("main", "noprior", *sorted(weights)):
        if name not in weights:
            raise InputError(f"network: expected the fits main and noprior, found {', '.join(sorted(weights)) or 'none'}. Run the stage `causal`.")
        if len(weights[name].weight) != len(edges):
            num = len(weights[name].weight)
            raise InputError(f"fit {name}: expected {len(edges)} edges, found {num}. Rerun the fit on the present candidate edges.")
    chosen = weights[FIT_OF_SCORE[settings.score]]
    place = pd.Series(np.arange(len(responses.genes)), index=responses.genes["gene"].astype(str))
    source_C, target_C = (place.loc[edges[column].astype(str)].to_numpy(np.int64) for column in ("regulator", "target"))
    score_C, sign_C = np.abs(chosen.score), np.sign(chosen.weight).astype(np.int8)
    num_hits_G = np.bincount(responses.links["target"].to_numpy(np.int64), minlength=len(place))
    boots = [weights[name] for name in sorted(weights) if name.startswith("boot")]
    table = edges.assign(
        weight=weights["main"].weight, weight_no_prior=weights["noprior"].weight, score=score_C, sign=sign_C,
        rank=pd.arrays.IntegerArray(_ranks(score_C).astype(np.int32), score_C == 0),
        effect=log2_effect(chosen.weight, responses.control_mean_G[source_C], responses.control_mean_G[target_C]),
        stability=edge_stability(sign_C, boots), identifiability=_identifiability(num_hits_G, responses)[source_C],
        num_perturbations=num_hits_G[source_C],
    )  # fmt: skip
    return table[COLUMNS]


def log2_effect(weight_C: FloatArray, source_mean_C: FloatArray, target_mean_C: FloatArray) -> npt.NDArray[np.float64]:
    """Log2 fold change of the target per log2 unit of the regulator, from W and the means of x in controls; NaN where either is not expressed."""
    source_C, target_C = -np.expm1(-np.asarray(source_mean_C, np.float64)), -np.expm1(-np.asarray(target_mean_C, np.float64))
    expressed_C = np.minimum(np.expm1(source_mean_C), np.expm1(target_mean_C)) >= MIN_EXPRESSION
    effect_C = np.full(len(source_C), np.nan)
    np.divide(weight_C * source_C, target_C, out=effect_C, where=expressed_C)
    return effect_C


def edge_stability(sign_C: npt.NDArray[np.int8], boots: list[EdgeWeights]) -> npt.NDArray[np.float64]:
    """Share of bootstraps in which each edge is among the best 1 % of candidates (at least one) with the sign given; NaN without bootstraps."""
    if not boots:
        return np.full(len(sign_C), np.nan)
    num_top = max(1, round(TOP_SHARE * len(sign_C)))
    found_C = np.zeros(len(sign_C))
    for boot in boots:
        found_C += (_ranks(np.abs(boot.score)) <= num_top) & (boot.weight != 0) & (np.sign(boot.weight) == sign_C)
    return found_C / len(boots)


def _ranks(score_C: FloatArray) -> IndexArray:
    """1 for the highest score; equal scores in the order given."""
    rank_C = np.empty(len(score_C), np.int64)
    rank_C[np.argsort(-score_C, kind="stable")] = np.arange(1, len(score_C) + 1)
    return rank_C


def _identifiability(num_hits_G: IndexArray, responses: Responses) -> npt.NDArray[np.object_]:
    """Class of each gene as a regulator; see :func:`build_network`."""
    effects = aggregate(responses)
    num_moving_G = ((np.abs(effects.effect_DG) >= MOVED * effects.se_DG) & (effects.se_DG > 0)).sum(axis=0)
    return np.where(num_hits_G > 0, "direct", np.where(num_moving_G >= MIN_MOVING, "indirect", "none")).astype(object)


def write_network(table: pd.DataFrame, folder: Path, settings: NetworkConfig) -> None:
    """Write edges.parquet (all edges) and, for the best `num_export` with a weight, edges.tsv, network.graphml and regulons.gmt.

    The weight of the exports is the effect in log2 units where it is known, else nothing is exported for the edge.
    """
    write_parquet(folder / "edges.parquet", table)
    best = table[(table["score"] > 0) & table["effect"].notna()].nsmallest(settings.num_export, "rank")
    exported = pd.DataFrame({"source": best["regulator"], "target": best["target"], "weight": best["effect"].round(6)})
    write_text(folder / "edges.tsv", exported.to_csv(sep="\t", index=False))
    _write_graphml(best, folder / "network.graphml")
    write_text(folder / "regulons.gmt", "".join(_regulons(best)))


def _write_graphml(best: pd.DataFrame, path: Path) -> None:
    import networkx  # type: ignore[import-untyped]

    graph = networkx.DiGraph()
    for row in best.itertuples(index=False):
        graph.add_edge(
            str(row.regulator), str(row.target), weight=round(float(row.effect), 6), score=round(float(row.score), 6), sign=int(row.sign),
            sources=str(row.sources), identifiability=str(row.identifiability),
        )  # fmt: skip
    with replacing(path) as temporary:
        networkx.write_graphml_xml(graph, temporary)


def _regulons(best: pd.DataFrame) -> list[str]:
    """Lines of a GMT file: the activated and the repressed targets of each regulator, best first."""
    lines = []
    for regulator, part in best.groupby("regulator", sort=True):
        for name, sign in (("up", 1), ("down", -1)):
            targets = part.loc[part["sign"] == sign, "target"].astype(str).tolist()
            if targets:
                text = f"targets that {regulator} {'activates' if sign > 0 else 'represses'}"
                lines.append("\t".join([f"{regulator}_{name}", text, *targets]) + "\n")
    return lines
