"""What the page says of a run that started from a table of conditions: what was read, what stands in for what, and what is left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from causcade.report.data import Artifacts
from causcade.report.network import COLUMN_WORDS

__all__ = ["condition_table", "unit_of"]

VALUE_WORDS = {
    "log": "logarithms of expression",
    "expression": "expression on a linear scale, of which the logarithm was taken",
    "counts": "summed counts, taken as log1p of 10⁴ shares",
    "change": "changes against controls, on a logarithmic scale",
}
CELLS = "log1p CP10k"
LOGARITHM = "natural log"


def unit_of(config: Mapping[str, Any]) -> str:
    """Name the unit of a response: that of the values of the table, where there is one."""
    table = config.get("condition_table")
    return CELLS if not table or table["values"] == "counts" else "unit of the table" if table["values"] in ("log", "change") else LOGARITHM


def condition_table(artifacts: Artifacts, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Sizes and notes of the table, and what a run without cells leaves out; None for a run on cells."""
    settings = config.get("condition_table")
    if not settings:
        return None
    check = artifacts.json("check.json") or {}
    left_out = (artifacts.json("network/score_choice.json") or {}).get("left_out", {})
    return {
        "path": settings["path"],
        "words": VALUE_WORDS[settings["values"]],
        "num_conditions": check.get("num_conditions"),
        "num_controls": check.get("num_controls"),
        "warnings": check.get("warnings", []),
        "left_out": [(COLUMN_WORDS.get(name, name), why) for name, why in left_out.items()],
    }
