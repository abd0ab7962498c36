"""A network from a table of conditions x genes, without cells: latent estimator and evidence, with nulls, bootstraps and held-out perturbations.

What needs cells is not there: partial correlations, baselines; nor is the causal module's W, which the workflow fits to a table (`condition_table` in
a configuration). Candidate regulators of a gene are its best partners by correlation between conditions (all other genes where these are few), and
curated edges if they are given. Everything else is that of a run: the same nulls, the same choice of the column that ranks the edges, the same files.

Axes: D perturbations, G genes, C candidate edges.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from causcade import network
from causcade.condition_table import LEFT_OUT
from causcade.condition_table_genes import correlation_partners
from causcade.config import Config, MaskConfig
from causcade.evidence import HELD_OUT_COLUMNS, choose_score, measure_evidence
from causcade.files import write_json, write_parquet
from causcade.fits import latent_fit_names
from causcade.latent import LatentFit, all_candidates, run_latent
from causcade.mask import build_mask
from causcade.responses import DrugEffects, with_unmeasured
from causcade.unmeasured import find_unmeasured, unmeasured_edges

__all__ = ["Inferred", "format_inferred", "infer_network", "own_changes", "write_inferred"]

logger = logging.getLogger("causcade")

NO_PRIORS = pd.DataFrame(columns=["regulator", "target", "sign", "sources", "confidence"])
NO_CAUSAL_MODULE = dict.fromkeys(("weight", "weight_no_prior", "aggregate"), "the causal module is fitted by the workflow only")
LEVELS = (0.5, 0.9)
OWN_Z = 3.0


@dataclass(frozen=True, kw_only=True)
class Inferred:
    """What :func:`infer_network` gives.

    Attributes
    ----------
    edges
        As `network/edges.parquet` of a run; `weight` and `weight_no_prior` are NaN.
    changes
        perturbation, target, sign, is_measured, effect, error, z: what perturbations do to their own targets.
    choice
        Which column ranks the edges, and why; what is left out.
    held_out
        Predictions of held-out perturbations by each column.
    targets
        Targets of the perturbations: whether they are measured, and enter.
    main
        The latent fit to everything.
    summary
        Counts; of each fit, edges with a probability above 0.5 and 0.9.
    """

    edges: pd.DataFrame
    changes: pd.DataFrame
    choice: dict[str, Any]
    held_out: pd.DataFrame
    targets: pd.DataFrame
    main: LatentFit
    summary: dict[str, Any] = field(default_factory=dict)


def _candidates(effects: DrugEffects, priors: pd.DataFrame, settings: MaskConfig) -> pd.DataFrame:
    genes = effects.genes["gene"].tolist()
    correlation_GG, partners = correlation_partners(effects, priors, settings.partners)
    return build_mask(partners, correlation_GG, priors, genes, settings)


def own_changes(effects: DrugEffects) -> pd.DataFrame:
    """Table of what perturbations do to their own targets: perturbation, target, sign, is_measured, effect, error, z; NaN where not measured."""
    drug, gene = np.nonzero(effects.is_target_DG)
    effect, error = effects.effect_DG[drug, gene].astype(np.float64), effects.se_DG[drug, gene].astype(np.float64)
    return pd.DataFrame(
        {
            "perturbation": effects.table["perturbation"].to_numpy()[drug], "target": effects.genes["gene"].to_numpy()[gene],
            "sign": effects.sign_DG[drug, gene], "is_measured": effects.is_measured_G[gene], "effect": effect, "error": error, "z": effect / error,
        }
    )  # fmt: skip


def infer_network(effects: DrugEffects, targets: pd.DataFrame, settings: Config, *, priors: pd.DataFrame | None = None) -> Inferred:
    """Fit the latent estimator and its nulls to effects of perturbations, and rank all candidate edges.

    Parameters
    ----------
    effects
        On measured genes.
    targets
        perturbation, target, sign; targets that are not measured enter by curated edges, or as `mask.unmeasured_targets` says.
    settings
        Sections `mask`, `latent`, `causal` (how many nulls, bootstraps and folds), `network`, and the seed.
    priors
        Curated edges: regulator, target, sign, sources, confidence.

    Raises
    ------
    InputError
        If there is no candidate edge, or there are fewer than three perturbations and no curated edge.
    """
    known = NO_PRIORS if priors is None else priors
    edges = _candidates(effects, known, settings.mask)
    added = unmeasured_edges(targets, effects.genes, known, settings.mask)
    table = find_unmeasured(targets, effects.genes, added)
    whole = with_unmeasured(effects, targets, sorted(set(added["regulator"].astype(str))))
    every, _ = all_candidates(edges, None, added)
    fits: dict[str, LatentFit] = {}
    evidence: dict[str, pd.DataFrame] = {}
    predicted = [pd.DataFrame(columns=HELD_OUT_COLUMNS)]
    for name in latent_fit_names(settings.causal.model_copy(update={"held_out_lines": []})):
        logger.info("fit %s", name)
        fits[name] = run_latent(name, whole, every, settings.latent, settings.causal, seed=settings.seed)
        own = fits[name].edges.iloc[: len(edges)]
        evidence[name], held_out = measure_evidence(
            name, whole, edges, settings.causal, seed=settings.seed, weights={}, partial={}, latent=own
        )  # fmt: skip
        predicted.append(held_out)
    held_out = pd.concat([part for part in predicted if len(part)] or predicted[:1], ignore_index=True)
    boots = [part for name, part in evidence.items() if name.startswith("boot")]
    choice = choose_score(settings.network.score, evidence["main"], boots, held_out, num_genes=len(effects.genes))
    choice["left_out"] = LEFT_OUT | NO_CAUSAL_MODULE
    unknown_C = np.full(len(edges), np.nan, np.float32)
    below = {name: fit.edges.iloc[len(edges) :].reset_index(drop=True) for name, fit in fits.items()}
    merged = network.add_unmeasured(edges, {"weight": unknown_C, "weight_no_prior": unknown_C}, evidence, added, below)
    return Inferred(
        edges=network.build_network(*merged, whole, choice["score"]), changes=own_changes(whole), choice=choice, held_out=held_out, targets=table,
        main=fits["main"], summary=_summary(whole, edges, fits, choice),
    )  # fmt: skip


def _summary(effects: DrugEffects, edges: pd.DataFrame, fits: dict[str, LatentFit], choice: dict[str, Any]) -> dict[str, Any]:
    def counts(fit: LatentFit) -> dict[str, float]:
        probability = fit.edges["probability"].dropna()
        return {"expected": float(probability.sum()), **{f"above_{level}": int((probability > level).sum()) for level in LEVELS}}

    return {
        "num_genes": int(effects.is_measured_G.sum()), "num_perturbations": len(effects.table),
        "num_with_target": int((effects.num_targets_D > 0).sum()), "num_candidates": len(edges), "score": choice["score"],
        "probability": {name: counts(fit) for name, fit in fits.items() if name.startswith(("main", "edgenull", "labelnull"))},
    }  # fmt: skip


def write_inferred(found: Inferred, folder: Path, settings: Config) -> None:
    """Write the network as a run does (edges.parquet, edges.tsv, network.graphml, regulons.gmt), and what it rests on."""
    network.write_network(found.edges, folder, settings.network)
    for name in ("changes", "held_out", "targets"):
        write_parquet(folder / f"{name}.parquet", getattr(found, name))
    for name in ("activities", "off_targets"):
        write_parquet(folder / f"{name}.parquet", getattr(found.main, name))
    write_json(folder / "score_choice.json", found.choice)
    write_json(folder / "summary.json", found.summary)


def format_inferred(found: Inferred) -> str:
    """Write what was found, and what its nulls found, as text for a terminal."""
    counted = found.summary
    lines = [
        f"{counted['num_perturbations']} perturbations ({counted['num_with_target']} with a target) of {counted['num_genes']} genes, "
        f"{counted['num_candidates']:,} candidate edges",
        f"ranked by {found.choice['reason']}",
        "",
        f"{'fit':12} {'above 0.5':>10} {'above 0.9':>10}",
        *(f"{name:12} {row['above_0.5']:10,} {row['above_0.9']:10,}" for name, row in counted["probability"].items()),
    ]
    measured = found.changes[found.changes["is_measured"]]
    if len(measured):
        right = int((measured["z"] * measured["sign"] > OWN_Z).sum())
        lines += ["", f"{right} of {len(measured)} measured targets change in the listed direction by more than {OWN_Z:g} standard errors"]
    return "\n".join(lines)
