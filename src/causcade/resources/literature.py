"""Publications that curated rows cite, in one form: PubMed ids joined by ";", different, sorted; empty text where a row cites none."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["join_runs", "pubmed_ids"]


def pubmed_ids(text: str) -> str:
    """Different PubMed ids of a ";"-separated text (`Resource:PMID` too), sorted; items that are no number are left out."""
    items = {item.strip().rsplit(":", 1)[-1] for item in text.split(";")}
    return ";".join(sorted(item for item in items if item.isascii() and item.isdigit()))


def join_runs(rows: pd.DataFrame, keys: list[str], column: str) -> list[str]:
    """Join a text column by ";" within each run of equal keys of sorted rows: one text per run, in order."""
    starts = np.flatnonzero(~rows.duplicated(keys).to_numpy())
    texts = rows[column].tolist()
    return [";".join(texts[start:end]) for start, end in pairwise([*starts, len(texts)])]
