"""How `causcade doctor` writes what it predicts."""

from __future__ import annotations

from collections.abc import Mapping

from causcade.config import Config
from causcade.doctor.prediction import HOUR_S, Prediction, StageLine
from causcade.doctor.sizes import Sizes
from causcade.doctor.work import GIB

__all__ = ["PEAKS", "arithmetic", "bytes_in_words", "duration", "table"]

MINUTE_S = 60.0
NOT_MEASURED = "not measured"
PREFIXES = ((1e18, "EFLOP"), (1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP"))
CELL_STAGES = ("input", "quality", "panel", "conditions", "coexpression")
EDGE_STAGES = ("mask", "causal", "latent", "evidence", "results")

# What the maker states for dense products, operations a second (data sheets of the SXM boards).
PEAKS = {
    "A100": {"float32": 19.5e12, "tf32": 156e12, "half": 312e12},
    "H100": {"float32": 67e12, "tf32": 494e12, "half": 989e12},
    "H200": {"float32": 67e12, "tf32": 494e12, "half": 989e12},
}
HALF_STAGES = ("embedding", "pretraining")


def duration(seconds: float | None) -> str:
    """Write a time with the unit that suits it."""
    if seconds is None:
        return NOT_MEASURED
    if seconds < 2 * MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < 2 * HOUR_S:
        return f"{seconds / MINUTE_S:.0f} min"
    return f"{seconds / HOUR_S:,.1f} h"


def bytes_in_words(size: float | None) -> str:
    """Write a number of bytes in GiB, or MiB where it is small."""
    if size is None:
        return NOT_MEASURED
    return f"{size / GIB:,.1f} GiB" if size >= GIB / 10 else f"{size * 1024 / GIB:,.0f} MiB"


def _flops(number: float) -> str:
    unit, name = next(((unit, name) for unit, name in PREFIXES if number >= unit), PREFIXES[-1])
    return f"{number / unit:,.3g} {name}"


def _size(line: StageLine, sizes: Sizes) -> str:
    if line.stage in CELL_STAGES:
        return f"{sizes.num_cells:,.0f} cells"
    if line.stage in EDGE_STAGES:
        return f"{sizes.num_edges:,.0f} edges"
    if line.stage == "basal":
        return f"{sizes.num_controls:,.0f} controls"
    return _flops(line.amount) if line.unit == "operations" else f"{line.amount:,.0f} {line.unit}"


def _gpu_hours(line: StageLine) -> str:
    if line.gpu_s is None:
        return NOT_MEASURED
    return "-" if line.gpu_s == 0 else f"{line.gpu_s / HOUR_S:.2g}"


def table(prediction: Prediction, sizes: Sizes) -> list[str]:
    """Write the prediction as a table, one line for each stage, and the totals."""
    head = ("stage", "jobs", "size", "processor time", "wall time", "GPU-hours", "memory of a job", "disk")
    rows = [
        (
            line.stage + ("*" if line.is_recorded else ""), f"{line.num_jobs:,}", _size(line, sizes), duration(line.processor_s),
            duration(line.wall_s), _gpu_hours(line), bytes_in_words(line.memory), "-" if line.disk < GIB / 1024 else bytes_in_words(line.disk),
        )
        for line in prediction.lines
    ]  # fmt: skip
    more = " + what is not measured" if prediction.unknown else ""
    rows.append(
        (
            "all", f"{sum(line.num_jobs for line in prediction.lines):,}", "", duration(prediction.processor_s) + more,
            duration(prediction.wall_s) + more, "-" if prediction.gpu_s == 0 else f"{prediction.gpu_s / HOUR_S:.2g}",
            bytes_in_words(prediction.memory), bytes_in_words(prediction.disk),
        )
    )  # fmt: skip
    widths = [max(len(row[place]) for row in [head, *rows]) for place in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]]
    if any(line.is_recorded for line in prediction.lines):
        lines.append("* as an earlier run of this machine took (its benchmark files)")
    return lines


def _precision(config: Config, stage: str) -> str:
    if stage in HALF_STAGES:
        return "half"
    if stage == "coexpression":
        return {"float32": "float32", "tf32": "tf32"}.get(config.coexpression.precision, "half")
    return "float32"


def arithmetic(prediction: Prediction, config: Config, names: list[str]) -> list[str]:
    """Say what stages on GPUs would take at the maker's figures, where nobody measured: operations over operations a second, and no prediction.

    Parameters
    ----------
    prediction
        The table.
    config
        The configuration.
    names
        GPUs of this machine; an H200 is taken where there is none.
    """
    lines = [line for line in prediction.lines if line.gpu_s is None and line.flops > 0]
    if not lines:
        return []
    model, peaks = _peaks(names)
    if peaks is None:
        counted = ", ".join(f"{line.stage} {_flops(line.flops)}" for line in lines)
        return [f"operations of the stages on GPUs: {counted} (what an {model} is sold with is not known here)"]
    found = [f"arithmetic and no prediction: at every operation that an {model} is sold with, the products of matrices alone would take one GPU"]
    for line in lines:
        precision = _precision(config, line.stage)
        found.append(
            f"  {line.stage}: {_flops(line.flops)}, {duration(line.flops / peaks[precision])} at {peaks[precision] / 1e12:,.0f} TFLOP/s ({precision})"
        )
    return found


def _peaks(names: list[str]) -> tuple[str, Mapping[str, float] | None]:
    if not names:
        return "H200", PEAKS["H200"]
    model = next((model for model in PEAKS if model in names[0]), None)
    return (names[0], None) if model is None else (model, PEAKS[model])
