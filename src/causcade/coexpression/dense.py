"""X'X of a block by dense products of matrices in torch: what a GPU runs, and what the CPU kernel is held against.

On a GPU a dense product beats every sparse way at the densities of single cells: tensor cores multiply zeros faster than anything can skip them. Only
the block triangle is multiplied. Blocks are copied while the one before is multiplied. Sums within a block are float32, across blocks float64.

The numbers that are multiplied, x less a constant of the gene or less what covariates explain of it, may be rounded (`precision`): `tf32` and `fp16`
keep 11 binary digits, `fp16_split` is a sum of two fp16 numbers and keeps 22. A result stays consistent if everything else is computed from the same
rounded x, which :meth:`DenseGram.rounded` gives.

Axes: B cells of a block, L covariates, G genes, W genes of a tile.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import scipy.sparse as sp

from causcade.coexpression.kernels import CovariateSums, common_shift, covariate_sums
from causcade.coexpression.packed import packed_length, row_start

if TYPE_CHECKING:
    import torch

__all__ = ["PRECISIONS", "DenseGram", "Precision", "round_to"]

Precision = Literal["float32", "tf32", "fp16_split", "fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

TILE_GENES = 2048
TF32_DROPPED_BITS = 13
# The lower half is multiplied by this before it is rounded, so that it is no subnormal fp16 number.
SPLIT_SCALE = 2.0**11
MAX_IN_FLIGHT = 2


def round_to(values: np.ndarray, precision: Precision) -> np.ndarray:
    """Round numbers to what a precision can hold, to nearest, ties to even.

    Parameters
    ----------
    values
        float32, any shape; magnitudes below 65,504.
    precision
        One of :data:`PRECISIONS`.

    Returns
    -------
    numpy.ndarray
        float32; the argument itself for `float32`.
    """
    if precision == "float32":
        return values
    if precision == "tf32":
        bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
        half = (1 << (TF32_DROPPED_BITS - 1)) - 1 + ((bits >> TF32_DROPPED_BITS) & 1)
        return ((bits + half.astype(np.uint32)) & np.uint32(0xFFFFFFFF << TF32_DROPPED_BITS & 0xFFFFFFFF)).view(np.float32)
    high = values.astype(np.float16).astype(np.float32)
    if precision == "fp16":
        return high
    low = ((values - high) * np.float32(SPLIT_SCALE)).astype(np.float16).astype(np.float32)
    return high + low / np.float32(SPLIT_SCALE)


@contextlib.contextmanager
def _products_in(precision: Precision) -> Iterator[None]:
    """Let float32 products of matrices run on tensor cores for `tf32`, and nowhere else."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _product(left_BW: torch.Tensor, right_BG: torch.Tensor) -> torch.Tensor:
    """Multiply left' right, as float32; a CPU multiplies fp16 numbers as float32, which holds them and is how a GPU sums them."""
    import torch

    if left_BW.dtype == torch.float16 and left_BW.is_cuda:
        return torch.mm(left_BW.T, right_BG, out_dtype=torch.float32)
    return left_BW.float().T @ right_BG.float()


