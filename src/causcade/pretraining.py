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
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from causcade.backend import Backend
from causcade.cells import CellStore
from causcade.code_digest import code_digest
from causcade.config_tx1 import PretrainingConfig
from causcade.errors import InputError
from causcade.files import replacing, write_json, write_text
from causcade.readers.tables import read_table
from causcade.tx1.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from causcade.tx1.embedded import EmbedSettings
from causcade.tx1.fingerprints import morgan_bits
from causcade.tx1.inference import embed_counts
from causcade.tx1.mds import MdsCells
from causcade.tx1.parallel import Group, open_group, whole_state
from causcade.tx1.seeds import generator_for, name_key
from causcade.tx1.separability import expression_pca, separability
from causcade.tx1.shape import PRESETS, CollatorSettings, ModelShape, num_parameters
from causcade.tx1.sources import Cells, Source, StoreCells, held_out_wells, join_cells
from causcade.tx1.starting import further_model, inform, new_model
from causcade.tx1.stream import Collation, TrainingStream
from causcade.tx1.trainer import TrainingSettings, train
from causcade.tx1.training_log import CURVES
from causcade.tx1.validation import Validation, baseline_errors, whole_bins
from causcade.tx1.vocabulary import Vocabulary

__all__ = ["pretrain"]

logger = logging.getLogger("causcade")

MICRO_TOKENS = {"cuda": 65_536, "cpu": 16_384}
HELD_OUT_CELLS = 1000  # judged
REFERENCE_CELLS = 10_000  # that baselines are fitted to
NEIGHBOUR_CELLS = 1500
INFORMANT_CELLS = 4000
MOST_COMPONENTS = 256
RUN_CELLS = 64  # neighbouring cells read together from a large store
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
        split = _split_cells(stores, settings, seed)
        collation = _collation(start, settings, seed, group.device)
        drug_ids = start.drug_ids if start.shape.drugs is not None else None
        sources: list[Source] = [
            StoreCells(store, start.vocabulary, rows, drug_ids) for store, rows in zip(stores, split.training, strict=True) if len(rows)
        ]  # fmt: skip
        sources += [MdsCells(Path(further).expanduser(), start.vocabulary, drug_ids) for further in settings.mds]
        stream = TrainingStream(
            sources, collation, batch_cells=settings.batch_cells, seed=seed, rank=group.rank, num_processes=group.size
        )  # fmt: skip
        held = _Sample(stores, split.held_out, start, HELD_OUT_CELLS, seed) if split.num_held_out else None
        validation = _validation(held, collation, group, settings) if held is not None else None
        if settings.has_own_shape:
            informants = _Sample(stores, split.training, start, INFORMANT_CELLS, seed).cells
            inform(start.model, whole_bins(informants, collation, start.vocabulary.size), start.collator.num_bins, seed=seed)
        start.model.to(group.device)
        how = _training_settings(settings, seed)
        fingerprint = _fingerprint(stores, split, sources, settings, start, seed)
        train(start.model, stream, how, group, folder=checkpoints, fingerprint=fingerprint, validate=validation)
        tensors = whole_state(start.model)
        if group.is_first:
            write_checkpoint(folder, start, tensors=tensors)
    # the other processes are let go: judging takes a while
    if not group.is_first:
        return {}
    summary = _summary(stores, split, start, settings, checkpoints)
    if held is not None and validation is not None:
        summary |= _judge(folder, stores, split, held, validation, collation, seed, group)
    write_json(folder / "summary.json", summary)
    write_text(folder / "metrics.jsonl", (checkpoints / "metrics.jsonl").read_text(encoding="utf-8"))
    if (checkpoints / CURVES).is_dir():  # where TensorBoard is installed
        with replacing(folder / CURVES) as temporary:
            shutil.move(checkpoints / CURVES, temporary)
    shutil.rmtree(checkpoints)
    return summary


class _Split(NamedTuple):
    """Rows of each store to train on, and of those kept back."""

    training: list[np.ndarray]
    held_out: list[np.ndarray]

    @property
    def num_held_out(self) -> int:
        return sum(map(len, self.held_out))

    @property
    def num_training(self) -> int:
        return sum(map(len, self.training))


def _split_cells(stores: Sequence[CellStore], settings: PretrainingConfig, seed: int) -> _Split:
    """Choose the cells to train on, and whole wells to keep back."""
    split = _Split([], [])
    for store in stores:
        taken = np.ones(store.num_cells, dtype=bool) if settings.cells == "all" else store.obs["is_control"].to_numpy(dtype=bool)
        held = held_out_wells(store.obs, settings.held_out, seed=seed)
        split.training.append(np.flatnonzero(taken & ~held))
        split.held_out.append(np.flatnonzero(taken & held))
    if not split.num_training:
        raise InputError("pretraining: expected cells to train on, found none. Check the filters of `quality` and `pretraining.cells`.")
    return split


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


def _collation(start: Checkpoint, settings: PretrainingConfig, seed: int, device: torch.device) -> Collation:
    collator = replace(start.collator, max_length=settings.max_length, mlm_probability=settings.mask_share)
    tokens = None if settings.micro_cells is not None else MICRO_TOKENS[device.type]
    return Collation(
        settings=collator, seed=seed, micro_cells=settings.micro_cells, micro_tokens=tokens, cls_id=start.vocabulary.cls,
        drug_id=start.vocabulary.drug if start.shape.drugs is not None else None,
    )  # fmt: skip


