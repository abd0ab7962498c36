"""One effect per perturbation and gene: conditions are pooled over doses, lines and plates, weighted by their errors.

Axes: C conditions, D perturbations, G genes. A condition at dose x of a perturbation with top dose X is modelled as gain * effect,
gain = x (X + H) / (X (x + H)): a saturating, monotone curve that is 1 at the top dose, so an effect is the response at the top dose. The half
dose H of a perturbation is the one with the smallest squared error on a grid of +-2 decades around the geometric mean of its doses,
shrunk towards that mean; so the unit of the doses does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.responses.conditions import Responses

__all__ = ["DrugEffects", "aggregate"]

HALF_DOSE_GRID = 10.0 ** np.linspace(-2, 2, 13)
HALF_DOSE_SPREAD = 1.5  # standard deviation of log(half dose) between perturbations
MIN_INFLATION, MAX_INFLATION = 0.5, 20.0

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class DrugEffects:
    """Effects of perturbations at their top dose.

    Attributes
    ----------
    effect_DG, se_DG
        Effect (difference of x) and its standard error, float32.
    table
        perturbation, kind, half_dose, num_conditions, num_cells, weight (multiplicity in a bootstrap, else 1); one row per perturbation.
    genes
        gene, gene_id, in the order of the panel.
    sign_DG
        Sign of a listed target: +-1; 0 where it is unknown and where there is no link. int8.
    is_target_DG
        Whether the gene is a listed target.
    control_mean_G
        Mean of x in controls, float64.
    """

    effect_DG: FloatArray
    se_DG: FloatArray
    table: pd.DataFrame
    genes: pd.DataFrame
    sign_DG: npt.NDArray[np.int8]
    is_target_DG: npt.NDArray[np.bool_]
    control_mean_G: npt.NDArray[np.float64]

    @property
    def num_targets_D(self) -> npt.NDArray[np.int64]:
        """Number of listed targets of each perturbation."""
        return np.asarray(self.is_target_DG.sum(axis=1), dtype=np.int64)

    def take(self, rows_D: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> DrugEffects:
        """Only some perturbations."""
        return replace(
            self, effect_DG=self.effect_DG[rows_D], se_DG=self.se_DG[rows_D], table=self.table.loc[_positions(rows_D)].reset_index(drop=True),
            sign_DG=self.sign_DG[rows_D], is_target_DG=self.is_target_DG[rows_D],
        )  # fmt: skip


def _positions(rows_D: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    return np.flatnonzero(rows_D) if rows_D.dtype == np.bool_ else np.asarray(rows_D, dtype=np.int64)


def aggregate(responses: Responses) -> DrugEffects:
    """Weighted least squares of the conditions of each perturbation on their gains.

    The errors of a gene are inflated by the factor that makes the residuals within perturbations agree with them (0.5 to 20), since wells and
    lines differ by more than their cells do.

    Parameters
    ----------
    responses
        Responses of conditions.
    """
    names = responses.perturbations
    code_C = pd.Categorical(responses.obs["perturbation"], categories=names).codes
    rows_of = [np.flatnonzero(code_C == d) for d in range(len(names))]
    dose_C = responses.obs["dose"].to_numpy(np.float64)
    centre_D = np.array([_centre(dose_C[rows]) for rows in rows_of])
    half_D = centre_D
    inflation_G = np.ones(len(responses.genes))
    for last in (False, True):  # the inflation needs the fit and the fit the inflation; a third round changes nothing
        gains = [_gain(dose_C[rows], half_D[d]) for d, rows in enumerate(rows_of)]
        inflation_G = _inflation(responses, rows_of, gains)
        if not last:
            half_D = np.array(
                [_half_dose(responses, rows, dose_C[rows], inflation_G, centre) for rows, centre in zip(rows_of, centre_D, strict=True)]
            )
    fits = [_fit(responses.delta_CG[rows], responses.se_CG[rows], gain) for rows, gain in zip(rows_of, gains, strict=True)]
    effect_DG = np.stack([fit[0] for fit in fits]).astype(np.float32)
    se_DG = (np.stack([fit[1] for fit in fits]) * np.sqrt(inflation_G)).astype(np.float32)
    sign_DG, is_target_DG = _link_matrices(responses, names)
    first = responses.obs.drop_duplicates("perturbation").set_index("perturbation")
    table = pd.DataFrame(
        {
            "perturbation": names,
            "kind": first.loc[names, "kind"].to_numpy(),
            "half_dose": half_D,
            "num_conditions": [len(rows) for rows in rows_of],
            "num_cells": [int(responses.obs["n_cells"].to_numpy()[rows].sum()) for rows in rows_of],
            "weight": 1,
        }
    )
    return DrugEffects(
        effect_DG=effect_DG, se_DG=se_DG, table=table, genes=responses.genes, sign_DG=sign_DG, is_target_DG=is_target_DG,
        control_mean_G=responses.control_mean_G,
    )  # fmt: skip


def _link_matrices(responses: Responses, names: list[str]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.bool_]]:
    shape = (len(names), len(responses.genes))
    sign_DG, is_target_DG = np.zeros(shape, np.int8), np.zeros(shape, bool)
    row = {name: d for d, name in enumerate(names)}
    for name, gene, sign in responses.links[["perturbation", "target", "sign"]].itertuples(index=False):
        sign_DG[row[name], gene], is_target_DG[row[name], gene] = sign, True
    return sign_DG, is_target_DG


def _centre(dose_c: npt.NDArray[np.float64]) -> float:
    """Geometric mean of the distinct doses of one perturbation, whatever their unit; 1 where there is none."""
    doses = np.unique(dose_c[np.isfinite(dose_c) & (dose_c > 0)])
    return float(np.exp(np.log(doses).mean())) if len(doses) else 1.0


def _gain(dose_c: npt.NDArray[np.float64], half_dose: float) -> npt.NDArray[np.float64]:
    """Gain of each condition of one perturbation; 1 at the top dose, and 1 where there is no dose (NaN or 0)."""
    dosed = np.isfinite(dose_c) & (dose_c > 0)
    if not dosed.any():
        return np.ones(len(dose_c))
    top = dose_c[dosed].max()
    with np.errstate(invalid="ignore"):
        gain = dose_c * (top + half_dose) / (top * (dose_c + half_dose))
    return np.where(dosed, gain, 1.0)


def _fit(delta_cG: FloatArray, se_cG: FloatArray, gain_c: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Effect and its standard error, both [G]."""
    precision_cG = 1.0 / se_cG.astype(np.float64) ** 2
    information_G = (gain_c**2) @ precision_cG
    return gain_c @ (precision_cG * delta_cG) / information_G, information_G**-0.5


