"""The stage: all tables of the evaluation from its inputs, and one thin function that writes them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.config import EvaluationConfig
from causcade.evaluation.beyond_null import beyond_null_verdict
from causcade.evaluation.comparison import compare_rankings
from causcade.evaluation.edges import CodedEdges, build_references, build_subsets, code_edges
from causcade.evaluation.gains import drug_bootstrap_table, evidence_gains_table, gains_table
from causcade.evaluation.held_out import held_out_table
from causcade.evaluation.held_out_baselines import add_baselines
from causcade.evaluation.hubs import HUB_EDGE_SHARE, hub_tables
from causcade.evaluation.leak import leak_table
from causcade.evaluation.rankings import Ranking, Responses, build_rankings, is_null, is_value_only, mean_shift, screened_links
from causcade.evaluation.ridge import ridge_between_perturbations
from causcade.evaluation.summary import build_summary
from causcade.files import write_json, write_parquet

__all__ = ["EvaluationInputs", "EvaluationTables", "evaluate", "write_evaluation"]

HUB_RANKINGS = ("causal", "causal_prior", "coexpression")
PRIOR_COLUMNS = ("regulator", "target", "sources")
TABLES = ("metrics", "curves", "gains", "evidence_gains", "drug_bootstrap", "leak", "hubs", "hub_tests", "held_out")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationInputs:
    """Everything that is judged and everything that it is judged by.

    Parameters
    ----------
    candidate_edges, panel, reference_pairs, reference_universe, prior_edges, drug_links
        The tables of these artifacts; `drug_links` is drug_targets (perturbation, `target` or `gene`, sign), or the perturbed genes in that form.
    scores
        Signed scores [E] in the row order of `candidate_edges`, from :func:`causcade.evaluation.rankings.name_rankings`; `causal` is needed.
    evidence
        Further signed scores [E] by name, each shown as a ranking of its own; `mean_shift` and `ridge` take the place of the plain ones.
    evidence_nulls
        Signed scores [E] of their nulls, `<column>_edge_null<i>` and `<column>_label_null<i>`.
    score
        Name of the evidence column that `causal` is; "" where it is not known.
    raw_correlation
        Raw correlation of each candidate edge [E].
    responses
        Response of each gene to each perturbation; without it there is no mean shift, no ridge, and no baseline for held-out perturbations.
    truth_edges
        Simulated screens only: regulator, target, weight.
    held_out
        Tables of held-out predictions by fit: perturbation, gene, predicted, observed, training_mean.
    other_lines
        By name of a fit that holds out a line: responses in its training lines.
    """

    candidate_edges: pd.DataFrame
    panel: pd.DataFrame
    scores: Mapping[str, npt.NDArray[np.floating]]
    reference_pairs: pd.DataFrame
    reference_universe: pd.DataFrame
    drug_links: pd.DataFrame
    prior_edges: pd.DataFrame | None = None
    raw_correlation: npt.NDArray[np.floating] | None = None
    responses: Responses | None = None
    truth_edges: pd.DataFrame | None = None
    held_out: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    other_lines: Mapping[str, Responses] = field(default_factory=dict)
    evidence: Mapping[str, npt.NDArray[np.floating]] = field(default_factory=dict)
    evidence_nulls: Mapping[str, npt.NDArray[np.floating]] = field(default_factory=dict)
    score: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationTables:
    """What the stage writes."""

    metrics: pd.DataFrame
    curves: pd.DataFrame
    gains: pd.DataFrame
    evidence_gains: pd.DataFrame
    drug_bootstrap: pd.DataFrame
    leak: pd.DataFrame
    hubs: pd.DataFrame
    hub_tests: pd.DataFrame
    held_out: pd.DataFrame
    summary: dict[str, Any]


def _rankings(inputs: EvaluationInputs, edges: CodedEdges, links: pd.DataFrame, is_hit_G: npt.NDArray[np.bool_]) -> list[Ranking]:
    """All rankings, with the baselines that the responses allow."""
    others: list[Ranking] = []
    if inputs.responses is not None:
        known = {*inputs.evidence, inputs.score}
        if "mean_shift" not in known:
            others.append(mean_shift(edges, links, inputs.responses))
        ridge = None if "ridge" in known else ridge_between_perturbations(edges, inputs.responses)
        others += [] if ridge is None else [ridge]
    return build_rankings(
        inputs.candidate_edges, edges, inputs.scores, is_hit_G=is_hit_G, raw_correlation_E=inputs.raw_correlation, evidence=inputs.evidence,
        evidence_nulls=inputs.evidence_nulls, others=others,
    )  # fmt: skip


def evaluate(inputs: EvaluationInputs, *, settings: EvaluationConfig, seed: int, num_threads: int = 1) -> EvaluationTables:
    """Judge all rankings on exactly the same candidate edges.

    Parameters
    ----------
    inputs
        What is judged and by what.
    settings
        Number of resamplings, of hubs, and of edges that count as the top.
    seed
        Seed of the resampling of target genes and of the degree-matched negatives.
    num_threads
        Threads; their number changes no result.

    Returns
    -------
    EvaluationTables
        Independent of the row order of every input table.

    Raises
    ------
    InputError
        If tables disagree with each other (genes outside the panel, lengths, missing columns, NaN scores).
    """
    panel = inputs.panel
    edges = code_edges(inputs.candidate_edges, panel, inputs.prior_edges)
    links = screened_links(inputs.drug_links, panel, None if inputs.responses is None else inputs.responses.perturbations)
    is_hit_G = panel["gene"].isin(links["gene"]).to_numpy()
    rankings = _rankings(inputs, edges, links, is_hit_G)
    references = build_references(edges, inputs.reference_pairs, inputs.reference_universe, inputs.truth_edges)
    comparison = compare_rankings(
        edges, rankings, references, build_subsets(edges, is_hit_G),
        num_resamplings=settings.bootstrap, rng=np.random.default_rng(seed), num_top=settings.top, num_threads=num_threads,
    )  # fmt: skip
    every_name = [ranking.name for ranking in rankings]
    names = [name for name in every_name if not is_value_only(name)]
    hubs, hub_tests = hub_tables(edges, panel, [one for one in rankings if one.name in HUB_RANKINGS or is_null(one.name)], settings.hubs)
    held_out = held_out_table(add_baselines(inputs.held_out, inputs.responses, links, inputs.other_lines))
    priors = pd.DataFrame(columns=list(PRIOR_COLUMNS)) if inputs.prior_edges is None else inputs.prior_edges
    leak = leak_table(edges, references, inputs.reference_pairs, inputs.reference_universe, priors)
    drug_bootstrap = drug_bootstrap_table(comparison, every_name)
    gains = gains_table(comparison, names)
    evidence_gains = evidence_gains_table(comparison, every_name)
    summary = build_summary(comparison, references, names, held_out=held_out, hub_tests=hub_tests, leak=leak, drug_bootstrap=drug_bootstrap)
    summary["verdicts"].append(beyond_null_verdict(inputs.scores))
    summary["score"] = inputs.score
    summary["settings"] = {**settings.model_dump(), "hub_edge_share": HUB_EDGE_SHARE, "seed": seed}
    return EvaluationTables(
        metrics=comparison.metrics, curves=comparison.curves, gains=gains, evidence_gains=evidence_gains, drug_bootstrap=drug_bootstrap, leak=leak,
        hubs=hubs, hub_tests=hub_tests, held_out=held_out, summary=summary,
    )  # fmt: skip


def write_evaluation(tables: EvaluationTables, folder: str | os.PathLike[str]) -> None:
    """Write the tables as Parquet and the summary as JSON into `folder`, under the names of the artifacts."""
    for name in TABLES:
        write_parquet(Path(folder) / f"{name}.parquet", getattr(tables, name))
    write_json(Path(folder) / "summary.json", tables.summary)