class DenseGram:
    """Sum X'X over blocks of cells.

    Parameters
    ----------
    num_genes
        Genes of a block.
    device
        Where to multiply, as torch names it.
    precision
        What numbers are rounded to.
    beta_LG
        Coefficients of L covariates, float64 [L, G]; C beta is taken from the genes while they are summed. Where numbers are rounded, one
        row, for a column of ones, is all that keeps x sparse. None: a constant of each gene, that of the first block, see
        :func:`causcade.coexpression.kernels.common_shift`. Coefficients are rounded to `precision` themselves, so that the zeros of a gene, which
        become minus a constant, stay exact.
    """

    def __init__(
        self,
        num_genes: int,
        *,
        device: str = "cpu",
        precision: Precision = "float32",
        beta_LG: np.ndarray | None = None,
    ) -> None:
        import torch

        if beta_LG is not None and precision != "float32" and len(beta_LG) > 1:
            raise ValueError(f"expected one coefficient for each gene with numbers in {precision}, found {len(beta_LG)}")
        self._num_genes, self._device, self._precision = num_genes, torch.device(device), precision
        self._has_covariates = beta_LG is not None
        self._beta_LG = None if beta_LG is None else self._as_taken(beta_LG)
        self._tiles = [
            torch.zeros((min(TILE_GENES, num_genes - start), num_genes - start), dtype=torch.float64, device=device)
            for start in range(0, num_genes, TILE_GENES)
        ]
        self._sums_G, self._squares_G = np.zeros(num_genes), np.zeros(num_genes)
        self._num_cells = 0
        self._beta_on_device: torch.Tensor | None = None
        self._copies = torch.cuda.Stream(device) if self._device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._in_flight: deque[torch.cuda.Event] = deque()

    def _as_taken(self, beta_LG: np.ndarray) -> np.ndarray:
        if self._precision != "float32":
            beta_LG = round_to(beta_LG.astype(np.float32), self._precision)
        return np.ascontiguousarray(beta_LG, dtype=np.float64)

    def rounded(self, x_BG: sp.csr_matrix) -> sp.csr_matrix:
        """Round a block as it will be multiplied: x less the shift of its gene is rounded, the shift put back. The first block fixes the shifts."""
        if self._beta_LG is None:
            self._beta_LG = self._as_taken(common_shift(x_BG)[None])
        if self._precision == "float32" or len(self._beta_LG) == 0:
            return x_BG
        shift_E = self._beta_LG[0].astype(np.float32)[x_BG.indices]
        return sp.csr_matrix((round_to(x_BG.data - shift_E, self._precision) + shift_E, x_BG.indices, x_BG.indptr), shape=x_BG.shape)

    def add(self, x_BG: sp.csr_matrix, c_BL: np.ndarray | None = None) -> None:
        """Add a block of cells. On a GPU it returns before the block is multiplied.

        Parameters
        ----------
        x_BG
            From :meth:`rounded`; shape [B, G], at most one entry per cell and gene.
        c_BL
            Covariates that `beta_LG` belongs to, float64 [B, L].
        """
        if x_BG.shape[1] != self._num_genes:
            raise ValueError(f"expected {self._num_genes} genes, found a block of shape {x_BG.shape}")
        if (c_BL is not None) != self._has_covariates:
            raise ValueError("expected covariates of the cells if and only if their coefficients were given")
        if x_BG.shape[0] == 0:
            return
        x_BG = self.rounded(x_BG)  # changes nothing in a block that is rounded already
        self._sums_G += np.bincount(x_BG.indices, weights=x_BG.data, minlength=self._num_genes)
        self._squares_G += np.bincount(x_BG.indices, weights=np.square(x_BG.data, dtype=np.float64), minlength=self._num_genes)
        self._num_cells += x_BG.shape[0]
        with _products_in(self._precision):
            self._multiply(self._dense(x_BG, np.ones((x_BG.shape[0], 1)) if c_BL is None else c_BL))

    def _dense(self, x_BG: sp.csr_matrix, c_BL: np.ndarray) -> torch.Tensor:
        """Copy a block to the device and write it out, less the shift or what the covariates explain."""
        import torch

        parts = [torch.from_numpy(np.ascontiguousarray(part)) for part in (np.diff(x_BG.indptr).astype(np.int64), x_BG.indices, x_BG.data)]
        if self._copies is not None:
            while len(self._in_flight) >= MAX_IN_FLIGHT:
                self._in_flight.popleft().synchronize()
            with torch.cuda.stream(self._copies):
                parts = [part.pin_memory().to(self._device, non_blocking=True) for part in parts]
            torch.cuda.current_stream(self._device).wait_stream(self._copies)
            for part in parts:
                part.record_stream(torch.cuda.current_stream(self._device))
        lengths_B, genes_E, values_E = parts
        cells_E = torch.repeat_interleave(torch.arange(len(lengths_B), device=self._device), lengths_B, output_size=len(genes_E))
        dense_BG = torch.zeros((len(lengths_B), self._num_genes), device=self._device)
        dense_BG[cells_E, genes_E.long()] = values_E
        dense_BG -= (torch.from_numpy(c_BL).to(self._device) @ self._beta()).float()
        return dense_BG

    def _beta(self) -> torch.Tensor:
        """Coefficients on the device; copied once."""
        import torch

        if self._beta_on_device is None:
            beta_LG = np.zeros((1, self._num_genes)) if self._beta_LG is None else self._beta_LG
            self._beta_on_device = torch.from_numpy(beta_LG).to(self._device)
        return self._beta_on_device

    def _multiply(self, dense_BG: torch.Tensor) -> None:
        """Add the products of the tiles on and right of the diagonal."""
        import torch

        if self._precision in ("float32", "tf32"):
            high_BG, low_BG = dense_BG, None
        else:
            high_BG = dense_BG.half()
            low_BG = ((dense_BG - high_BG.float()) * SPLIT_SCALE).half() if self._precision == "fp16_split" else None
        for number, tile in enumerate(self._tiles):
            rows, rest = slice(number * TILE_GENES, number * TILE_GENES + len(tile)), slice(number * TILE_GENES, None)
            tile += _product(high_BG[:, rows], high_BG[:, rest])
            if low_BG is not None:
                mixed = _product(high_BG[:, rows], low_BG[:, rest]) + _product(low_BG[:, rows], high_BG[:, rest])
                tile.add_(mixed.double(), alpha=1 / SPLIT_SCALE)
        if self._copies is not None:
            self._in_flight.append(torch.cuda.current_stream(self._device).record_event())

    def finish(self, sxc_LG: np.ndarray | None = None, scc_LL: np.ndarray | None = None) -> np.ndarray:
        """Return X'X as a packed upper triangle, float64, shape [G (G + 1) / 2]; the object is of no use after.

        Parameters
        ----------
        sxc_LG, scc_LL
            C'X and C'C over all blocks, float64, of the covariates that were given to :meth:`add`; None for constants.
        """
        import torch

        ones = CovariateSums(self._sums_G[None], np.full((1, 1), float(self._num_cells)))
        sxc_LG, scc_LL = covariate_sums(sxc_LG, scc_LL, of_ones=None if self._has_covariates else ones)
        beta = self._beta()
        sxc = torch.from_numpy(np.ascontiguousarray(sxc_LG)).to(self._device)
        rest = sxc - torch.from_numpy(scc_LL).to(self._device) @ beta
        upper = np.empty(packed_length(self._num_genes))
        for number, tile in enumerate(self._tiles):
            start = number * TILE_GENES
            rows = slice(start, start + len(tile))
            # with x = r + C beta, X'X = R'R + X'C beta + beta' (C'X - C'C beta)
            full = tile.addmm_(sxc[:, rows].T, beta[:, start:]).addmm_(beta[:, rows].T, rest[:, start:]).cpu().numpy()
            self._tiles[number] = tile[:0].clone()  # frees its memory
            for row in range(len(full)):
                gene = start + row
                upper[row_start(gene, self._num_genes) : row_start(gene + 1, self._num_genes)] = full[row, row:]
                upper[row_start(gene, self._num_genes)] = self._squares_G[gene]
        return upper
