"""Small effects of perturbations with a planted network, for tests of the latent estimator.

Axes: G genes, D perturbations, C candidate edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from screens import make_edges, plant

from causcade.latent.problem import LatentProblem
from causcade.responses import DrugEffects


@dataclass(frozen=True)
class Case:
    effects: DrugEffects
    edges: pd.DataFrame
    weight_GG: np.ndarray

    @property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        index = pd.Index(self.effects.genes["gene"])
        return index.get_indexer(self.edges["target"]), index.get_indexer(self.edges["regulator"])

    @property
    def is_true_C(self) -> np.ndarray:
        target_C, source_C = self.places
        return self.weight_GG[target_C, source_C] != 0


def make_effects(effect_DG: np.ndarray, se: float | np.ndarray, links: list[tuple[int, int, int]], *, kind: str = "drug") -> DrugEffects:
    """Effects of perturbations d00.. on genes G000..; links are (perturbation, gene, sign)."""
    num_drugs, num_genes = effect_DG.shape
    sign_DG, is_target_DG = np.zeros(effect_DG.shape, np.int8), np.zeros(effect_DG.shape, bool)
    for drug, gene, sign in links:
        sign_DG[drug, gene], is_target_DG[drug, gene] = sign, True
    names = [f"d{d:02d}" for d in range(num_drugs)]
    table = pd.DataFrame({"perturbation": names, "kind": kind, "half_dose": 1.0, "num_conditions": 1, "num_cells": 100, "weight": 1})
    genes = pd.DataFrame({"gene": [f"G{g:03d}" for g in range(num_genes)], "gene_id": [f"ENSG{g}" for g in range(num_genes)]})
    return DrugEffects(
        effect_DG=effect_DG.astype(np.float32), se_DG=np.broadcast_to(np.float32(se), effect_DG.shape).copy(), table=table, genes=genes,
        sign_DG=sign_DG, is_target_DG=is_target_DG, control_mean_G=np.ones(num_genes),
    )  # fmt: skip


def make_case(
    *, seed: int = 0, num_genes: int = 50, num_drugs: int = 36, num_sources: int = 12, activity_only: int = 0, num_unlisted: int = 0
) -> Case:
    """A linear screen; the first drugs act on activity only, and the last sources are hit by no drug."""
    rng = np.random.default_rng(seed)
    weight_GG = plant(rng, num_genes, num_sources)
    listed = num_sources - num_unlisted
    mrna_DG, activity_DG, links = np.zeros((num_drugs, num_genes)), np.zeros((num_drugs, num_genes)), []
    for drug in range(num_drugs):
        gene = drug % listed
        (activity_DG if drug < activity_only else mrna_DG)[drug, gene] = -rng.uniform(0.8, 1.6)
        links.append((drug, gene, -1))
    start_DG = mrna_DG + activity_DG @ weight_GG.T
    effect_DG = start_DG @ np.linalg.inv(np.eye(num_genes) - weight_GG).T
    noisy_DG = effect_DG + rng.normal(0, 0.05, effect_DG.shape)
    names = [f"G{g:03d}" for g in range(num_genes)]
    return Case(make_effects(noisy_DG, 0.05, links), make_edges(rng, weight_GG, names, 15), weight_GG)


def slow_sweep(problem: LatentProblem, state: dict[str, np.ndarray], activity_DJ: np.ndarray, variance_DJ: np.ndarray, pi_J: np.ndarray) -> None:
    """One sweep of the estimator's specification, edge by edge; `state` holds edge [G, J], inclusion [G, J], tau2 [G], loading [G, F]."""
    slab, omega = np.array([0.05, 0.1, 0.2, 0.4, 0.8]), np.full(5, 0.2)
    for t in range(problem.num_genes):
        weight_D = problem.weight_DG[:, t] / (problem.variance_DG[:, t] + state["tau2"][t])
        factors = problem.strength_DF
        left_D = problem.effect_DG[:, t] - activity_DJ @ state["edge"][t]
        normal = (factors * weight_D[:, None]).T @ factors + 4 * np.eye(factors.shape[1])
        state["loading"][t] = np.linalg.solve(normal, factors.T @ (weight_D * left_D)) if factors.shape[1] else 0
        for j, gene in enumerate(problem.source_J):
            if gene == t:
                continue
            others_D = activity_DJ @ state["edge"][t] - activity_DJ[:, j] * state["edge"][t, j]
            rest_D = problem.effect_DG[:, t] - factors @ state["loading"][t] - others_D
            information = (weight_D * (activity_DJ[:, j] ** 2 + variance_DJ[:, j])).sum()
            moment = (weight_D * activity_DJ[:, j] * rest_D).sum()
            log_q = np.log(omega) - 0.5 * np.log(1 + information * slab**2) + 0.5 * moment**2 / (information + 1 / slab**2)
            total = np.log(np.exp(log_q - log_q.max()).sum()) + log_q.max()
            odds = np.log(pi_J[j] / (1 - pi_J[j])) + total
            mean = (np.exp(log_q - total) * moment / (information + 1 / slab**2)).sum()
            state["inclusion"][t, j] = 1 / (1 + np.exp(-odds))
            state["edge"][t, j] = state["inclusion"][t, j] * mean
