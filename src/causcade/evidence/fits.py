"""The evidence columns of one fit: everything that says something of each candidate edge, on the data of this fit.

| column | value | read from |
| --- | --- | --- |
| latent | score of the latent estimator with the sign of the edge | `latent/<fit>` |
| weight, weight_no_prior | W in standard errors, with and without curated edges in the penalty | `causal/<fit>` |
| deconvolution, mean_shift, ridge | :mod:`causcade.evidence.perturbations` | responses of perturbations |
| partial_correlation, partial_within | partial correlation in control cells, and in all cells within their condition | sums over cells |
| aggregate | mean rank (0 to 1, by absolute value) of weight_no_prior, deconvolution and ridge, with the sign they vote for | the columns |

The absolute value of a column ranks edges, its sign is that of the effect, 0 says nothing. Nulls and resampling are those of the other fits of that
name, so that a null of a column is the same machinery on the same permuted data. An edge null permutes partial correlations among the candidate edges
as well. A fit that holds perturbations out has one W, whose penalty knows the curated edges: it stands for both columns there.

Axes: C candidate edges.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.config import CausalConfig
from causcade.errors import InputError
from causcade.evidence.held_out import HELD_OUT_COLUMNS, predict_held_out
from causcade.evidence.perturbations import deconvolve_targets, prepare_effects, ridge_between_perturbations, shift_of_target
from causcade.responses import DrugEffects, ScreenFiles, gene_positions, responses_for_fit

__all__ = ["AGGREGATED", "COLUMNS", "NOT_RANKED", "aggregate_ranks", "measure_evidence", "read_fit_weights", "read_scores"]

COLUMNS = (
    "latent", "weight", "weight_no_prior", "deconvolution", "mean_shift", "ridge", "partial_correlation", "partial_within", "aggregate",
)  # fmt: skip
AGGREGATED = ("weight_no_prior", "deconvolution", "ridge")
NOT_RANKED = ("probability", "latent_weight")
PARTIAL = ("partial_correlation", "partial_within")

Float64 = npt.NDArray[np.float64]


def aggregate_ranks(columns: Mapping[str, Float64]) -> Float64:
    """Mean rank of the absolute values, in (0, 1], with the sign of the sum of the signed ranks, [C].

    Where all are 0, or the votes cancel, the value is 0 or has the sign of the first column that has one.
    """
    from scipy.stats import rankdata

    values = list(columns.values())
    ranks = [rankdata(np.abs(value_C)) / max(len(value_C), 1) for value_C in values]
    vote_C = np.sign(np.sum([rank_C * np.sign(value_C) for rank_C, value_C in zip(ranks, values, strict=True)], axis=0))
    for value_C in values:
        vote_C = np.where(vote_C == 0, np.sign(value_C), vote_C)
    return np.asarray(vote_C * np.mean(ranks, axis=0))


def measure_evidence(
    fit: str,
    screen: ScreenFiles | DrugEffects,
    edges: pd.DataFrame,
    fits: CausalConfig,
    *,
    seed: int,
    weights: Mapping[str, Float64],
    partial: Mapping[str, npt.NDArray[np.floating]],
    latent: pd.DataFrame | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure all columns of one fit.

    Parameters
    ----------
    fit
        main, edgenull0.., labelnull0.., boot0.. or drugs0.. .
    screen
        Stores of the run, or effects of its perturbations.
    edges
        `candidate_edges.parquet`.
    fits
        Section `causal`, which says how many folds there are.
    seed
        Of permutations, resampling and folds; with it the data are those of the other fits of this name.
    weights
        W in standard errors [C]: of `main`, weight and weight_no_prior; of a fold, weight; of others, weight_no_prior. Without any there is no
        `aggregate` either.
    partial
        Partial correlations [C] by column.
    latent
        `latent/<fit>/edges.parquet`.

    Returns
    -------
    evidence
        regulator, target, the columns above that this fit has (float32), and, if there is a latent fit, probability and latent_weight (NaN where no
        perturbation hits the regulator); one row per candidate edge, in their order.
    held_out
        fit, column, num_edges, perturbation, pearson; see :func:`causcade.evidence.held_out.predict_held_out`. Of a bootstrap, the perturbations
        that were not drawn; empty unless perturbations are left out.

    Raises
    ------
    InputError
        If an input has another number of edges.
    """
    training, held_out = responses_for_fit(fit, screen, fits, seed=seed)
    if fit.startswith("boot"):
        held_out = _not_drawn(training, screen if isinstance(screen, DrugEffects) else screen.effects())
    # Drawn and permuted with them, as for the latent estimator; no other column knows targets that are not measured.
    training, held_out = training.measured(), None if held_out is None else held_out.measured()
    target_C, source_C = gene_positions(edges, training.genes)
    for name, value_C in {**weights, **partial, **({} if latent is None else {"latent": latent["score"].to_numpy()})}.items():
        if len(value_C) != len(edges):
            raise InputError(f"{fit}, {name}: expected {len(edges)} edges, found {len(value_C)}. Rerun the fit on the present candidate edges.")
    data = prepare_effects(training)
    found: dict[str, Float64] = {name: np.asarray(value_C, dtype=np.float64) for name, value_C in weights.items()}
    found["deconvolution"] = deconvolve_targets(data, target_C, source_C)
    found["mean_shift"] = shift_of_target(data, target_C, source_C)
    found["ridge"] = ridge_between_perturbations(data, target_C, source_C)
    found |= {name: _permuted(fit, value_C, seed) for name, value_C in partial.items()}
    if latent is not None:
        found["latent"] = latent["score"].to_numpy(np.float64) * latent["sign"].to_numpy(np.float64)
    if weights:
        found["aggregate"] = aggregate_ranks({name: found["weight" if name not in found else name] for name in AGGREGATED})
    ordered = {name: found[name] for name in COLUMNS if name in found}
    table = edges[["regulator", "target"]].astype(str).assign(**{name: value_C.astype(np.float32) for name, value_C in ordered.items()})
    if latent is not None:
        table = table.assign(probability=latent["probability"].to_numpy(np.float32), latent_weight=latent["effect"].to_numpy(np.float32))
    types = {"fit": str, "column": str, "num_edges": np.int64, "perturbation": str, "pearson": np.float64}
    predictions = pd.DataFrame(columns=HELD_OUT_COLUMNS).astype(types)
    if held_out is not None:
        predictions = predict_held_out(data, held_out, ordered, target_C, source_C).assign(fit=fit)[HELD_OUT_COLUMNS]
    return table.reset_index(drop=True), predictions


