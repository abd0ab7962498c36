"""What an obs column has to be to serve as a covariate. Apart from :mod:`causcade.covariates`, so that the cell stores do not rest on all of that."""

from __future__ import annotations

import numpy as np
import pandas as pd

from causcade.errors import InputError

__all__ = ["MAX_LEVELS", "column_problem", "is_number", "require_usable"]

MAX_LEVELS = 1000
"""Most levels of a text: each is a column of the covariates, and names of cells are none."""


def is_number(values: pd.Series) -> bool:
    """Whether a column is taken as numbers (booleans are 0 and 1), not as categories."""
    return pd.api.types.is_numeric_dtype(values) and not isinstance(values.dtype, pd.CategoricalDtype)


def column_problem(values: pd.Series) -> str:
    """Say why a column of obs cannot be a covariate; an empty text where it can."""
    missing = values.isna().to_numpy()
    if is_number(values):
        with np.errstate(over="ignore"):
            missing = missing | ~np.isfinite(values.to_numpy(dtype=np.float64, na_value=np.nan).astype(np.float32))
    if missing.any():
        return f"{int(missing.sum())} missing or infinite"
    if not is_number(values) and (num := values.nunique()) > MAX_LEVELS:
        return f"{num} distinct texts, such as {values.iloc[0]!r}, more than {MAX_LEVELS}"
    return ""


def require_usable(values: pd.Series, term: str, where: str = "") -> None:
    """Check that a column can be a covariate.

    Parameters
    ----------
    values
        The column, of the cells that are used.
    term
        Its name in `covariates.terms`.
    where
        The plate, for the message.

    Raises
    ------
    InputError
        If it cannot.
    """
    problem = column_problem(values)
    if problem:
        raise InputError(
            f"covariates.terms: expected a number or one of a few texts in {term!r} for each cell{where}, found {problem}. "
            "Leave the term out, or mend the column."
        )
