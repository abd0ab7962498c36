"""What goes into the model and what comes out of it.

Axes: B cells of a batch, L positions of a cell (`<cls>`, `<drug>` if the model has drugs, then genes; pads at the end), D dimensions of the model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

__all__ = ["TokenBatch", "Tx1Output"]


class TokenBatch(NamedTuple):
    """Tokens of some cells, padded to the longest.

    Attributes
    ----------
    gene_BL
        Ids in the vocabulary, int64 [B, L]; position 0 is `<cls>`, position 1 `<drug>` where the model has drugs.
    value_BL
        Bins (or raw counts) as float32 [B, L]. What stands at masked positions is never read.
    is_real_BL
        False at pads, bool [B, L]. The real positions of a cell are its first ones.
    is_masked_BL
        Positions whose value the model has to tell, bool [B, L]; None: no position.
    drug_B
        Row of each cell's drug in the table of drugs, int64 [B]; None where the model has no drugs.
    lengths
        Number of real positions of each cell, on the host; None: counted from `is_real_BL`, which costs a GPU a pause.
    """

    gene_BL: torch.Tensor
    value_BL: torch.Tensor
    is_real_BL: torch.Tensor
    is_masked_BL: torch.Tensor | None = None
    drug_B: torch.Tensor | None = None
    lengths: tuple[int, ...] | None = None

    def to(self, device: torch.device | str) -> TokenBatch:
        """Copy the batch to `device`, beside other work if its memory is pinned. Lengths are counted first, while that is cheap."""
        lengths = self.lengths if self.lengths is not None else tuple(self.is_real_BL.sum(dim=1).tolist())
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))._replace(lengths=lengths)

    def pin_memory(self) -> TokenBatch:
        """Copy the batch to page-locked memory."""
        return self._map(torch.Tensor.pin_memory)

    def _map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> TokenBatch:
        return TokenBatch(
            change(self.gene_BL),
            change(self.value_BL),
            change(self.is_real_BL),
            None if self.is_masked_BL is None else change(self.is_masked_BL),
            None if self.drug_B is None else change(self.drug_B),
            self.lengths,
        )


class Tx1Output(NamedTuple):
    """What the model says of a batch.

    Attributes
    ----------
    cell_BD
        Embedding of each cell [B, D], not normalised: final hidden state of `<cls>`, or the mean over its tokens.
    hidden_BLD
        Final hidden states [B, L, D], 0 at pads; None if only cells were asked for.
    expression_BL
        Expression told from the hidden state of each position [B, L], 0 at pads ([B, L, n] if the decoder has n > 1 outputs); None unless decoded.
    product_BL
        Expression told from the gene and the cell's embedding [B, L], 0 at pads; None unless decoded.
    """

    cell_BD: torch.Tensor
    hidden_BLD: torch.Tensor | None = None
    expression_BL: torch.Tensor | None = None
    product_BL: torch.Tensor | None = None