def _not_drawn(training: DrugEffects, everything: DrugEffects) -> DrugEffects:
    """Perturbations with a listed target that a bootstrap left out."""
    drawn_D = everything.table["perturbation"].isin(list(training.table["perturbation"])).to_numpy(bool)
    return everything.take(~drawn_D & (everything.num_targets_D > 0))


def _permuted(fit: str, partial_C: npt.NDArray[np.floating], seed: int) -> Float64:
    """Partial correlations; in an edge null, permuted among the edges, as the latent fit of that name has them."""
    value_C = np.asarray(partial_C, dtype=np.float64)
    if not fit.startswith("edgenull"):
        return value_C
    return np.asarray(np.random.default_rng([seed, zlib.crc32(f"{fit} partial correlation".encode())]).permutation(value_C))


def read_scores(path: str | Path) -> Float64:
    """Read W in standard errors [C] from `causal/<fit>/model.safetensors`, without torch."""
    return np.asarray(_tensor(path, "score"), dtype=np.float64)


def read_fit_weights(path: str | Path) -> npt.NDArray[np.float32]:
    """Read W [C], x of the target per x of the regulator, from `causal/<fit>/model.safetensors`, without torch."""
    return np.asarray(_tensor(path, "weight"), dtype=np.float32)


def _tensor(path: str | Path, name: str) -> npt.NDArray[np.floating]:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return np.asarray(file.get_tensor(name))
