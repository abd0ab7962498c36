"""Responses of conditions: mean of the treated cells minus the baseline of their plate and line, with standard errors.

Axes: C conditions, G genes, L (plate, line) pairs. Values are differences of x = log1p(10^4 * count / total of the cell).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.errors import InputError
from causcade.responses.baselines import lines_of, own_of, own_rows
from causcade.responses.targets import list_targets

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = [
    "Baselines", "PooledVariance", "Responses", "build_responses", "finish_errors", "gene_axis", "no_conditions", "no_controls",
    "subtract_baselines", "tell_unmeasured",
]  # fmt: skip

logger = logging.getLogger("causcade")

OBS_COLUMNS = ["perturbation", "kind", "dose", "cell_line", "plate", "n_cells"]
PRIOR_CELLS = 10.0  # weight, in cells, of the gene's pooled variance when the variance of a condition is shrunk towards it
VARIANCE_FLOOR = 0.01  # of the median pooled variance: a gene without counts must not get infinite precision
MIN_RECENTRE = 8  # perturbations on a plate and line from which their median is a sound zero
MEDIAN_VARIANCE = np.pi / 2  # variance of a median over that of a mean, for normal errors

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Responses:
    """Responses of conditions and the targets of their perturbations.

    Attributes
    ----------
    delta_CG, se_CG
        Response (difference of x) and its standard error, float32.
    obs
        perturbation, kind, dose, cell_line, plate, n_cells; one row per condition.
    genes
        gene, gene_id; one row per gene, in the order of the panel.
    links
        perturbation, target (position on the gene axis), sign.
    unmeasured
        perturbation, target, sign: targets that are not in the panel.
    control_mean_G
        Mean of x over the baselines, float64; for units.
    mean_of_line
        Mean of x over the baselines of each line, float64 [G].
    """

    delta_CG: FloatArray
    se_CG: FloatArray
    obs: pd.DataFrame
    genes: pd.DataFrame
    links: pd.DataFrame
    unmeasured: pd.DataFrame
    control_mean_G: npt.NDArray[np.float64]
    mean_of_line: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)

    @property
    def perturbations(self) -> list[str]:
        """Names of the perturbations, sorted."""
        return sorted(set(self.obs["perturbation"]))

    def take(self, keep_C: npt.NDArray[np.bool_]) -> Responses:
        """Only the conditions where `keep_C` is true, and the links of their perturbations."""
        obs = self.obs.loc[keep_C].reset_index(drop=True)
        left = set(obs["perturbation"])
        links = self.links[self.links["perturbation"].isin(left)].reset_index(drop=True)
        unmeasured = self.unmeasured[self.unmeasured["perturbation"].isin(left)].reset_index(drop=True)
        return replace(self, delta_CG=self.delta_CG[keep_C], se_CG=self.se_CG[keep_C], obs=obs, links=links, unmeasured=unmeasured)


def build_responses(conditions: Sequence[AnnData], baselines: Sequence[AnnData], targets: pd.DataFrame, *, recentre: bool = True) -> Responses:
    """Subtract the baseline of the same plate and line from every treated condition.

    Where the plate has no controls of the line, the mean over the line's other plates is taken, and the spread between plates enters the error.
    A line without any control is dropped with a warning. Where a plate and line hold at least 8 perturbations, the median over its conditions
    is subtracted (it removes the error that they share through the controls, and the mean response).

    Parameters
    ----------
    conditions
        One per plate: obs perturbation, kind, dose, cell_line, plate, n_cells, is_control; layers mean and var [C, G]; var column gene.
    baselines
        obs cell_line, plate, n_cells; X baseline [L, G]; layers["var"] the variance of that mean (0 for one cell; it is shrunk here). Where they have
        rows of conditions too (`own_cell`), those are subtracted, plate by plate in the order of `conditions`.
    targets
        Columns perturbation, target, sign; see :func:`causcade.responses.list_targets`.
    recentre
        Whether to subtract the median.

    Raises
    ------
    InputError
        If the gene axes differ, or no condition has a baseline.
    """
    if not conditions:
        raise no_conditions()
    genes = gene_axis([store.var for store in (*conditions, *baselines)])
    shift = Baselines([lines_of(store) for store in baselines], len(genes))
    own = {str(rows.obs["plate"].iloc[0]): rows for store in baselines if (rows := own_of(store)) is not None}
    blocks = [subtract_baselines(plate, shift, own.get(str(plate.obs["plate"].iloc[0])) if plate.n_obs else None) for plate in conditions]
    obs = pd.concat([block[0] for block in blocks], ignore_index=True)
    if obs.empty:
        raise no_controls()
    delta_CG = np.concatenate([block[1] for block in blocks])
    var_CG = _shrink(np.concatenate([block[2] for block in blocks]), obs["n_cells"].to_numpy(np.float64))
    se_CG = finish_errors(delta_CG, var_CG, np.concatenate([block[3] for block in blocks]), obs, recentre=recentre)
    links, unmeasured = list_targets(set(obs["perturbation"]), targets, genes)
    tell_unmeasured(unmeasured)
    return Responses(
        delta_CG=delta_CG,
        se_CG=se_CG,
        obs=obs,
        genes=genes,
        links=links,
        unmeasured=unmeasured,
        control_mean_G=shift.mean_LG.mean(axis=0),
        mean_of_line=shift.mean_of_line(),
    )


def no_conditions() -> InputError:
    """Error of a run without plates."""
    return InputError("conditions: expected at least one plate, found none. Run the stage `conditions` first.")


def no_controls() -> InputError:
    """Error of a run none of whose conditions has a baseline."""
    return InputError(
        "conditions: expected treated conditions with controls of the same cell line, found none. "
        "Check `perturbation.control`, and that every cell line has control cells on some plate."
    )


def tell_unmeasured(unmeasured: pd.DataFrame) -> None:
    """Say in the log which listed targets are off the gene axis, if any are."""
    if len(unmeasured):
        logger.warning("%d listed targets of %d perturbations are not in the panel", len(unmeasured), unmeasured["perturbation"].nunique())


def gene_axis(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Table gene, gene_id of the axis that all stores share, from their tables `var`."""
    first = tables[0]
    for table in tables[1:]:
        if not table.index.equals(first.index):
            raise InputError(
                f"conditions and baselines: expected the same {len(first)} genes in the same order everywhere, found one with {len(table)} "
                "genes or another order. Rerun `conditions` and `basal` on the present panel."
            )
    ids = first.index.astype(str).to_numpy()
    symbols = first["gene"].astype(str).to_numpy() if "gene" in first else ids
    return pd.DataFrame({"gene": symbols, "gene_id": ids})


