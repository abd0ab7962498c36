"""Inner loops of the CPU kernel, compiled by numba; they release the GIL, and :mod:`causcade.coexpression.kernels` shares them out among threads.

Genes are numbered by rank: 0 is the one seen in most cells. The first M ranks are `multiplied` (dense products of matrices), the first D >= M are
`dense` (kept as dense columns beside the sparse ones). Sums go to the lower triangle in the order of ranks, packed by rows: pair (i, j <= i) is at
i (i + 1) / 2 + j.

Axes: B cells of a block, L covariates, S sub-blocks, G genes, M multiplied and D dense ones, R = G - M sparse ones, T panels of W dense columns,
E entries of a sub-block.
"""

from __future__ import annotations

import numba as nb
import numpy as np

__all__ = ["add_panel", "add_tile", "multiply_panel", "scatter", "split", "to_upper"]

# Fused multiply-add; nothing is reordered, so that results do not depend on how loops are shared out.
CONTRACT = {"contract"}


@nb.njit(nogil=True, cache=True)
def split(
    indptr,
    indices,
    data,
    rank_G,
    first,
    last,
    multiplied_BM,
    panels_TBW,
    c_BL,
    beta_LD,
    starts,
    cells,
    values,
    heads,
    row_starts,
    row_genes,
    row_values,
    sums_2G,
):
    """Split cells `first` to `last` of a block into their dense and their sparse part.

    Dense columns hold x - C beta. The sparse part is held twice: by gene (`starts` [R + 1], `cells`, `values` [E]; every gene from rank M on) and by
    cell (`row_starts` [B + 1], `row_genes` = rank - D in ascending order, `row_values`; genes from rank D on); `heads` tells where an entry of the
    first stands in the second. `sums_2G` gets the sums of x and of its square by rank.
    """
    _take_fitted(first, last, multiplied_BM, panels_TBW, c_BL, beta_LD)
    num_multiplied, num_dense = multiplied_BM.shape[1], beta_LD.shape[1]
    _fill_dense(indptr, indices, data, rank_G, first, last, num_dense, multiplied_BM, panels_TBW, starts, sums_2G)
    if starts.size > 1:
        _list_by_gene(indptr, indices, data, rank_G, first, last, num_multiplied, num_dense, starts, cells, values, row_starts)
        _list_by_cell(num_dense - num_multiplied, starts, cells, values, heads, row_starts, row_genes, row_values)


@nb.njit(nogil=True, cache=True)
def _take_fitted(first, last, multiplied_BM, panels_TBW, c_BL, beta_LD):
    """Set the dense columns of some cells to what is taken from them, - C beta."""
    num_multiplied, num_dense, width = multiplied_BM.shape[1], beta_LD.shape[1], panels_TBW.shape[2]
    fitted_D = np.empty(num_dense)
    for cell in range(first, last):
        fitted_D[:] = 0
        for covariate in range(beta_LD.shape[0]):
            weight = c_BL[cell, covariate]
            if weight != 0:  # a cell has one level of a text, and none of the others
                for column in range(num_dense):
                    fitted_D[column] += weight * beta_LD[covariate, column]
        for column in range(num_multiplied):
            multiplied_BM[cell, column] = -fitted_D[column]
        for panel in range(panels_TBW.shape[0]):
            begin = panel * width
            for column in range(min(width, num_dense - begin)):
                panels_TBW[panel, cell, column] = -fitted_D[begin + column]


