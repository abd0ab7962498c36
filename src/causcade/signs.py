"""Signs that several listings state of one thing (-1, 0, +1), merged by one rule.

Listings that agree give their sign. A listing that does not know (0) yields to those that do. Where +1 stands beside -1 the sign is 0: what
disagrees is not decided by a majority.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["agreed_sign", "merge_signs"]


def agreed_sign(is_positive: Any, is_negative: Any) -> NDArray[np.int8]:
    """Sign of things of which it is known whether any listing states +1 and whether any states -1.

    Parameters
    ----------
    is_positive, is_negative
        [rows] bool, or counts of listings.

    Returns
    -------
    numpy.ndarray
        [rows] int8: +1, -1, or 0 where none or both are stated.
    """
    positive, negative = np.asarray(is_positive, dtype=bool), np.asarray(is_negative, dtype=bool)
    return positive.astype(np.int8) - negative.astype(np.int8)


def merge_signs(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Merge rows that are alike in the columns `by` into one with the sign that they agree on.

    Parameters
    ----------
    table
        Columns `by` and `sign` (-1, 0, +1); of every other column the first value of a group stays.
    by
        Columns that say what a sign is of.

    Returns
    -------
    pandas.DataFrame
        One row per group, sorted by `by`; the columns of `table` in their order, sign as int8.
    """
    stated = table.assign(_positive=table["sign"] > 0, _negative=table["sign"] < 0)
    others = {column: "first" for column in table.columns if column not in (*by, "sign")}
    merged = stated.groupby(list(by), sort=True).agg({"_positive": "any", "_negative": "any", **others}).reset_index()
    return merged.assign(sign=agreed_sign(merged["_positive"], merged["_negative"]))[list(table.columns)]
