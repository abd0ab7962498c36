"""Descriptions of figures, drawn in the browser by `assets/charts.js`.

A figure is a plain dictionary: kind, title, axes with their units, and the numbers. Colours are slots 1-8 of the Okabe-Ito palette
(doi:10.1038/nmeth.1618), which stay distinct for colour-blind readers; slot 0 is the neutral grey of nulls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from causcade.report.data import rounded, thinned

__all__ = ["NUM_COLOURS", "bars", "family_style", "line", "lines", "steps"]

NUM_COLOURS = 7
MAX_POINTS = 200

FIT_COLOURS = {"main": 1, "noprior": 2, "edgenull": 0, "labelnull": 0, "boot": 4, "drugs": 3, "line": 6}
RANKING_COLOURS = {
    "causal": 1,
    "causal_prior": 4,
    "coexpression": 5,
    "raw_coexpression": 7,
    "partner_rank": 2,
    "prior": 3,
    "listed_target": 6,
    "mean_shift": 2,
    "mask": 0,
    "ridge": 6,
    "edge_null": 0,
    "label_null": 0,
}
DASHED = {
    "edgenull": "2 3",
    "labelnull": "7 4",
    "edge_null": "2 3",
    "label_null": "7 4",
    "partner_rank": "7 4",
    "mask": "4 3",
    "ridge": "4 3",
    "raw_coexpression": "4 3",
}


def family_style(name: str) -> dict[str, Any]:
    """Colour slot, dash and family of a fit or a ranking: `edgenull0` and `edge_null0` are grey and dotted everywhere."""
    family = name.rstrip("0123456789")
    if family.startswith("line_"):
        family = "line"
    colour = FIT_COLOURS.get(family, RANKING_COLOURS.get(family))
    if colour is None:
        # A name that is not known here still gets a fixed colour, the same in every run.
        colour = 1 + sum(family.encode()) % NUM_COLOURS
    return {"colour": colour, "dash": DASHED.get(family, ""), "family": family, "is_null": "null" in family}


def line(name: str, x: Sequence[Any], y: Sequence[Any], *, colour: int, dash: str = "", wide: bool = False) -> dict[str, Any]:
    """One curve, with at most :data:`MAX_POINTS` of its points."""
    keep = thinned(len(x), MAX_POINTS)
    return {
        "name": name,
        "x": rounded(x[i] for i in keep),
        "y": rounded(y[i] for i in keep),
        "colour": colour,
        "dash": dash,
        "wide": wide,
    }


def lines(title: str, *, x: str, y: str, series: list[dict[str, Any]], log_y: bool = False, marks: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """Curves over a numeric axis. `marks` are horizontal lines with a name ({y, label})."""
    return {"kind": "lines", "title": title, "x": x, "y": y, "series": series, "log_y": log_y, "marks": list(marks)}


def steps(title: str, *, x: str, y: str, histograms: Mapping[str, Mapping[str, Any]], log_x: bool = False) -> dict[str, Any]:
    """Histograms as outlines, one per name; each has `edges` (n + 1) and `counts` (n)."""
    series = [
        {
            "name": name,
            "x": rounded(histogram["edges"]),
            "y": rounded(histogram["counts"]),
            "colour": 1 + number % NUM_COLOURS,
            "dash": "" if number < NUM_COLOURS else "5 3",
        }
        for number, (name, histogram) in enumerate(histograms.items())
    ]
    return {"kind": "steps", "title": title, "x": x, "y": y, "series": series, "log_x": log_x}


def bars(title: str, *, x: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    """Horizontal bars; an item has `name`, `value`, and optionally `colour` (slot), `mark` (a word at its end)."""
    shown = [{**item, "value": rounded([item["value"]])[0]} for item in items]
    return {"kind": "bars", "title": title, "x": x, "items": shown}