@nb.njit(nogil=True, cache=True)
def _fill_dense(indptr, indices, data, rank_G, first, last, num_dense, multiplied_BM, panels_TBW, starts, sums_2G):
    """Add the entries to the dense columns and to the sums, and count those of each sparse gene: `starts` becomes where each begins."""
    num_multiplied, width = multiplied_BM.shape[1], panels_TBW.shape[2]
    starts[:] = 0
    sums_2G[:] = 0
    has_panels = panels_TBW.shape[0] > 0
    for cell in range(first, last):
        for entry in range(indptr[cell], indptr[cell + 1]):
            rank, value = rank_G[indices[entry]], data[entry]
            sums_2G[0, rank] += value
            sums_2G[1, rank] += np.float64(value) * value
            if rank < num_multiplied:
                multiplied_BM[cell, rank] += value
            else:
                starts[rank - num_multiplied + 1] += 1
            if has_panels and rank < num_dense:
                panels_TBW[rank // width, cell, rank % width] += value
    for gene in range(starts.size - 1):
        starts[gene + 1] += starts[gene]


@nb.njit(nogil=True, cache=True)
def _list_by_gene(indptr, indices, data, rank_G, first, last, num_multiplied, num_dense, starts, cells, values, row_starts):
    """List the cells and values of each sparse gene, and count the entries of each cell that are in no dense column: `row_starts`."""
    following = starts[:-1].copy()
    row_starts[0] = 0
    for cell in range(first, last):
        count = 0
        for entry in range(indptr[cell], indptr[cell + 1]):
            rank = rank_G[indices[entry]]
            if rank >= num_multiplied:
                place = following[rank - num_multiplied]
                following[rank - num_multiplied] = place + 1
                cells[place] = cell - first
                values[place] = data[entry]
                count += rank >= num_dense
        row_starts[cell - first + 1] = row_starts[cell - first] + count


@nb.njit(nogil=True, cache=True)
def _list_by_cell(first_gene, starts, cells, values, heads, row_starts, row_genes, row_values):
    """List sparse genes `first_gene`.. of each cell; genes in ascending order fill the rows in ascending order."""
    following = row_starts[:-1].copy()
    for gene in range(first_gene, starts.size - 1):
        for place in range(starts[gene], starts[gene + 1]):
            cell = cells[place]
            head = following[cell]
            following[cell] = head + 1
            row_genes[head] = gene - first_gene
            row_values[head] = values[place]
            heads[place] = head


@nb.njit(nogil=True, cache=True, fastmath=CONTRACT)
def scatter(stripe, num_stripes, num_multiplied, num_dense, starts, cells, values, heads, row_starts, row_genes, row_values, lower):
    """Add the products of pairs of sparse genes; every `num_stripes`-th gene from rank D + `stripe` on."""
    num_genes = starts.shape[1] - 1 + num_multiplied
    for rank in range(num_dense + stripe, num_genes, num_stripes):
        begin = rank * (rank + 1) // 2 + num_dense
        row = lower[begin : begin + rank - num_dense + 1]
        gene = rank - num_multiplied
        for sub in range(starts.shape[0]):
            for place in range(starts[sub, gene], starts[sub, gene + 1]):
                value, cell = values[sub, place], cells[sub, place]
                for entry in range(row_starts[sub, cell], heads[sub, place] + 1):
                    row[row_genes[sub, entry]] += value * row_values[sub, entry]


@nb.njit(nogil=True, cache=True, fastmath=CONTRACT)
def multiply_panel(panel_BW, sub_cells, first_gene, starts, cells, values, product_RW):
    """Add to `product_RW` the product of sparse genes `first_gene`.. with the columns of one panel, four cells at a time."""
    width = panel_BW.shape[1]
    for sub in range(starts.shape[0]):
        part = panel_BW[sub * sub_cells : (sub + 1) * sub_cells]
        for gene in range(first_gene, starts.shape[1] - 1):
            row = product_RW[gene]
            place, end = starts[sub, gene], starts[sub, gene + 1]
            while place + 4 <= end:
                value0, value1, value2, value3 = values[sub, place], values[sub, place + 1], values[sub, place + 2], values[sub, place + 3]
                part0, part1 = part[cells[sub, place]], part[cells[sub, place + 1]]
                part2, part3 = part[cells[sub, place + 2]], part[cells[sub, place + 3]]
                for column in range(width):
                    row[column] += value0 * part0[column] + value1 * part1[column] + value2 * part2[column] + value3 * part3[column]
                place += 4
            while place < end:
                value0, part0 = values[sub, place], part[cells[sub, place]]
                for column in range(width):
                    row[column] += value0 * part0[column]
                place += 1


@nb.njit(nogil=True, cache=True)
def add_panel(product_RW, first_gene, first_column, num_multiplied, num_dense, lower):
    """Move the product of a panel, whose first column has rank `first_column`, to the sums, and clear it."""
    width = product_RW.shape[1]
    for gene in range(first_gene, product_RW.shape[0]):
        rank = gene + num_multiplied
        begin = rank * (rank + 1) // 2 + first_column
        for column in range(min(width, num_dense - first_column, rank + 1 - first_column)):
            lower[begin + column] += product_RW[gene, column]
        product_RW[gene, :] = 0


@nb.njit(nogil=True, cache=True)
def add_tile(tile, first_row, first_column, lower):
    """Add a tile of the product of dense columns, from the diagonal down, to the sums."""
    for row in range(tile.shape[0]):
        rank = first_row + row
        begin = rank * (rank + 1) // 2 + first_column
        for column in range(min(tile.shape[1], rank + 1 - first_column)):
            lower[begin + column] += tile[row, column]


@nb.njit(nogil=True, cache=True)
def to_upper(first, last, rank_G, lower, square_G, upper):
    """Write rows `first` to `last` of the packed upper triangle in the order of the genes; `square_G` is the diagonal, by rank."""
    num_genes = rank_G.size
    for gene in range(first, last):
        place = gene * num_genes - gene * (gene - 1) // 2
        upper[place] = square_G[rank_G[gene]]
        for other in range(gene + 1, num_genes):
            high, low = max(rank_G[gene], rank_G[other]), min(rank_G[gene], rank_G[other])
            upper[place + other - gene] = lower[high * (high + 1) // 2 + low]
