"""Effects of perturbations from the stores of a run, one plate in memory at a time.

At 65,000 conditions of 14,142 genes the responses alone are 7.4 GB; the sums that effects are made of are 0.3 GB.

Axes: C conditions of a plate, G genes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.errors import InputError
from causcade.files import read_anndata
from causcade.responses.baselines import has_own, read_lines, read_own
from causcade.responses.conditions import (
    OBS_COLUMNS,
    Baselines,
    FloatArray,
    PooledVariance,
    finish_errors,
    gene_axis,
    no_conditions,
    no_controls,
    subtract_baselines,
    tell_unmeasured,
)
from causcade.responses.effects import DoseSums, DrugEffects
from causcade.responses.resampling import mean_without, unknown_line
from causcade.responses.targets import list_targets
from causcade.responses.unmeasured import names_of_unmeasured, with_unmeasured

__all__ = ["PlateResponses", "ScreenFiles"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlateResponses:
    """Responses of the conditions of one plate: obs, response and standard error [C, G], as in :class:`causcade.responses.Responses`."""

    obs: pd.DataFrame
    delta_CG: FloatArray
    se_CG: FloatArray


class ScreenFiles:
    """Stores of a run, read plate by plate.

    Gives what :func:`causcade.responses.aggregate` and :func:`causcade.responses.hold_out_line` give of
    :func:`causcade.responses.read_responses`, to rounding. The store of a table of conditions holds responses already, and has no baseline.

    Parameters
    ----------
    conditions, baselines
        Paths of `conditions/<plate>.zarr` and `basal/baseline/<plate>.zarr`; their order changes nothing. Of a table of conditions, the one store
        of its responses and no baseline.
    targets
        `targets.parquet`, or `unmeasured/targets.parquet`: with the latter, effects have a gene for each target that enters without being measured.

    Raises
    ------
    InputError
        If there is no plate, or responses of a table stand beside other stores.
    """

    def __init__(self, conditions: Sequence[str], baselines: Sequence[str], targets: pd.DataFrame) -> None:
        if not conditions:
            raise no_conditions()
        self.conditions, self.targets, self.unmeasured = sorted(conditions), targets, names_of_unmeasured(targets)
        self._is_table = _holds_responses(self.conditions, baselines)
        stores = [read_lines(path) for path in sorted(baselines)]
        # Paths of the baselines of conditions, by plate; none where the run takes those of lines.
        self._own = {Path(path).stem: path for path in baselines} if any(map(has_own, baselines)) else {}
        self.genes = gene_axis([_read(path, "var") for path in self.conditions] + [store.var for store in stores])
        self._shift = Baselines(stores, len(self.genes))
        self._pooled: PooledVariance | None = None

    def plates(self) -> Iterator[PlateResponses]:
        """Responses plate by plate."""
        return (self.plate(path) for path in self.conditions)

    def plate(self, path: str) -> PlateResponses:
        """Responses of one plate. The first call reads all variances beforehand, since those of small conditions are shrunk to their mean."""
        if self._is_table:
            return _read_responses(path)
        if self._pooled is None:
            self._pooled = self._pool()
        obs, delta_CG, var_CG, base_CG = self._subtract(path)
        var_CG = self._pooled.shrink(var_CG, obs["n_cells"].to_numpy(np.float64))
        return PlateResponses(obs=obs, delta_CG=delta_CG, se_CG=finish_errors(delta_CG, var_CG, base_CG, obs, recentre=True))

    def means(self, path: str, obs: pd.DataFrame) -> FloatArray:
        """Mean of x [C, G] of the conditions of a plate, in the order of `obs` of its responses."""
        keys = ["perturbation", "dose", "cell_line"]
        own = pd.MultiIndex.from_frame(_read(path, "obs")[keys].astype({"perturbation": str, "cell_line": str}))
        rows = own.get_indexer(pd.MultiIndex.from_frame(obs[keys]))
        return np.asarray(_read(path, "layers/mean")[rows], dtype=np.float32)

    def effects(self) -> DrugEffects:
        """Effects over all conditions."""
        return self._as_effects(self._sum(None)[0], self._level())

    def without_line(self, cell_line: str) -> tuple[DrugEffects, DrugEffects]:
        """Effects in the other lines, and those in one line.

        Raises
        ------
        InputError
            If the line is unknown, or the only one.
        """
        others, held_out = self._sum(cell_line)
        if self._is_table:
            return self._as_effects(others, self._level()), self._as_effects(held_out, self._level())
        mean_of_line = self._shift.mean_of_line()
        return self._as_effects(others, mean_without(mean_of_line, cell_line)), self._as_effects(held_out, mean_of_line[cell_line])

    def _level(self) -> npt.NDArray[np.float64]:
        """Mean of x in controls [G]; of a table, what its store says."""
        if self._is_table:
            return np.asarray(_read(self.conditions[0], "var")["control_mean"], dtype=np.float64)
        return np.asarray(self._shift.mean_LG.mean(axis=0), dtype=np.float64)

    def _subtract(self, path: str) -> tuple[pd.DataFrame, FloatArray, FloatArray, FloatArray]:
        """Treated conditions of one plate, as :func:`subtract_baselines` gives them."""
        own = read_own(self._own[Path(path).stem]) if self._own else None
        return subtract_baselines(read_anndata(path), self._shift, own)

    def _pool(self) -> PooledVariance:
        pooled = PooledVariance(len(self.genes))
        for path in self.conditions:
            if self._own:
                obs, _, var_CG, _ = self._subtract(path)
                pooled.add(var_CG, obs["n_cells"].to_numpy(np.float64))
                continue
            obs = _read(path, "obs")
            treated = ~obs["is_control"].to_numpy(bool) & obs["cell_line"].astype(str).isin(list(self._shift.of_line)).to_numpy()
            pooled.add(_read(path, "layers/var")[treated].astype(np.float32), obs["n_cells"].to_numpy(np.float64)[treated])
        return pooled

    def _sum(self, cell_line: str | None) -> tuple[DoseSums, DoseSums]:
        """Sum over all lines but one, and over that one."""
        others, held_out = DoseSums(len(self.genes)), DoseSums(len(self.genes))
        lines = set[str]()
        for plate in self.plates():
            is_held_C = (plate.obs["cell_line"] == cell_line).to_numpy(bool)
            lines |= set(plate.obs["cell_line"])
            for sums, rows_C in ((others, ~is_held_C), (held_out, is_held_C)):
                if rows_C.any():
                    sums.add(plate.obs[rows_C], plate.delta_CG[rows_C], plate.se_CG[rows_C])
        if not lines:
            raise no_controls()
        if cell_line is not None and lines - {cell_line} in (lines, set()):
            raise unknown_line(cell_line, lines)
        return others, held_out

    def _as_effects(self, sums: DoseSums, control_mean_G: npt.NDArray[np.float64]) -> DrugEffects:
        links, unmeasured = list_targets(set(sums.perturbations), self.targets, self.genes)
        tell_unmeasured(unmeasured)
        return with_unmeasured(sums.effects(self.genes, links, control_mean_G), self.targets, self.unmeasured)


def _holds_responses(conditions: Sequence[str], baselines: Sequence[str]) -> bool:
    """Whether the store is that of a table of conditions (:mod:`causcade.condition_table`)."""
    import zarr

    held = [path for path in conditions if "layers/delta" in zarr.open_group(path, mode="r")]
    if held and (len(conditions) > 1 or len(baselines)):
        raise InputError(
            f"{held[0]}: expected the responses of a table of conditions alone, found {len(conditions) - 1} other stores and "
            f"{len(baselines)} baselines. Take another name for the run of the table."
        )
    return bool(held)


def _read_responses(path: str) -> PlateResponses:
    """Responses as a table of conditions gave them."""
    obs = _read(path, "obs")[[*OBS_COLUMNS]].reset_index(drop=True).astype(dict.fromkeys(("perturbation", "kind", "cell_line", "plate"), str))
    return PlateResponses(obs=obs, delta_CG=_read(path, "layers/delta").astype(np.float32), se_CG=_read(path, "layers/se").astype(np.float32))


def _read(path: str, element: str) -> Any:
    """One element of a store of conditions."""
    import zarr
    from anndata.io import read_elem

    return read_elem(zarr.open_group(path, mode="r")[element])
