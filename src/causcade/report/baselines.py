"""What each baseline leaves of the response, and what the decoder adds over the plain mean of the controls, in words (section 6)."""

from __future__ import annotations

from typing import Any

from causcade.report.data import Artifacts

__all__ = ["baselines"]

COLUMNS = ["baseline", "is_chosen", "num_conditions", "square", "left", "square_centred", "left_centred"]
WORDS = {
    "control_mean": "plain mean of the controls of the line and plate (control_mean)",
    "matched_control": "mean prediction for those controls (matched_control)",
    "own_cell": "mean prediction for the treated cells themselves (own_cell)",
}
MISSES = 1.05  # of the squared response: a decoder that leaves more has an error of its own in the responses
SAME = 0.005  # shares of the squared response that differ by less are called the same


def baselines(artifacts: Artifacts) -> dict[str, Any] | None:
    """Rows of the table, and what is to be said of it; None where the run has no comparison."""
    table = artifacts.table("basal/comparison.parquet", COLUMNS)
    if table is None:
        return None
    rows = [{**row, "words": WORDS[row["baseline"]]} for row in table.to_dict("records")]
    by_name = {row["baseline"]: row for row in rows}
    chosen = next(row for row in rows if row["is_chosen"])
    matched, own = by_name.get("matched_control"), by_name.get("own_cell")
    summary = artifacts.json("basal/summary.json") if matched is not None else None
    over = None if summary is None else summary.get("over_plain_mean")
    return {
        "rows": rows,
        "chosen": chosen["baseline"],
        "has_decoder": matched is not None,
        "is_same": matched is not None and abs(matched["left_centred"] - 1) < SAME,
        "misses": None if matched is None or not matched["left_centred"] > MISSES else matched["left_centred"],
        "has_own": own is not None,
        "explained_away": 0.0 if own is None or not own["left_centred"] < 1 else 1 - own["left_centred"],
        "over": over,
        "adds_to_cells": over is not None and over["cells_r2"] is not None and over["cells_r2"] > 0,
        "adds_to_baseline": over is not None and over["decoder_mse"] < over["plain_mse"],
    }
