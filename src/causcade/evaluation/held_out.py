"""Prediction of held-out perturbations and lines: Pearson correlation over genes, for each perturbation.

Every perturbation shares much of its response with all others, so the mean response of the training perturbations alone correlates well. Each
number is therefore shown twice: plain, and with that training mean subtracted from prediction and observation (Systema,
DOI 10.1038/s41587-025-02777-8).

Predictors: `causal` (the model), `training_mean`, `causal_plus_training_mean`, and `zero`, which shows what the subtraction alone gives: where
responses are weak, observed - mean resembles -mean. Beside them the simple predictions of :mod:`causcade.evaluation.held_out_baselines`, where they
apply. A correlation with a constant, or with a prediction that is missing, is not defined: it is missing, with a note.

Legend of axes: N rows of a table (perturbation x gene), P perturbations.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from causcade.errors import InputError
from causcade.evaluation.edges import FloatArray, IntArray
from causcade.evaluation.held_out_baselines import BASELINES

__all__ = ["PREDICTORS", "held_out_table", "pearson_by_group"]

PREDICTORS = ("causal", "training_mean", "causal_plus_training_mean", "zero")
COLUMNS = ("perturbation", "gene", "predicted", "observed", "training_mean")
MISSING_WORDS = {
    "same_target_mean": "no training perturbation shares a target",
    "target_ridge": "no target of this perturbation was seen in training",
    "other_lines": "the perturbation is not in the other lines",
}
ROUNDING = 1e-12  # relative spread below which a vector counts as constant


def pearson_by_group(x_N: FloatArray, y_N: FloatArray, group_N: IntArray, num_groups: int) -> FloatArray:
    """Pearson correlation [num_groups] of x and y within each group; NaN where one of them is constant or the group has fewer than 2 rows.

    Two passes (means first, then centred products), never E[xy] - E[x]E[y].
    """
    count_P = np.bincount(group_N, minlength=num_groups)
    safe_P = np.maximum(count_P, 1)
    centred = []
    for value_N in (x_N, y_N):
        mean_P = np.bincount(group_N, value_N, minlength=num_groups) / safe_P
        size_P = np.bincount(group_N, value_N**2, minlength=num_groups)
        rest_N = value_N - mean_P[group_N]
        square_P = np.bincount(group_N, rest_N**2, minlength=num_groups)
        centred.append((rest_N, np.where(square_P > ROUNDING**2 * size_P, square_P, 0.0)))
    (x_rest_N, x_square_P), (y_rest_N, y_square_P) = centred
    product_P = np.bincount(group_N, x_rest_N * y_rest_N, minlength=num_groups)
    norm_P = np.sqrt(x_square_P) * np.sqrt(y_square_P)
    correlation_P: FloatArray = np.full(num_groups, np.nan)
    np.divide(product_P, norm_P, out=correlation_P, where=(norm_P > 0) & (count_P >= 2))
    return correlation_P


def _check(fit: str, table: pd.DataFrame) -> None:
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise InputError(f"held-out table of {fit}: expected columns {', '.join(COLUMNS)}, found no {', '.join(missing)}. Rerun that fit.")
    if table.duplicated(["perturbation", "gene"]).any():
        raise InputError(f"held-out table of {fit}: expected each gene once per perturbation, found duplicates. Rerun that fit.")
    if not np.isfinite(table[["predicted", "observed", "training_mean"]].to_numpy(dtype=np.float64)).all():
        raise InputError(f"held-out table of {fit}: expected finite numbers, found others. Rerun that fit.")


def _one_fit(fit: str, table: pd.DataFrame) -> pd.DataFrame:
    _check(fit, table)
    # Sorted, so that sums do not depend on the order of rows.
    table = table.sort_values(["perturbation", "gene"], ignore_index=True)
    group_N, names = pd.factorize(table["perturbation"])
    predicted_N, observed_N, mean_N = (table[column].to_numpy(dtype=np.float64) for column in ("predicted", "observed", "training_mean"))
    num_genes = np.bincount(group_N, minlength=len(names))
    zero_N = np.zeros_like(mean_N)
    predictions = {"causal": predicted_N, "training_mean": mean_N, "causal_plus_training_mean": predicted_N + mean_N, "zero": zero_N}
    centred = {"causal": predicted_N - mean_N, "training_mean": zero_N, "causal_plus_training_mean": predicted_N, "zero": -mean_N}
    for name in (one for one in BASELINES if one in table.columns):
        predictions[name] = table[name].to_numpy(dtype=np.float64)
        centred[name] = predictions[name] - mean_N
    parts = []
    for name, prediction_N in predictions.items():
        plain_P = pearson_by_group(prediction_N, observed_N, group_N, len(names))
        centred_P = pearson_by_group(centred[name], observed_N - mean_N, group_N, len(names))
        missing_P = np.bincount(group_N, np.isnan(prediction_N), minlength=len(names)) > 0
        parts.append(pd.DataFrame({
            "fit": fit, "perturbation": names, "predictor": name, "pearson": _nullable(plain_P), "pearson_centred": _nullable(centred_P),
            "num_genes": num_genes, "note": _notes(name, plain_P, centred_P, missing_P),
        }))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _notes(name: str, plain_P: FloatArray, centred_P: FloatArray, missing_P: np.ndarray) -> list[str]:
    """Say for each perturbation why a correlation is missing."""
    notes = []
    for bad_plain, bad_centred, is_missing in zip(np.isnan(plain_P), np.isnan(centred_P), missing_P, strict=True):
        which = " and ".join(text for text, bad in (("plain", bad_plain), ("centred", bad_centred)) if bad)
        notes.append(MISSING_WORDS[name] if is_missing else f"{which}: a constant side or fewer than 2 genes" if which else "")
    return notes


def _nullable(value_P: FloatArray) -> pd.Series:
    return pd.Series(pd.array([None if np.isnan(value) else float(value) for value in value_P], dtype="Float64"))


def held_out_table(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Correlations of every predictor with what was observed, for each held-out fit and perturbation.

    Parameters
    ----------
    tables
        By name of the fit (drugs0.., line_<name>): columns `perturbation`, `gene`, `predicted`, `observed`, `training_mean`, each a log fold change
        against the baseline; and the columns of :func:`causcade.evaluation.held_out_baselines.add_baselines`, NaN where they have nothing to go by.

    Returns
    -------
    pandas.DataFrame
        fit, perturbation, predictor, pearson, pearson_centred, num_genes, note; empty (with these columns) without tables.

    Raises
    ------
    InputError
        If a column is missing, a gene stands twice, or a number is not finite.
    """
    parts = [_one_fit(fit, tables[fit]) for fit in sorted(tables)]
    if parts:
        return pd.concat(parts, ignore_index=True)
    names = ("fit", "perturbation", "predictor", "pearson", "pearson_centred", "num_genes", "note")
    types = dict.fromkeys(names, "object") | dict.fromkeys(("pearson", "pearson_centred"), "Float64") | {"num_genes": "int64"}
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in types.items()})
