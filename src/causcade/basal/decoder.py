"""The decoder itself, f(z) = mean + A z + B gelu(C z), and its file.

Axes: B cells of a batch, D embedding dimensions, G genes of the panel.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from causcade.files import write_tensors

__all__ = ["BasalDecoder", "read_decoder", "write_decoder"]


class BasalDecoder(nn.Module):
    """f(z) = mean + A z + B gelu(C z), with z standardised by fixed constants. A and B start at 0, so that an untrained f is its bias."""

    z_mean: torch.Tensor
    z_sd: torch.Tensor

    def __init__(self, num_dimensions: int, num_hidden: int, num_genes: int) -> None:
        super().__init__()
        self.register_buffer("z_mean", torch.zeros(num_dimensions))
        self.register_buffer("z_sd", torch.ones(num_dimensions))
        self.linear = nn.Linear(num_dimensions, num_genes)
        self.hidden = nn.Linear(num_dimensions, num_hidden)
        self.output = nn.Linear(num_hidden, num_genes, bias=False)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.output.weight)

    def forward(self, z_BD: torch.Tensor) -> torch.Tensor:
        """Predicted x [B, G] from embeddings [B, D]."""
        z = (z_BD - self.z_mean) / self.z_sd
        return self.linear(z) + self.output(nn.functional.gelu(self.hidden(z)))  # type: ignore[no-any-return]


def write_decoder(path: str | Path, decoder: BasalDecoder, gene_ids: Sequence[str]) -> None:
    """Write a decoder, with its gene axis in the metadata of the file, as JSON."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in decoder.state_dict().items()}
    write_tensors(path, tensors, {"gene_ids": json.dumps(list(gene_ids))})


def read_decoder(path: str | Path) -> tuple[BasalDecoder, list[str]]:
    """Read a decoder, frozen, and its gene axis."""
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        keys = list(file.keys())  # a safetensors handle is no mapping
        state: Mapping[str, torch.Tensor] = {name: file.get_tensor(name) for name in keys}
        gene_ids: list[str] = json.loads(file.metadata()["gene_ids"])
    num_hidden, num_dimensions = state["hidden.weight"].shape
    decoder = BasalDecoder(num_dimensions, num_hidden, len(gene_ids))
    decoder.load_state_dict(dict(state))
    decoder.eval().requires_grad_(requires_grad=False)
    return decoder, gene_ids
