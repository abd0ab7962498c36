"""Pre-training of TX1 on the cells of a run, or fine-tuning of a published model; the stage behind `rules/pretraining.smk`.

The mathematics is in :mod:`causcade.tx1`: stream, objective, optimiser, trainer. Here: which cells, which model, and what is written.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from causcade.backend import Backend
from causcade.cells import CellStore
from causcade.code_digest import code_digest
from causcade.config_tx1 import PretrainingConfig
from causcade.errors import InputError
from causcade.files import replacing, write_json, write_text
from causcade.readers.tables import read_table
from causcade.training_cells import Split, draw_sample, split_cells
from causcade.tx1.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from causcade.tx1.fingerprints import morgan_bits
from causcade.tx1.mds import MdsCells
from causcade.tx1.parallel import Group, open_group, whole_state
from causcade.tx1.seeds import name_key
from causcade.tx1.shape import PRESETS, CollatorSettings, ModelShape, num_parameters
from causcade.tx1.sources import Source, StoreCells
from causcade.tx1.starting import further_model, inform, new_model
from causcade.tx1.stream import Collation, TrainingStream
from causcade.tx1.trainer import TrainingSettings, train
from causcade.tx1.training_log import CURVES
from causcade.tx1.validation import Validation, whole_bins
from causcade.tx1.vocabulary import Vocabulary

__all__ = ["collation_of", "pretrain", "validation_of"]

logger = logging.getLogger("causcade")

MICRO_TOKENS = {"cuda": 65_536, "cpu": 16_384}
HELD_OUT_CELLS = 1000  # judged
INFORMANT_CELLS = 4000
VALIDATIONS = 5


def pretrain(
    stores: Sequence[CellStore], settings: PretrainingConfig, folder: str | Path, *, checkpoints: str | Path, seed: int, backend: Backend = "auto"
) -> dict[str, Any]:
    """Train a model and write it in the layout of the published folders, with `metrics.jsonl` and `summary.json`.

    Inside torchrun (`RANK`, `WORLD_SIZE`, `LOCAL_RANK` in the environment) all processes call it with equal arguments; the first one writes.

    Parameters
    ----------
    stores
        Cell stores of the plates, in any order: their names order them.
    settings
        Section `pretraining`.
    folder
        Where the model is written (`pretraining/<name>/`).
    checkpoints
        Folder of the state of an unfinished training (`checkpoints/pretraining/<name>/`); removed when the model is written.
    seed
        Of the first weights, the order of the cells, the masks and the held-out wells.
    backend
        Where to train.

    Returns
    -------
    dict
        What `summary.json` holds; empty in all processes but the first.

    Raises
    ------
    causcade.stopping.Stopped
        After SIGTERM or SIGUSR1, when the state is saved: run again to go on.
    InputError
        If there are no cells, a drug's structure cannot be read, the initial model cannot, or the gradient is not finite.
    """
    folder, checkpoints = Path(folder), Path(checkpoints)
    stores = sorted(stores, key=lambda store: store.path.stem)
    with open_group(backend, kind=settings.parallel) as group:
        start = _starting_model(stores, settings, seed)
        split = split_cells(stores, settings, seed)
        collation = collation_of(start, settings, seed, group.device)
        drug_ids = start.drug_ids if start.shape.drugs is not None else None
        sources: list[Source] = [
            StoreCells(store, start.vocabulary, rows, drug_ids) for store, rows in zip(stores, split.training, strict=True) if len(rows)
        ]  # fmt: skip
        sources += [MdsCells(Path(further).expanduser(), start.vocabulary, drug_ids) for further in settings.mds]
        stream = TrainingStream(
            sources, collation, batch_cells=settings.batch_cells, seed=seed, rank=group.rank, num_processes=group.size
        )  # fmt: skip
        validation = validation_of(stores, split, start, collation, group, settings, seed)
        if settings.has_own_shape:
            informants = draw_sample(stores, split.training, start, INFORMANT_CELLS, seed)
            if informants is None:
                raise AssertionError("a split always has cells to train on")
            inform(start.model, whole_bins(informants.cells, collation, start.vocabulary.size), start.collator.num_bins, seed=seed)
        start.model.to(group.device)
        how = _training_settings(settings, seed)
        fingerprint = _fingerprint(stores, split, sources, settings, start, seed)
        train(start.model, stream, how, group, folder=checkpoints, fingerprint=fingerprint, validate=validation)
        tensors = whole_state(start.model)
        if group.is_first:
            write_checkpoint(folder, start, tensors=tensors)
    if not group.is_first:
        return {}
    summary = _summary(stores, split, start, settings, checkpoints)
    write_json(folder / "summary.json", summary)
    write_text(folder / "metrics.jsonl", (checkpoints / "metrics.jsonl").read_text(encoding="utf-8"))
    if (checkpoints / CURVES).is_dir():  # where TensorBoard is installed
        with replacing(folder / CURVES) as temporary:
            shutil.move(checkpoints / CURVES, temporary)
    shutil.rmtree(checkpoints)
    return summary


def validation_of(
    stores: Sequence[CellStore], split: Split, model: Checkpoint, collation: Collation, group: Group, settings: PretrainingConfig, seed: int
) -> Validation | None:
    """Take a sample of the cells that are kept back, on which errors are told while a model trains and after; None where none are."""
    held = draw_sample(stores, split.held_out, model, HELD_OUT_CELLS, seed)
    return Validation(held.cells, collation, group, wells=held.wells, precision=settings.precision) if held is not None else None


def _starting_model(stores: Sequence[CellStore], settings: PretrainingConfig, seed: int) -> Checkpoint:
    """Make a new model, or read one to train further."""
    fingerprints = None
    if settings.drugs:
        table = read_table(settings.smiles, "pretraining.smiles") if settings.smiles is not None else pd.DataFrame({"perturbation": [], "smiles": []})
        missing = [name for name in ("perturbation", "smiles") if name not in table.columns]
        if missing:
            raise InputError(f"{settings.smiles}: expected columns perturbation and smiles, found no {' and no '.join(missing)}. Name them so.")
        table = table.dropna(subset=["perturbation", "smiles"]).drop_duplicates("perturbation")
        smiles = dict(zip(table["perturbation"].astype(str), table["smiles"].astype(str), strict=True))
        fingerprints = dict(zip(smiles, morgan_bits(smiles), strict=True)) if smiles else {}
    if settings.initial is not None:
        initial = read_checkpoint(settings.initial, drugs=None if settings.drugs else False, dtype=torch.float32)
        return further_model(initial, name=settings.name, seed=seed, fingerprints=fingerprints)
    shape = PRESETS[settings.size] if settings.size is not None else _own_shape(settings)
    collator = CollatorSettings(max_length=settings.max_length, mlm_probability=settings.mask_share)
    if settings.vocabulary is not None:
        vocabulary = Vocabulary.from_json(settings.vocabulary)
    else:
        vocabulary = Vocabulary.from_genes(gene for store in stores for gene in store.var.index)
    return new_model(shape, vocabulary, collator, name=settings.name, seed=seed, fingerprints=fingerprints)


def _own_shape(settings: PretrainingConfig) -> ModelShape:
    """Shape of a small model: outputs scaled to -1..1, with which it learns in far fewer steps, and no dropout, as it sees a cell once or twice."""
    return ModelShape(
        vocab_size=1, d_model=settings.d_model, num_layers=settings.num_layers, num_heads=settings.num_heads, expansion=settings.expansion,
        standard_scale_outputs=True, expression_dropout=0.0, pooling=settings.pooling,
    )  # fmt: skip


def collation_of(model: Checkpoint, settings: PretrainingConfig, seed: int, device: torch.device) -> Collation:
    """How cells become batches and which genes are masked, with micro-batches that fit on the device."""
    collator = replace(model.collator, max_length=settings.max_length, mlm_probability=settings.mask_share)
    tokens = None if settings.micro_cells is not None else MICRO_TOKENS[device.type]
    return Collation(
        settings=collator, seed=seed, micro_cells=settings.micro_cells, micro_tokens=tokens, cls_id=model.vocabulary.cls,
        drug_id=model.vocabulary.drug if model.shape.drugs is not None else None,
    )  # fmt: skip


def _training_settings(settings: PretrainingConfig, seed: int) -> TrainingSettings:
    return TrainingSettings(
        steps=settings.steps, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay, warmup=settings.warmup,
        schedule=settings.chosen_schedule, optimiser=settings.chosen_optimiser, precision=settings.precision, seed=seed,
        checkpoint_every=settings.checkpoint_every, validate_every=max(1, settings.steps // VALIDATIONS),
    )  # fmt: skip


def _fingerprint(
    stores: Sequence[CellStore], split: Split, sources: Sequence[Source], settings: PretrainingConfig, start: Checkpoint, seed: int
) -> str:
    """Digest of all that a training depends on, its code included, but for what only decides how fast it goes."""
    how = settings.model_dump(exclude=set(settings.speed_only))
    about = {
        "settings": how, "seed": seed, "shape": repr(start.shape), "vocabulary": list(start.vocabulary.tokens), "drugs": start.drug_ids,
        "stores": [(store.path.stem, store.num_cells, int(store.obs["total_counts"].sum())) for store in stores],
        "cells": [name_key(rows.tobytes().hex()) for rows in split.training],
        "sources": [(source.name, source.num_cells) for source in sources], "code": code_digest("pretraining"),
    }  # fmt: skip
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()


def _summary(stores: Sequence[CellStore], split: Split, start: Checkpoint, settings: PretrainingConfig, checkpoints: Path) -> dict[str, Any]:
    records = [json.loads(line) for line in (checkpoints / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    last = {name: value for record in records for name, value in record.items()}
    kept = ("loss", "expression_mse", "product_mse", "held_out_expression_mse", "held_out_product_mse", "epoch", "flop_utilisation")
    return {
        "plates": [store.path.stem for store in stores], "num_cells": split.num_training, "num_held_out": split.num_held_out,
        "num_genes": len(start.vocabulary.gene_ids), "num_parameters": num_parameters(start.shape), "num_dimensions": start.shape.d_model,
        "num_drugs": 0 if start.shape.drugs is None else start.shape.drugs.num_drugs - 1, "steps": settings.steps, "initial": settings.initial,
        **{name: last[name] for name in kept if name in last},
    }  # fmt: skip
