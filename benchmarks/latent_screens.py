"""Screens for the study of the latent estimator: from the simulator straight to responses, candidate edges and the truth, without files of cells.

The cells are those that the workflow would draw (:mod:`causcade.simulation`); what is left out is what costs time and decides little here: stores,
doublets, panel selection (all genes that enough cells express are in), embedding. The baseline is the plain mean of the controls of plate and line.

Axes: N cells, G genes of the panel, K covariates.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

from causcade.config import MaskConfig, SimulationConfig
from causcade.mask import build_mask
from causcade.responses import DrugEffects, Responses, aggregate, build_responses, gene_positions
from causcade.simulation.cells import _draw_well, _noise_operator, _rates_of_wells
from causcade.simulation.network import random_stream
from causcade.simulation.priors import SHARES, listed_edges
from causcade.simulation.screen import ScreenPlan, simulate_plan

MIN_COUNTS, MIN_GENES, MAX_MITO = 200, 100, 0.25
MIN_CELLS_OF_GENE = 20
MIN_CELLS = 5
PARTNERS = 100
SIGN_OF_MODE = {"inhibitor/antagonist": -1, "activator/agonist": 1, "unclear": 0}
BASE = {"num_genes": 600, "num_tfs": 60, "num_drugs": 100, "num_cell_lines": 5, "cells_per_well": 149}
"""600 genes and 50,000 cells; all else as the simulator has it, a fifth of the drugs acting on activity only."""
VARIANTS: dict[str, dict] = {
    "base": {},
    "no_activity_only": {"activity_only": 0.0},
    "half_activity_only": {"activity_only": 0.5},
    "saturating": {"dynamics": "saturating"},
    "hill": {"dynamics": "hill"},
    "no_network": {},
    "drugs30": {"num_drugs": 30},
    "drugs300": {"num_drugs": 300},
}


@dataclass(frozen=True)
class Case:
    """A simulated screen, ready to be fitted and judged.

    Attributes
    ----------
    responses, edges
        What the workflow would have at the stages `conditions` and `mask`.
    truth
        regulator, target, weight.
    correlation_GG
        Residual correlation of all cells.
    control_covariance_GG, all_covariance_GG
        Covariance of x within wells and lines, of control cells and of all cells.
    """

    name: str
    responses: Responses
    edges: pd.DataFrame
    truth: pd.DataFrame
    correlation_GG: np.ndarray
    control_covariance_GG: np.ndarray
    all_covariance_GG: np.ndarray

    @property
    def effects(self) -> DrugEffects:
        """Responses by perturbation."""
        return aggregate(self.responses)

    @property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Targets and sources of the candidate edges on the gene axis."""
        return gene_positions(self.edges, self.responses.genes)


class _Sums:
    """Sums over cells that later steps need."""

    def __init__(self, num_genes: int, num_covariates: int) -> None:
        self.xx_GG, self.xc_GK, self.cc_KK = np.zeros((num_genes,) * 2), np.zeros((num_genes, num_covariates)), np.zeros((num_covariates,) * 2)
        self.within = {True: np.zeros((num_genes,) * 2), False: np.zeros((num_genes,) * 2)}
        self.freedom = {True: 0, False: 0}
        self.expressed_G = np.zeros(num_genes)

    def add(self, x_NG: np.ndarray, c_NK: np.ndarray, line_N: np.ndarray, *, is_control: bool) -> None:
        self.xx_GG += (x_NG.T @ x_NG).astype(np.float64)
        self.xc_GK += x_NG.T.astype(np.float64) @ c_NK
        self.cc_KK += c_NK.T @ c_NK
        self.expressed_G += (x_NG > 0).sum(axis=0)
        for line in np.unique(line_N):
            part = x_NG[line_N == line]
            centred = part - part.mean(axis=0)
            self.within[is_control] += (centred.T @ centred).astype(np.float64)
            self.freedom[is_control] += len(part) - 1

    def correlation(self) -> np.ndarray:
        left = self.xx_GG - self.xc_GK @ np.linalg.pinv(self.cc_KK) @ self.xc_GK.T
        sd_G = np.sqrt(np.maximum(np.diag(left), 0))
        return np.divide(left, np.outer(sd_G, sd_G), out=np.zeros_like(left), where=np.outer(sd_G, sd_G) > 0)


