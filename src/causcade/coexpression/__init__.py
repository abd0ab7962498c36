"""Residual coexpression from sums: one pass over the cells, exact, additive over shards and plates.

- `blocks`, `preparation`: counts to blocks of x and covariates; `kernels`, `dense`: X'X of a block on a CPU and a GPU
- `centring`: what covariates explain of a gene, which is put back in float64 rather than multiplied in float32
- `moments`: the sums of a plate or shard, and their addition; `packed`: half a symmetric matrix
- `correlation`, `partners`: what the sums say of pairs of genes; `lines`: the same for each cell line by itself
"""

from causcade.coexpression.correlation import Coexpression, residual_correlation, write_coexpression
from causcade.coexpression.kernels import KERNEL_CELLS
from causcade.coexpression.lines import coexpression_by_line, measure_moments_by_line
from causcade.coexpression.moments import Moments, add_moments, measure_moments, read_moments, shard_range, sum_options, write_moments
from causcade.coexpression.partners import top_partners

__all__ = [
    "KERNEL_CELLS",
    "Coexpression",
    "Moments",
    "add_moments",
    "coexpression_by_line",
    "measure_moments",
    "measure_moments_by_line",
    "read_moments",
    "residual_correlation",
    "shard_range",
    "sum_options",
    "top_partners",
    "write_coexpression",
    "write_moments",
]
