"""Records of a training: JSON lines always, TensorBoard event files where it is installed, and the log."""

from __future__ import annotations

import importlib.util
import json
import logging
import math
from pathlib import Path
from typing import Any

import torch

from causcade.errors import InputError
from causcade.files import write_text

__all__ = ["CURVES", "TrainingLog", "peak_flops", "read_records"]

logger = logging.getLogger(__name__)

CURVES = "tensorboard"
"""Folder of the event files, below that of the records."""

# Dense bfloat16 peak of a device, FLOP/s, from the makers' data sheets; the first name that is in the device's is taken.
PEAK_FLOPS = {
    "B200": 2250e12, "GH200": 989e12, "H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L40": 181e12,
    "L4": 121e12, "A40": 150e12, "A10": 125e12, "RTX 4090": 165e12,
}  # fmt: skip


def peak_flops(device: torch.device) -> float | None:
    """Dense bfloat16 peak of a device, FLOP/s; None where it is not known (all CPUs)."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAK_FLOPS.items() if part in name), None)


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read the records of a training; a half-written last line of a killed job is left out."""
    records: list[dict[str, Any]] = []
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except ValueError:
            if number < len(lines):
                raise InputError(f"{path}: expected a JSON object in each line, found something else in line {number}. Delete the file.") from None
    return records


class TrainingLog:
    """Writer of records; a context manager.

    Parameters
    ----------
    folder
        Where `metrics.jsonl`, and the event files in `tensorboard/`, are written.
    first_step
        Step that the training begins at: what an interrupted training has recorded beyond it is dropped.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self.path = folder / "metrics.jsonl"
        kept = [record for record in read_records(self.path) if record["step"] <= first_step and first_step > 0]
        write_text(self.path, "".join(json.dumps(record) + "\n" for record in kept))
        self._events: Any = None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(folder / CURVES), purge_step=first_step)

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(self, *error: object) -> None:
        if self._events is not None:
            self._events.close()

    def add(self, step: int, values: dict[str, float]) -> None:
        """Write one record; values that are not finite are left out, since JSON has no word for them."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        with self.path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps({"step": step} | finite) + "\n")
        if self._events is not None:
            for name, value in finite.items():
                self._events.add_scalar(name, value, step)