def _inflation(responses: Responses, rows_of: list[npt.NDArray[np.int64]], gains: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    total_G, freedom = np.zeros(len(responses.genes)), 0
    for rows, gain in zip(rows_of, gains, strict=True):
        if len(rows) < 2:
            continue
        delta_cG, se_cG = responses.delta_CG[rows], responses.se_CG[rows]
        effect_G, _ = _fit(delta_cG, se_cG, gain)
        total_G += (((delta_cG - gain[:, None] * effect_G) / se_cG) ** 2).sum(axis=0)
        freedom += len(rows) - 1
    return np.clip(total_G / freedom, MIN_INFLATION, MAX_INFLATION) if freedom else np.ones(len(total_G))


def _half_dose(
    responses: Responses, rows: npt.NDArray[np.int64], dose_c: npt.NDArray[np.float64], inflation_G: npt.NDArray[np.float64], centre: float
) -> float:
    """Half dose of one perturbation; `centre` where it has fewer than two doses."""
    if len(np.unique(dose_c[np.isfinite(dose_c) & (dose_c > 0)])) < 2:
        return centre
    precision_cG = 1.0 / (responses.se_CG[rows].astype(np.float64) ** 2 * inflation_G)
    delta_cG = responses.delta_CG[rows]
    cost = []
    for factor in HALF_DOSE_GRID:
        gain = _gain(dose_c, centre * factor)
        explained = (gain @ (precision_cG * delta_cG)) ** 2 / ((gain**2) @ precision_cG)
        cost.append(-explained.sum() + (np.log(factor) / HALF_DOSE_SPREAD) ** 2)
    return float(centre * HALF_DOSE_GRID[int(np.argmin(cost))])
