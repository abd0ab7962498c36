"""TX1: a transformer without positions over the expressed genes of a cell, with two decoders of expression.

A token is a gene and its value. Genes are looked up, values go through a small network, both are added; in training the value of a masked gene is
replaced by a flag. `<cls>` gathers the cell. The first decoder tells a gene's expression from its hidden state, the second from the gene and `<cls>`.
Parameters have the names and shapes of the published checkpoints (Tahoe-x1, github.com/tahoebio/tahoe-x1, 1.0.0).

Axes: B cells, L positions of the padded batch, T real tokens of all cells, D dimensions of the model, N rows of the table of drugs, P bits of a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from causcade.errors import InputError
from causcade.tx1.attention import TokenLayout, attend, lay_out
from causcade.tx1.batch import TokenBatch, Tx1Output
from causcade.tx1.shape import DrugShape, ModelShape, Pooling

__all__ = ["Tx1"]

_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "leaky_relu": functional.leaky_relu,
    "silu": functional.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


def _rows(table_BD: torch.Tensor, cell_T: torch.Tensor) -> torch.Tensor:
    """Rows of a table [T, D], many times the same one, with a gradient that is summed in one order.

    On a CPU the gradient of `table[rows]` is summed by several threads at once, in the order in which they come; on a GPU that of `index_select` is.
    """
    return table_BD.index_select(0, cell_T) if table_BD.device.type == "cpu" else table_BD[cell_T]


class _Linear(nn.Linear):
    """A linear map whose weights are set by :meth:`Tx1.initialise` or read, never twice."""

    def reset_parameters(self) -> None:
        pass


class _Table(nn.Embedding):
    """A lookup table whose rows are set by :meth:`Tx1.initialise` or read."""

    def reset_parameters(self) -> None:
        pass


class _GeneEncoder(nn.Module):
    """Embedding of a gene's identity."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.embedding = _Table(shape.vocab_size, shape.d_model, padding_idx=0)
        self.enc_norm = nn.LayerNorm(shape.d_model, eps=shape.norm_eps) if shape.gene_norm else nn.Identity()

    def forward(self, gene_T: torch.Tensor) -> torch.Tensor:
        """[T] ids to [T, D]."""
        return self.enc_norm(self.embedding(gene_T))  # type: ignore[no-any-return]