def _cells_of_well(plan: ScreenPlan, shift_LG: np.ndarray, passed_on_NR: np.ndarray, num_cells: int, rng: np.random.Generator):
    """Draw x [N, G], log counts, mitochondrial share and line of the cells that pass the filters."""
    well = _draw_well(plan, shift_LG, passed_on_NR, num_cells, rng)
    counts_NG = well.counts.toarray().astype(np.float32)
    total_N = counts_NG.sum(axis=1)
    mito_N = counts_NG[:, plan.expression.is_mito_G].sum(axis=1) / np.maximum(total_N, 1)
    keep_N = (total_N >= MIN_COUNTS) & ((counts_NG > 0).sum(axis=1) >= MIN_GENES) & (mito_N <= MAX_MITO)
    x_NG = np.log1p(1e4 * counts_NG[keep_N] / total_N[keep_N, None])
    return x_NG, np.log(total_N[keep_N]), mito_N[keep_N], well.line[keep_N]


def _measure(settings: SimulationConfig, seed: int, plan: ScreenPlan) -> tuple[list[anndata.AnnData], list[anndata.AnnData], _Sums]:
    """Conditions and baselines of every plate, and sums."""
    passed_on_NR = _noise_operator(plan.network)
    num_lines, kind_G = len(plan.cell_lines), plan.genes["kind"].to_numpy()
    sums = _Sums(len(plan.genes), 4 + len(settings.plates) + num_lines)
    conditions, baselines = [], []
    for number, plate in enumerate(settings.plates):
        wells = plan.wells(plate)
        shift_WLG = _rates_of_wells(plan, plate, wells)
        rows, moments = [], {}
        for shift_LG, well in zip(shift_WLG, wells.itertuples(index=False), strict=True):
            rng = random_stream(seed, "cells", plate, well.well)
            x_NG, log_counts_N, mito_N, line_N = _cells_of_well(plan, shift_LG, passed_on_NR, int(well.num_cells), rng)
            mean_N = x_NG.mean(axis=1)
            scores = [x_NG[:, kind_G == kind].mean(axis=1) - mean_N for kind in ("s", "g2m")]
            indicators = np.zeros((len(x_NG), len(settings.plates) + num_lines))
            indicators[:, number] = 1
            indicators[np.arange(len(x_NG)), len(settings.plates) + line_N] = 1
            sums.add(x_NG, np.column_stack([log_counts_N, mito_N, *scores, indicators]), line_N, is_control=well.drug < 0)
            for line in np.unique(line_N):
                key = (well.drug, well.dose, line)
                part = x_NG[line_N == line].astype(np.float64)
                found = moments.setdefault(key, [0, 0.0, 0.0])
                found[0] += len(part)
                found[1] = found[1] + part.sum(axis=0)
                found[2] = found[2] + (part**2).sum(axis=0)
        mean = {key: (num, total / num, np.maximum(square - total**2 / num, 0) / max(num - 1, 1)) for key, (num, total, square) in moments.items()}
        var = pd.DataFrame({"gene": plan.genes["gene"].to_numpy()}, index=pd.Index(plan.genes["gene_id"].to_numpy(), name="gene_id"))
        treated = [key for key in sorted(mean) if key[0] >= 0 and mean[key][0] >= MIN_CELLS]
        rows = [(plan.drugs[d].name, "drug", dose, plan.cell_lines[line], plate, mean[d, dose, line][0], False) for d, dose, line in treated]
        obs = pd.DataFrame(rows, columns=["perturbation", "kind", "dose", "cell_line", "plate", "n_cells", "is_control"])
        obs.index = obs.index.astype(str)
        layers = {"mean": np.array([mean[key][1] for key in treated]), "var": np.array([mean[key][2] for key in treated])}
        conditions.append(anndata.AnnData(obs=obs, var=var, layers=layers, shape=(len(obs), len(var))))
        control = [key for key in sorted(mean) if key[0] < 0]
        obs = pd.DataFrame([(plan.cell_lines[key[2]], plate, mean[key][0]) for key in control], columns=["cell_line", "plate", "n_cells"])
        obs.index = obs.index.astype(str)
        variance = np.array([mean[key][2] / mean[key][0] for key in control])
        baselines.append(anndata.AnnData(np.array([mean[key][1] for key in control]), obs=obs, var=var, layers={"var": variance}))
    return conditions, baselines, sums