class Baselines:
    """Look-up of the baseline of a plate and line, and of its variance."""

    def __init__(self, baselines: Sequence[AnnData], num_genes: int) -> None:
        mean, var, num, keys = [], [], [], list[tuple[str, str]]()
        for baseline in baselines:
            mean.append(np.asarray(baseline.X, dtype=np.float64))
            var.append(np.asarray(baseline.layers["var"], dtype=np.float64))
            num.append(baseline.obs["n_cells"].to_numpy(np.float64))
            keys += list(zip(baseline.obs["plate"].astype(str), baseline.obs["cell_line"].astype(str), strict=True))
        self.mean_LG = np.concatenate(mean) if keys else np.zeros((0, num_genes))
        self.var_LG = _baseline_variance(np.concatenate(var), np.concatenate(num)) if keys else np.zeros((0, num_genes))
        self.row = {key: i for i, key in enumerate(keys)}
        self.of_line: dict[str, list[int]] = {}
        for i, (_, line) in enumerate(keys):
            self.of_line.setdefault(line, []).append(i)
        self.between_G = self._between(num_genes)

    def mean_of_line(self) -> dict[str, npt.NDArray[np.float64]]:
        """Mean over the plates of each line, [G]."""
        return {line: self.mean_LG[rows].mean(axis=0) for line, rows in self.of_line.items()}

    def _between(self, num_genes: int) -> npt.NDArray[np.float64]:
        """Variance of a line's baseline between plates, pooled over lines; zero where no line is on two plates."""
        total, num = np.zeros(num_genes), 0
        for rows in self.of_line.values():
            total += ((self.mean_LG[rows] - self.mean_LG[rows].mean(axis=0)) ** 2).sum(axis=0)
            num += len(rows) - 1
        return total / num if num else total

    def find(self, plate: str, line: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
        """Baseline and its variance, both [G]; None where the line has no control at all."""
        row = self.row.get((plate, line))
        if row is not None:
            return self.mean_LG[row], self.var_LG[row]
        rows = self.of_line.get(line)
        if not rows:
            return None
        num = len(rows)
        return self.mean_LG[rows].mean(axis=0), self.var_LG[rows].mean(axis=0) / num + self.between_G * (1 + 1 / num)


def subtract_baselines(plate: AnnData, shift: Baselines, own: AnnData | None = None) -> tuple[pd.DataFrame, FloatArray, FloatArray, FloatArray]:
    """Treated conditions of one plate: obs, response, variance of cells (NaN for one cell), variance of the baseline; the last three [C, G].

    `own` are baselines of these conditions (`own_cell`), which then take the place of that of the line: the variance of cells is that of their
    responses, and no error of controls enters. Lines without controls, of which the decoder knows nothing, are left out all the same.
    """
    treated = ~plate.obs["is_control"].to_numpy(bool)
    obs = plate.obs.loc[treated, OBS_COLUMNS].reset_index(drop=True)
    for column in ("perturbation", "kind", "cell_line", "plate"):
        obs[column] = obs[column].astype(str)
    mean_CG = np.asarray(plate.layers["mean"])[treated]
    var_CG = np.asarray(plate.layers["var"])[treated].astype(np.float32)
    delta_CG, base_CG = np.empty(mean_CG.shape, np.float32), np.empty(mean_CG.shape, np.float32)
    keep = np.ones(len(obs), dtype=bool)
    for (name, line), rows in obs.groupby(["plate", "cell_line"], sort=True).indices.items():
        found = shift.find(name, line)
        if found is None:
            keep[rows] = False
            logger.warning("plate %s: cell line %s has no control cells on any plate; %d conditions dropped", name, line, len(rows))
            continue
        if (name, line) not in shift.row:
            others = len(shift.of_line[line])
            logger.warning("plate %s: no control cells of cell line %s; baseline taken from its %d other plate(s)", name, line, others)
        delta_CG[rows] = mean_CG[rows] - found[0]
        base_CG[rows] = found[1]
    if own is not None:
        place_C = own_rows(own, obs, str(obs["plate"].iloc[0]) if len(obs) else "")
        delta_CG, base_CG = mean_CG - np.asarray(own.X)[place_C], np.zeros_like(base_CG)
        var_CG = np.asarray(own.layers["var"])[place_C] * obs["n_cells"].to_numpy(np.float32)[:, None]
    return obs.loc[keep].reset_index(drop=True), delta_CG[keep], var_CG[keep], base_CG[keep]


class PooledVariance:
    """Variance of a cell of each gene over all conditions, weighted by their degrees of freedom, to which that of a condition is shrunk."""

    def __init__(self, num_genes: int) -> None:
        self._sum_G, self._freedom = np.zeros(num_genes), 0.0

    def add(self, var_CG: FloatArray, num_cells_C: npt.NDArray[np.float64]) -> None:
        """Add conditions; the variance of one cell is unknown (NaN or 0) and counts nothing."""
        freedom_C = np.maximum(num_cells_C - 1, 0)
        known_CG = np.where((freedom_C[:, None] > 0) & np.isfinite(var_CG), var_CG, 0)
        self._sum_G += freedom_C @ known_CG.astype(np.float64)
        self._freedom += float(freedom_C.sum())

    def floored(self) -> npt.NDArray[np.float64]:
        """Pooled variance [G], at least a share of its median: a gene without counts must not get infinite precision."""
        pooled_G = self._sum_G / max(self._freedom, 1.0)
        positive = pooled_G[pooled_G > 0]
        return np.maximum(pooled_G, VARIANCE_FLOOR * float(np.median(positive)) if positive.size else 1.0)

    def shrink(self, var_CG: FloatArray, num_cells_C: npt.NDArray[np.float64]) -> FloatArray:
        """Variance of a cell of each condition, shrunk towards the pooled one with the weight of `PRIOR_CELLS` cells."""
        freedom_C = np.maximum(num_cells_C - 1, 0)
        weight_C1 = (freedom_C / (freedom_C + PRIOR_CELLS)).astype(np.float32)[:, None]
        known_CG = np.where((freedom_C[:, None] > 0) & np.isfinite(var_CG), var_CG, 0)
        return np.asarray(weight_C1 * known_CG + (1 - weight_C1) * self.floored().astype(np.float32), dtype=np.float32)


def _shrink(var_CG: FloatArray, num_cells_C: npt.NDArray[np.float64]) -> FloatArray:
    """Variance of a cell, shrunk towards the pooled variance of these conditions."""
    pooled = PooledVariance(var_CG.shape[1])
    pooled.add(var_CG, num_cells_C)
    return pooled.shrink(var_CG, num_cells_C)


def _baseline_variance(var_LG: npt.NDArray[np.float64], num_cells_L: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Variance of the mean over the control cells of a plate and line, with that of a cell shrunk: a single control cell is no certain baseline."""
    num_L1 = num_cells_L[:, None]
    return _shrink((np.nan_to_num(var_LG) * num_L1).astype(np.float32), num_cells_L).astype(np.float64) / num_L1


def finish_errors(delta_CG: FloatArray, var_CG: FloatArray, base_CG: FloatArray, obs: pd.DataFrame, *, recentre: bool) -> FloatArray:
    """Re-centre `delta_CG` in place; return the standard errors.

    After re-centring the error of the baseline is gone (all conditions of a plate and line share it); the error of the median takes its place.
    """
    error_CG = var_CG / obs["n_cells"].to_numpy(np.float32)[:, None]
    for rows in obs.groupby(["plate", "cell_line"], sort=True).indices.values():
        if recentre and obs["perturbation"].iloc[rows].nunique() >= MIN_RECENTRE:
            delta_CG[rows] -= np.median(delta_CG[rows], axis=0)
            error_CG[rows] += MEDIAN_VARIANCE / len(rows) * error_CG[rows].mean(axis=0)
        else:
            error_CG[rows] += base_CG[rows]
    return np.asarray(np.sqrt(error_CG), dtype=np.float32)
