"""Book-keeping of rows: how many a resource had, how many were used, and why the others were lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from causcade.resources.identifiers import Resolver

__all__ = ["AS_GIVEN", "Ledger", "translate"]

AS_GIVEN = "as_given"
MOST_SHOWN = 50


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
        self._statuses: dict[str, str] = {}

    @property
    def kept(self) -> Any:
        """[rows] bool: not lost so far."""
        return self._reason < 0

    def lose(self, rows: Any, reason: str) -> None:
        """Lose `rows` (bool [rows]) for `reason`, except those lost already."""
        if reason not in self._reasons:
            self._reasons.append(reason)
        self._reason[np.asarray(rows, dtype=bool) & self.kept] = self._reasons.index(reason)

    def lose_repeated(self, table: pd.DataFrame, columns: Sequence[str]) -> None:
        """Lose rows of `table` [rows] that repeat, in `columns`, an earlier row that is kept."""
        repeated = np.zeros(len(table), dtype=bool)
        repeated[self.kept] = table.loc[self.kept, list(columns)].duplicated().to_numpy()
        self.lose(repeated, "duplicate")

    def remember(self, identifiers: Any, statuses: Any) -> None:
        """Remember how each identifier was resolved."""
        import pandas as pd

        seen = pd.DataFrame({"identifier": np.asarray(identifiers, dtype=object), "status": np.asarray(statuses, dtype=object)})
        seen = seen.drop_duplicates("identifier")
        self._statuses.update(zip(seen["identifier"].astype(str), seen["status"], strict=True))

    def lose_unresolved(self, identifiers: Any, statuses: Any) -> None:
        """Lose rows whose identifier [rows] is unknown or ambiguous; remember how each identifier of the rows kept so far was resolved."""
        statuses = np.asarray(statuses, dtype=object)
        self.remember(np.asarray(identifiers, dtype=object)[self.kept], statuses[self.kept])
        self.lose(statuses == "unknown", "unknown_id")
        self.lose(statuses == "ambiguous", "ambiguous_id")

    def _named(self, status: str) -> list[str]:
        """Return the identifiers of a status, the first 50 in the order of the alphabet."""
        return sorted(identifier for identifier, found in self._statuses.items() if found == status)[:MOST_SHOWN]

    def summary(self, unit: str) -> dict[str, Any]:
        """Count rows for the manifest; `unit` says what a row is.

        Returns
        -------
        dict
            unit, rows_read, rows_kept, lost (rows by reason), identifiers_by (different identifiers by how they were resolved: a namespace of HGNC,
            `as_given`, `unknown`, `ambiguous`), ambiguous and unknown (those identifiers, 50 at most).
        """
        lost = {reason: int((self._reason == code).sum()) for code, reason in enumerate(self._reasons)}
        return {
            "unit": unit,
            "rows_read": len(self._reason),
            "rows_kept": int(self.kept.sum()),
            "lost": {reason: count for reason, count in lost.items() if count},
            "identifiers_by": dict(sorted(Counter(self._statuses.values()).items())),
            "ambiguous": self._named("ambiguous"),
            "unknown": self._named("unknown"),
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
