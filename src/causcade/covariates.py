"""Covariates of cells, as columns of numbers that can be summed over plates.

A numeric term is one column; a text term is one column per level, named `term=level`. Plates have different levels, so sums are joined by column
name; columns that others already explain are found, dropped and named when the sums are complete (:func:`independent_columns`).

Axes: B cells of a block, K covariate columns, F genes of a plate.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp

from causcade.config import BUILT_IN_COVARIATES
from causcade.errors import InputError

__all__ = ["INTERCEPT", "cell_cycle_scores", "design", "independent_columns"]

INTERCEPT = "intercept"
SCORE_ROLES = {"s_score": "s", "g2m_score": "g2m"}
COLLINEAR = 1e-9


def cell_cycle_scores(x_BF: sp.csr_matrix, gene_ids: pd.Index, roles: pd.DataFrame) -> dict[str, np.ndarray]:
    """Score the phases: `s_score` and `g2m_score` are the mean x over the phase's genes minus the mean x over their control genes.

    As in Tirosh 2016 (doi:10.1126/science.aad0501), with the control genes of :func:`causcade.panel.cell_cycle_genes`.

    Parameters
    ----------
    x_BF
        log(1 + CP10k), shape [B, F].
    gene_ids
        Ids of the F genes.
    roles
        `cell_cycle.parquet`: gene_id, role.

    Returns
    -------
    dict
        Arrays [B], in the units of x; a score none of whose genes is in the data is absent.
    """
    scores = {}
    for name, role in SCORE_ROLES.items():
        means = []
        for wanted in (role, f"{role}_control"):
            columns = gene_ids.get_indexer(pd.Index(roles.loc[roles["role"] == wanted, "gene_id"]))
            columns = columns[columns >= 0]
            weight = np.zeros(len(gene_ids))
            if len(columns):
                weight[columns] = 1.0 / len(columns)
            means.append((len(columns), x_BF @ weight))
        if means[0][0]:
            scores[name] = means[0][1] - means[1][1]
    return scores


def design(obs: pd.DataFrame, scores: dict[str, np.ndarray], terms: list[str]) -> tuple[np.ndarray, list[str]]:
    """Covariate matrix of a block of cells.

    Parameters
    ----------
    obs
        obs of the cells [B], from the cell store.
    scores
        Cell-cycle scores of the cells; a score that is absent adds no column.
    terms
        Section `covariates.terms`; a repeated term counts once.

    Returns
    -------
    c_BK : numpy.ndarray
        float64, first the intercept. Values are rounded to float32, so that every sum sees the same numbers.
    names : list of str
        Names of the K columns.

    Raises
    ------
    InputError
        If a term is no column of the cells, or has values that are missing or infinite.
    """
    columns: list[np.ndarray] = [np.ones(len(obs))]
    names = [INTERCEPT]
    for term in dict.fromkeys(terms):
        if term in SCORE_ROLES:
            if term in scores:
                columns.append(scores[term])
                names.append(term)
            continue
        values = _values(obs, term)
        if _is_number(values):
            columns.append(values.to_numpy(dtype=np.float64))
            names.append(term)
            continue
        codes, levels = pd.factorize(values.astype(str), sort=True)
        columns.extend((codes == number).astype(np.float64) for number in range(len(levels)))
        names.extend(f"{term}={level}" for level in levels)
    return np.stack(columns, axis=1).astype(np.float32).astype(np.float64), names


def _is_number(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not isinstance(values.dtype, pd.CategoricalDtype)


def _values(obs: pd.DataFrame, term: str) -> pd.Series:
    """Values of a term in each cell, all there and finite."""
    if term == "log_counts":
        return pd.Series(np.log1p(obs["total_counts"].to_numpy(dtype=np.float64)))
    if term not in obs.columns:
        choice = ", ".join(dict.fromkeys([*BUILT_IN_COVARIATES, *obs.columns]))
        raise InputError(f"covariates.terms: expected an obs column of the cells, found {term!r}. Use one of {choice}.")
    values = obs[term]
    missing = values.isna().to_numpy()
    if _is_number(values):
        missing = missing | ~np.isfinite(values.to_numpy(dtype=np.float64, na_value=np.nan))
    if missing.any():
        raise InputError(
            f"covariates.terms: expected a value of {term!r} for each cell, found {int(missing.sum())} missing or infinite. "
            "Leave the term out, or fill the column."
        )
    return values


def independent_columns(scc_KK: np.ndarray) -> np.ndarray:
    """Tell which columns are not explained by the columns before them.

    Gram-Schmidt on the cross products (a Cholesky factorisation that skips): column k is kept if what the kept ones leave of its square sum
    exceeds 1e-9 of it.

    Parameters
    ----------
    scc_KK
        C'C over all cells, float64.

    Returns
    -------
    numpy.ndarray
        Booleans [K].
    """
    num = scc_KK.shape[0]
    scale = np.sqrt(np.maximum(np.diag(scc_KK), 0))
    usable = scale > 0
    safe = np.where(usable, scale, 1.0)
    remaining = scc_KK / np.outer(safe, safe)
    keep = np.zeros(num, dtype=bool)
    for column in range(num):
        if not usable[column] or remaining[column, column] <= COLLINEAR:
            continue
        keep[column] = True
        pivot = remaining[:, column] / np.sqrt(remaining[column, column])
        remaining = remaining - np.outer(pivot, pivot)
    return keep
