"""Sections of the configuration on the representation of cells: how they are embedded, and the TX1 model that a run trains itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from causcade.config_input import Positive, Section
from causcade.tx1.hub import HUB_NAME

__all__ = ["EmbeddingConfig", "PretrainingConfig", "is_hub_name", "path_of_plate"]

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Rate = Annotated[float, Field(gt=0)]
Precision = Literal["auto", "float32", "bfloat16"]


def is_hub_name(model: str) -> bool:
    """Whether a model is named as on the Hugging Face hub (`owner/name` or `owner/name:size`); what is there as a path is never one."""
    return not Path(model).expanduser().exists() and HUB_NAME.fullmatch(model) is not None


def path_of_plate(path: str, plate: str) -> str:
    """Path of what each plate has one of: `{plate}` is its name."""
    return path.replace("{plate}", plate)


class EmbeddingConfig(Section):
    """The cell representation that the basal decoder starts from."""

    source: Literal["tx1", "pca", "precomputed"] = Field(
        default="tx1", description="tx1 (a Tahoe-x1 transformer), pca, or precomputed (an obsm key of the input, or files of your own)."
    )
    cells: Literal["controls", "all"] = Field(
        default="controls", description="Which cells to embed; controls suffice for `basal.baseline: matched_control`."
    )
    model: str | None = Field(
        default=None,
        description="tx1: folder of a model, or its name on the Hugging Face hub (tahoebio/Tahoe-x1:70m); null: the one that section `pretraining` "
        "trains in this run.",
    )
    mode: Literal["exact", "compatible"] = Field(
        default="exact",
        description="tx1: exact (no cell depends on others), or compatible (the published tokens with all their quirks; docs/tx1.md).",
    )
    max_length: Annotated[int, Field(ge=2)] = Field(
        default=2048, description="tx1: most tokens of a cell, that is genes and markers; a seeded sample of its genes beyond."
    )
    pooling: Literal["cls", "mean"] | None = Field(
        default=None,
        description="tx1: what a cell's embedding is: cls (final state of the token `<cls>`, as published), mean (of the final states of all its "
        "tokens); null: what the model was trained with.",
    )
    normalise: bool = Field(default=True, description="tx1: scale each embedding to length 1, as published.")
    gene_embeddings: bool = Field(
        default=False, description="tx1: also write the mean embedding of each gene over the cells (embedding/genes.parquet)."
    )
    min_covered: Share = Field(default=0.5, description="tx1: least share of a plate's counts in genes that the model knows.")
    precision: Precision = Field(default="auto", description="tx1: numbers that the model computes in; auto: bfloat16 on a GPU, float32 on a CPU.")
    storage: Literal["float32", "float16"] = Field(default="float32", description="Numbers that embeddings are stored in.")
    batch_tokens: Positive | None = Field(
        default=None, description="tx1: tokens that the model takes at a time, halved where memory runs out; null: as measured to be fast."
    )
    batch_cells: Positive = Field(
        default=64, description="tx1, compatible: cells of a batch; what the published tool makes of a cell depends on its batch."
    )
    shard_cells: Positive = Field(
        default=100_000, description="tx1: cells after which what is embedded is saved, so that a killed job goes on there."
    )
    workers: Positive | None = Field(default=None, description="tx1: processes that share a plate, one GPU each; null: one for each GPU, else one.")
    compile: bool = Field(default=False, description="tx1: compile the model with torch.compile.")
    dimensions: Positive = Field(default=32, description="pca: dimensions.")
    obsm: str | None = Field(default="X_emb", description="precomputed: obsm key, of the input or of the h5ad or zarr file at `path`.")
    path: str | None = Field(
        default=None,
        description="precomputed: file of the embedding of each plate, with {plate} in its name: npy or parquet (rows in the order of the input, or "
        "by column `cell`), h5ad or zarr (by cell name); null: the input itself.",
    )

    speed_only: ClassVar[tuple[str, ...]] = ("batch_tokens", "shard_cells", "workers", "compile")
    """Keys that decide how fast it goes, and no result."""

    keys_of: ClassVar[dict[str, tuple[str, ...]]] = {
        "tx1": ("model", "mode", "max_length", "pooling", "normalise", "gene_embeddings", "min_covered", "precision", "batch_cells"),
        "pca": ("dimensions",),
        "precomputed": ("obsm", "path"),
    }
    """Keys that decide the result of one source."""

    @property
    def trains(self) -> bool:
        """Whether the model is the one that the run trains itself."""
        return self.source == "tx1" and self.model is None

    def deciding(self) -> dict[str, Any]:
        """Return the keys that decide the embedding, so that a setting of another source reruns nothing."""
        keys = ("source", "cells", "storage", *self.keys_of[self.source])
        return {key: value for key, value in self.model_dump(mode="json").items() if key in keys}

    @model_validator(mode="after")
    def _somewhere(self) -> EmbeddingConfig:
        if self.source == "precomputed" and self.obsm is None and self.path is None:
            raise ValueError("expected `obsm` or `path` beside `source: precomputed`, found neither; write `obsm: KEY`, or `path: FILE`")
        return self


class PretrainingConfig(Section):
    """A TX1 model that this run trains on its own cells, or trains further."""

    name: str = Field(default="small", pattern=NAME_PATTERN, description="Name of the model; it is written to `pretraining/<name>/`.")
    initial: str | None = Field(
        default=None, description="Model to go on from (folder, or name on the Hugging Face hub), with its shape and its genes; null: a new one."
    )
    size: Literal["70m", "1.3b", "3b"] | None = Field(default=None, description="Published shape of a new model; null: the shape below.")
    d_model: Positive = Field(default=64, description="Width of a new model, that is the dimensions of an embedding; a multiple of `num_heads`.")
    num_layers: Positive = Field(default=2, description="Layers of a new model.")
    num_heads: Positive = Field(default=4, description="Attention heads of a new model.")
    expansion: Positive = Field(default=4, description="Width of the feed-forward part of a new model, in multiples of `d_model`.")
    pooling: Literal["cls", "mean"] = Field(
        default="mean", description="What a cell's embedding is in a new model of that shape (`embedding.pooling`); published shapes have cls."
    )
    vocabulary: str | None = Field(default=None, description="Genes of a new model (vocab.json of a published folder); null: those of the plates.")
    cells: Literal["controls", "all"] = Field(default="all", description="Which cells to train on.")
    mds: list[str] = Field(
        default=[],
        description="Further cells to train on: folders of the published training data or alike (index.json and shards). Their tokens are numbers of "
        "`vocabulary` or of `initial`. Needs mosaicml-streaming, and runs what the shards hold as pickled objects: take folders that you trust.",
    )
    held_out: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.1, description="Share of the cells that are kept back, to measure what the model has learned."
    )
    steps: Positive = Field(default=800, description="Optimiser steps.")
    batch_cells: Positive = Field(default=24, description="Cells per step, over all processes.")
    micro_cells: Positive | None = Field(
        default=None, description="Cells of a process that pass the model at a time; null: all of its part. Changes no result but by rounding."
    )
    max_length: Annotated[int, Field(ge=4)] = Field(
        default=192, description="Most tokens of a cell, that is genes and markers; a seeded sample beyond."
    )
    mask_share: Annotated[float, Field(gt=0, lt=1)] = Field(default=0.5, description="Share of a cell's genes whose expression is masked.")
    learning_rate: Rate = Field(default=0.01, description="Step size at the end of the warm-up.")
    optimiser: Literal["adamw", "muon"] | None = Field(
        default=None,
        description="adamw (as published), or muon (inner matrices by Muon, the rest by AdamW; not with `parallel: fsdp`); null: muon for a new "
        "model of your own shape, else adamw.",
    )
    schedule: Literal["cosine", "linear", "constant"] | None = Field(
        default=None,
        description="Step size after the warm-up: cosine (down to a tenth, as published), linear (down to 0), or constant; null: linear for a new "
        "model of your own shape, else cosine.",
    )
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=1e-5, description="Share of a parameter that one step takes away; it falls with the step size and is not multiplied by it."
    )
    warmup: Share = Field(default=0.05, description="Share of the steps over which the step size rises from 0.")
    precision: Precision = Field(default="auto", description="Numbers that the model computes in; auto: bfloat16 on a GPU, float32 on a CPU.")
    drugs: bool = Field(default=False, description="Give each cell a token of its drug, from the drug's structure (`smiles`).")
    smiles: str | None = Field(
        default=None, description="Table of structures (perturbation, smiles) for drugs that the model does not know; needs RDKit (`causcade[tx1]`)."
    )
    checkpoint_every: Positive = Field(default=200, description="Steps between checkpoints, from which a stopped job goes on.")
    processes: Positive = Field(default=1, description="Processes that train together on each node (torchrun), one GPU each.")
    nodes: Positive = Field(default=1, description="Nodes that train together, with `processes` on each; more than one needs Slurm.")
    parallel: Literal["ddp", "fsdp"] = Field(
        default="ddp", description="Several processes: ddp (each holds the model), or fsdp (they share it, for models that one GPU does not hold)."
    )

    speed_only: ClassVar[tuple[str, ...]] = ("micro_cells", "checkpoint_every", "processes", "nodes", "parallel")
    """Keys that decide how training goes on, and what comes out only by rounding."""

    @property
    def has_own_shape(self) -> bool:
        """Whether the model is a new one of a shape that the settings give."""
        return self.size is None and self.initial is None

    @property
    def chosen_optimiser(self) -> Literal["adamw", "muon"]:
        """The optimiser, where `optimiser` is null too."""
        return self.optimiser or ("muon" if self.has_own_shape else "adamw")

    @property
    def chosen_schedule(self) -> Literal["cosine", "linear", "constant"]:
        """The schedule, where `schedule` is null too."""
        return self.schedule or ("linear" if self.has_own_shape else "cosine")

    def deciding(self) -> dict[str, Any]:
        """Return the keys that decide the model, so that another number of processes trains nothing again."""
        return {key: value for key, value in self.model_dump(mode="json").items() if key not in self.speed_only}

    @model_validator(mode="after")
    def _fits(self) -> PretrainingConfig:
        if self.chosen_optimiser == "muon" and self.parallel == "fsdp":
            raise ValueError(
                "expected `parallel: ddp` beside `optimiser: muon` (what null means for a new model of your own shape), found fsdp; write "
                "`optimiser: adamw`, or `parallel: ddp`"
            )
        if self.has_own_shape and self.d_model % self.num_heads:
            raise ValueError(
                f"expected `d_model` to be a multiple of `num_heads`, found {self.d_model} and {self.num_heads}; write for example "
                f"`d_model: {-(-self.d_model // self.num_heads) * self.num_heads}`"
            )
        if self.vocabulary is not None and self.initial is not None:
            raise ValueError("expected `vocabulary` or `initial`, found both; `initial` keeps its own genes: write `vocabulary: null`")
        if self.mds and self.vocabulary is None and self.initial is None:
            raise ValueError(
                "expected `vocabulary` (or `initial`) beside `mds`, found neither; write `vocabulary: PATH/vocab.json`, whose numbers the cells hold"
            )
        if self.drugs and self.initial is None and self.smiles is None:
            raise ValueError("expected `smiles`, the table of structures, beside `drugs: true`, found null; give it, or write `drugs: false`")
        processes = self.processes * self.nodes
        what = "`processes`" if self.nodes == 1 else "`processes` x `nodes`"
        if self.batch_cells % processes:
            raise ValueError(
                f"expected `batch_cells` to be a multiple of {what}, found {self.batch_cells} and {processes}; write for example "
                f"`batch_cells: {-(-self.batch_cells // processes) * processes}`"
            )
        return self
