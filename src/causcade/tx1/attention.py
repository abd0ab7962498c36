"""Self-attention over real tokens only: cells are laid end to end, without pads, and each attends within itself.

Every map that acts on one token at a time runs on the packed tokens [T, D]; only attention needs to know where a cell begins. How it runs:

* all cells equally long: one call of `scaled_dot_product_attention` without a mask, which is what flash and cuDNN kernels need;
* on a GPU in half precision: torch's own `varlen_attn`, flash attention told where cells begin. Preferred to nested jagged tensors, which reach the
  same kernel but keep their lengths where `torch.compile` and FSDP do not follow;
* elsewhere: one call for each group of equally long cells. Cells are packed in the order of their lengths, so a group is a view, not a copy.

Pads are never keys because there are none. Positions that are no keys to others (`hide_masked`) need a mask, so that rule costs more.

Axes: B cells, L positions of the padded batch, T real tokens of all cells, H heads, D dimensions, E dimensions of a head.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention

from causcade.errors import InputError
from causcade.tx1.batch import TokenBatch

__all__ = ["TokenLayout", "attend", "lay_out"]

FLASH_CAPABILITY = (8, 0)  # oldest compute capability that flash attention runs on


@lru_cache(maxsize=1)
def _varlen_attn() -> Any:
    """Torch's attention over cells laid end to end, None before torch 2.10; a second to import, so only where a GPU is used."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn


class TokenLayout:
    """Where the real tokens of a batch lie when cells are packed end to end, shortest first.

    A plain class: sharding and compilation hand it through as it is.

    Attributes
    ----------
    row_T, column_T
        Place of each packed token in the batch [B, L].
    cell_T
        Packed cell of each token.
    first_B
        First token of each packed cell.
    rank_B
        Packed place of each cell of the batch.
    bounds
        First token of each packed cell and, last, their number; int32 [B + 1].
    groups
        First token, number of cells and length of each run of equally long cells.
    max_length, num_cells, num_tokens, padded
        Longest cell, B, T, and (B, L).
    is_even
        Whether all cells are equally long.
    is_hidden_T
        Tokens that are no keys to others; None: all are keys.
    varlen_attn
        Torch's attention over cells laid end to end; None where it cannot run.
    """

    def __init__(self, lengths: np.ndarray, padded: tuple[int, int], device: torch.device) -> None:
        order = np.argsort(lengths, kind="stable")
        sorted_lengths = lengths[order]
        bounds = np.concatenate([[0], np.cumsum(sorted_lengths)])
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        heads = np.flatnonzero(np.diff(sorted_lengths, prepend=-1))
        sizes = np.diff(heads, append=len(order))
        self.groups = [(int(bounds[head]), int(size), int(sorted_lengths[head])) for head, size in zip(heads, sizes, strict=True)]
        self.padded = padded
        self.num_tokens = int(bounds[-1])
        self.max_length = int(sorted_lengths[-1]) if len(order) else 0
        self.num_cells = len(order)
        self.is_even = len(self.groups) == 1
        self.bounds = torch.as_tensor(bounds, dtype=torch.int32).to(device, non_blocking=True)
        self.first_B = torch.as_tensor(bounds[:-1], dtype=torch.int64).to(device, non_blocking=True)
        self.rank_B = torch.as_tensor(rank).to(device, non_blocking=True)
        length_B = torch.as_tensor(sorted_lengths, dtype=torch.int64).to(device, non_blocking=True)
        order_B = torch.as_tensor(order).to(device, non_blocking=True)
        # The size is told, or a GPU would have to be asked.
        self.cell_T = torch.repeat_interleave(torch.arange(len(order), device=device), length_B, output_size=self.num_tokens)
        self.row_T = order_B[self.cell_T]
        self.column_T = torch.arange(self.num_tokens, device=device) - self.first_B[self.cell_T]
        self.is_hidden_T: torch.Tensor | None = None
        self.varlen_attn: Any = _varlen_attn() if device.type == "cuda" else None

    def pack(self, padded: torch.Tensor) -> torch.Tensor:
        """Take the real tokens: [B, L] to [T]."""
        return padded[self.row_T, self.column_T]

    def means(self, packed_TD: torch.Tensor, is_masked_T: torch.Tensor | None) -> torch.Tensor:
        """Mean over the tokens of each packed cell whose value is not hidden, `<cls>` among them: [T, D] to [B, D], summed in float32."""
        shown_T1 = torch.ones_like(packed_TD[:, :1]) if is_masked_T is None else (~is_masked_T).to(packed_TD.dtype)[:, None]
        sum_BD = packed_TD.new_zeros((self.num_cells, packed_TD.shape[1]), dtype=torch.float32)
        num_B1 = sum_BD.new_zeros((self.num_cells, 1))
        sum_BD = sum_BD.index_add(0, self.cell_T, (packed_TD * shown_T1).float())
        return (sum_BD / num_B1.index_add(0, self.cell_T, shown_T1.float())).to(packed_TD.dtype)

    def unpack(self, packed: torch.Tensor) -> torch.Tensor:
        """Put tokens back to where they were, 0 at pads: [T, ...] to [B, L, ...]."""
        # Not a view of a flat tensor: sharded modules may not return views.
        return packed.new_zeros((*self.padded, *packed.shape[1:])).index_put((self.row_T, self.column_T), packed)


