"""What a model costs before it runs: its shape as far as the configuration tells it, memory, and floating-point operations.

This module is light, since the Snakefile uses it each time it is parsed.
"""

from __future__ import annotations

from pathlib import Path

from causcade.config import Config, PretrainingConfig
from causcade.config_tx1 import is_hub_name
from causcade.tx1.shape import PRESETS, ModelShape, forward_flops, num_parameters
from causcade.tx1.shape_files import read_model_shape

__all__ = ["cell_flops", "memory_mb", "shape_of"]

MB = 1_000_000
VOCABULARY = 62_720
WEIGHTS_ONLY = 2 * 4  # bytes of a parameter while a model is read: the file, and the model
IN_TRAINING = 5 * 4  # weights, gradients, two moments, and what a step makes of them
BATCH_TOKENS = 4096  # of a CPU; a GPU takes more, of its own memory
TOKEN_BYTES = 4 * 24  # of each dimension of a token: a layer's activations, mostly its feed-forward part


def _new_shape(settings: PretrainingConfig) -> ModelShape:
    """Shape of a new model; its genes are not known before the plates are read, and no more than the atlas has."""
    if settings.size is not None:
        return PRESETS[settings.size]
    return ModelShape(
        vocab_size=VOCABULARY,
        d_model=settings.d_model,
        num_layers=settings.num_layers,
        num_heads=settings.num_heads,
        expansion=settings.expansion,
    )


def _known_shape(model: str) -> ModelShape | None:
    """Shape of a model in a folder, or of a published one by its size."""
    if not is_hub_name(model):
        file = Path(model) / "model_config.yml"
        return read_model_shape(file) if file.is_file() else None
    size = model.partition(":")[2].lower()
    return PRESETS.get({"1b": "1.3b"}.get(size, size))


def shape_of(config: Config, stage: str) -> ModelShape | None:
    """Return the shape of the model that `embedding` embeds with, or that `pretraining` trains.

    Returns
    -------
    ModelShape or None
        None where the stage has no model, or nothing tells the shape (a model of the hub without a known size).
    """
    if stage == "embedding" and config.embedding.source != "tx1":
        return None
    model = config.embedding.model if stage == "embedding" else None
    model = config.pretraining.initial if model is None else model
    return _new_shape(config.pretraining) if model is None else _known_shape(model)


def memory_mb(config: Config, stage: str) -> int:
    """Memory in MB of the model of a stage in one process, with the tokens that it takes at a time; 0 without a model."""
    shape = shape_of(config, stage)
    if shape is None:
        return 0
    settings = config.pretraining
    if stage == "embedding":
        tokens = config.embedding.batch_tokens or BATCH_TOKENS
        return round((WEIGHTS_ONLY * num_parameters(shape) + TOKEN_BYTES * shape.d_model * tokens) / MB)
    tokens = (settings.micro_cells or -(-settings.batch_cells // settings.processes)) * settings.max_length
    return round((IN_TRAINING * num_parameters(shape) + TOKEN_BYTES * shape.d_model * shape.num_layers * tokens) / MB)


def cell_flops(shape: ModelShape, num_genes: float, max_length: int) -> float:
    """Floating-point operations to embed a cell of so many expressed genes."""
    length = min(max_length, round(num_genes) + 1 + (shape.drugs is not None))
    return forward_flops(shape, [length], only_cells=True)
