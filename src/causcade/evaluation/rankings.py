"""Rankings of the candidate edges: the causal ones, their nulls, and the baselines that they have to beat.

| ranking | score | sign |
| --- | --- | --- |
| causal | what ranks the network: the evidence column that `network.score` names or chooses; no curated edge enters it | of the value |
| causal_prior | W of the causal module in standard errors, curated edges penalised less | of the weight |
| (evidence columns) | absolute value of what the caller gives, under its name; :mod:`causcade.evidence` | of the value |
| coexpression, raw_coexpression | absolute residual and raw correlation | of the correlation |
| partner_rank | 1 / rank of the regulator among the target's partners; 0 where it is none | - |
| prior | curated confidence alone, no data | curated sign |
| mask | candidate out-degree of the source times candidate in-degree of the target: all that the mask can tell, no pair is looked at | - |
| listed_target | 1 if a screened perturbation is listed to hit the source | - |
| mean_shift | how the target moves when perturbations hit the source, :func:`mean_shift`, unless it is an evidence column | of the shift |
| ridge | ridge regression between perturbations, :mod:`causcade.evaluation.ridge`, unless it is an evidence column | of the coefficient |
| edge_null<i>, label_null<i> | as `causal`, fitted to permuted data | of the weight |

`causal_boot<i>`, as `causal` fitted to resampled perturbations, is no ranking of its own: its spread is the uncertainty of `causal`. Nor is the null
of an evidence column, `<column>_edge_null<i>` or `<column>_label_null<i>`: it stands beside its column only (:func:`is_value_only`).

Legend of axes: E candidate edges, D perturbations, G panel genes, S sources that a perturbation hits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.errors import InputError
from causcade.evaluation.edges import BoolArray, CodedEdges, FloatArray
from causcade.responses import list_targets

__all__ = [
    "Ranking", "Responses", "build_rankings", "is_drug_bootstrap", "is_null", "is_value_only", "mean_shift", "name_rankings", "null_of",
    "screened_links",
]  # fmt: skip

SignArray = npt.NDArray[np.int8]
FITTED_NAME = re.compile(r"^(causal|causal_prior|causal_boot\d+|edge_null\d+|label_null\d+)$")
BOOTSTRAP_NAME = re.compile(r"^causal_boot\d+$")
OWN_NAMES = ("coexpression", "raw_coexpression", "partner_rank", "prior", "mask", "listed_target", "mean_shift", "ridge")
FROM_RESPONSES = ("mean_shift", "ridge")  # of the own ones, what an evidence column may take the place of
NULL_NAME = re.compile(r"^(edge|label)_null(\d+)$")
COLUMN_NULL_NAME = re.compile(r"^(.+)_(edge|label)_null(\d+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """One score per candidate edge, higher is better."""

    name: str
    score_E: FloatArray
    sign_E: SignArray | None = None  # -1, 0 (not known), +1; None where the ranking carries no sign


@dataclass(frozen=True, slots=True, kw_only=True)
class Responses:
    """Response of each gene to each perturbation, with its standard error.

    An error that is not finite or not above 0 means: not measured; the entry then has no weight.
    """

    perturbations: list[str]
    genes: list[str]
    effect_DG: FloatArray
    error_DG: FloatArray

    def __post_init__(self) -> None:
        shape = (len(self.perturbations), len(self.genes))
        for name, array in (("effect_DG", self.effect_DG), ("error_DG", self.error_DG)):
            if array.shape != shape:
                raise InputError(
                    f"responses: expected {name} of shape {shape} (perturbations, genes), found {array.shape}. Pass arrays of one set of names."
                )


def is_null(name: str, kind: str | None = None) -> bool:
    """Whether a ranking is a null (of `kind` "edge" or "label", if given)."""
    match = NULL_NAME.match(name)
    return match is not None and kind in (None, match.group(1))


def is_drug_bootstrap(name: str) -> bool:
    """Whether a ranking is the causal one on resampled perturbations."""
    return BOOTSTRAP_NAME.match(name) is not None


def is_value_only(name: str) -> bool:
    """Whether a ranking is looked at for its values alone, without intervals, curves or rows of its own."""
    return is_drug_bootstrap(name) or COLUMN_NULL_NAME.match(name) is not None


def null_of(name: str) -> tuple[str, str] | None:
    """Evidence column and kind ("edge" or "label") of a null of it; None for other rankings."""
    match = COLUMN_NULL_NAME.match(name)
    return None if match is None else (match.group(1), match.group(2))


def name_rankings(score_by_fit: Mapping[str, npt.NDArray[np.floating]]) -> dict[str, npt.NDArray[np.floating]]:
    """Put the signed scores of fits under the names that the evaluation uses.

    Parameters
    ----------
    score_by_fit
        Scores [E] by name of the fit: main, noprior, edgenull0.., labelnull0.., boot0.. . Other fits (drugs, line) are passed over.

    Returns
    -------
    dict
        noprior -> `causal`, main -> `causal_prior`, edgenull<i> -> `edge_null<i>`, labelnull<i> -> `label_null<i>`, boot<i> -> `causal_boot<i>`.
    """
    names = {"noprior": "causal", "main": "causal_prior"}
    rankings = {}
    for fit, score_E in score_by_fit.items():
        name = names.get(fit, re.sub(r"^boot(\d+)$", r"causal_boot\1", re.sub(r"^(edge|label)null(\d+)$", r"\1_null\2", fit)))
        if FITTED_NAME.match(name):
            rankings[name] = score_E
    return rankings


def screened_links(drug_links: pd.DataFrame, panel: pd.DataFrame, perturbations: list[str] | None) -> pd.DataFrame:
    """Reduce a table of links to one row per (perturbation, gene) of the screen, with one sign.

    Parameters
    ----------
    drug_links
        Columns `perturbation`, `gene` or `target` (symbol or Ensembl id), `sign` (-1 inhibitor, +1 activator, 0 unknown).
    panel
        Columns `gene` and, if links may name ids, `gene_id`; links to other genes are dropped.
    perturbations
        Perturbations of the screen; links of others are dropped. None keeps all.

    Returns
    -------
    pandas.DataFrame
        `perturbation`, `gene`, `sign`, sorted by perturbation and panel; signs that contradict each other give 0, as in
        :func:`causcade.responses.list_targets`.
    """
    table = drug_links if "target" in drug_links.columns else drug_links.rename(columns={"gene": "target"})
    genes = panel if "gene_id" in panel.columns else panel.assign(gene_id=panel["gene"])
    links, _ = list_targets(set(table["perturbation"]) if perturbations is None else perturbations, table, genes)
    return pd.DataFrame({
        "perturbation": links["perturbation"], "gene": panel["gene"].to_numpy()[links["target"].to_numpy(dtype=np.int64)], "sign": links["sign"],
    })  # fmt: skip


def mean_shift(edges: CodedEdges, links: pd.DataFrame, responses: Responses) -> Ranking:
    """Score how the target moves when perturbations hit the source: the simple baseline that often wins.

    For the edge s -> t, m = sum_d sign_ds b_dt / e_dt^2 / sum_d 1 / e_dt^2 over the perturbations d that hit s; the score is |z| = |m| / se(m), the
    test statistic of "t does not move", since |m| alone ranks noisy genes first. 0 for sources that nothing hits. A source uses its links of known
    sign; if it has none, all its links count as of one sign, and the ranking then gives its edges no sign.

    Parameters
    ----------
    edges
        From :func:`causcade.evaluation.edges.code_edges`.
    links
        From :func:`screened_links`.
    responses
        Responses b and their errors e; `genes` has to hold every target of a candidate edge.

    Raises
    ------
    InputError
        If the responses lack a gene, or a response with a finite error is not finite.
    """
    column_G = pd.Index(responses.genes).get_indexer(edges.gene_G)
    needed_G = np.bincount(edges.target_E, minlength=edges.num_genes) > 0
    if (column_G[needed_G] < 0).any():
        gene = edges.gene_G[int(np.flatnonzero(needed_G & (column_G < 0))[0])]
        raise InputError(
            f"responses: expected every target of the candidate edges, found no gene {gene!r}. Compute the responses on the present panel."
        )
    measured_DG = np.isfinite(responses.error_DG) & (responses.error_DG > 0)
    if not np.isfinite(responses.effect_DG[measured_DG]).all():
        raise InputError("responses: expected finite effects where the error is finite, found others. Give such entries an infinite error.")
    precision_DG = np.zeros(measured_DG.shape)
    precision_DG[measured_DG] = responses.error_DG[measured_DG].astype(np.float64) ** -2
    weighted_DG = np.zeros(measured_DG.shape)
    weighted_DG[measured_DG] = responses.effect_DG[measured_DG] * precision_DG[measured_DG]

    source_S, row_of_link = np.unique(pd.Index(edges.gene_G).get_indexer(links["gene"]), return_inverse=True)
    drug_of_link = pd.Index(responses.perturbations).get_indexer(links["perturbation"])
    sign_SD = np.zeros((source_S.size, len(responses.perturbations)))
    listed_SD = np.zeros_like(sign_SD)
    sign_SD[row_of_link, drug_of_link] = links["sign"]
    listed_SD[row_of_link, drug_of_link] = 1.0
    has_sign_S = (sign_SD != 0).any(axis=1)
    sign_SD = np.where(has_sign_S[:, None], sign_SD, listed_SD)

    sum_SG = sign_SD @ weighted_DG
    precision_SG = np.abs(sign_SD) @ precision_DG
    z_SG = np.divide(sum_SG, np.sqrt(precision_SG), out=np.zeros_like(sum_SG), where=precision_SG > 0)
    row_G = np.full(edges.num_genes, -1)
    row_G[source_S] = np.arange(source_S.size)
    row_E = row_G[edges.source_E]
    hit_E = row_E >= 0
    z_E, sign_E = np.zeros(edges.num_edges), np.zeros(edges.num_edges, dtype=np.int8)
    z_E[hit_E] = z_SG[row_E[hit_E], column_G[edges.target_E[hit_E]]]
    signed_E = hit_E.copy()
    signed_E[hit_E] = has_sign_S[row_E[hit_E]]
    sign_E[signed_E] = np.sign(z_E[signed_E]).astype(np.int8)
    return Ranking(name="mean_shift", score_E=np.abs(z_E), sign_E=sign_E)


def _signed(name: str, value_E: npt.NDArray[np.floating]) -> Ranking:
    value_E = np.asarray(value_E, dtype=np.float64)
    num_missing = int(np.isnan(value_E).sum())
    if num_missing:
        raise InputError(f"ranking {name}: expected numbers, found NaN in {num_missing} edges. Give edges that cannot be scored a score of 0.")
    return Ranking(name=name, score_E=np.abs(value_E), sign_E=np.sign(value_E).astype(np.int8))


def _place(name: str) -> tuple[int, str, int]:
    match = re.match(r"^(.*?)(\d+)$", name)
    return (1, match.group(1), int(match.group(2))) if match else (0, name, 0)


def _mask_only(edges: CodedEdges) -> Ranking:
    """Rank by degrees among the candidates."""
    out_G, in_G = (np.bincount(end_E, minlength=edges.num_genes).astype(np.float64) for end_E in (edges.source_E, edges.target_E))
    return Ranking(name="mask", score_E=out_G[edges.source_E] * in_G[edges.target_E])


def build_rankings(
    candidate_edges: pd.DataFrame,
    edges: CodedEdges,
    scores: Mapping[str, npt.NDArray[np.floating]],
    *,
    is_hit_G: BoolArray,
    raw_correlation_E: npt.NDArray[np.floating] | None = None,
    evidence: Mapping[str, npt.NDArray[np.floating]] | None = None,
    evidence_nulls: Mapping[str, npt.NDArray[np.floating]] | None = None,
    others: Sequence[Ranking] = (),
) -> list[Ranking]:
    """Build all rankings, in the order of the module's table.

    Parameters
    ----------
    candidate_edges
        Columns `coexpression`, `rank` (nullable), `prior_confidence`, `prior_sign`, in the order of `edges`.
    edges
        From :func:`causcade.evaluation.edges.code_edges`.
    scores
        Signed scores [E] of `causal` and, where fitted, `causal_prior`, `edge_null<i>`, `label_null<i>`, `causal_boot<i>`.
    is_hit_G
        Whether a screened perturbation is listed to hit the gene.
    raw_correlation_E
        Raw correlation of each edge; without it there is no `raw_coexpression`.
    evidence
        Further signed scores [E] by name.
    evidence_nulls
        Signed scores [E] of their nulls, `<column>_edge_null<i>` and `<column>_label_null<i>`.
    others
        Further rankings, such as those of :func:`mean_shift` and :func:`causcade.evaluation.ridge.ridge_between_perturbations`.

    Raises
    ------
    InputError
        If `causal` is missing, a name is unknown or taken, a length differs, or a score is NaN.
    """
    unknown = [name for name in scores if not FITTED_NAME.match(name)]
    if unknown or "causal" not in scores:
        raise InputError(
            "scores: expected causal and any of causal_prior, edge_null<i>, label_null<i>, causal_boot<i>, "
            f"found {', '.join(sorted(scores)) or 'nothing'}. "
            "Name the fits with `name_rankings`."
        )
    own = set(OWN_NAMES) - set(FROM_RESPONSES) | {ranking.name for ranking in others}
    taken = [name for name in evidence or {} if FITTED_NAME.match(name) or name in own]
    if taken:
        raise InputError(f"evidence: expected names that no other ranking has, found {', '.join(sorted(taken))}. Rename these columns.")
    rank = candidate_edges["rank"].astype("Float64").to_numpy(dtype=np.float64, na_value=np.inf)
    confidence = candidate_edges["prior_confidence"].to_numpy(dtype=np.float64)
    prior = Ranking(name="prior", score_E=confidence, sign_E=candidate_edges["prior_sign"].to_numpy(dtype=np.int8))
    rankings = [_signed(name, scores[name]) for name in ("causal", "causal_prior") if name in scores]
    rankings += [_signed(name, value_E) for name, value_E in (evidence or {}).items()]
    rankings.append(_signed("coexpression", candidate_edges["coexpression"].to_numpy()))
    if raw_correlation_E is not None:
        rankings.append(_signed("raw_coexpression", raw_correlation_E))
    rankings += [
        Ranking(name="partner_rank", score_E=1.0 / rank),
        prior,
        _mask_only(edges),
        Ranking(name="listed_target", score_E=is_hit_G[edges.source_E].astype(np.float64)),
        *others,
    ]
    rankings += [_signed(name, scores[name]) for name in sorted((name for name in scores if is_null(name)), key=_place)]
    rankings += [_signed(name, scores[name]) for name in sorted((name for name in scores if is_drug_bootstrap(name)), key=_place)]
    rankings += [_signed(name, value_E) for name, value_E in (evidence_nulls or {}).items()]
    for ranking in rankings:
        if ranking.score_E.shape != (edges.num_edges,):
            raise InputError(
                f"ranking {ranking.name}: expected one score for each of {edges.num_edges} candidate edges, found shape {ranking.score_E.shape}. "
                "Score the fit on the present candidate edges."
            )
    return rankings