def _partners(correlation_GG: np.ndarray, genes: np.ndarray) -> pd.DataFrame:
    strength_GG = np.abs(correlation_GG) - 2 * np.eye(len(genes))
    order_GP = np.argsort(-strength_GG, axis=1, kind="stable")[:, :PARTNERS]
    target = np.repeat(np.arange(len(genes)), order_GP.shape[1])
    source = order_GP.ravel()
    rank = np.tile(np.arange(1, order_GP.shape[1] + 1), len(genes))
    return pd.DataFrame({"gene": genes[target], "partner": genes[source], "correlation": correlation_GG[target, source], "rank": rank})


def _curated(plan: ScreenPlan) -> pd.DataFrame:
    table, names = listed_edges(plan), plan.genes["gene"].to_numpy()
    sources = [";".join(name for name in SHARES if getattr(row, name)) for row in table.itertuples()]
    columns = {"regulator": names[table["regulator"]], "target": names[table["target"]], "sign": table["sign"].astype(np.int8)}
    return pd.DataFrame(columns).assign(sources=sources, confidence=0.8)


def targets_of(plan: ScreenPlan) -> pd.DataFrame:
    """Read what the drug table says: perturbation, target, sign."""
    names = plan.genes["gene"].to_numpy()
    rows = [(drug.name, names[gene], SIGN_OF_MODE[drug.mode]) for drug in plan.drugs if drug.is_listed for gene in drug.targets]
    return pd.DataFrame(rows, columns=["perturbation", "target", "sign"])


def simulate(variant: str, seed: int, *, cache: Path) -> Case:
    """Simulate a screen, or read it from the cache."""
    path = cache / f"{variant}_{seed}.pkl"
    if path.exists():
        return pickle.loads(path.read_bytes())
    settings = SimulationConfig(**(BASE | VARIANTS[variant]))
    plan = simulate_plan(settings, seed)
    # Without a network the candidates are the same, curated edges included, and none is true.
    empty = replace(plan, network=replace(plan.network, weight=0 * plan.network.weight)) if variant == "no_network" else plan
    conditions, baselines, sums = _measure(settings, seed, empty)
    keep = np.flatnonzero((sums.expressed_G >= MIN_CELLS_OF_GENE) & (plan.genes["kind"] != "mito").to_numpy())
    genes = plan.genes["gene"].to_numpy()[keep]
    correlation_GG = sums.correlation()[np.ix_(keep, keep)]
    edges = build_mask(
        _partners(correlation_GG, genes), correlation_GG, _curated(plan), list(genes), MaskConfig(partners=min(PARTNERS, len(genes) - 1))
    )
    responses = build_responses([part[:, keep].copy() for part in conditions], [part[:, keep].copy() for part in baselines], targets_of(plan))
    regulator, target, weight = plan.network.edges()
    symbols = plan.genes["gene"].to_numpy()
    truth = pd.DataFrame({"regulator": symbols[regulator], "target": symbols[target], "weight": weight * (variant != "no_network")})
    control, whole = sums.within[True] / sums.freedom[True], (sums.within[True] + sums.within[False]) / (sums.freedom[True] + sums.freedom[False])
    case = Case(
        name=f"{variant}_{seed}", responses=responses, edges=edges, truth=truth[truth["target"].isin(genes) & truth["regulator"].isin(genes)],
        correlation_GG=correlation_GG, control_covariance_GG=control[np.ix_(keep, keep)], all_covariance_GG=whole[np.ix_(keep, keep)],
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(case))
    return case


def with_dirty_table(case: Case, *, missing: float, false: float, seed: int) -> Case:
    """Spoil the table of targets: a share of the links is lost, and false links to random genes are added as a share of all."""
    rng = np.random.default_rng(seed)
    links = case.responses.links
    kept = links[rng.random(len(links)) >= missing]
    num_false = round(false * len(links))
    names = rng.choice(links["perturbation"].unique(), num_false)
    wrong = pd.DataFrame({"perturbation": names, "target": rng.integers(0, len(case.responses.genes), num_false), "sign": -1})
    table = pd.concat([kept, wrong]).drop_duplicates(["perturbation", "target"]).sort_values(["perturbation", "target"], ignore_index=True)
    return replace(case, responses=replace(case.responses, links=table.astype({"sign": np.int8})), name=f"{case.name}_missing{missing}_false{false}")
