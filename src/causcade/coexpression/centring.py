"""What is taken from common genes while they are summed: the part of x that covariates explain.

float32 rounds in proportion to the numbers that it multiplies. The mean square of a common gene is many times its variance, and many times more what
is left of it once cell line and depth are taken out; sums of x itself would lose as many digits in the subtraction that follows. Kernels therefore
multiply r = x - C beta, and put C beta back in float64: any beta gives the same sums, a good one keeps r small. It is fitted on a sample of cells.

Axes: B cells of a block, G genes, K covariate columns of a block, L columns that r is taken with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from causcade.coexpression.blocks import Block
from causcade.coexpression.kernels import KERNEL_CELLS, common_shift
from causcade.covariates import INTERCEPT, independent_columns

__all__ = ["Centre", "fit_centre", "mean_centre", "spread_cells"]

# The sample is so many runs of cells, spread over the plate: stores are read by chunks of some hundred cells, and neighbours share a well.
NUM_RUNS = 64
# Where covariates explain less of the mean square, most cells have the value 0, and taking anything from it would only make more numbers to round.
MIN_EXPLAINED = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Centre:
    """Names of L covariate columns, and their coefficients for each gene, float64 [L, G]; zeros where nothing is taken."""

    names: tuple[str, ...]
    beta_LG: np.ndarray

    def columns(self, block: Block) -> np.ndarray:
        """Covariates of a block in these columns, float64 [B, L]; 0 for a level that none of its cells has."""
        c_BL = np.zeros((len(block.c_BK), len(self.names)))
        for number, name in enumerate(self.names):
            if name in block.names:
                c_BL[:, number] = block.c_BK[:, block.names.index(name)]
        return c_BL


def spread_cells(cells: np.ndarray) -> np.ndarray:
    """Take a sample of at most `KERNEL_CELLS` of these cells, in runs spread over all of them; all where there are no more."""
    if len(cells) <= KERNEL_CELLS:
        return cells
    run = max(KERNEL_CELLS // NUM_RUNS, 1)
    starts = np.linspace(0, len(cells) - run, KERNEL_CELLS // run).astype(np.int64)
    sample: np.ndarray = cells[(starts[:, None] + np.arange(run)).ravel()]
    return sample


def _told_by_sample(block: Block, spans: Mapping[str, float]) -> np.ndarray:
    """Tell which independent columns the sample says enough of, booleans [K].

    A number that hardly varies in the sample and is large in some other cell would get a coefficient that is mostly noise, and r would be huge in
    that cell: its span over the plate may not exceed the length that the columns before it leave of it in the sample.
    """
    keep_K = independent_columns(block.scc_KK)
    scale_K = np.sqrt(np.maximum(np.diag(block.scc_KK), np.finfo(np.float64).tiny))
    scc_KK = block.scc_KK / np.outer(scale_K, scale_K)
    for number in np.flatnonzero(keep_K & np.isin(block.names, list(spans))):
        before = np.flatnonzero(keep_K[:number])
        left = 1.0 - scc_KK[number, before] @ np.linalg.solve(scc_KK[np.ix_(before, before)], scc_KK[before, number])
        keep_K[number] = (spans[block.names[number]] / scale_K[number]) ** 2 <= left
    return keep_K


def fit_centre(block: Block, spans: Mapping[str, float]) -> Centre:
    """Fit the covariates to the genes of a block by least squares; kept for genes of whose mean square they explain more than half.

    Parameters
    ----------
    block
        A sample of the cells.
    spans
        Largest less smallest value of each number over all cells, by name of the column.
    """
    keep_K = _told_by_sample(block, spans)
    scale_L = np.sqrt(np.diag(block.scc_KK)[keep_K])
    scc_LL = block.scc_KK[np.ix_(keep_K, keep_K)] / np.outer(scale_L, scale_L)
    sxc_LG = block.sxc_KG[keep_K] / scale_L[:, None]
    beta_LG = np.linalg.solve(scc_LL, sxc_LG)
    square_G = np.bincount(block.x_BG.indices, weights=np.square(block.x_BG.data, dtype=np.float64), minlength=block.x_BG.shape[1])
    beta_LG[:, (sxc_LG * beta_LG).sum(axis=0) <= MIN_EXPLAINED * square_G] = 0.0
    names = tuple(name for name, kept in zip(block.names, keep_K, strict=True) if kept)
    return Centre(names=names, beta_LG=beta_LG / scale_L[:, None])


def mean_centre(block: Block) -> Centre:
    """Take the mean from the common genes of a block: for kernels that round what they multiply, and the rounded x has to be sparse."""
    return Centre(names=(INTERCEPT,), beta_LG=common_shift(block.x_BG)[None].astype(np.float64))
