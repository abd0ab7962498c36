"""How the fits went: section 6 (basal decoder and the causal module)."""

from __future__ import annotations

from typing import Any

import pandas as pd

from causcade.report import charts
from causcade.report.baselines import baselines
from causcade.report.data import Artifacts

__all__ = ["FIT_WORDS", "training"]

FIT_WORDS = {
    "main": "the fit that is reported",
    "noprior": "the same without any help from curated edges",
    "edgenull": "responses permuted gene by gene: no relation between genes is left",
    "labelnull": "perturbation labels permuted: the annotation says nothing",
    "boot": "perturbations resampled, for stability (no curated edges)",
    "drugs": "perturbations held out, for prediction",
    "line": "a cell line held out, for prediction",
}
ORDER = list(FIT_WORDS)
LOG_RANGE = 30.0


def _basal(artifacts: Artifacts, figures: dict[str, Any]) -> dict[str, Any] | None:
    metrics = artifacts.json_lines("basal/metrics.jsonl")
    if metrics is None:
        return None
    wanted = {"train_mse": ("training cells", 1, ""), "held_out_mse": ("held-out wells", 2, ""), "constant_mse": ("constant prediction", 0, "7 4")}
    series = [
        charts.line(name, metrics["epoch"].tolist(), metrics[key].tolist(), colour=colour, dash=dash, wide=key == "held_out_mse")
        for key, (name, colour, dash) in wanted.items()
        if key in metrics
    ]
    figures["basal"] = charts.lines("Basal decoder", x="epoch", y="mean squared error, (log1p CP10k)²", series=series)
    return {"summary": artifacts.json("basal/summary.json") or {}, "num_epochs": len(metrics), "has_held_out": "held_out_mse" in metrics}


def _rank(fit: str) -> tuple[int, str]:
    family = charts.family_style(fit)["family"]
    return (ORDER.index(family) if family in ORDER else len(ORDER), fit)


def _curves(fits: dict[str, pd.DataFrame], column: str) -> list[dict[str, Any]]:
    series = []
    for fit, metrics in fits.items():
        if column not in metrics:
            continue
        rows = metrics[["step", column]].dropna()
        style = charts.family_style(fit)
        if len(rows):
            series.append(
                charts.line(fit, rows["step"].tolist(), rows[column].tolist(), colour=style["colour"], dash=style["dash"], wide=fit == "main")
            )
    return series


def _wide_range(series: list[dict[str, Any]]) -> bool:
    """Whether positive values span so much that a linear axis would hide the end of the fit."""
    values = [value for curve in series for value in curve["y"] if value is not None]
    return bool(values) and min(values) > 0 and max(values) / min(values) > LOG_RANGE


def training(artifacts: Artifacts, figures: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """Curves of the basal decoder and of every causal fit; a row per fit with its last values."""
    names = sorted((path.parent.name for path in artifacts.matching("causal/*/metrics.jsonl")), key=_rank)
    fits = {name: table for name in names if (table := artifacts.json_lines(f"causal/{name}/metrics.jsonl")) is not None and "step" in table}
    data_loss = "data_loss" if any("data_loss" in table for table in fits.values()) else "loss"
    label = data_loss.replace("_", " ")
    rows = []
    for name, table in fits.items():
        last = table.iloc[-1]
        projected = table.get("projected")
        rows.append(
            {
                "fit": name,
                "words": FIT_WORDS.get(charts.family_style(name)["family"], ""),
                "step": last.get("step"),
                "loss": last.get("loss"),
                "data_loss": last.get("data_loss"),
                "radius": last.get("spectral_radius"),
                "projected": None if projected is None else float(pd.to_numeric(projected, errors="coerce").mean()),
            }
        )
    if fits:
        losses = _curves(fits, data_loss)
        figures["causal-loss"] = charts.lines(
            "Causal module: loss of each fit",
            x="optimiser step",
            y=f"{label} (no unit)",
            series=losses,
            log_y=_wide_range(losses),
        )
        radii = _curves(fits, "spectral_radius")
        if radii:
            bound = config.get("causal", {}).get("max_spectral_radius")
            marks = [] if bound is None else [{"y": bound, "label": f"bound {bound}"}]
            figures["causal-radius"] = charts.lines(
                "Causal module: spectral radius of W", x="optimiser step", y="spectral radius", series=radii, marks=marks
            )
    return {"basal": _basal(artifacts, figures), "baselines": baselines(artifacts), "fits": rows, "has_radius": "causal-radius" in figures}