class _ExpressionEncoder(nn.Module):
    """Embedding of a value."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.linear1 = _Linear(1, shape.d_model)
        self.linear2 = _Linear(shape.d_model, shape.d_model)
        self.norm = nn.LayerNorm(shape.d_model, eps=shape.norm_eps) if shape.expression_norm else nn.Identity()
        self.dropout = nn.Dropout(shape.expression_dropout)
        self.activation = _ACTIVATIONS[shape.expression_activation]
        self.max_value = shape.expression_max

    def forward(self, value_T: torch.Tensor) -> torch.Tensor:
        """[T] values to [T, D]."""
        value_T1 = value_T.clamp(max=self.max_value).to(self.linear1.weight.dtype)[:, None]
        return self.dropout(self.norm(self.linear2(self.activation(self.linear1(value_T1)))))  # type: ignore[no-any-return]


class _DrugEncoder(nn.Module):
    """Embedding of a drug from its row in a table, which starts as fingerprints and learns."""

    def __init__(self, shape: ModelShape, drugs: DrugShape) -> None:
        super().__init__()
        self.embedding = _Table(drugs.num_drugs, drugs.num_bits, padding_idx=0)
        self.fc = _Linear(drugs.num_bits, shape.d_model)
        self.proj = _Linear(shape.d_model, shape.d_model)
        self.norm = nn.LayerNorm(shape.d_model, eps=shape.norm_eps)
        self.activation = _ACTIVATIONS[drugs.activation]
        self.embedding.weight.requires_grad_(not drugs.is_frozen)

    def forward(self, drug_B: torch.Tensor) -> torch.Tensor:
        """[B] rows to [B, D]."""
        return self.norm(self.proj(self.activation(self.fc(self.embedding(drug_B)))))  # type: ignore[no-any-return]


class _Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.num_heads, self.head_size = shape.num_heads, shape.head_size
        self.Wqkv = _Linear(shape.d_model, 3 * shape.d_model)
        self.out_proj = _Linear(shape.d_model, shape.d_model)

    def forward(self, x_TD: torch.Tensor, layout: TokenLayout, *, only_first: bool) -> torch.Tensor:
        """[T, D] to [T, D], or to [B, D] for the first token of each cell."""
        if only_first:
            d = x_TD.shape[1]
            q = functional.linear(x_TD.index_select(0, layout.first_B), self.Wqkv.weight[:d], self.Wqkv.bias[:d])
            k, v = functional.linear(x_TD, self.Wqkv.weight[d:], self.Wqkv.bias[d:]).chunk(2, dim=1)
        else:
            q, k, v = self.Wqkv(x_TD).chunk(3, dim=1)
        q, k, v = (part.view(part.shape[0], self.num_heads, self.head_size) for part in (q, k, v))
        return self.out_proj(attend(q, k, v, layout).flatten(1))  # type: ignore[no-any-return]


class _Layer(nn.Module):
    """Attention and a feed-forward network, each added to its input."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.is_pre = shape.norm_scheme == "pre"
        self.self_attn = _Attention(shape)
        self.up_proj = _Linear(shape.d_model, shape.ffn_size)
        self.gate_proj = _Linear(shape.d_model, shape.ffn_size) if shape.glu else None
        self.down_proj = _Linear(shape.ffn_size, shape.d_model)
        self.norm1 = nn.LayerNorm(shape.d_model, eps=shape.norm_eps)
        self.norm2 = nn.LayerNorm(shape.d_model, eps=shape.norm_eps)
        self.activation = _ACTIVATIONS[shape.ffn_activation]

    def _feed(self, x_TD: torch.Tensor) -> torch.Tensor:
        up = self.up_proj(x_TD)
        wide = self.activation(up) if self.gate_proj is None else self.activation(self.gate_proj(x_TD)) * up
        return self.down_proj(wide)  # type: ignore[no-any-return]

    def forward(self, x_TD: torch.Tensor, layout: TokenLayout, only_first: bool = False) -> torch.Tensor:  # noqa: FBT001, FBT002  (checkpoint)
        """[T, D] to [T, D], or to [B, D] for the first token of each cell."""
        kept = x_TD.index_select(0, layout.first_B) if only_first else x_TD
        if self.is_pre:
            kept = kept + self.self_attn(self.norm1(x_TD), layout, only_first=only_first)
            return kept + self._feed(self.norm2(kept))  # type: ignore[no-any-return]
        kept = self.norm1(kept + self.self_attn(x_TD, layout, only_first=only_first))
        return self.norm2(kept + self._feed(kept))  # type: ignore[no-any-return]


class _Transformer(nn.Module):
    """All layers, and a last norm if norms stand before."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(shape) for _ in range(shape.num_layers))
        self.norm = nn.LayerNorm(shape.d_model, eps=shape.norm_eps) if shape.norm_scheme == "pre" else nn.Identity()
        self.recomputes = False

    def forward(self, x_TD: torch.Tensor, layout: TokenLayout, *, only_first: bool) -> torch.Tensor:
        """[T, D] to [T, D], or to [B, D] for the first token of each cell."""
        last = len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            if self.recomputes and torch.is_grad_enabled():
                x_TD = checkpoint(layer, x_TD, layout, only_first and number == last, use_reentrant=False)
            else:
                x_TD = layer(x_TD, layout, only_first and number == last)
        return self.norm(x_TD)  # type: ignore[no-any-return]


class _ExpressionDecoder(nn.Module):
    """Expression of a gene from its hidden state."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.linear_layers = nn.ModuleList(_Linear(shape.d_model, shape.d_model) for _ in range(shape.decoder_layers))
        self.out_proj = _Linear(shape.d_model, shape.num_outputs)
        self.activation = _ACTIVATIONS[shape.decoder_activation]

    def forward(self, x_TD: torch.Tensor) -> torch.Tensor:
        """[T, D] to [T], or [T, n] with n > 1 outputs."""
        for linear in self.linear_layers:
            x_TD = self.activation(linear(x_TD))
        return self.out_proj(x_TD).squeeze(-1)  # type: ignore[no-any-return]


