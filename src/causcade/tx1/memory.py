"""What to do where memory runs out: smaller batches.

Axes: B cells, L positions.
"""

from __future__ import annotations

import torch

from causcade.tx1.batch import TokenBatch
from causcade.tx1.stream import Micro

__all__ = ["cut_micros", "is_out_of_memory", "part_of"]

NO_MEMORY = ("can't allocate memory", "not enough memory")


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of torch says that memory ran out: its own kind on a GPU, a text on a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in NO_MEMORY)


def part_of(batch: TokenBatch, cells: slice) -> TokenBatch:
    """Take some cells of a batch."""
    return batch._replace(**{name: values[cells] for name, values in batch._asdict().items() if values is not None})


def cut_micros(micros: list[Micro], most_positions: int) -> list[Micro]:
    """Halve micro-batches of several cells until none has more than `most_positions` positions, pads included."""
    found = []
    for micro in micros:
        num_cells = len(micro.batch.gene_BL)
        if micro.batch.gene_BL.numel() <= most_positions or num_cells == 1:
            found.append(micro)
            continue
        for cells in (slice(0, num_cells // 2), slice(num_cells // 2, None)):
            batch = part_of(micro.batch, cells)
            num_masked = 0 if batch.is_masked_BL is None else int(batch.is_masked_BL.sum())
            found += cut_micros([Micro(batch, micro.target_BL[cells], num_masked)], most_positions)
    return found
