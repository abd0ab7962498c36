"""A latent fit: tables of edges, activities and off-targets, predictions, and files.

Axes: G genes, D perturbations, J listed genes, C candidate edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.config_latent import LatentConfig
from causcade.errors import InputError
from causcade.files import write_json, write_parquet
from causcade.latent.estimate import Posterior, estimate
from causcade.latent.problem import LatentProblem, logger, make_latent_problem
from causcade.latent.score import EdgeScores, score_edges
from causcade.responses import HELD_OUT_COLUMNS, DrugEffects, gene_positions, typical_effects

__all__ = ["LatentFit", "fit_latent", "write_latent"]

MIN_OFF_TARGET_Z, MIN_OFF_TARGET_EFFECT = 6.0, 0.5
MOVED = 0.5  # probability of an edge from which a listed gene bears on an unlisted source
NUM_HOPS = 6

Float64 = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class LatentFit:
    """A fit.

    Attributes
    ----------
    edges
        One row per candidate edge, in their order: regulator, target, score (above 0; 0 everywhere if nothing could be fitted), sign (-1, 0, 1),
        effect (posterior mean of W, x of the target per x of the regulator), probability, inclusion (of the joint model alone), direct (probability
        that it is no path through an unlisted gene); these four are NaN where no perturbation is listed to hit the regulator. mediator: weight as a
        step of such paths. identifiability: `direct` (a perturbation is listed to hit the regulator), `indirect` (a listed gene regulates it),
        `none`. num_perturbations: those that are listed to hit the regulator or, if indirect, a gene that regulates it. num_alone: those of them
        with no other listed target. acts_on: `mrna`, or `activity` where the regulator's mRNA was not looked at in any of them, else "".
        source_measured: whether the regulator is a gene of the panel.
    activities
        perturbation, gene, activity, error, is_listed (the link was taken for a hit), is_seen (the mRNA for a measurement); of listed genes.
    off_targets
        perturbation, gene, effect, error, z: responses that neither the list of targets nor the network explains, strongest first.
    held_out
        perturbation, gene, predicted, observed, training_mean; empty unless something was held out.
    summary
        Counts and learnt scales.
    problem, posterior
        What was fitted; None if nothing could be.
    """

    edges: pd.DataFrame
    activities: pd.DataFrame
    off_targets: pd.DataFrame
    held_out: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=HELD_OUT_COLUMNS))
    summary: dict[str, Any] = field(default_factory=dict)
    problem: LatentProblem | None = None
    posterior: Posterior | None = None

    def fitted(self) -> Float64:
        """Return what the model says of the perturbations it was fitted to, [D, G]."""
        problem, posterior = self.parts()
        fitted_DG = posterior.activity_DJ @ posterior.edge_GJ.T
        # A listed gene is known by its own activity, which holds what hits it directly.
        fitted_DG[:, problem.source_J] = posterior.activity_DJ
        return fitted_DG + problem.strength_DF @ posterior.loading_GF.T + np.outer(problem.composition_D, problem.profile_G)

    def propagate(self, direct_DJ: Float64) -> Float64:
        """Responses that follow from direct effects on listed genes, [D, G], over at most six hops."""
        problem, posterior = self.parts()
        edge_JJ = posterior.edge_GJ[problem.source_J]
        activity_DJ, step_DJ = direct_DJ.copy(), direct_DJ
        for _ in range(NUM_HOPS - 1):
            step_DJ = step_DJ @ edge_JJ.T
            activity_DJ += step_DJ
        response_DG = activity_DJ @ posterior.edge_GJ.T
        response_DG[:, problem.source_J] += direct_DJ
        return response_DG

    def effect_of_sign(self) -> dict[int, float]:
        """Typical direct effect of links of a sign: the median of those learnt, or that of the screen with fewer than five links."""
        problem, posterior = self.parts()
        direct_DJ = posterior.activity_DJ - posterior.activity_DJ @ posterior.edge_GJ[problem.source_J].T
        return typical_effects(direct_DJ[posterior.listed_DJ], problem.sign_DJ[posterior.listed_DJ], problem.typical_effect)

    def parts(self) -> tuple[LatentProblem, Posterior]:
        """Problem and posterior; an error if there are none."""
        if self.problem is None or self.posterior is None:
            raise InputError("latent: expected a fit, found one without listed targets. Give a table `perturbation.targets`.")
        return self.problem, self.posterior


def fit_latent(
    effects: DrugEffects,
    edges: pd.DataFrame,
    settings: LatentConfig,
    *,
    partial_C: npt.ArrayLike | None = None,
    devices: Sequence[str] = ("cpu",),
    workers: int = 1,
    checkpoint: Path | None = None,
) -> LatentFit:
    """Fit the latent-activity estimator.

    Parameters
    ----------
    effects
        Effects of perturbations.
    edges
        Candidate edges: regulator, target. Nothing else of them is read: no curated edge enters. The regulator may be a gene that is not measured
        (:func:`causcade.responses.with_unmeasured`).
    settings
        Section `latent`.
    partial_C
        Partial correlation of each candidate edge in cells; see :func:`causcade.latent.cells.partial_correlation`. Optional; NaN where the regulator
        is not measured.
    devices
        torch devices.
    workers
        Blocks of targets fitted at a time.
    checkpoint
        File to save the state to after each round, and to resume from.

    Returns
    -------
    LatentFit
        With all scores 0, and a warning in the log, when no perturbation has a target on the gene axis.

    Raises
    ------
    InputError
        For an empty or damaged table of edges, or partial correlations of another length.
    """
    target_C, source_C = gene_positions(edges, effects.genes)
    partial = None if partial_C is None else np.asarray(partial_C, dtype=np.float64)
    if partial is not None and (partial.shape != (len(edges),) or not np.isfinite(partial[effects.is_measured_G[source_C]]).all()):
        raise InputError(
            f"partial correlations: expected {len(edges)} finite numbers, one for each candidate edge, found the shape {partial.shape} and "
            f"{int((~np.isfinite(partial)).sum())} that are not finite. Compute them on the present candidate edges."
        )
    problem = make_latent_problem(effects, settings)
    if problem is None:
        logger.warning(
            "no perturbation has a known target in the panel: no edge can be learnt and every score is 0. Give a table `perturbation.targets`."
        )
        return _empty(edges, effects.is_measured_G[source_C])
    candidate_GJ = None
    if not settings.nuisance_edges:
        candidate_GJ = np.zeros((problem.num_genes, len(problem.source_J)), bool)
        from_listed = problem.column_G[source_C] >= 0
        candidate_GJ[target_C[from_listed], problem.column_G[source_C[from_listed]]] = True
    posterior = estimate(problem, settings, candidate_GJ=candidate_GJ, devices=devices, workers=workers, checkpoint=checkpoint)
    scores = score_edges(problem, posterior, target_C, source_C, partial_C=partial, mediators=settings.mediators)
    genes = effects.genes["gene"].astype(str).to_numpy()
    return LatentFit(
        edges=_edge_table(edges, scores, problem, posterior, source_C), activities=_activity_table(problem, posterior, genes),
        off_targets=_off_targets(problem, posterior, genes), summary=_summary(problem, posterior, scores), problem=problem, posterior=posterior,
    )  # fmt: skip


def _edge_table(edges: pd.DataFrame, scores: EdgeScores, problem: LatentProblem, posterior: Posterior, source_C: IndexArray) -> pd.DataFrame:
    column_C = problem.column_G[source_C]
    listed_C = column_C >= 0
    links_JD = posterior.listed_DJ.T
    # An unlisted gene is moved by the perturbations of the listed genes that regulate it.
    bears_GD = (posterior.inclusion_GJ > MOVED) @ links_JD
    bears_GD[problem.source_J] = links_JD
    alone_D = posterior.listed_DJ.sum(axis=1) == 1
    num_G, alone_G = bears_GD.sum(axis=1), (bears_GD & alone_D).sum(axis=1)
    by_mrna_J = np.asarray((posterior.listed_DJ & posterior.seen_DJ).any(axis=0))
    acts_on_C = np.full(len(edges), "", dtype=object)
    acts_on_C[listed_C] = np.where(by_mrna_J[column_C[listed_C]], "mrna", "activity")
    return pd.DataFrame(
        {
            "regulator": edges["regulator"].astype(str).to_numpy(), "target": edges["target"].astype(str).to_numpy(), "score": scores.score_C,
            "sign": scores.sign_C, "effect": scores.effect_C, "probability": scores.probability_C, "inclusion": scores.inclusion_C,
            "direct": scores.direct_C, "mediator": scores.mediator_C,
            "identifiability": np.where(listed_C, "direct", np.where(num_G[source_C] > 0, "indirect", "none")),
            "num_perturbations": num_G[source_C].astype(np.int32), "num_alone": alone_G[source_C].astype(np.int32), "acts_on": acts_on_C,
            "source_measured": problem.is_measured_G[source_C],
        }
    )  # fmt: skip


def _activity_table(problem: LatentProblem, posterior: Posterior, genes: npt.NDArray[np.str_]) -> pd.DataFrame:
    num_drugs, num_listed = posterior.activity_DJ.shape
    return pd.DataFrame(
        {
            "perturbation": np.repeat(np.array(problem.perturbations, dtype=object), num_listed), "gene": np.tile(genes[problem.source_J], num_drugs),
            "activity": posterior.activity_DJ.ravel(), "error": np.sqrt(posterior.activity_variance_DJ).ravel(),
            "is_listed": posterior.listed_DJ.ravel(), "is_seen": posterior.seen_DJ.ravel(),
        }
    )  # fmt: skip


def _off_targets(problem: LatentProblem, posterior: Posterior, genes: npt.NDArray[np.str_]) -> pd.DataFrame:
    fitted_DG = posterior.activity_DJ @ posterior.edge_GJ.T + problem.strength_DF @ posterior.loading_GF.T
    left_DG = problem.effect_DG - fitted_DG
    # The unexplained variance of a gene is that of its other perturbations: an off-target must not widen its own error.
    excess_DG = problem.weight_DG * (left_DG**2 - problem.variance_DG)
    others_DG = (excess_DG.sum(axis=0) - excess_DG) / np.maximum(problem.weight_DG.sum(axis=0) - problem.weight_DG, 1)
    error_DG = np.sqrt(problem.variance_DG + np.maximum(others_DG, problem.min_tau**2))
    clear_DG = (np.abs(left_DG) >= MIN_OFF_TARGET_Z * error_DG) & (np.abs(left_DG) >= MIN_OFF_TARGET_EFFECT) & (problem.weight_DG > 0)
    drug, gene = (index.astype(np.int64) for index in np.nonzero(clear_DG))
    effect, error = left_DG[drug, gene], error_DG[drug, gene]
    names = np.array(problem.perturbations, dtype=object)[drug]
    table = pd.DataFrame({"perturbation": names, "gene": genes[gene], "effect": effect, "error": error, "z": effect / error})
    return table.sort_values("z", key=np.abs, ascending=False, kind="stable", ignore_index=True)


def _summary(problem: LatentProblem, posterior: Posterior, scores: EdgeScores) -> dict[str, Any]:
    known_C = np.isfinite(scores.probability_C)
    return {
        "num_perturbations": len(problem.perturbations),
        "num_links": int(posterior.listed_DJ.sum()),
        "num_hidden_links": int((posterior.listed_DJ & ~posterior.seen_DJ).sum()),
        "num_listed_genes": len(problem.source_J),
        "num_candidates": len(known_C),
        "num_with_probability": int(known_C.sum()),
        "expected_edges": float(scores.probability_C[known_C].sum()),
        "num_above": {str(level): int((scores.probability_C[known_C] > level).sum()) for level in (0.5, 0.9, 0.99)},
        "outlier_share": scores.outlier_share,
        "typical_effect": problem.typical_effect,
        "slab_sd": float(np.sqrt(posterior.slab_variance)),
        "median_tau": float(np.median(np.sqrt(posterior.tau2_G))),
    }


def _empty(edges: pd.DataFrame, measured_C: npt.NDArray[np.bool_]) -> LatentFit:
    num = len(edges)
    missing = dict.fromkeys(("effect", "probability", "inclusion", "direct"), np.full(num, np.nan))
    table = pd.DataFrame(
        {
            "regulator": edges["regulator"].astype(str).to_numpy(), "target": edges["target"].astype(str).to_numpy(), "score": np.zeros(num),
            "sign": np.zeros(num, np.int8), **missing, "mediator": np.zeros(num), "identifiability": np.full(num, "none", dtype=object),
            "num_perturbations": np.zeros(num, np.int32), "num_alone": np.zeros(num, np.int32), "acts_on": np.full(num, "", dtype=object),
            "source_measured": measured_C,
        }
    )  # fmt: skip
    activities = pd.DataFrame(columns=["perturbation", "gene", "activity", "error", "is_listed", "is_seen"])
    off_targets = pd.DataFrame(columns=["perturbation", "gene", "effect", "error", "z"])
    return LatentFit(edges=table, activities=activities, off_targets=off_targets, summary={"num_listed_genes": 0, "num_candidates": num})


def write_latent(folder: str | Path, fit: LatentFit) -> None:
    """Write `edges.parquet`, `activities.parquet`, `off_targets.parquet`, `held_out.parquet` and `summary.json`.

    Edges from genes that are not measured go to `unmeasured_edges.parquet`: no other estimator knows them.
    """
    folder = Path(folder)
    measured_C = fit.edges["source_measured"].to_numpy(bool)
    for name, rows_C in (("edges", measured_C), ("unmeasured_edges", ~measured_C)):
        write_parquet(folder / f"{name}.parquet", fit.edges.loc[rows_C].reset_index(drop=True))
    for name in ("activities", "off_targets", "held_out"):
        write_parquet(folder / f"{name}.parquet", getattr(fit, name))
    write_json(folder / "summary.json", fit.summary)
