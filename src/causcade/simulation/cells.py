"""Cells of a plate: negative-binomial counts with the confounders of a real screen, written in the layout of Tahoe-100M.

The log rate of a gene in a cell is its basal share, plus cell line, plate and well, the response to the drug, gene programs and cell
cycle that have nothing to do with the network, and cell-to-cell noise in regulators that the network passes on. Some cells are damaged
(few counts, mostly mitochondrial) and some are doublets of two cells of the well.

Axis letters: C cells of a well, G, N, R, L, F as in :mod:`causcade.simulation.screen`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from causcade.config import SimulationConfig
from causcade.errors import InputError
from causcade.files import replacing, write_parquet
from causcade.simulation.network import Floats, Network, random_stream
from causcade.simulation.screen import CONTROL, ScreenPlan, dose_response, simulate_plan, true_responses

__all__ = ["simulate_plate"]

MEAN_COUNTS = 2500.0
COUNTS_LOG_SD = 0.35
PLATE_SD = 0.15
WELL_SD = 0.04
REGULATORY_SD = 0.25
MITO_LOG_SD = 0.35
CYCLING_SHARES = (0.5, 0.25, 0.25)  # G1, S, G2/M
LOW_QUALITY_SHARE = 0.02
LOW_QUALITY_COUNTS = (0.03, 0.12)  # factor on the counts
LOW_QUALITY_MITO = 9.0  # factor on mitochondrial rates
DOUBLET_SHARE = 0.02
GZIP_LEVEL = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Well:
    counts: Any
    line: NDArray[np.int64]
    is_doublet: NDArray[np.bool_]
    is_low_quality: NDArray[np.bool_]


def simulate_plate(settings: SimulationConfig, seed: int, plate: str, path: str | Path, truth_path: str | Path | None = None) -> None:
    """Draw one plate and write it as h5ad: equal seed and name give equal bytes, whatever other plates there are.

    Parameters
    ----------
    settings
        Section `simulation` of the configuration.
    seed
        Seed of the run.
    plate
        Name of the plate; one of `settings.plates`.
    path
        h5ad to write. X: CSR int32 raw counts. obs: sample (well), drug, drugname_drugconc, cell_line, plate. var: Ensembl ids, some with a
        version, and gene_symbol.
    truth_path
        Parquet for what must stay hidden from the analysis: cell, is_doublet, is_low_quality. None: not written.

    Raises
    ------
    InputError
        If there is no such plate.
    """
    if plate not in settings.plates:
        raise InputError(f"simulation.plates: expected one of {', '.join(settings.plates)}, found {plate!r}. Add the plate to the list.")
    plan = simulate_plan(settings, seed)
    wells = plan.wells(plate)
    shift_WLG = _rates_of_wells(plan, plate, wells)
    passed_on_NR = _noise_operator(plan.network)
    drawn = [
        _draw_well(plan, shift_LG, passed_on_NR, int(num_cells), random_stream(seed, "cells", plate, well))
        for shift_LG, num_cells, well in zip(shift_WLG, wells["num_cells"], wells["well"], strict=True)
    ]
    obs = _describe_cells(plan, plate, wells, drawn)
    _write_h5ad(path, sparse.vstack([well.counts for well in drawn], format="csr"), obs, plan.genes)
    if truth_path is not None:
        truth = pd.DataFrame(
            {
                "cell": obs.index.to_numpy(),
                "is_doublet": np.concatenate([well.is_doublet for well in drawn]),
                "is_low_quality": np.concatenate([well.is_low_quality for well in drawn]),
            }
        )
        write_parquet(truth_path, truth)


def _noise_operator(network: Network) -> NDArray[np.float32]:
    """Dense [N, R]: shift of every gene per unit of noise in a regulator, the noise itself excluded: W (I - W)^-1 in the regulators' columns."""
    columns_NR = network.weight[:, : network.num_regulators].toarray()
    system_RR = np.eye(network.num_regulators) - columns_NR[: network.num_regulators]
    return np.asarray(columns_NR @ np.linalg.inv(system_RR), dtype=np.float32)


def _rates_of_wells(plan: ScreenPlan, plate: str, wells: pd.DataFrame) -> Floats:
    """Log share of each gene for each well and line, [wells, L, G]: basal, line, plate, well, and drug."""
    expression = plan.expression
    num_genes = len(plan.genes)
    plate_G = random_stream(plan.seed, "plate effect", plate).normal(0.0, PLATE_SD, num_genes)
    well_WG = random_stream(plan.seed, "well effect", plate).normal(0.0, WELL_SD, (len(wells), num_genes))
    rates_WLG = (expression.log_share_G + plate_G) + expression.line_shift_LG + well_WG[:, None, :]
    drug_W, dose_W = wells["drug"].to_numpy(), wells["dose"].to_numpy()
    for dose in np.unique(dose_W[drug_W >= 0]):
        gain_D = np.array([dose_response(drug, dose) for drug in plan.drugs])
        stress_D = gain_D * np.array([drug.stress for drug in plan.drugs])
        rows = np.flatnonzero((dose_W == dose) & (drug_W >= 0))
        for line, line_gain in enumerate(expression.line_gain_L):
            response_DN = true_responses(plan, gain_D * line_gain)
            rates_WLG[rows, line, : plan.network.num_genes] += response_DN[drug_W[rows]]
            rates_WLG[rows, line] += line_gain * stress_D[drug_W[rows], None] * expression.stress_G
    return np.asarray(rates_WLG)


