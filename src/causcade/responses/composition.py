"""What a perturbation does to all genes because counts are shares of a total.

x = log1p(m), m = 10^4 * count / total. Where a perturbation moves many genes up, the total grows, and the share of every other gene falls: its x
changes by -f dln(total), with f = m / (1 + m) = 1 - exp(-x). So each perturbation has one number, its strength, and the profile f over genes is
known. Most genes may follow one regulator, so a mean or a median will not do: the strength is the mode, where most genes lie within their errors
of the profile while the others are anywhere.

Axes: D perturbations, G genes, g genes of one perturbation that count, K strengths that are tried.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from causcade.responses.effects import DrugEffects

__all__ = ["composition_profile", "fit_composition", "without_composition"]

MIN_GENES = 100  # measured genes that are no listed targets, from which a mode is sought
STRENGTH_SD = 0.1  # of the normal prior of a strength, natural-log units
GRID = np.linspace(-4 * STRENGTH_SD, 4 * STRENGTH_SD, 161)
EXTRA_SD = 0.03  # of what a gene that follows nothing does beyond its error, x
MIN_SPREAD, SPREAD_FACTOR = 0.1, 4.0  # of the genes that are anywhere: variance, relative to the mean square of the effects
START_SHARE, MIN_SHARE = 0.5, 0.05
NUM_SHARES, NUM_STEPS = 3, 30

Float64 = npt.NDArray[np.float64]


def composition_profile(effects: DrugEffects) -> Float64:
    """Change of x with the logarithm of the total, with its sign turned, [G]; 0 where the mean of x in controls is not known or no log1p."""
    mean_G = np.asarray(effects.control_mean_G, dtype=np.float64)
    return np.where(np.isfinite(mean_G), -np.expm1(-np.where(np.isfinite(mean_G), mean_G, 0.0)), 0.0)


def fit_composition(effects: DrugEffects) -> Float64:
    """Strength of each perturbation, [D], natural-log units; 0 where fewer than 100 genes can tell.

    Genes are a mixture: those that follow nothing (normal around strength x profile, with their errors), and those that are anywhere (a normal of
    twice the root mean square of the effects). The strength of largest likelihood on a grid starts an expectation-maximisation, with a normal prior.
    """
    profile_G, strength_D = composition_profile(effects), np.zeros(len(effects.table))
    usable_DG = ~effects.is_target_DG & np.isfinite(effects.effect_DG) & np.isfinite(effects.se_DG) & (effects.se_DG > 0) & (profile_G > 0)
    for d, usable_G in enumerate(usable_DG):
        if usable_G.sum() >= MIN_GENES:
            effect_g, error_g = (values_DG[d, usable_G].astype(np.float64) for values_DG in (effects.effect_DG, effects.se_DG))
            strength_D[d] = _mode(effect_g, error_g**2 + EXTRA_SD**2, profile_G[usable_G])
    return strength_D


def without_composition(effects: DrugEffects) -> DrugEffects:
    """Effects less what composition does."""
    shift_DG = np.outer(fit_composition(effects), composition_profile(effects))
    return replace(effects, effect_DG=(effects.effect_DG - shift_DG).astype(np.float32))


def _mode(effect_g: Float64, variance_g: Float64, profile_g: Float64) -> float:
    wide_g = variance_g + SPREAD_FACTOR * max(float(np.mean(effect_g**2)), MIN_SPREAD**2)
    log_wide_g = -0.5 * np.log(wide_g) - 0.5 * effect_g**2 / wide_g

    def log_near(strength: Float64 | float) -> Float64:
        return np.asarray(-0.5 * np.log(variance_g) - 0.5 * (effect_g - strength * profile_g) ** 2 / variance_g)

    def share_near(strength: float, share: float) -> Float64:
        """Probability of each gene to follow nothing."""
        odds_g = np.log(share) - np.log1p(-share) + log_near(strength) - log_wide_g
        return np.asarray(np.exp(-np.logaddexp(0.0, -odds_g)))

    share, strength = START_SHARE, 0.0
    near_Kg = log_near(GRID[:, None])
    for _ in range(NUM_SHARES):
        likelihood_K = np.logaddexp(np.log(share) + near_Kg, np.log1p(-share) + log_wide_g).sum(axis=1)
        strength = float(GRID[likelihood_K.argmax()])
        share = float(np.clip(share_near(strength, share).mean(), MIN_SHARE, 1 - MIN_SHARE))
    for _ in range(NUM_STEPS):
        weight_g = share_near(strength, share) / variance_g * profile_g
        strength = float(weight_g @ effect_g / (weight_g @ profile_g + 1 / STRENGTH_SD**2))
    return strength
