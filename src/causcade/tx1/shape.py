"""Sizes and choices of a TX1 model and of its collation; what they cost.

Source: the configuration files of Tahoe-x1 (github.com/tahoebio/tahoe-x1, 1.0.0), as described in docs; nothing here needs torch.

Axes: V tokens of the vocabulary, D dimensions, F = expansion * D, N rows of the table of drugs, P bits of a fingerprint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from causcade.errors import InputError

__all__ = ["ACTIVATIONS", "POOLINGS", "PRESETS", "CollatorSettings", "DrugShape", "ModelShape", "Pooling", "forward_flops", "num_parameters"]

Pooling = Literal["cls", "mean"]
"""What a cell's embedding is: the final state of `<cls>`, or the mean of those of all tokens whose value is not hidden."""

POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
ACTIVATIONS = ("relu", "gelu", "leaky_relu", "silu", "tanh", "sigmoid")
NORM_EPS = 1e-5
MAX_VALUE = 512.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DrugShape:
    """The encoder of drugs.

    Attributes
    ----------
    num_drugs
        Rows of the table of drugs, with the empty row 0; 0: not known before the weights are read.
    num_bits
        Length of a row, the bits of a fingerprint; 0: not known before the weights are read.
    activation
        Between its two linear maps.
    is_frozen
        Whether the table stays as it is in training.
    """

    num_drugs: int
    num_bits: int = 2048
    activation: str = "gelu"
    is_frozen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """Sizes and choices that fix a model.

    Attributes
    ----------
    vocab_size
        Rows of the table of genes, special tokens included.
    d_model, num_layers, num_heads
        Dimensions, transformer layers, attention heads.
    expansion
        Width of the feed-forward layer as a multiple of `d_model`.
    ffn_activation, expression_activation, decoder_activation
        Of the feed-forward layers, the encoder of expression values, and its decoder.
    expression_dropout
        Share of the encoded values dropped in training; the only dropout.
    expression_max
        Values above it count as it.
    gene_norm, expression_norm
        Whether the encoder of genes, of values, ends with a layer norm.
    decoder_layers, num_outputs
        Hidden layers and outputs of the decoder of expression.
    norm_scheme
        `pre` or `post`.
    norm_eps
        Added to the variance in every norm.
    glu
        Gated feed-forward layers.
    product_activation
        Of the query in the second decoder.
    scale_product
        Whether that decoder divides by the square root of `d_model`.
    drugs
        The encoder of drugs; None: no drug token.
    standard_scale_outputs
        Targets are scaled to -1..1 in training.
    hide_masked
        In training, masked positions are no keys (but see themselves), as in the first recipe of the 70M and 1.3B models.
    pooling
        What a cell's embedding is, and so what the second decoder reads; `cls` in all published models.
    """

    vocab_size: int
    d_model: int
    num_layers: int
    num_heads: int
    expansion: int = 4
    ffn_activation: str = "gelu"
    expression_activation: str = "gelu"
    decoder_activation: str = "gelu"
    expression_dropout: float = 0.1
    expression_max: float = MAX_VALUE
    gene_norm: bool = True
    expression_norm: bool = True
    decoder_layers: int = 1
    num_outputs: int = 1
    norm_scheme: str = "pre"
    norm_eps: float = NORM_EPS
    glu: bool = False
    product_activation: str = "sigmoid"
    scale_product: bool = True
    drugs: DrugShape | None = None
    standard_scale_outputs: bool = False
    hide_masked: bool = False
    pooling: Pooling = "cls"

    def __post_init__(self) -> None:
        if self.num_heads < 1 or self.d_model % self.num_heads:
            raise InputError(
                f"Expected d_model to be a multiple of the number of heads, found {self.d_model} and {self.num_heads}. Change one of them."
            )
        if self.norm_scheme not in ("pre", "post"):
            raise InputError(f"Expected the norm scheme to be pre or post, found {self.norm_scheme!r}. Correct norm_scheme.")
        if self.pooling not in POOLINGS:
            raise InputError(f"Expected the pooling to be {' or '.join(POOLINGS)}, found {self.pooling!r}. Correct it.")
        named = [self.ffn_activation, self.expression_activation, self.decoder_activation, self.product_activation]
        for activation in [*named, *([self.drugs.activation] if self.drugs else [])]:
            if activation not in ACTIVATIONS:
                raise InputError(f"Expected an activation among {', '.join(ACTIVATIONS)}, found {activation!r}. Correct the model's configuration.")

    @property
    def head_size(self) -> int:
        """Dimensions of a head."""
        return self.d_model // self.num_heads

    @property
    def ffn_size(self) -> int:
        """Width of the feed-forward layers."""
        return self.d_model * self.expansion