def _training_settings(settings: PretrainingConfig, seed: int) -> TrainingSettings:
    return TrainingSettings(
        steps=settings.steps, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay, warmup=settings.warmup,
        schedule=settings.schedule, optimiser=settings.chosen_optimiser, precision=settings.precision, seed=seed,
        checkpoint_every=settings.checkpoint_every, validate_every=max(1, settings.steps // VALIDATIONS),
    )  # fmt: skip


def _fingerprint(
    stores: Sequence[CellStore], split: _Split, sources: Sequence[Source], settings: PretrainingConfig, start: Checkpoint, seed: int
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


class _Sample:
    """Cells drawn from some rows of the stores: `cells`, and their `obs`."""

    def __init__(self, stores: Sequence[CellStore], rows: Sequence[np.ndarray], start: Checkpoint, num_cells: int, seed: int) -> None:
        total = sum(map(len, rows))
        drug_ids = start.drug_ids if start.shape.drugs is not None else None
        parts, tables = [], []
        for store, of_store in zip(stores, rows, strict=True):
            chosen = _draw(of_store, round(num_cells * len(of_store) / total) if total > num_cells else len(of_store), seed, store.path.stem)
            if not len(chosen):
                continue
            source = StoreCells(store, start.vocabulary, chosen, drug_ids)
            parts += [source.read(at, min(at + RUN_CELLS, len(chosen))) for at in range(0, len(chosen), RUN_CELLS)]
            tables.append(store.obs.iloc[chosen])
        self.cells: Cells = join_cells(parts)
        self.obs = pd.concat(tables, ignore_index=True)

    def taken(self, rows: np.ndarray) -> tuple[Cells, pd.DataFrame]:
        """Take some of the cells, with their obs."""
        cells = self.cells
        return Cells(cells.counts[rows], cells.key_B[rows], None if cells.drug_B is None else cells.drug_B[rows]), self.obs.iloc[rows]


def _draw(rows: np.ndarray, num: int, seed: int, plate: str) -> np.ndarray:
    """Draw some rows, ascending: one by one from a small store, in runs from a large one, so that little of it is read."""
    random = generator_for("sample", seed, plate, num)
    if len(rows) <= 64 * RUN_CELLS:
        return np.sort(random.permutation(rows)[:num])
    starts = random.permutation(np.arange(0, len(rows) - RUN_CELLS, RUN_CELLS))[: -(-num // RUN_CELLS)]
    return np.concatenate([rows[at : at + RUN_CELLS] for at in np.sort(starts)])[:num]


def _validation(held: _Sample, collation: Collation, group: Group, settings: PretrainingConfig) -> Validation:
    wells = held.obs["plate"].astype(str) + "/" + held.obs["well"].astype(str)
    return Validation(held.cells, collation, group, wells=wells.to_numpy(dtype=str), precision=settings.precision)


def _summary(stores: Sequence[CellStore], split: _Split, start: Checkpoint, settings: PretrainingConfig, checkpoints: Path) -> dict[str, Any]:
    records = [json.loads(line) for line in (checkpoints / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    last = {name: value for record in records for name, value in record.items()}
    kept = ("loss", "expression_mse", "product_mse", "held_out_expression_mse", "held_out_product_mse", "epoch", "flop_utilisation")
    return {
        "plates": [store.path.stem for store in stores], "num_cells": split.num_training, "num_held_out": split.num_held_out,
        "num_genes": len(start.vocabulary.gene_ids), "num_parameters": num_parameters(start.shape), "num_dimensions": start.shape.d_model,
        "num_drugs": 0 if start.shape.drugs is None else start.shape.drugs.num_drugs - 1, "steps": settings.steps, "initial": settings.initial,
        **{name: last[name] for name in kept if name in last},
    }  # fmt: skip


def _judge(
    folder: Path, stores: Sequence[CellStore], split: _Split, held: _Sample, validation: Validation, collation: Collation, seed: int, group: Group
) -> dict[str, Any]:
    """Baselines at the masked entries of held-out cells, and how well embeddings tell labels apart; by the model as it was written."""
    model = read_checkpoint(folder, device=group.device)
    reference = _Sample(stores, split.training, model, REFERENCE_CELLS, seed)
    found = baseline_errors(
        validation, model.model, reference.cells, collation, num_tokens=model.vocabulary.size, seed=seed, device=group.device
    )  # fmt: skip
    random = generator_for("neighbours", seed)
    samples = [sample.taken(np.sort(random.permutation(len(sample.obs))[:NEIGHBOUR_CELLS])) for sample in (reference, held)]
    tokens = model.vocabulary.gene_tokens
    how = EmbedSettings(min_covered=0.0, seed=seed)
    counts = [cells.counts[:, tokens] for cells, _ in samples]
    embedded = [
        embed_counts(model, part, model.vocabulary.gene_ids, settings=how, keys=cells.key_B).z_ND
        for part, (cells, _) in zip(counts, samples, strict=True)
    ]
    pca = expression_pca(counts[0], counts[1], min(model.shape.d_model, MOST_COMPONENTS), seed=seed)
    labels = {
        "cell_line": tuple(obs["cell_line"].to_numpy(dtype=str) for _, obs in samples),
        "treated": tuple(np.where(obs["is_control"].to_numpy(dtype=bool), "control", "treated") for _, obs in samples),
    }
    found["separability"] = separability({"tx1": (embedded[0], embedded[1]), "pca": pca}, labels)
    return found
