"""What each baseline leaves of the treated response, for the report: beside the chosen one, all that can be had from what the run has anyway.

The square of a response is that of its signal plus its error; the expected error is taken off. The signal that is left with the plain mean of the
controls is 1. Where a plate and line hold enough perturbations, the median over their conditions is subtracted besides
(:mod:`causcade.responses.conditions`), and with it all that baselines of a line and plate differ in: `matched_control` and `control_mean` then give
the same responses.

Axes: C conditions of a plate, G genes, L lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.basal.baselines import Baseline
from causcade.files import read_anndata
from causcade.responses.baselines import read_lines, read_own
from causcade.responses.conditions import Baselines, finish_errors, subtract_baselines

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["compare_baselines"]

COLUMNS = ["baseline", "is_chosen", "num_conditions", "square", "left", "square_centred", "left_centred"]


def compare_baselines(conditions: Sequence[str], baselines: Sequence[str], chosen: Baseline) -> pd.DataFrame:
    """Measure the signal that the responses to treatments keep under each baseline.

    Parameters
    ----------
    conditions, baselines
        Paths of `conditions/<plate>.zarr` and `basal/baseline/<plate>.zarr`.
    chosen
        The one that the run takes.

    Returns
    -------
    pandas.DataFrame
        A row for each baseline that can be had: baseline, is_chosen, num_conditions (of two cells or more, with a baseline), square (mean over
        conditions and genes of the squared response, less its expected error), left (that, as a share of what `control_mean` leaves; NaN where that
        is nothing), and both again with the median over the conditions of a plate and line subtracted, as the run does it.
    """
    lines = [read_lines(path) for path in sorted(baselines)]
    shifts = {"control_mean": Baselines([_of_mean(store) for store in lines], lines[0].n_vars)}
    if chosen != "control_mean":
        shifts["matched_control"] = Baselines(lines, lines[0].n_vars)
    if chosen == "own_cell":
        shifts["own_cell"] = shifts["matched_control"]
    path_of = {Path(path).stem: path for path in baselines}
    totals = {name: np.zeros(4) for name in shifts}
    for path in sorted(conditions):
        plate = read_anndata(path)
        plate = plate[plate.obs["n_cells"].to_numpy() > 1].copy()  # nothing is known of the error of a single cell
        for name, shift in shifts.items():
            totals[name] += _squares(plate, shift, read_own(path_of[Path(path).stem]) if name == "own_cell" else None)
    plain = totals["control_mean"]
    rows = []
    for name, (square, centred, num, size) in totals.items():
        row = {"baseline": name, "is_chosen": name == chosen, "num_conditions": int(num), "square": square / max(size, 1)}
        row |= {"left": square / plain[0] if plain[0] > 0 else np.nan, "square_centred": centred / max(size, 1)}
        rows.append(row | {"left_centred": centred / plain[1] if plain[1] > 0 else np.nan})
    return pd.DataFrame(rows, columns=COLUMNS)


def _of_mean(store: AnnData) -> AnnData:
    """Baselines of a plate with the plain mean in the place of that of f(z)."""
    found = store.copy()
    found.X = store.layers["mean"]
    return found


def _squares(plate: AnnData, shift: Baselines, own: AnnData | None) -> npt.NDArray[np.float64]:
    """Squares of the responses of a plate less their errors, as they are and with the median subtracted; conditions, and numbers in them."""
    obs, delta_CG, var_CG, base_CG = subtract_baselines(plate, shift, own)
    found = []
    for recentre in (False, True):
        response_CG = delta_CG.copy()
        error_CG = finish_errors(response_CG, var_CG, base_CG, obs, recentre=recentre)
        found.append(float((response_CG.astype(np.float64) ** 2 - error_CG.astype(np.float64) ** 2).sum()))
    return np.array([*found, len(obs), delta_CG.size])