def lay_out(batch: TokenBatch, *, least: int = 1) -> TokenLayout:
    """Find where the real tokens of a batch go.

    Parameters
    ----------
    batch
        The cells.
    least
        Fewest positions of a cell: its special tokens.

    Raises
    ------
    InputError
        If a cell has fewer positions, or pads stand before real positions.
    """
    num_cells, num_positions = batch.gene_BL.shape
    if batch.lengths is None:
        lengths = batch.is_real_BL.sum(dim=1).cpu().numpy()
        is_prefix = torch.arange(num_positions, device=batch.is_real_BL.device) < torch.as_tensor(lengths, device=batch.is_real_BL.device)[:, None]
        if not torch.equal(is_prefix, batch.is_real_BL):
            raise InputError("Expected pads at the end of each cell, found a pad before a real position. Move pads to the end.")
    else:
        lengths = np.asarray(batch.lengths, dtype=np.int64)
        if len(lengths) != num_cells:
            raise InputError(f"Expected a length for each of {num_cells} cells, found {len(lengths)}. Leave `lengths` out to have them counted.")
    if num_cells and (lengths.min() < least or lengths.max() > num_positions):
        raise InputError(
            f"Expected {least} to {num_positions} real positions in each cell, found {lengths.min()} to {lengths.max()}. "
            "Cells without a special token at their head cannot be embedded."
        )
    return TokenLayout(lengths, (num_cells, num_positions), batch.gene_BL.device)


@lru_cache(maxsize=8)
def _has_flash(device: torch.device) -> bool:
    """Whether flash attention runs on a GPU."""
    return torch.version.hip is None and torch.cuda.get_device_capability(device) >= FLASH_CAPABILITY


def _takes_bounds(q: torch.Tensor, layout: TokenLayout) -> bool:
    """Whether `varlen_attn` runs on these tensors."""
    return layout.varlen_attn is not None and q.dtype in (torch.float16, torch.bfloat16) and _has_flash(q.device)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layout: TokenLayout) -> torch.Tensor:
    """Attention of each cell within itself, over all its keys.

    Parameters
    ----------
    q
        Queries [T, H, E] of all tokens, or [B, H, E] of the first token of each packed cell.
    k, v
        Keys and values [T, H, E].
    layout
        Of the tokens.

    Returns
    -------
    torch.Tensor
        Shape of `q`.
    """
    is_whole = q.shape[0] == k.shape[0]
    if layout.is_hidden_T is not None:
        return _attend_groups(q, k, v, layout)  # type: ignore[no-any-return]
    if layout.is_even:
        return _attend_equal(q, k, v, layout.num_cells, None)
    if _takes_bounds(q, layout):
        bounds_q = layout.bounds if is_whole else torch.arange(q.shape[0] + 1, dtype=torch.int32, device=q.device)
        out = layout.varlen_attn(q, k, v, bounds_q, layout.bounds, layout.max_length if is_whole else 1, layout.max_length)
        assert isinstance(out, torch.Tensor)
        return out
    return _attend_groups(q, k, v, layout)  # type: ignore[no-any-return]


def _attend_equal(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, num_cells: int, is_key: torch.Tensor | None) -> torch.Tensor:
    """Attention of equally long cells."""
    q_BHLE, k_BHLE, v_BHLE = (part.view(num_cells, -1, *part.shape[1:]).transpose(1, 2) for part in (q, k, v))
    return scaled_dot_product_attention(q_BHLE, k_BHLE, v_BHLE, attn_mask=is_key).transpose(1, 2).flatten(0, 1)


# A loop over groups would be compiled anew for each batch.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def _attend_groups(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layout: TokenLayout) -> torch.Tensor:
    """Attention of each group of equally long cells in turn."""
    if not layout.groups:
        return torch.zeros_like(q)
    is_whole, parts, cell = q.shape[0] == k.shape[0], [], 0
    for start, num_cells, length in layout.groups:
        stop = start + num_cells * length
        q_part = q[start:stop] if is_whole else q[cell : cell + num_cells]
        is_key = None
        if layout.is_hidden_T is not None:
            is_key = _visible(layout.is_hidden_T[start:stop].view(num_cells, length), length if is_whole else 1)
        parts.append(_attend_equal(q_part, k[start:stop], v[start:stop], num_cells, is_key))
        cell += num_cells
    return torch.cat(parts)


def _visible(is_hidden_BL: torch.Tensor, num_queries: int) -> torch.Tensor:
    """Which keys each query sees, [B, 1, num_queries, L]: those not hidden, and itself."""
    is_self = torch.eye(num_queries, is_hidden_BL.shape[1], dtype=torch.bool, device=is_hidden_BL.device)
    return ~is_hidden_BL[:, None, None, :] | is_self
