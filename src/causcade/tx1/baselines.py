"""What a trained model has to beat at masked genes: the mean bin of each gene, and a low-rank model of the same dimension.

Both know what the model knows of a held-out cell: which genes it expresses, and the bins of those that are not masked. The low-rank model is
probabilistic PCA with missing values (Tipping & Bishop 1999, doi:10.1111/1467-9868.00196): bin = mean of the gene + loadings . z + noise, over
expressed genes only; loadings and noise are fitted by EM on whole training cells, and a masked bin is told by its conditional expectation given the
visible ones.

Axes: N cells, V tokens of the vocabulary, G genes seen, D dimensions, S pairs of dimensions, E expressed genes of all cells.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from causcade.tx1.stream import Micro

__all__ = ["Bins", "LowRank", "bins_of", "fit_low_rank", "mean_bins"]

logger = logging.getLogger(__name__)

CHUNK_CELLS = 128
ITERATIONS = 4  # ten more lower the error by less than a third of a percent
MIN_NOISE = 1e-3
DENSE_SHARE = 0.05
MOST_MOMENTS = 1 << 28  # second moments of all genes, float32: a gigabyte
MEAN_PRIOR = 1.0  # cells' worth of the overall mean


class Bins(NamedTuple):
    """Bins of some cells by gene: visible and masked ones, CSR [N, V] float32 (bins are 1 or more, so none is a stored zero)."""

    visible: sp.csr_matrix
    masked: sp.csr_matrix


def bins_of(micros: list[Micro], num_tokens: int, *, num_special: int) -> Bins:
    """Gather the bins of micro-batches; the first `num_special` positions of a cell are no genes."""
    parts: tuple[list[sp.csr_matrix], list[sp.csr_matrix]] = ([], [])
    if not micros:
        return Bins(sp.csr_matrix((0, num_tokens), dtype=np.float32), sp.csr_matrix((0, num_tokens), dtype=np.float32))
    for micro in micros:
        real_BL = micro.batch.is_real_BL.numpy().copy()
        real_BL[:, :num_special] = False
        masked_BL = np.zeros_like(real_BL) if micro.batch.is_masked_BL is None else micro.batch.is_masked_BL.numpy()
        for taken_BL, found in zip((real_BL & ~masked_BL, real_BL & masked_BL), parts, strict=True):
            cell, _ = np.nonzero(taken_BL)
            entries = (micro.target_BL.numpy()[taken_BL], (cell, micro.batch.gene_BL.numpy()[taken_BL]))
            found.append(sp.csr_matrix(entries, shape=(len(real_BL), num_tokens), dtype=np.float32))
    return Bins(*(sp.vstack(found, format="csr") for found in parts))


def mean_bins(bins_NV: sp.csr_matrix) -> np.ndarray:
    """Mean bin of each gene over the cells that express it, [V] float64; drawn to the overall mean by one cell's worth, for rare genes."""
    num_V = np.bincount(bins_NV.indices, minlength=bins_NV.shape[1])
    sum_V = np.bincount(bins_NV.indices, weights=bins_NV.data, minlength=bins_NV.shape[1])
    overall = float(bins_NV.data.mean()) if bins_NV.nnz else 0.0
    mean_V: np.ndarray = (sum_V + MEAN_PRIOR * overall) / (num_V + MEAN_PRIOR)
    return mean_V


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRank:
    """Probabilistic PCA of bins.

    Attributes
    ----------
    mean_V
        Mean bin of each gene.
    loading_VD
        Loadings, float32; 0 for genes that no training cell expresses.
    noise
        Variance that the dimensions leave, bins squared.
    """

    mean_V: Tensor
    loading_VD: Tensor
    noise: float

    def predict(self, bins: Bins) -> np.ndarray:
        """Bins of the masked entries, in the order in which `bins.masked` stores them, float32."""
        told = []
        for start in range(0, bins.masked.shape[0], CHUNK_CELLS):
            known, asked = (_padded(part[start : start + CHUNK_CELLS], self.mean_V) for part in (bins.visible, bins.masked))
            z_BD, _ = _posterior(known, self.loading_VD, self.noise)
            told_BL = torch.einsum("bld,bd->bl", self.loading_VD[asked.gene_BL], z_BD) + self.mean_V[asked.gene_BL]
            told.append(told_BL[asked.is_there_BL])
        return torch.cat(told).cpu().numpy() if told else np.zeros(0, dtype=np.float32)


class _Padded(NamedTuple):
    """Entries of some cells [B, L]: genes, residuals from the genes' means (0 at pads), and which are there."""

    gene_BL: Tensor
    residual_BL: Tensor
    is_there_BL: Tensor


def _padded(bins_BV: sp.csr_matrix, mean_V: Tensor) -> _Padded:
    length_B = np.diff(bins_BV.indptr)
    is_there_BL = np.arange(length_B.max(initial=0)) < length_B[:, None]
    gene_BL = np.zeros(is_there_BL.shape, dtype=np.int64)
    value_BL = np.zeros(is_there_BL.shape, dtype=np.float32)
    gene_BL[is_there_BL], value_BL[is_there_BL] = bins_BV.indices, bins_BV.data
    gene, value, is_there = (torch.from_numpy(array).to(mean_V.device) for array in (gene_BL, value_BL, is_there_BL))
    return _Padded(gene, (value - mean_V[gene]) * is_there, is_there)