class _ProductDecoder(nn.Module):
    """Expression of a gene from its identity and the cell: <W a(Q t + b), c> / sqrt(D)."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.gene2query = _Linear(shape.d_model, shape.d_model)
        self.W = _Linear(shape.d_model, shape.d_model, bias=False)
        self.activation = _ACTIVATIONS[shape.product_activation]
        self.scale = 1 / math.sqrt(shape.d_model) if shape.scale_product else 1.0

    def forward(self, token_TD: torch.Tensor, cell_BD: torch.Tensor, cell_T: torch.Tensor) -> torch.Tensor:
        """[T, D] of genes and [B, D] of cells to [T]."""
        # <W q, c> = <q, W'c>: one product for each cell instead of one for each token.
        key_BD = functional.linear(cell_BD, self.W.weight.t())
        return (self.activation(self.gene2query(token_TD)) * _rows(key_BD, cell_T)).sum(dim=1, dtype=torch.float32) * self.scale


class _Network(nn.Module):
    """The published model; :class:`Tx1` holds it as `model`, the prefix of all published names."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.gene_encoder = _GeneEncoder(shape)
        self.flag_encoder = _Table(2, shape.d_model)
        self.expression_encoder = _ExpressionEncoder(shape)
        self.chem_encoder = _DrugEncoder(shape, shape.drugs) if shape.drugs is not None else None
        self.transformer_encoder = _Transformer(shape)
        self.expression_decoder = _ExpressionDecoder(shape)
        self.mvc_decoder = _ProductDecoder(shape)


