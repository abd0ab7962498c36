"""Covariates of cells, as columns of numbers that can be summed over plates.

A numeric or boolean term is one column; a text term is one column per level, named `term=level`. Plates have different levels, so sums are joined by
column name; columns that others already explain are found, dropped and named when the sums over all plates are complete
(:func:`independent_columns`, :func:`dropped_reasons`): a column may be constant on each plate and yet tell the plates apart.

Axes: N cells of a plate, B cells of a block, K covariate columns, F genes, S cell-cycle scores.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp

from causcade.config import BUILT_IN_COVARIATES
from causcade.errors import InputError
from causcade.obs_columns import is_number, require_usable

__all__ = [
    "INTERCEPT",
    "SCORE_ROLES",
    "Covariates",
    "CycleScores",
    "cell_cycle_scores",
    "design",
    "dropped_reasons",
    "independent_columns",
]

INTERCEPT = "intercept"
SCORE_ROLES = {"s_score": "s", "g2m_score": "g2m"}
COLLINEAR = 1e-9
WEIGHT = 1e-6  # a column whose weight is below this share of the largest one explains nothing
NAMED = 5


class CycleScores:
    """Scores of the cell-cycle phases: `s_score` and `g2m_score`, the mean x over a phase's genes minus the mean x over their control genes.

    As in Tirosh 2016 (doi:10.1126/science.aad0501), with the control genes of :func:`causcade.panel.cell_cycle_genes`.

    Parameters
    ----------
    gene_ids
        Ids of the F genes.
    roles
        `cell_cycle.parquet`: gene_id, role.
    """

    def __init__(self, gene_ids: pd.Index, roles: pd.DataFrame) -> None:
        self._names: list[str] = []
        weights = []
        for name, role in SCORE_ROLES.items():
            members, controls = (self._columns(gene_ids, roles, wanted) for wanted in (role, f"{role}_control"))
            if len(members):
                weight_F = np.zeros(len(gene_ids))
                weight_F[members] += 1.0 / len(members)
                if len(controls):
                    weight_F[controls] -= 1.0 / len(controls)
                self._names.append(name)
                weights.append(weight_F)
        self._weight_FS = np.stack(weights, axis=1) if weights else np.zeros((len(gene_ids), 0))

    @staticmethod
    def _columns(gene_ids: pd.Index, roles: pd.DataFrame, role: str) -> np.ndarray:
        columns: np.ndarray = gene_ids.get_indexer(pd.Index(roles.loc[roles["role"] == role, "gene_id"]))
        return columns[columns >= 0]

    def __call__(self, x_BF: sp.csr_matrix) -> dict[str, np.ndarray]:
        """Score cells from x = log(1 + CP10k).

        Returns
        -------
        dict
            Arrays [B], in the units of x; a score none of whose genes is in the data is absent.
        """
        score_BS = x_BF @ self._weight_FS
        return {name: score_BS[:, number] for number, name in enumerate(self._names)}


def cell_cycle_scores(x_BF: sp.csr_matrix, gene_ids: pd.Index, roles: pd.DataFrame) -> dict[str, np.ndarray]:
    """Score cells once; see :class:`CycleScores`, which is faster where there are many blocks."""
    return CycleScores(gene_ids, roles)(x_BF)


class Covariates:
    """Covariates of the cells of one plate: obs is read once, then blocks of cells are taken in some tenths of a millisecond.

    Parameters
    ----------
    obs
        obs of the cells [N], from the cell store.
    terms
        Section `covariates.terms`; a repeated term counts once.

    Raises
    ------
    InputError
        If a term is no column of the cells, has values that are missing or infinite, or is a text of more than 1,000 levels.
    """

    def __init__(self, obs: pd.DataFrame, terms: list[str]) -> None:
        self._terms = list(dict.fromkeys(terms))
        self._numbers: dict[str, np.ndarray] = {}
        self._levels: dict[str, tuple[np.ndarray, list[str]]] = {}
        for term in self._terms:
            if term in SCORE_ROLES:
                continue
            values = _values(obs, term)
            if is_number(values):
                self._numbers[term] = _rounded(values.to_numpy(dtype=np.float64))
            else:
                codes, levels = _coded(values)
                self._levels[term] = codes, [f"{term}={level}" for level in levels]

    def spans(self) -> dict[str, float]:
        """Largest less smallest value of each number over all cells; scores are not known yet."""
        return {term: float(np.ptp(values)) if len(values) else 0.0 for term, values in self._numbers.items()}

    def block(self, rows: np.ndarray, scores: dict[str, np.ndarray]) -> tuple[np.ndarray, list[str]]:
        """Covariate matrix of some cells.

        Parameters
        ----------
        rows
            Row numbers of the cells in obs [B].
        scores
            Cell-cycle scores of these cells; a score that is absent adds no column.

        Returns
        -------
        c_BK : numpy.ndarray
            float64, first the intercept; a level that none of the cells has is no column. Values are rounded to float32, so that every sum sees the
            same numbers.
        names : list of str
            Names of the K columns.
        """
        names, columns, marks = [INTERCEPT], {0: np.ones(len(rows))}, []
        for term in self._terms:
            if term in self._levels:
                codes, levels = self._levels[term]
                chosen = codes[rows]
                occurring = np.bincount(chosen, minlength=len(levels)) > 0
                marks.append(len(names) + (np.cumsum(occurring) - 1)[chosen])
                names += [level for level, occurs in zip(levels, occurring, strict=True) if occurs]
            elif term in self._numbers or term in scores:
                columns[len(names)] = self._numbers[term][rows] if term in self._numbers else _rounded(scores[term])
                names.append(term)
        c_BK = np.zeros((len(rows), len(names)))
        for number, values in columns.items():
            c_BK[:, number] = values
        for number_B in marks:
            c_BK[np.arange(len(rows)), number_B] = 1.0
        return c_BK, names


def design(obs: pd.DataFrame, scores: dict[str, np.ndarray], terms: list[str]) -> tuple[np.ndarray, list[str]]:
    """Covariate matrix of all cells of a table; see :class:`Covariates` for the parameters, the result and the errors."""
    return Covariates(obs, terms).block(np.arange(len(obs)), scores)


def _rounded(values: np.ndarray) -> np.ndarray:
    rounded: np.ndarray = values.astype(np.float32).astype(np.float64)
    return rounded


def _coded(values: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Level of each cell as a number, and the levels as sorted texts; levels of one text are one."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        codes, found = values.cat.codes.to_numpy(), values.cat.categories
    else:
        codes, found = pd.factorize(values)
    texts = np.array([str(level) for level in found], dtype=np.str_)
    levels, position = np.unique(texts, return_inverse=True)
    return position[codes], levels.tolist()


def _values(obs: pd.DataFrame, term: str) -> pd.Series:
    """Values of a term in each cell, all there and finite."""
    if term == "log_counts":
        return pd.Series(np.log1p(obs["total_counts"].to_numpy(dtype=np.float64)))
    if term not in obs.columns:
        choice = ", ".join(dict.fromkeys([*BUILT_IN_COVARIATES, *obs.columns]))
        raise InputError(f"covariates.terms: expected an obs column of the cells, found {term!r}. Use one of {choice}.")
    require_usable(obs[term], term)
    return obs[term]


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


def dropped_reasons(scc_KK: np.ndarray, names: list[str]) -> dict[str, str]:
    """Say for each column that :func:`independent_columns` does not keep what explains it.

    Parameters
    ----------
    scc_KK
        C'C over all cells, float64.
    names
        Names of the K columns; one of them is the intercept.

    Returns
    -------
    dict
        By name: `reference level` (a text of n levels takes n - 1 columns), `constant` (or it varies by less than 3e-5 of its size), `0 in every
        cell`, or `explained by` and what explains it.
    """
    keep = independent_columns(scc_KK)
    scale = np.sqrt(np.maximum(np.diag(scc_KK), 0))
    reasons = {}
    for column in np.flatnonzero(~keep):
        before = np.flatnonzero(keep[:column])
        if scale[column] == 0:
            reasons[names[column]] = "0 in every cell"
            continue
        scaled = scc_KK[np.ix_(before, before)] / np.outer(scale[before], scale[before])
        weight = np.abs(np.linalg.lstsq(scaled, scc_KK[before, column] / (scale[before] * scale[column]), rcond=None)[0])
        used = [names[number] for number in before[weight > WEIGHT * weight.max(initial=0.0)] if names[number] != INTERCEPT]
        term, is_level, _ = names[column].partition("=")
        if not used:
            reasons[names[column]] = "constant"
        elif is_level and all(name.startswith(f"{term}=") for name in used):
            reasons[names[column]] = "reference level"
        else:
            reasons[names[column]] = f"explained by {_listed(used)}"
    return reasons


def _listed(names: list[str]) -> str:
    """Name columns by term: several levels of one term as their number."""
    levels: dict[str, list[str]] = {}
    for name in names:
        levels.setdefault(name.partition("=")[0], []).append(name)
    words = [found[0] if len(found) == 1 else f"{len(found)} levels of {term}" for term, found in levels.items()]
    more = f" and {len(words) - NAMED} more" if len(words) > NAMED else ""
    return ", ".join(words[:NAMED]) + more
