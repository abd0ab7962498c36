"""One effect per perturbation and gene: conditions are pooled over doses, lines and plates, weighted by their errors.

Axes: C conditions, c those of one perturbation and dose, D perturbations, G genes, k doses of one perturbation. A condition at dose x of a
perturbation with top dose X is modelled as gain * effect, gain = x (X + H) / (X (x + H)): a saturating, monotone curve that is 1 at the top dose,
so an effect is the response at the top dose. The half dose H of a perturbation is the one with the smallest squared error on a grid of +-2 decades
around the geometric mean of its doses, shrunk towards that mean; so the unit of the doses does not matter.

The gain is the same for all conditions of a perturbation and dose, so effects need only sums over these (:class:`DoseSums`), which plates add to one
after another: 65,000 conditions of 14,000 genes never lie in memory together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.responses.conditions import Responses

__all__ = ["DoseSums", "DrugEffects", "aggregate", "as_effects", "dose_key", "gain_at", "link_matrices"]

HALF_DOSE_GRID = 10.0 ** np.linspace(-2, 2, 13)
HALF_DOSE_SPREAD = 1.5  # standard deviation of log(half dose) between perturbations
MIN_INFLATION, MAX_INFLATION = 0.5, 20.0

FloatArray = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class DrugEffects:
    """Effects of perturbations at their top dose.

    Attributes
    ----------
    effect_DG, se_DG
        Effect (difference of x) and its standard error, float32.
    table
        perturbation, kind, half_dose, lowest_dose, top_dose (both NaN without doses), num_conditions, num_cells, weight (multiplicity in a
        bootstrap, else 1); one row per perturbation.
    genes
        gene, gene_id, in the order of the panel.
    sign_DG
        Sign of a listed target: +-1; 0 where it is unknown and where there is no link. int8.
    is_target_DG
        Whether the gene is a listed target.
    control_mean_G
        Mean of x in controls, float64.

    Targets that are not measured (:func:`causcade.responses.with_unmeasured`) are the last genes; their numbers are NaN.
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

    @property
    def is_measured_G(self) -> npt.NDArray[np.bool_]:
        """Whether the gene is measured at all."""
        return np.asarray(~np.isnan(self.control_mean_G), dtype=bool)

    def measured(self) -> DrugEffects:
        """Only the genes that are measured."""
        keep_G = self.is_measured_G
        if keep_G.all():
            return self
        return replace(
            self, effect_DG=self.effect_DG[:, keep_G], se_DG=self.se_DG[:, keep_G], genes=self.genes.loc[keep_G].reset_index(drop=True),
            sign_DG=self.sign_DG[:, keep_G], is_target_DG=self.is_target_DG[:, keep_G], control_mean_G=self.control_mean_G[keep_G],
        )  # fmt: skip

    def take(self, rows_D: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> DrugEffects:
        """Only some perturbations."""
        return replace(
            self, effect_DG=self.effect_DG[rows_D], se_DG=self.se_DG[rows_D], table=self.table.loc[_positions(rows_D)].reset_index(drop=True),
            sign_DG=self.sign_DG[rows_D], is_target_DG=self.is_target_DG[rows_D],
        )  # fmt: skip


def _positions(rows_D: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    return np.flatnonzero(rows_D) if rows_D.dtype == np.bool_ else np.asarray(rows_D, dtype=np.int64)


class DoseSums:
    """Sums over the conditions of each perturbation and dose, float64: of precisions, and of precisions times responses.

    A condition without a dose (none, 0, not finite) counts as one of dose 0, whose gain is 1.

    Parameters
    ----------
    num_genes
        Length of the gene axis.
    """

    def __init__(self, num_genes: int) -> None:
        self.num_genes = num_genes
        self._sums: dict[tuple[str, float], npt.NDArray[np.float64]] = {}  # [2, G] of each perturbation and dose
        self._square_G = np.zeros(num_genes)
        self._counts: dict[str, list[int]] = {}  # conditions and cells of each perturbation
        self._kind: dict[str, str] = {}

    def add(self, obs: pd.DataFrame, delta_CG: FloatArray, se_CG: FloatArray) -> None:
        """Add conditions: their obs (perturbation, kind, dose, n_cells), responses and standard errors."""
        keyed = pd.DataFrame({"name": obs["perturbation"].astype(str).to_numpy(), "dose": dose_key(obs["dose"].to_numpy(np.float64))})
        cells_C, kind_C = obs["n_cells"].to_numpy(), obs["kind"].astype(str).to_numpy()
        for (name, key), rows in keyed.groupby(["name", "dose"], sort=True).indices.items():
            precision_cG = 1.0 / se_CG[rows].astype(np.float64) ** 2
            weighted_cG = precision_cG * delta_CG[rows]
            self._square_G += np.einsum("cg,cg->g", weighted_cG, delta_CG[rows])
            sums = self._sums.setdefault((name, float(key)), np.zeros((2, self.num_genes)))
            sums[0] += precision_cG.sum(axis=0)
            sums[1] += weighted_cG.sum(axis=0)
            counts = self._counts.setdefault(name, [0, 0])
            counts[0] += len(rows)
            counts[1] += int(cells_C[rows].sum())
            self._kind.setdefault(name, kind_C[rows[0]])

    @property
    def perturbations(self) -> list[str]:
        """Names of the perturbations, sorted."""
        return sorted(self._counts)

    def effects(self, genes: pd.DataFrame, links: pd.DataFrame, control_mean_G: Float64) -> DrugEffects:
        """Weighted least squares of the conditions of each perturbation on their gains; see :func:`aggregate`."""
        names = self.perturbations
        keys_of: dict[str, list[float]] = {name: [] for name in names}
        for name, dose in sorted(self._sums):
            keys_of[name].append(dose)
        dose_of = [np.array(keys_of[name]) for name in names]
        sums_of = [np.stack([self._sums[name, dose] for dose in keys_of[name]]) for name in names]
        centre_D = np.array([_centre(doses) for doses in dose_of])
        inflation_G = self._inflation([_fit(sums, _gain(doses, half)) for sums, doses, half in zip(sums_of, dose_of, centre_D, strict=True)])
        half_D = np.array([_half_dose(*one, inflation_G) for one in zip(sums_of, dose_of, centre_D, strict=True)])
        fits = [_fit(sums, _gain(doses, half)) for sums, doses, half in zip(sums_of, dose_of, half_D, strict=True)]
        # The inflation needs the fit and the half doses need the inflation; a third round changes nothing.
        inflation_G = self._inflation(fits)
        effect_DG = np.stack([effect_G for effect_G, _ in fits]).astype(np.float32)
        se_DG = np.stack([np.sqrt(inflation_G / information_G) for _, information_G in fits]).astype(np.float32)
        sign_DG, is_target_DG = link_matrices(links, names, self.num_genes)
        table = pd.DataFrame(
            {
                "perturbation": names,
                "kind": [self._kind[name] for name in names],
                "half_dose": half_D,
                "lowest_dose": [_bounds(doses)[0] for doses in dose_of],
                "top_dose": [_bounds(doses)[1] for doses in dose_of],
                "num_conditions": [self._counts[name][0] for name in names],
                "num_cells": [self._counts[name][1] for name in names],
                "weight": 1,
            }
        )
        return DrugEffects(
            effect_DG=effect_DG, se_DG=se_DG, table=table, genes=genes, sign_DG=sign_DG, is_target_DG=is_target_DG, control_mean_G=control_mean_G
        )

    def gains(self, half_doses: Mapping[str, float]) -> dict[tuple[str, float], float]:
        """Gain of each perturbation and dose, by the half doses of the perturbations."""
        doses_of: dict[str, list[float]] = {}
        for name, dose in sorted(self._sums):
            doses_of.setdefault(name, []).append(dose)
        found = {}
        for name, doses in doses_of.items():
            for dose, gain in zip(doses, _gain(np.array(doses), half_doses[name]), strict=True):
                found[name, dose] = float(gain)
        return found

    def information(self, gains: Mapping[tuple[str, float], float]) -> dict[str, Float64]:
        """Precision [G] with which the conditions of each perturbation determine its effect, before the inflation of errors."""
        found: dict[str, Float64] = {}
        for key, sums in self._sums.items():
            found[key[0]] = found.get(key[0], 0.0) + gains[key] ** 2 * sums[0]
        return found

    def _inflation(self, fits: list[tuple[Float64, Float64]]) -> Float64:
        """Mean square of the standardised residuals within perturbations, within bounds; perturbations of one condition add nothing."""
        freedom = sum(num - 1 for num, _ in self._counts.values())
        if freedom == 0:
            return np.ones(self.num_genes)
        left_G = self._square_G.copy()
        for effect_G, information_G in fits:
            left_G -= effect_G**2 * information_G
        return np.asarray(np.clip(left_G / freedom, MIN_INFLATION, MAX_INFLATION))


def aggregate(responses: Responses) -> DrugEffects:
    """Weighted least squares of the conditions of each perturbation on their gains.

    The errors of a gene are inflated by the factor that makes the residuals within perturbations agree with them (0.5 to 20), since wells and
    lines differ by more than their cells do.

    Parameters
    ----------
    responses
        Responses of conditions.
    """
    sums = DoseSums(len(responses.genes))
    sums.add(responses.obs, responses.delta_CG, responses.se_CG)
    return sums.effects(responses.genes, responses.links, responses.control_mean_G)


def as_effects(data: Responses | DrugEffects) -> DrugEffects:
    """Effects of perturbations, summed from responses of conditions where those are given."""
    return aggregate(data) if isinstance(data, Responses) else data


def link_matrices(links: pd.DataFrame, names: list[str], num_genes: int) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.bool_]]:
    """Sign of each link (0: unknown, or none) and whether there is one, both [D, G]; `links` as of :func:`causcade.responses.list_targets`."""
    sign_DG, is_target_DG = np.zeros((len(names), num_genes), np.int8), np.zeros((len(names), num_genes), bool)
    row = {name: d for d, name in enumerate(names)}
    for name, gene, sign in links[["perturbation", "target", "sign"]].itertuples(index=False):
        if name in row:
            sign_DG[row[name], gene], is_target_DG[row[name], gene] = sign, True
    return sign_DG, is_target_DG