class Tx1(nn.Module):
    """A TX1 model.

    Attention goes over all real tokens of a cell, masked ones included (without their values), unless `shape.hide_masked`. Computation runs on real
    tokens only, so that a result depends neither on pads nor on the other cells of a batch (up to rounding).

    Parameters
    ----------
    shape
        Sizes and choices.
    seed
        Of the initial weights; they are left unset on the meta device.
    """

    def __init__(self, shape: ModelShape, *, seed: int = 0) -> None:
        super().__init__()
        if not shape.vocab_size or (shape.drugs is not None and not (shape.drugs.num_drugs and shape.drugs.num_bits)):
            raise InputError("Expected the sizes of the vocabulary and of the table of drugs, found 0. Set them in the model's shape.")
        self.shape = shape
        self.model = _Network(shape)
        if not self.model.flag_encoder.weight.is_meta:
            self.initialise(seed)

    @property
    def layers(self) -> nn.ModuleList:
        """The transformer layers: units of sharding, compilation and recomputation."""
        return self.model.transformer_encoder.layers

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Draw all weights anew: normal, variance 2 / inputs; smaller where attention joins the residual stream; biases 0, norms 1.

        The rows of `<pad>` are 0, and so is the table of drugs (:meth:`set_drug_table`). The global random state is left alone.

        Raises
        ------
        ValueError
            If the weights are sharded: each process would draw its own. Draw them first.
        """
        if hasattr(self.model.flag_encoder.weight, "to_local"):
            raise ValueError("weights are sharded already: draw them before, or each process draws its own")
        generator = torch.Generator(self.model.flag_encoder.weight.device).manual_seed(seed)
        for name, module in self.named_modules():
            if isinstance(module, nn.LayerNorm):
                module.weight.fill_(1.0)
                module.bias.zero_()
            elif isinstance(module, _Linear | _Table):
                std = math.sqrt(2 / module.weight.shape[1])
                if name.endswith("self_attn.out_proj"):
                    std /= math.sqrt(2 * self.shape.num_layers)
                module.weight.normal_(0.0, std, generator=generator)
                if isinstance(module, _Linear) and module.bias is not None:
                    module.bias.zero_()
        self.model.gene_encoder.embedding.weight[0].zero_()
        if self.model.chem_encoder is not None:
            self.model.chem_encoder.embedding.weight.zero_()

    @torch.no_grad()
    def set_drug_table(self, table_NP: torch.Tensor) -> None:
        """Set the table of drugs, such as Morgan fingerprints; row 0 (no drug) is 0.

        Raises
        ------
        InputError
            If the model has no drugs or the table is of another shape.
        """
        if self.model.chem_encoder is None:
            raise InputError("Expected a model with drugs, found one without. Set `drugs` in the model's shape.")
        weight = self.model.chem_encoder.embedding.weight
        if table_NP.shape != weight.shape:
            raise InputError(f"Expected a table of drugs {list(weight.shape)}, found {list(table_NP.shape)}. Change it or the model's shape.")
        weight.copy_(table_NP)
        weight[0].zero_()

    def recompute_layers(self, *, is_on: bool = True) -> None:
        """Keep only the inputs of layers in training and compute the rest again for gradients: less memory, a third more work."""
        self.model.transformer_encoder.recomputes = is_on

    def compile_layers(self, *, backend: str = "inductor") -> None:
        """Compile each layer in place, for any number of tokens. Names of parameters stay.

        Batches of equally long cells and of mixed lengths are two variants; both are compiled once. Layers that are compiled stay so.
        """
        for layer in self.layers:
            if layer._compiled_call_impl is None:
                layer.compile(dynamic=True, backend=backend)

    def forward(self, batch: TokenBatch, *, decode: bool = False, only_cells: bool = False, pooling: Pooling | None = None) -> Tx1Output:
        """Run the model.

        Parameters
        ----------
        batch
            The cells.
        decode
            Whether both decoders run.
        only_cells
            Only `cell_BD` is wanted: where it is the state of `<cls>`, the last layer is computed for that only.
        pooling
            What `cell_BD` is; None: what the model was trained with (`shape.pooling`), which is what the second decoder takes.

        Raises
        ------
        InputError
            If the batch has drugs and the model has none or the other way round, or if its pads are not at the end.
        """
        if (batch.drug_B is None) != (self.model.chem_encoder is None):
            has, lacks = ("a batch", "model") if batch.drug_B is not None else ("a model", "batch")
            raise InputError(f"Expected drugs in both model and batch, found {has} with drugs and a {lacks} without. Load the model with or without.")
        if decode and only_cells:
            raise ValueError("decoders need the hidden states of all tokens: decode and only_cells exclude each other")
        layout = lay_out(batch, least=1 if batch.drug_B is None else 2)
        token_TD = self.model.gene_encoder(layout.pack(batch.gene_BL))
        x_TD = self._embed(batch, layout, token_TD)
        is_mean = (pooling or self.shape.pooling) == "mean"
        hidden = self.model.transformer_encoder(x_TD, layout, only_first=only_cells and not is_mean)
        if only_cells and not is_mean:
            return Tx1Output(hidden.index_select(0, layout.rank_B))
        is_masked_T = None if batch.is_masked_BL is None else layout.pack(batch.is_masked_BL)
        cell_BD = layout.means(hidden, is_masked_T) if is_mean else hidden.index_select(0, layout.first_B)  # packed order
        if only_cells:
            return Tx1Output(cell_BD.index_select(0, layout.rank_B))
        expression, product = None, None
        if decode:
            expression = layout.unpack(self.model.expression_decoder(hidden))
            product = layout.unpack(self.model.mvc_decoder(token_TD, cell_BD, layout.cell_T))
        return Tx1Output(cell_BD.index_select(0, layout.rank_B), layout.unpack(hidden), expression, product)

    def _embed(self, batch: TokenBatch, layout: TokenLayout, token_TD: torch.Tensor) -> torch.Tensor:
        """Input of the first layer [T, D]: gene plus value, or plus the flag where masked; the drug instead of both at `<drug>`."""
        value_TD = self.model.expression_encoder(layout.pack(batch.value_BL))
        if batch.is_masked_BL is not None:
            is_masked_T = layout.pack(batch.is_masked_BL)
            value_TD = torch.where(is_masked_T[:, None], self.model.flag_encoder.weight[1].to(value_TD.dtype), value_TD)
            layout.is_hidden_T = is_masked_T if self.shape.hide_masked else None
        x_TD = token_TD + value_TD
        if self.model.chem_encoder is not None and batch.drug_B is not None:
            drug_BD = self.model.chem_encoder(batch.drug_B)
            x_TD = x_TD.index_copy(0, layout.first_B[layout.rank_B] + 1, drug_BD.to(x_TD.dtype))
        return x_TD  # type: ignore[no-any-return]