def _posterior(cells: _Padded, loading_VD: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """Mean [B, D] and covariance [B, D, D] of z given the entries of each cell."""
    loading_BLD = loading_VD[cells.gene_BL] * cells.is_there_BL[:, :, None]
    precision_BDD = loading_BLD.transpose(1, 2) @ loading_BLD + noise * torch.eye(loading_VD.shape[1], device=loading_VD.device)
    covariance_BDD = torch.cholesky_inverse(torch.linalg.cholesky(precision_BDD))
    z_BD = torch.einsum("bde,be->bd", covariance_BDD, torch.einsum("bld,bl->bd", loading_BLD, cells.residual_BL))
    return z_BD, covariance_BDD * noise


def fit_low_rank(
    bins_NV: sp.csr_matrix, num_dimensions: int, *, seed: int, iterations: int = ITERATIONS, device: torch.device | str = "cpu"
) -> LowRank:
    """Fit probabilistic PCA to whole training cells; unexpressed genes are missing, not zero.

    Parameters
    ----------
    bins_NV
        Bins of expressed genes.
    num_dimensions
        Dimensions; fewer where there are fewer cells or genes, or where the moments of all genes would take more than a gigabyte.
    seed
        Of the first loadings (a randomised singular value decomposition with missing entries at their gene's mean).
    iterations
        Rounds of EM.
    device
        Where to compute.
    """
    from sklearn.utils.extmath import randomized_svd

    mean_V = mean_bins(bins_NV)
    residual = sp.csr_matrix((bins_NV.data - mean_V[bins_NV.indices], bins_NV.indices, bins_NV.indptr), shape=bins_NV.shape)
    num_genes = max(len(np.unique(residual.indices)), 1)
    most = int(np.sqrt(2 * MOST_MOMENTS / num_genes))
    num = min(num_dimensions, most, *residual.shape)
    if most < num_dimensions:
        logger.info("the low-rank model has %d dimensions and not %d: more do not fit into memory for %d genes", num, num_dimensions, num_genes)
    _, sizes, components_DV = randomized_svd(residual, num, n_iter=4, random_state=seed)
    loading_VD = torch.from_numpy((components_DV.T * sizes / np.sqrt(max(residual.shape[0], 1))).astype(np.float32)).to(device)
    model = LowRank(
        mean_V=torch.from_numpy(mean_V.astype(np.float32)).to(device), loading_VD=loading_VD,
        noise=max(float(np.square(residual.data).mean()) / 2 if residual.nnz else 1.0, MIN_NOISE),
    )  # fmt: skip
    for _ in range(iterations):
        model = _improved(model, bins_NV)
    return model


def _improved(model: LowRank, bins_NV: sp.csr_matrix) -> LowRank:
    """One round of EM: every gene's loadings by ridge regression on the expected z, with its uncertainty."""
    loading_VD, num_dimensions = model.loading_VD, model.loading_VD.shape[1]
    genes = torch.from_numpy(np.unique(bins_NV.indices).astype(np.int64)).to(loading_VD.device)
    place_V = torch.zeros(len(loading_VD), dtype=torch.int64, device=loading_VD.device)
    place_V[genes] = torch.arange(len(genes), device=genes.device)
    upper, lower = torch.triu_indices(num_dimensions, num_dimensions, device=genes.device)  # of the symmetric second moments one half is summed
    square_GS = torch.zeros(len(genes), len(upper), device=genes.device)
    cross_GD = torch.zeros(len(genes), num_dimensions, device=genes.device)
    total, num = 0.0, 0
    for start in range(0, bins_NV.shape[0], CHUNK_CELLS):
        cells = _padded(bins_NV[start : start + CHUNK_CELLS], model.mean_V)
        z_BD, covariance_BDD = _posterior(cells, loading_VD, model.noise)
        second_BS = covariance_BDD[:, upper, lower] + z_BD[:, upper] * z_BD[:, lower]
        cell_E, _ = torch.nonzero(cells.is_there_BL, as_tuple=True)
        gene_E = place_V[cells.gene_BL[cells.is_there_BL]]
        residual_E = cells.residual_BL[cells.is_there_BL]
        square_GS += _sums_by_gene(gene_E, cell_E, torch.ones_like(residual_E), second_BS, len(genes))
        cross_GD += _sums_by_gene(gene_E, cell_E, residual_E, z_BD, len(genes))
        total += float(residual_E.square().sum())
        num += len(residual_E)
    square_GDD = torch.empty(len(genes), num_dimensions, num_dimensions, device=genes.device)
    square_GDD[:, upper, lower] = square_GDD[:, lower, upper] = square_GS
    ridge = model.noise * torch.eye(num_dimensions, device=genes.device)
    found_GD = torch.linalg.solve(square_GDD + ridge, cross_GD)
    # expected squared error of the new loadings
    error = total - 2 * float((found_GD * cross_GD).sum()) + float(torch.einsum("gd,gde,ge->", found_GD, square_GDD, found_GD))
    new_VD = torch.zeros_like(loading_VD)
    new_VD[genes] = found_GD
    return LowRank(mean_V=model.mean_V, loading_VD=new_VD, noise=max(error / max(num, 1), MIN_NOISE))


def _sums_by_gene(gene_E: Tensor, cell_E: Tensor, value_E: Tensor, moments_BS: Tensor, num_genes: int) -> Tensor:
    """Sum moments of the cells that express each gene, times the values of the entries, [G, S].

    Where a cell expresses many of the genes, the product with zeros filled in is the faster one.
    """
    shape = (num_genes, len(moments_BS))
    if len(value_E) > DENSE_SHARE * shape[0] * shape[1]:
        weight_GB = torch.zeros(shape, device=value_E.device)
        weight_GB[gene_E, cell_E] = value_E
        return weight_GB @ moments_BS
    weights = torch.sparse_coo_tensor(torch.stack([gene_E, cell_E]), value_E, shape, check_invariants=False)
    summed: Tensor = torch.sparse.mm(weights, moments_BS)
    return summed