def dose_key(dose: Float64) -> Float64:
    """Dose by which conditions are summed: 0 where there is none."""
    return np.where(_is_dosed(dose), dose, 0.0)


def gain_at(dose: Float64, half_dose: float, top_dose: float) -> Float64:
    """Gain of doses: saturating, monotone, 1 at the top dose; above it at most 1 + half_dose / top_dose."""
    return np.asarray(dose * (top_dose + half_dose) / (top_dose * (dose + half_dose)))


def _is_dosed(dose: Float64) -> npt.NDArray[np.bool_]:
    return np.isfinite(dose) & (dose > 0)


def _bounds(dose_k: Float64) -> tuple[float, float]:
    """Lowest and top dose of one perturbation; NaN where it has none."""
    doses = dose_k[_is_dosed(dose_k)]
    return (float(doses.min()), float(doses.max())) if len(doses) else (np.nan, np.nan)


def _centre(dose_k: Float64) -> float:
    """Geometric mean of the distinct doses of one perturbation, whatever their unit; 1 where there is none."""
    doses = np.unique(dose_k[_is_dosed(dose_k)])
    return float(np.exp(np.log(doses).mean())) if len(doses) else 1.0


def _gain(dose_k: Float64, half_dose: float) -> Float64:
    """Gain of each dose of one perturbation; 1 at the top dose, and 1 where there is no dose (NaN or 0)."""
    dosed = _is_dosed(dose_k)
    if not dosed.any():
        return np.ones(len(dose_k))
    with np.errstate(invalid="ignore"):
        gain = gain_at(dose_k, half_dose, dose_k[dosed].max())
    return np.where(dosed, gain, 1.0)


def _fit(sums_k2G: Float64, gain_k: Float64) -> tuple[Float64, Float64]:
    """Effect and its precision, both [G], from the sums over the conditions of each dose."""
    information_G = gain_k**2 @ sums_k2G[:, 0]
    return gain_k @ sums_k2G[:, 1] / information_G, information_G


def _half_dose(sums_k2G: Float64, dose_k: Float64, centre: float, inflation_G: Float64) -> float:
    """Half dose of one perturbation; `centre` where it has fewer than two doses."""
    if _is_dosed(dose_k).sum() < 2:
        return centre
    cost = []
    for factor in HALF_DOSE_GRID:
        effect_G, information_G = _fit(sums_k2G, _gain(dose_k, centre * factor))
        cost.append(-(effect_G**2 * information_G / inflation_G).sum() + (np.log(factor) / HALF_DOSE_SPREAD) ** 2)
    return float(centre * HALF_DOSE_GRID[int(np.argmin(cost))])
