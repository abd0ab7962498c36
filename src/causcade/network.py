"""The directed network: signed, scored candidate edges with provenance, stability and identifiability, and its exports.

Units. The causal module works on x = log1p(m) with m = 10^4 * count / total, so an edge is dx_target / dx_source. With dx = m / (1 + m) dln(m), one
log2 unit of the regulator changes the target by W * f_source / f_target log2 units, where f = m / (1 + m) = 1 - exp(-x) at the mean x of controls.
Below 0.01 counts per 10^4 in controls a fold change means nothing, and the effect is NaN.

Axes: C candidate edges, G genes, D perturbations, B bootstraps.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.config import NetworkConfig
from causcade.errors import InputError
from causcade.evidence import COLUMNS as EVIDENCE
from causcade.files import replacing, write_parquet, write_text
from causcade.responses import DrugEffects

__all__ = ["add_unmeasured", "build_network", "edge_stability", "log2_effect", "reach", "write_network"]

TOP_SHARE = 0.01  # of the candidates; edges that count as found in a bootstrap, and as steps on the way from a target
MIN_EXPRESSION = 0.01  # counts per 10^4
MOVED = 5.0  # standard errors from which a perturbation moves the mRNA of a gene
MIN_MOVING = 2  # perturbations that have to move a regulator that none hits
MAX_HOPS = 6
FIRST_COLUMNS = [
    "regulator", "target", "weight", "weight_no_prior", "effect", "score", "rank", "sign", "probability", "stability", "sign_stability",
    "identifiability", "num_perturbations", "hops", "num_bearing",
]  # fmt: skip
LAST_COLUMNS = ["source_measured", "sources", "prior_confidence", "prior_sign", "coexpression"]
WEIGHTS = ("weight", "weight_no_prior")

FloatArray = npt.NDArray[np.floating]
SignArray = npt.NDArray[np.int8]
IndexArray = npt.NDArray[np.int64]


def build_network(
    edges: pd.DataFrame, weights: Mapping[str, FloatArray], evidence: Mapping[str, pd.DataFrame], effects: DrugEffects, score: str
) -> pd.DataFrame:
    """Table of all candidate edges, in their order.

    `score` is the absolute value of the chosen column, `rank` its place (1 is best; equal scores keep the order of the table; <NA> where the score is
    0), `sign` that of its value. `effect` follows from W of the latent estimator where a perturbation hits the regulator, else from W without prior
    (where the score is W: from that W), and is NaN where that W is 0 or of the other sign. `probability` is that of the latent estimator, NaN where
    no perturbation hits the regulator. `stability` is the share of bootstraps in which the edge is among the best 1 % with the same sign,
    `sign_stability` the share in which it has the same sign (both NaN without bootstraps).

    `identifiability`: `direct` where a perturbation hits the regulator; `indirect` where none does, but at least two perturbations move its mRNA by
    at least 5 standard errors, so that the data hold variation of the regulator that is not its own intervention; else `none`. `num_perturbations`
    hit the regulator. `hops` is the least number of steps along the best 1 % of edges from a gene that a perturbation hits to the regulator (0: it is
    hit itself; <NA>: there is no way of at most 6 steps), `num_bearing` the number of perturbations that reach it in so many. `source_measured` is
    false for the edges of :func:`add_unmeasured`, whose effect in log2 units is not known.

    Parameters
    ----------
    edges
        candidate_edges.parquet.
    weights
        W [C] of the fits: `weight` (main) and `weight_no_prior`.
    evidence
        Evidence tables by name of the fit; `main` is needed, `boot*` give the stability, others are ignored.
    effects
        Effects of all perturbations: the genes, the links, the mean of controls, and what moves the mRNA of a regulator.
    score
        Column of the evidence that ranks the edges.

    Raises
    ------
    InputError
        If the main fit is missing, the column is, or a table has another number of edges.
    """
    main = _check(edges, weights, evidence, score)
    place = pd.Series(np.arange(len(effects.genes)), index=effects.genes["gene"].astype(str))
    source_C, target_C = (place.loc[edges[column].astype(str)].to_numpy(np.int64) for column in ("regulator", "target"))
    value_C = np.nan_to_num(main[score].to_numpy(np.float64))
    score_C, sign_C = np.abs(value_C), np.sign(value_C).astype(np.int8)
    boots = [np.nan_to_num(evidence[name][_without_prior(score)].to_numpy(np.float64)) for name in sorted(evidence) if name.startswith("boot")]
    weight_C = _agreeing(sign_C, score, weights, main)
    num_hits_G = effects.is_target_DG.sum(axis=0)
    rank_C = _ranks(score_C)
    step_C = (rank_C <= _num_top(len(edges))) & (score_C > 0)
    hops_G, num_bearing_G = reach(effects.is_target_DG, target_C[step_C], source_C[step_C])
    table = edges.assign(
        **{name: weights[name] for name in WEIGHTS},
        score=score_C, sign=sign_C, rank=pd.arrays.IntegerArray(rank_C.astype(np.int32), score_C == 0),
        effect=log2_effect(weight_C, effects.control_mean_G[source_C], effects.control_mean_G[target_C]),
        probability=main["probability"].to_numpy(np.float64) if "probability" in main else np.full(len(edges), np.nan),
        stability=edge_stability(sign_C, boots),
        sign_stability=np.mean([np.sign(boot_C) == sign_C for boot_C in boots], axis=0) if boots else np.full(len(edges), np.nan),
        identifiability=_identifiability(num_hits_G, effects)[source_C], num_perturbations=num_hits_G[source_C],
        source_measured=effects.is_measured_G[source_C],
        hops=pd.arrays.IntegerArray(hops_G[source_C].astype(np.int8), hops_G[source_C] < 0), num_bearing=num_bearing_G[source_C],
    )  # fmt: skip
    shown = [name for name in (*EVIDENCE, "latent_weight") if name in main and name not in WEIGHTS]
    table = table.assign(**{name: main[name].to_numpy() for name in shown})
    return table[[*FIRST_COLUMNS, *shown, *LAST_COLUMNS]]


def add_unmeasured(
    edges: pd.DataFrame,
    weights: Mapping[str, FloatArray],
    evidence: Mapping[str, pd.DataFrame],
    added: pd.DataFrame,
    latent: Mapping[str, pd.DataFrame],
) -> tuple[pd.DataFrame, dict[str, FloatArray], dict[str, pd.DataFrame]]:
    """Candidate edges, weights and evidence with the edges from targets that are not measured below the others.

    Parameters
    ----------
    edges, weights, evidence
        As for :func:`build_network`.
    added
        `unmeasured/edges.parquet`.
    latent
        `latent/<fit>/unmeasured_edges.parquet` by name of the fit. No other estimator knows these edges: W and all other columns are NaN.

    Raises
    ------
    InputError
        If a fit has another number of such edges.
    """
    if added.empty:
        return edges, dict(weights), dict(evidence)
    longer = {}
    for name, table in evidence.items():
        fit = latent.get(name)
        if fit is None or len(fit) != len(added):
            found = "none" if fit is None else len(fit)
            raise InputError(f"latent {name}: expected {len(added)} edges from targets without measurement, found {found}. Rerun the stage `latent`.")
        values = {"latent": fit["score"] * fit["sign"], "probability": fit["probability"], "latent_weight": fit["effect"]}
        rows = added[["regulator", "target"]].astype(str).assign(**{key: value.to_numpy() for key, value in values.items() if key in table})
        longer[name] = pd.concat([table, rows.astype(table.dtypes[rows.columns])], ignore_index=True)
    unknown = np.full(len(added), np.nan, np.float32)
    return pd.concat([edges, added], ignore_index=True), {name: np.concatenate([value_C, unknown]) for name, value_C in weights.items()}, longer


def _check(edges: pd.DataFrame, weights: Mapping[str, FloatArray], evidence: Mapping[str, pd.DataFrame], score: str) -> pd.DataFrame:
    """Evidence of the main fit, if all tables are there and fit each other."""
    if "main" not in evidence or set(weights) != set(WEIGHTS):
        raise InputError(
            f"network: expected the evidence of the fit main, and {' and '.join(WEIGHTS)}, found {', '.join(sorted(evidence)) or 'none'}, "
            f"and {', '.join(sorted(weights)) or 'no weights'}. Run the stages `causal` and `evidence`."
        )
    used = {name: table for name, table in evidence.items() if name == "main" or name.startswith("boot")}
    for name, num in [*((name, len(table)) for name, table in used.items()), *((name, len(weights[name])) for name in WEIGHTS)]:
        if num != len(edges):
            raise InputError(f"{name}: expected {len(edges)} edges, found {num}. Rerun the fit on the present candidate edges.")
    for name, table in used.items():
        column = score if name == "main" else _without_prior(score)
        if column not in table:
            raise InputError(f"network.score: expected a column of the evidence of {name}, found {column}. Write `network: {{score: auto}}`.")
    return evidence["main"]


def _without_prior(score: str) -> str:
    """Column of a bootstrap that stands for a score: bootstraps know no prior."""
    return "weight_no_prior" if score == "weight" else score


def _agreeing(sign_C: SignArray, score: str, weights: Mapping[str, FloatArray], main: pd.DataFrame) -> npt.NDArray[np.float64]:
    """W behind the effect of each edge; NaN where it is 0 or of another sign than the edge."""
    if score in WEIGHTS:
        weight_C = np.asarray(weights[score], dtype=np.float64)
    else:
        weight_C = np.asarray(weights["weight_no_prior"], dtype=np.float64)
        if "latent_weight" in main:
            latent_C = main["latent_weight"].to_numpy(np.float64)
            weight_C = np.where(np.isnan(latent_C), weight_C, latent_C)
    return np.where((np.sign(weight_C) == sign_C) & (sign_C != 0), weight_C, np.nan)


def reach(is_target_DG: npt.NDArray[np.bool_], target_E: IndexArray, source_E: IndexArray) -> tuple[IndexArray, IndexArray]:
    """Count the steps from the genes that perturbations hit to each gene, along edges.

    Parameters
    ----------
    is_target_DG
        Listed targets.
    target_E, source_E
        Edges to go along.

    Returns
    -------
    hops_G
        Least number of steps, 0 for genes that are hit; -1 where there is no way of at most 6 steps.
    num_bearing_G
        Perturbations that reach the gene in so many steps.
    """
    from scipy import sparse

    num = is_target_DG.shape[1]
    step_GG = sparse.csr_matrix((np.ones(len(target_E), np.float32), (target_E, source_E)), shape=(num, num))
    reached_GD = is_target_DG.T
    hops_G = np.where(reached_GD.any(axis=1), 0, -1).astype(np.int64)
    num_bearing_G = reached_GD.sum(axis=1).astype(np.int64)
    for hop in range(1, MAX_HOPS + 1):
        reached_GD = np.asarray(step_GG @ reached_GD.astype(np.float32)) > 0
        fresh_G = (hops_G < 0) & reached_GD.any(axis=1)
        hops_G[fresh_G], num_bearing_G[fresh_G] = hop, reached_GD[fresh_G].sum(axis=1)
    return hops_G, num_bearing_G


def log2_effect(weight_C: FloatArray, source_mean_C: FloatArray, target_mean_C: FloatArray) -> npt.NDArray[np.float64]:
    """Log2 fold change of the target per log2 unit of the regulator, from W and the means of x in controls; NaN where either is not expressed."""
    source_C, target_C = -np.expm1(-np.asarray(source_mean_C, np.float64)), -np.expm1(-np.asarray(target_mean_C, np.float64))
    expressed_C = np.minimum(np.expm1(source_mean_C), np.expm1(target_mean_C)) >= MIN_EXPRESSION
    effect_C = np.full(len(source_C), np.nan)
    np.divide(weight_C * source_C, target_C, out=effect_C, where=expressed_C)
    return effect_C


def edge_stability(sign_C: SignArray, boots: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Share of bootstraps in which each edge is among the best 1 % of candidates (at least one) with the sign given; NaN without bootstraps."""
    if not boots:
        return np.full(len(sign_C), np.nan)
    found_C = np.zeros(len(sign_C))
    for boot_C in boots:
        found_C += (_ranks(np.abs(boot_C)) <= _num_top(len(sign_C))) & (boot_C != 0) & (np.sign(boot_C) == sign_C)
    return found_C / len(boots)


def _num_top(num_edges: int) -> int:
    return max(1, round(TOP_SHARE * num_edges))


def _ranks(score_C: FloatArray) -> IndexArray:
    """1 for the highest score; equal scores in the order given."""
    rank_C = np.empty(len(score_C), np.int64)
    rank_C[np.argsort(-score_C, kind="stable")] = np.arange(1, len(score_C) + 1)
    return rank_C


def _identifiability(num_hits_G: IndexArray, effects: DrugEffects) -> npt.NDArray[np.object_]:
    """Class of each gene as a regulator; see :func:`build_network`."""
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
        known = {} if np.isnan(row.probability) else {"probability": round(float(row.probability), 6)}
        graph.add_edge(
            str(row.regulator), str(row.target), weight=round(float(row.effect), 6), score=round(float(row.score), 6), sign=int(row.sign),
            sources=str(row.sources), identifiability=str(row.identifiability), **known,
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
