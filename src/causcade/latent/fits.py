"""The latent fits of a run, by the names of the causal ones (:mod:`causcade.fits`), and what held-out fits predict.

`noprior` is no fit here: no curated edge enters any. An edge null permutes the partial correlations among the candidate edges too, so that no
relation between genes is left in it.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.config import CausalConfig
from causcade.config_latent import LatentConfig
from causcade.latent.fit import LatentFit, fit_latent
from causcade.responses import DrugEffects, Responses, ScreenFiles, held_out_table, responses_for_fit

__all__ = ["all_candidates", "run_latent"]


def all_candidates(
    edges: pd.DataFrame, partial: pd.DataFrame | None, unmeasured: pd.DataFrame
) -> tuple[pd.DataFrame, npt.NDArray[np.float64] | None]:
    """Put the edges from targets that are not measured below the candidate edges; and partial correlations, NaN where there is none.

    Parameters
    ----------
    edges, partial, unmeasured
        `candidate_edges.parquet`, `latent/partial_correlation.parquet` (None without cells: the estimator then goes without) and
        `unmeasured/edges.parquet`.
    """
    names = ["regulator", "target"]
    every = pd.concat([edges[names], unmeasured[names]], ignore_index=True)
    if partial is None:
        return every, None
    return every, np.concatenate([partial["partial_correlation"].to_numpy(np.float64), np.full(len(unmeasured), np.nan)])


def run_latent(
    name: str,
    responses: Responses | ScreenFiles | DrugEffects,
    edges: pd.DataFrame,
    settings: LatentConfig,
    fits: CausalConfig,
    *,
    seed: int,
    partial_C: npt.ArrayLike | None = None,
    devices: Sequence[str] = ("cpu",),
    workers: int = 1,
    checkpoint: Path | None = None,
) -> LatentFit:
    """One named fit, with its data and, where something is held out, its predictions.

    Parameters
    ----------
    name
        main, edgenull0.., labelnull0.., boot0.., drugs0.. or line_<name>.
    responses
        Of the screen.
    edges, settings, partial_C, devices, workers, checkpoint
        As for :func:`causcade.latent.fit.fit_latent`.
    fits
        Section `causal`, which says how many folds there are.
    seed
        Of permutations, resampling and folds; the same data as the causal fit of this name has.
    """
    training, held_out = responses_for_fit(name, responses, fits, seed=seed)
    if name.startswith("edgenull") and partial_C is not None:
        rng = np.random.default_rng([seed, zlib.crc32(f"{name} partial correlation".encode())])
        partial_C = np.array(partial_C, dtype=np.float64)
        known_C = np.isfinite(partial_C)
        partial_C[known_C] = rng.permutation(partial_C[known_C])
    fit = fit_latent(training, edges, settings, partial_C=partial_C, devices=devices, workers=workers, checkpoint=checkpoint)
    if held_out is None or fit.posterior is None:
        return fit
    predict = _predict_line if name.startswith("line_") else _predict_drugs
    return replace(fit, held_out=held_out_table(predict(fit, training, held_out), training, held_out))


def _predict_drugs(fit: LatentFit, training: DrugEffects, held_out: DrugEffects) -> dict[str, npt.NDArray[np.float64]]:
    """Network part of the prediction: a typical direct effect on each listed target, propagated."""
    source_J = fit.parts()[0].source_J
    direct_DJ = np.zeros((len(held_out.table), len(source_J)))
    for sign, effect in fit.effect_of_sign().items():
        direct_DJ[(held_out.is_target_DG & (held_out.sign_DG == sign))[:, source_J]] = effect
    return dict(zip(held_out.table["perturbation"], fit.propagate(direct_DJ), strict=True))


def _predict_line(fit: LatentFit, training: DrugEffects, held_out: DrugEffects) -> dict[str, npt.NDArray[np.float64]]:
    """Prediction of the other lines for the perturbations that took part."""
    asked = set(held_out.table["perturbation"])
    return {name: fitted_G for name, fitted_G in zip(training.table["perturbation"], fit.fitted(), strict=True) if name in asked}
