"""The two kinds of rows of `basal/baseline/<plate>.zarr`: baselines of lines, and those of treated conditions (`basal.baseline: own_cell`).

Rows of lines come first; where column `is_control` is absent there are no others. At 65,000 conditions the rows of conditions are read one plate at a
time, and those of lines without them.

Axes: C conditions of a plate, G genes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["has_own", "lines_of", "own_of", "own_rows", "read_lines", "read_own"]

KEYS = ["perturbation", "dose", "cell_line"]


def has_own(path: str) -> bool:
    """Whether a store has baselines of conditions."""
    return bool(_num_own(_obs(_open(path))))


def read_lines(path: str) -> AnnData:
    """Baselines of the lines of a plate."""
    group = _open(path)
    obs = _obs(group)
    return _rows(group, obs, slice(0, len(obs) - _num_own(obs)))


def read_own(path: str) -> AnnData:
    """Baselines of the treated conditions of a plate; without rows where there are none."""
    group = _open(path)
    obs = _obs(group)
    return _rows(group, obs, slice(len(obs) - _num_own(obs), len(obs)))


def lines_of(store: AnnData) -> AnnData:
    """Rows of lines of a store in memory."""
    return store if "is_control" not in store.obs else store[store.obs["is_control"].to_numpy(bool)]


def own_of(store: AnnData) -> AnnData | None:
    """Rows of conditions of a store in memory; None where there are none."""
    is_own = ~store.obs["is_control"].to_numpy(bool) if "is_control" in store.obs else np.zeros(store.n_obs, bool)
    return store[is_own] if is_own.any() else None


def own_rows(own: AnnData, obs: pd.DataFrame, plate: str) -> npt.NDArray[np.int64]:
    """Row of `own` of each condition [C].

    Parameters
    ----------
    own
        Baselines of the conditions of the plate.
    obs
        perturbation, dose, cell_line, n_cells of the conditions.
    plate
        Name of the plate, for the message.

    Raises
    ------
    InputError
        If a condition has none, or one over another number of cells.
    """
    rows_C = _keys(own.obs).get_indexer(_keys(obs))
    num_C = np.where(rows_C >= 0, own.obs["n_cells"].to_numpy()[rows_C] if own.n_obs else 0, 0)
    bad = np.flatnonzero(num_C != obs["n_cells"].to_numpy())
    if len(bad):
        first = obs.iloc[bad[0]]
        raise InputError(
            f"basal/baseline of plate {plate}: expected the mean prediction over the {first['n_cells']} cells of each condition, such as "
            f"{first['perturbation']} at {first['dose']:g} in {first['cell_line']}, found one over {num_C[bad[0]]} cells. Rerun the stage `basal` "
            "(`--forcerun basal_baseline`)."
        )
    return np.asarray(rows_C, dtype=np.int64)


def _keys(obs: pd.DataFrame) -> pd.MultiIndex:
    dose = obs["dose"].to_numpy(np.float64)
    # No dose is no number, which equals no other.
    return pd.MultiIndex.from_arrays(
        [obs["perturbation"].astype(str), np.where(np.isfinite(dose), dose, -1.0), obs["cell_line"].astype(str)], names=KEYS
    )


def _open(path: str) -> Any:
    import zarr

    return zarr.open_group(str(path), mode="r")


def _obs(group: Any) -> pd.DataFrame:
    from anndata.io import read_elem

    return read_elem(group["obs"])


def _num_own(obs: pd.DataFrame) -> int:
    return int((~obs["is_control"].to_numpy(bool)).sum()) if "is_control" in obs else 0


def _rows(group: Any, obs: pd.DataFrame, rows: slice) -> AnnData:
    from anndata import AnnData
    from anndata.io import read_elem

    layers = {name: np.asarray(array[rows]) for name, array in group["layers"].members()}
    return AnnData(np.asarray(group["X"][rows]), obs=obs.iloc[rows], var=read_elem(group["var"]), layers=layers)
