"""Book-keeping of rows: how many a resource had, how many were used, and why the others were lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from causcade.resources.identifiers import Resolver

__all__ = ["AS_GIVEN", "Ledger", "translate"]

AS_GIVEN = "as_given"
MOST_AMBIGUOUS_SHOWN = 50


class Ledger:
    """Rows of one resource, each either kept or lost for the first reason that applied.

    ``rows_read == rows_kept + sum(lost.values())`` always holds.

    Parameters
    ----------
    num_rows
        Rows as read.
    """

    def __init__(self, num_rows: int) -> None:
        self._reason = np.full(num_rows, -1, dtype=np.int8)
        self._reasons: list[str] = []
        self._ambiguous: set[str] = set()

    @property
    def kept(self) -> Any:
        """[rows] bool: not lost so far."""
        return self._reason < 0

    def lose(self, rows: Any, reason: str) -> None:
        """Lose `rows` (bool [rows]) for `reason`, except those lost already."""
        if reason not in self._reasons:
            self._reasons.append(reason)
        self._reason[np.asarray(rows, dtype=bool) & self.kept] = self._reasons.index(reason)

    def lose_unresolved(self, identifiers: Any, statuses: Any) -> None:
        """Lose rows whose identifier is unknown or ambiguous; remember the ambiguous ones."""
        statuses = np.asarray(statuses, dtype=object)
        ambiguous = statuses == "ambiguous"
        self._ambiguous.update(np.asarray(identifiers, dtype=object)[ambiguous & self.kept])
        self.lose(statuses == "unknown", "unknown_id")
        self.lose(ambiguous, "ambiguous_id")

    def summary(self, unit: str) -> dict[str, Any]:
        """Count rows for the manifest; `unit` says what a row is."""
        lost = {reason: int((self._reason == code).sum()) for code, reason in enumerate(self._reasons)}
        return {
            "unit": unit,
            "rows_read": len(self._reason),
            "rows_kept": int(self.kept.sum()),
            "lost": {reason: count for reason, count in lost.items() if count},
            "ambiguous": sorted(self._ambiguous)[:MOST_AMBIGUOUS_SHOWN],
        }


def translate(identifiers: Sequence[str], resolver: Resolver | None) -> tuple[Any, Any]:
    """Genes and statuses of identifiers; without a resolver they are taken as they are (stripped), with the status `as_given`.

    Returns
    -------
    genes, statuses
        [rows] object arrays; a gene is None where its identifier is unknown or ambiguous.
    """
    import pandas as pd

    codes, unique = pd.factorize(pd.Series(np.asarray(identifiers, dtype=object), dtype=object).astype(str).str.strip())
    unique = np.asarray(unique, dtype=object)
    if resolver is None:
        return unique[codes], np.where(unique == "", "unknown", AS_GIVEN).astype(object)[codes]
    found = resolver.resolve(list(unique))
    return found["gene"].to_numpy(dtype=object)[codes], found["status"].to_numpy(dtype=object)[codes]