def _draw_well(plan: ScreenPlan, shift_LG: Floats, passed_on_NR: NDArray[np.float32], num_cells: int, rng: np.random.Generator) -> _Well:
    """Draw the counts and identities of the cells of one well."""
    expression, network = plan.expression, plan.network
    line_C = rng.choice(len(expression.line_share_L), num_cells, p=expression.line_share_L)
    log_rate_CG = shift_LG.astype(np.float32)[line_C]
    program_CF = rng.standard_normal((num_cells, len(expression.program_FG)), dtype=np.float32)
    log_rate_CG += program_CF @ expression.program_FG.astype(np.float32)
    phase_C = rng.choice(3, num_cells, p=CYCLING_SHARES)
    depth_C = rng.beta(4.0, 2.0, num_cells)  # how far into its phase a cycling cell is
    log_rate_CG += np.outer(depth_C * (phase_C == 1), expression.s_phase_G).astype(np.float32)
    log_rate_CG += np.outer(depth_C * (phase_C == 2), expression.g2m_phase_G).astype(np.float32)
    noise_CR = REGULATORY_SD * rng.standard_normal((num_cells, network.num_regulators), dtype=np.float32)
    log_rate_CG[:, : network.num_regulators] += noise_CR
    log_rate_CG[:, : network.num_genes] += noise_CR @ passed_on_NR.T

    is_low_C = rng.random(num_cells) < LOW_QUALITY_SHARE
    mito_C = MITO_LOG_SD * rng.standard_normal(num_cells) + np.where(is_low_C, np.log(LOW_QUALITY_MITO), 0.0)
    log_rate_CG[:, expression.is_mito_G] += mito_C[:, None].astype(np.float32)
    size_C = MEAN_COUNTS * rng.lognormal(-(COUNTS_LOG_SD**2) / 2, COUNTS_LOG_SD, num_cells)
    size_C *= np.where(is_low_C, rng.uniform(*LOW_QUALITY_COUNTS, num_cells), 1.0)

    shape_G = (1.0 / expression.dispersion_G).astype(np.float32)
    mean_CG = np.exp(log_rate_CG) * size_C[:, None]
    counts_CG = rng.poisson(rng.standard_gamma(shape_G, mean_CG.shape, dtype=np.float32) * (mean_CG / shape_G)).astype(np.int32)

    is_doublet_C = (rng.random(num_cells) < DOUBLET_SHARE) & (num_cells > 1)
    first = np.flatnonzero(is_doublet_C)
    second = (first + rng.integers(1, max(num_cells, 2), len(first))) % max(num_cells, 1)
    counts_CG[first] = counts_CG[first] + counts_CG[second]
    return _Well(counts=sparse.csr_matrix(counts_CG), line=line_C, is_doublet=is_doublet_C, is_low_quality=is_low_C)


def _describe_cells(plan: ScreenPlan, plate: str, wells: pd.DataFrame, drawn: list[_Well]) -> pd.DataFrame:
    num_cells = np.array([well.counts.shape[0] for well in drawn])
    labels = [plan.drugs[drug].label if drug >= 0 else CONTROL for drug in wells["drug"]]
    conditions = [f"[({label!r}, {dose}, 'uM')]" for label, dose in zip(labels, wells["dose"], strict=True)]
    lines = np.array(plan.cell_lines)[np.concatenate([well.line for well in drawn])]
    obs = pd.DataFrame(
        {
            "sample": np.repeat(wells["well"].to_numpy(dtype=str), num_cells),
            "drug": np.repeat(labels, num_cells),
            "drugname_drugconc": np.repeat(conditions, num_cells),
            "cell_line": lines,
            "plate": plate,
        }
    )
    number = np.arange(len(obs)) - np.repeat(np.cumsum(num_cells) - num_cells, num_cells)
    obs.index = pd.Index([f"{well}-{index + 1:04d}" for well, index in zip(obs["sample"], number, strict=True)], name="cell")
    return obs.astype("category")


def _write_h5ad(path: str | Path, counts_CG: Any, obs: pd.DataFrame, genes: pd.DataFrame) -> None:
    import anndata

    var = pd.DataFrame({"gene_symbol": genes["gene"].to_numpy()}, index=pd.Index(genes["var_name"].to_numpy(), name="gene_id"))
    data = anndata.AnnData(X=counts_CG, obs=obs, var=var)
    with replacing(path) as temporary:
        data.write_h5ad(temporary, compression="gzip", compression_opts=GZIP_LEVEL)