@dataclass(frozen=True, slots=True, kw_only=True)
class CollatorSettings:
    """How a cell becomes tokens.

    Attributes
    ----------
    num_bins
        Bins plus one: the 51 of all published models gives bins 1..50.
    right_binning
        A value on an edge goes to the bin above it.
    do_binning
        False: values enter as they are.
    log_transform
        Instead of bins: share of the cell's sum times `target_sum`, log1p.
    target_sum
        For `log_transform`.
    pad_value
        Value of `<cls>`, `<drug>` and pads.
    mask_value
        Stands at masked positions; the model never reads it.
    keep_first
        First positions that are neither binned, sampled away nor masked.
    max_length
        Most positions of a cell, `<cls>` included.
    mlm_probability
        Share of a cell's genes masked in training; several: one of them is drawn for each batch.
    sampling
        Genes beyond `max_length`: True a random subset, False the last ones go.
    use_drug_token
        Whether `<drug>` follows `<cls>`.
    pad_id
        Id of `<pad>`.
    """

    num_bins: int = 51
    right_binning: bool = False
    do_binning: bool = True
    log_transform: bool = False
    target_sum: float = 10_000.0
    pad_value: float = -2.0
    mask_value: float = -1.0
    keep_first: int = 1
    max_length: int = 1024
    mlm_probability: float | tuple[float, ...] = 0.5
    sampling: bool = True
    use_drug_token: bool = False
    pad_id: int = 0

    def __post_init__(self) -> None:
        if self.num_bins < 3:
            raise InputError(f"Expected num_bins of 3 or more, found {self.num_bins}. Correct the collator's configuration.")
        if self.max_length <= self.keep_first:
            raise InputError(f"Expected max_length above keep_first ({self.keep_first}), found {self.max_length}. Raise max_length.")


_SMALL = {"ffn_activation": "relu", "expression_activation": "relu", "decoder_activation": "leaky_relu"}

PRESETS: dict[str, ModelShape] = {
    "70m": ModelShape(vocab_size=62_720, d_model=512, num_layers=12, num_heads=8, **_SMALL),  # type: ignore[arg-type]
    "1.3b": ModelShape(vocab_size=62_720, d_model=2048, num_layers=24, num_heads=16, **_SMALL),  # type: ignore[arg-type]
    "3b": ModelShape(vocab_size=62_721, d_model=2560, num_layers=32, num_heads=20, drugs=DrugShape(num_drugs=380)),
}


def num_parameters(shape: ModelShape) -> int:
    """Count the parameters of a model without building it."""
    d, f, num = shape.d_model, shape.ffn_size, 0
    norm = 2 * d
    square = d * d + d
    num += shape.vocab_size * d + norm * shape.gene_norm + 2 * d  # genes, flag
    num += 2 * d + square + norm * shape.expression_norm
    layer = 3 * square + square + (f * d + f) * (2 if shape.glu else 1) + (d * f + d) + 2 * norm
    num += shape.num_layers * layer + (norm if shape.norm_scheme == "pre" else 0)
    num += shape.decoder_layers * square + shape.num_outputs * (d + 1)
    num += square + d * d  # second decoder
    if shape.drugs is not None:
        num += shape.drugs.num_drugs * shape.drugs.num_bits + (shape.drugs.num_bits * d + d) + square + norm
    return num


def forward_flops(shape: ModelShape, lengths: Sequence[int], *, decode: bool = False, only_cells: bool = False) -> float:
    """Count the floating-point operations of a forward pass: two for each multiply-add of a matrix product, attention included.

    Pads cost nothing. A training step costs three times as much: the backward pass twice the forward pass. Activations, norms and softmax
    are left out, as is usual for utilisation.

    Parameters
    ----------
    shape
        Of the model.
    lengths
        Number of real positions of each cell.
    decode
        Whether both decoders run.
    only_cells
        Whether nothing but embeddings of cells is wanted: where they are states of `<cls>`, the last layer is computed for it alone.
    """
    d, f, num_cells = shape.d_model, shape.ffn_size, len(lengths)
    tokens, pairs = float(sum(lengths)), float(sum(length * length for length in lengths))
    keys = 2 * d * d  # multiply-adds of a position
    rest = 2 * d * d + d * f * (3 if shape.glu else 2)
    whole = shape.num_layers * (tokens * (keys + rest) + 2 * pairs * d)
    if only_cells and shape.pooling == "cls":
        whole += (num_cells - tokens) * rest + 2 * d * (tokens - pairs)
    encoders = tokens * (d + d * d)
    if shape.drugs is not None:
        encoders += num_cells * (shape.drugs.num_bits * d + d * d)
    decoders = tokens * (shape.decoder_layers * d * d + shape.num_outputs * d + d * d) + num_cells * d * d if decode else 0.0
    return 2 * (whole + encoders + decoders)
