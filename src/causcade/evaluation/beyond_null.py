"""How many edges score beyond what the machinery makes of permuted responses: a verdict that asks no reference and no truth.

A threshold on |score| lets through some edges of the fit and, on average over the draws of the edge null, some of the null; their ratio estimates the
share of false edges among those of the fit. One edge is added to all draws of the null together, so that a handful of edges without any of the null
beyond them is no result (Storey & Tibshirani 2003, doi:10.1073/pnas.1530509100; the count of the null by permutation).

Axes: E candidate edges.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["beyond_null_verdict", "num_beyond_null"]

MAX_FALSE_SHARE = 0.1
QUESTION = "Do edges score beyond what the same fit gives on permuted responses?"


def num_beyond_null(score_E: npt.NDArray[np.floating], null_scores: Sequence[npt.NDArray[np.floating]]) -> tuple[int, float | None]:
    """Count the best edges among which the null expects at most a tenth.

    Parameters
    ----------
    score_E
        Signed scores of the fit; 0 is no evidence and NaN no score.
    null_scores
        Signed scores of each draw of the null.

    Returns
    -------
    tuple
        Number of edges, and the least |score| among them (None for none).
    """
    size_E = np.abs(np.nan_to_num(score_E))
    levels = np.unique(size_E[size_E > 0])[::-1]
    if not len(levels):
        return 0, None
    num = _num_from(size_E, levels)
    of_null = sum((_num_from(np.abs(np.nan_to_num(null_E)), levels) for null_E in null_scores), np.zeros(len(levels)))
    within = np.flatnonzero((of_null + 1) / len(null_scores) <= MAX_FALSE_SHARE * num)
    return (int(num[within[-1]]), float(levels[within[-1]])) if len(within) else (0, None)


def _num_from(size_E: npt.NDArray[np.floating], levels: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Edges whose size is at least each level."""
    ascending = np.sort(size_E)
    return np.asarray(len(ascending) - np.searchsorted(ascending, levels, side="left"), dtype=np.float64)


def beyond_null_verdict(scores: Mapping[str, npt.NDArray[np.floating]]) -> dict[str, Any]:
    """Judge the causal ranking beside its edge nulls.

    Parameters
    ----------
    scores
        Signed scores [E] by name: `causal` and `edge_null<i>`.

    Returns
    -------
    dict
        key, reference (None), question, answer, sentence, numbers (num_edges, threshold, num_draws, num_candidates).
    """
    verdict = {"key": "beyond_edge_null", "reference": None, "question": QUESTION}
    nulls = [scores[name] for name in sorted(scores) if re.fullmatch(r"edge_null\d+", name)]
    if not nulls:
        sentence = "Whether edges score beyond what permuted responses give cannot be told: no edge null was fitted."
        return verdict | {"answer": "not testable", "sentence": sentence, "numbers": {}}
    num, threshold = num_beyond_null(scores["causal"], nulls)
    null = f"the edge null ({len(nulls)} draw{'' if len(nulls) == 1 else 's'})"
    if num:
        sentence = f"{num} of {len(scores['causal'])} candidate edges score beyond {null}: at most a tenth of as many are expected from it."
    else:
        sentence = f"Nothing exceeds {null}: at every threshold more than a tenth of the edges that the fit gives are expected from it."
    numbers = {"num_edges": num, "threshold": threshold, "num_draws": len(nulls), "num_candidates": len(scores["causal"])}
    return verdict | {"answer": "yes" if num else "no", "sentence": sentence, "numbers": numbers}
