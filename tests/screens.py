"""A small screen with a planted network, at the level of pseudobulk; for tests of responses, causal, network and cascades.

Axes: G genes, D perturbations, C conditions.
"""

from __future__ import annotations

from dataclasses import dataclass

import anndata
import numpy as np
import pandas as pd
import torch

from causcade.causal import CausalFit
from causcade.network import build_network
from causcade.responses import Responses, aggregate

torch.set_num_threads(1)  # the screens are tiny: threads that wait for each other would cost more than they do

LINES = ("A549", "HepG2")
PLATES = ("p1", "p2")
DOSES = (0.05, 0.5, 5.0)
NUM_CELLS = 40
CELL_SD = 0.4


@dataclass(frozen=True)
class Screen:
    conditions: list[anndata.AnnData]
    baselines: list[anndata.AnnData]
    targets: pd.DataFrame
    edges: pd.DataFrame
    weight_GG: np.ndarray
    direct_DG: np.ndarray
    effect_DG: np.ndarray
    genes: list[str]
    drugs: list[str]


def plant(rng: np.random.Generator, num_genes: int, num_sources: int) -> np.ndarray:
    weight_GG = np.zeros((num_genes, num_genes))
    for target in range(num_genes):
        sources = np.setdiff1d(rng.choice(num_sources, size=2, replace=False), [target])
        weight_GG[target, sources] = rng.choice([-1, 1], len(sources)) * rng.uniform(0.3, 0.7, len(sources))
    return weight_GG * min(1.0, 0.6 / np.abs(np.linalg.eigvals(weight_GG)).max())


def make_screen(
    *, seed: int = 0, num_genes: int = 60, num_drugs: int = 30, num_sources: int = 12, num_candidates: int = 15, has_network: bool = True
) -> Screen:
    rng = np.random.default_rng(seed)
    genes, drugs = [f"G{i:03d}" for i in range(num_genes)], [f"drug{i:02d}" for i in range(num_drugs)]
    weight_GG = plant(rng, num_genes, num_sources) * has_network
    direct_DG = np.zeros((num_drugs, num_genes))
    direct_DG[np.arange(num_drugs), np.arange(num_drugs) % num_sources] = -rng.uniform(0.8, 1.5, num_drugs)
    effect_DG = direct_DG @ np.linalg.inv(np.eye(num_genes) - weight_GG).T
    base_G = rng.uniform(0.5, 2.0, num_genes)
    conditions, baselines = [], []
    for plate in PLATES:
        rows, means = [], []
        shift_G = rng.normal(0, 0.05, num_genes)
        for line in LINES:
            for drug in range(num_drugs):
                for dose in DOSES:
                    gain = dose * (5.0 + 0.3) / (5.0 * (dose + 0.3))
                    noise_G = rng.normal(0, CELL_SD / NUM_CELLS**0.5, num_genes)
                    rows.append((drugs[drug], "drug", dose, line, plate, NUM_CELLS, False))
                    means.append(base_G + shift_G + gain * effect_DG[drug] + noise_G)
        conditions.append(make_conditions(rows, np.array(means), np.full((len(rows), num_genes), CELL_SD**2), genes))
        controls = [base_G + shift_G + rng.normal(0, CELL_SD / 200**0.5, num_genes) for _ in LINES]
        variance = np.full((len(LINES), num_genes), CELL_SD**2 / 200)
        baselines.append(make_baseline([(line, plate) for line in LINES], np.array(controls), variance, genes))
    drug_D, gene_D = np.nonzero(direct_DG)
    targets = pd.DataFrame({"perturbation": np.array(drugs)[drug_D], "target": np.array(genes)[gene_D], "sign": -1})
    return Screen(conditions, baselines, targets, make_edges(rng, weight_GG, genes, num_candidates), weight_GG, direct_DG, effect_DG, genes, drugs)


def make_edges(rng: np.random.Generator, weight_GG: np.ndarray, genes: list[str], num_candidates: int) -> pd.DataFrame:
    """Most true edges among random candidates; one true edge in five is curated."""
    is_candidate = (weight_GG != 0) & (rng.random(weight_GG.shape) < 0.9)
    for target in range(len(genes)):
        is_candidate[target, rng.choice(len(genes), num_candidates, replace=False)] = True
    np.fill_diagonal(is_candidate, False)
    target_C, source_C = np.nonzero(is_candidate)
    curated = (weight_GG[target_C, source_C] != 0) & (rng.random(len(target_C)) < 0.2)
    return pd.DataFrame(
        {
            "regulator": np.array(genes)[source_C], "target": np.array(genes)[target_C], "coexpression": rng.normal(0, 0.1, len(target_C)),
            "sources": np.where(curated, "coexpression;collectri", "coexpression"), "prior_confidence": np.where(curated, 1.0, 0.0),
            "prior_sign": np.sign(weight_GG[target_C, source_C]).astype(np.int8),
        }
    )  # fmt: skip


def make_conditions(rows: list[tuple], mean: np.ndarray, var: np.ndarray, genes: list[str]) -> anndata.AnnData:
    obs = pd.DataFrame(rows, columns=["perturbation", "kind", "dose", "cell_line", "plate", "n_cells", "is_control"])
    obs.index = [f"condition{i}" for i in range(len(obs))]
    return anndata.AnnData(
        obs=obs, var=pd.DataFrame({"gene": genes}, index=[f"ENSG{i}" for i in range(len(genes))]), layers={"mean": mean, "var": var},
        shape=(len(obs), len(genes)),
    )  # fmt: skip


def make_baseline(rows: list[tuple[str, str]], mean: np.ndarray, var: np.ndarray, genes: list[str], num_cells: int = 200) -> anndata.AnnData:
    obs = pd.DataFrame(rows, columns=["cell_line", "plate"], index=[f"line{i}" for i in range(len(rows))]).assign(n_cells=num_cells)
    return anndata.AnnData(mean, obs=obs, var=pd.DataFrame({"gene": genes}, index=[f"ENSG{i}" for i in range(len(genes))]), layers={"var": var})


def network_of(fit: CausalFit, responses: Responses, edges: pd.DataFrame) -> pd.DataFrame:
    """Network of a fit, ranked by its W in standard errors."""
    signed_C = fit.score_C * np.sign(fit.weight_C)
    evidence = edges[["regulator", "target"]].assign(weight=signed_C, weight_no_prior=signed_C)
    weights = {"weight": fit.weight_C, "weight_no_prior": fit.weight_C}
    return build_network(edges, weights, {"main": evidence}, aggregate(responses), "weight_no_prior")
