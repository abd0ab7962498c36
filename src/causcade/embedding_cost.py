"""What a model costs before it runs: its shape as far as the configuration tells it, memory, and floating-point operations.

This module is light, since the Snakefile uses it each time it is parsed.
"""

from __future__ import annotations

from pathlib import Path

from causcade.config import Config, PretrainingConfig
from causcade.config_tx1 import is_hub_name
from causcade.tx1.shape import PRESETS, ModelShape, forward_flops, num_parameters
from causcade.tx1.shape_files import read_model_shape

__all__ = ["cell_flops", "cost_in_words", "longest_seconds", "memory_mb", "shape_of"]

MB = 1_000_000
HOUR_S = 3600
PREFIXES = ((1e18, "EFLOP"), (1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP"), (0.0, "MFLOP"))
VOCABULARY = 62_720
WEIGHTS_ONLY = 2 * 4  # bytes of a parameter while a model is read: the file, and the model
IN_TRAINING = 5 * 4  # weights, gradients, two moments, and what a step makes of them
CELL_BYTES = 4 + 4  # of each dimension of an embedded cell: as computed, and as written
CONTROLS = 4
BATCH_TOKENS = 4096  # of a CPU; a GPU takes more, of its own memory
# operations a second that a time limit counts on: a third of a core's as measured, a tenth of what an A100 is sold with in bfloat16
SLOWEST = {"gpu": 3e13, "cpu": 3e10}
JUDGED_CELLS = 5200  # that a trained model embeds for its labels, at most (causcade.model_judging)
ATLAS_GENES = 1500  # expressed genes of a cell of Tahoe-100M
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
        pooling=settings.pooling,
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


def memory_mb(config: Config, stage: str, num_cells: int = 0) -> int:
    """Memory in MB of the model of a stage in one process, with the tokens that it takes at a time; 0 without a model.

    Parameters
    ----------
    config
        Configuration of the run.
    stage
        `embedding` or `pretraining`.
    num_cells
        Cells of the plate whose embeddings are written, for `embedding`; of which controls are taken to be a quarter at most.
    """
    shape = shape_of(config, stage)
    if shape is None:
        return 0
    settings = config.pretraining
    if stage == "embedding":
        tokens = config.embedding.batch_tokens or BATCH_TOKENS
        embedded = num_cells if config.embedding.cells == "all" else num_cells // CONTROLS
        return round((WEIGHTS_ONLY * num_parameters(shape) + shape.d_model * (TOKEN_BYTES * tokens + CELL_BYTES * embedded)) / MB)
    tokens = (settings.micro_cells or -(-settings.batch_cells // (settings.processes * settings.nodes))) * settings.max_length
    return round((IN_TRAINING * num_parameters(shape) + TOKEN_BYTES * shape.d_model * shape.num_layers * tokens) / MB)


def cell_flops(shape: ModelShape, num_genes: float, max_length: int) -> float:
    """Floating-point operations to embed a cell of so many expressed genes."""
    length = min(max_length, round(num_genes) + 1 + (shape.drugs is not None))
    return forward_flops(shape, [length], only_cells=True)


def longest_seconds(config: Config, num_cells: int, *, on_gpu: bool) -> float:
    """Seconds that embedding the cells of a plate may take, for a time limit: no prediction; 0 without a model.

    Parameters
    ----------
    config
        Configuration of the run.
    num_cells
        Cells of the plate; of which controls are taken to be a quarter at most.
    on_gpu
        Whether the job has a GPU.
    """
    shape = shape_of(config, "embedding")
    if shape is None:
        return 0.0
    embedded = num_cells if config.embedding.cells == "all" else num_cells // CONTROLS
    return embedded * cell_flops(shape, ATLAS_GENES, config.embedding.max_length) / SLOWEST["gpu" if on_gpu else "cpu"]


def longest_judging_seconds(config: Config, *, on_gpu: bool) -> float:
    """Seconds that judging the model that `pretraining` trains may take, for a time limit: no prediction; 0 where nothing tells its shape."""
    shape = shape_of(config, "pretraining")
    if shape is None:
        return 0.0
    return JUDGED_CELLS * cell_flops(shape, ATLAS_GENES, config.embedding.max_length) / SLOWEST["gpu" if on_gpu else "cpu"]


def _written(flops: float) -> str:
    """Write a number of operations with its prefix."""
    unit, name = next((unit, name) for unit, name in PREFIXES if flops >= unit)
    return f"{flops / (unit or 1e6):,.3g} {name}"


def cost_in_words(config: Config, num_cells: int, num_genes: float, num_controls: int | None = None, rate: float | None = None) -> list[str]:
    """Say what embedding all cells of the run with TX1 takes, and its controls alone; nothing for another source.

    Parameters
    ----------
    config
        Configuration of the run.
    num_cells
        Cells of all plates.
    num_genes
        Expressed genes of a cell, on average.
    num_controls
        Control cells among them; None where they are not known yet.
    rate
        Measured operations a second; None: no time is told.
    """
    if config.embedding.source != "tx1":
        return []
    shape = shape_of(config, "embedding")
    if shape is None:
        return [f"embedding with {config.embedding.model}: its shape is not known here, so neither is what it costs"]
    each = cell_flops(shape, num_genes, config.embedding.max_length)

    def price(number: int, words: str) -> str:
        time = "" if rate is None else f", {number * each / rate / HOUR_S:,.3g} hours at {rate / 1e12:,.4g} TFLOP/s"
        return f"{words}: {_written(number * each)}{time}"

    asked = " (asked for)"
    lines = [
        f"embedding with TX1 (width {shape.d_model}, {shape.num_layers} layers): {_written(each)} for a cell of {num_genes:,.0f} genes",
        price(num_cells, f"  all {num_cells:,} cells{asked if config.embedding.cells == 'all' else ''}"),
    ]
    is_asked = asked if config.embedding.cells == "controls" else ""
    if num_controls is None:
        return [*lines, f"  the controls only{is_asked}: as much less as they are fewer; `causcade validate` counts them"]
    return [*lines, price(num_controls, f"  the {num_controls:,} controls only{is_asked}")]
