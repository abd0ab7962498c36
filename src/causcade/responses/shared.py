"""What perturbations share without any network: a stress response, as one or two robust factors.

Axes: D perturbations, G genes, F factors. Source of the procedure: the study summarised in docs (rank-one robust factors, iteratively reweighted).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from causcade.responses.effects import DrugEffects

__all__ = ["SharedResponse", "fit_shared_response"]

MIN_PERTURBATIONS = (8, 20)  # from which on there is a first and a second factor
NUM_ROUNDS = 8
MAX_STRENGTH = 10.0

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SharedResponse:
    """Strength of each factor in each perturbation [D, F], scaled to a root mean square of 1, and loading on each gene [F, G]; float64."""

    strength_DF: Float64
    loading_FG: Float64


def fit_shared_response(effects: DrugEffects) -> SharedResponse:
    """Robust factors of the effects, one after the other; listed targets take no part.

    With fewer than 8 perturbations there is no factor (shape [D, 0]); with fewer than 20 there is one.
    """
    weight_D = effects.table["weight"].to_numpy(np.float64)
    residual_DG = effects.effect_DG.astype(np.float64)
    variance_DG = effects.se_DG.astype(np.float64) ** 2
    open_DG = ~effects.is_target_DG * weight_D[:, None]
    strengths, loadings = [], []
    for least in MIN_PERTURBATIONS:
        if len(weight_D) < least:
            break
        strength_D, loading_G = _factor(residual_DG, variance_DG, open_DG)
        residual_DG = residual_DG - strength_D[:, None] * loading_G
        strengths.append(strength_D)
        loadings.append(loading_G)
    num_drugs, num_genes = residual_DG.shape
    return SharedResponse(
        strength_DF=np.stack(strengths, axis=1) if strengths else np.zeros((num_drugs, 0)),
        loading_FG=np.stack(loadings) if loadings else np.zeros((0, num_genes)),
    )


def _factor(residual_DG: Float64, variance_DG: Float64, open_DG: Float64) -> tuple[Float64, Float64]:
    strength_D, loading_G = np.ones(len(residual_DG)), np.median(residual_DG, axis=0)
    for _ in range(NUM_ROUNDS):
        left_DG = residual_DG - strength_D[:, None] * loading_G
        scale_G = 1.4826 * np.median(np.abs(left_DG), axis=0)
        omega_DG = open_DG / variance_DG / (1 + left_DG**2 / (variance_DG + scale_G**2) / 3)
        strength_D = np.clip(_ratio((omega_DG * residual_DG) @ loading_G, omega_DG @ loading_G**2), -MAX_STRENGTH, MAX_STRENGTH)
        loading_G = _ratio(strength_D @ (omega_DG * residual_DG), strength_D**2 @ omega_DG)
        size = float(np.sqrt(np.mean(strength_D**2)))
        if size > 0:
            strength_D, loading_G = strength_D / size, loading_G * size
    return strength_D, loading_G


def _ratio(numerator: Float64, denominator: Float64) -> Float64:
    """Quotient, and 0 where nothing was measured."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
