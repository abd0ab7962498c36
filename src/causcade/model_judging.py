"""What a trained TX1 model is worth on held-out wells: errors at masked genes beside baselines, and labels that its embeddings tell beside a PCA.

Labels: cell line, and treated cells against controls. Of treated cells those at the highest dose of their perturbation are taken (all where there are
no doses): at low doses a drug changes little, and no embedding can tell what is not there. The choice looks at no expression.

Axes: N cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from causcade.cells import CellStore
from causcade.training_cells import Sample, Split, draw_sample, join_samples
from causcade.tx1.checkpoint import Checkpoint, read_checkpoint
from causcade.tx1.embedded import EmbedSettings
from causcade.tx1.inference import embed_counts
from causcade.tx1.separability import Labelled, expression_pca, separability
from causcade.tx1.stream import Collation
from causcade.tx1.validation import Validation, baseline_errors

__all__ = ["judge", "most_dosed"]

REFERENCE_CELLS = 10_000  # that baselines are fitted to
LINE_CELLS, LABEL_CELLS = (1200, 800), (800, 500)  # neighbours and judged cells: of all labels, and of treated cells and controls each
MOST_COMPONENTS = 256

Rows = Sequence[np.ndarray]


def judge(
    folder: Path, stores: Sequence[CellStore], split: Split, validation: Validation, collation: Collation, *, seed: int, device: torch.device
) -> dict[str, Any]:
    """Judge a model as it was written.

    Parameters
    ----------
    folder
        Folder of the model.
    stores
        Cell stores of the plates.
    split
        Rows of each store to train on, and kept back.
    validation
        Held-out cells with their masks.
    collation
        As in training.
    seed
        Of the samples, of the low-rank model, of the PCA and of permutations.
    device
        Where to compute.

    Returns
    -------
    dict
        What :func:`causcade.tx1.validation.baseline_errors` returns, and `separability`, the records of
        :func:`causcade.tx1.separability.separability`.
    """
    model = read_checkpoint(folder, device=device)
    reference = draw_sample(stores, split.training, model, REFERENCE_CELLS, seed)
    if reference is None:
        raise AssertionError("a split always has cells to train on")
    found = baseline_errors(validation, model.model, reference.cells, collation, num_tokens=model.vocabulary.size, seed=seed, device=device)
    records = _told(model, _drawn(stores, split, model, LINE_CELLS, seed), "cell_line", _lines, seed)
    is_control = [store.obs["is_control"].to_numpy(dtype=bool) for store in stores]
    is_treated = [most & ~control for most, control in zip(most_dosed(stores), is_control, strict=True)]
    treated, controls = (_drawn(stores, _only(split, chosen), model, LABEL_CELLS, seed) for chosen in (is_treated, is_control))
    pairs = list(zip(treated, controls, strict=True))
    records += _told(model, [None if one is None or other is None else join_samples([one, other]) for one, other in pairs], "treated", _kinds, seed)
    return found | {"separability": records}


def _lines(obs: pd.DataFrame) -> np.ndarray:
    lines: np.ndarray = obs["cell_line"].to_numpy(dtype=str)
    return lines


def _kinds(obs: pd.DataFrame) -> np.ndarray:
    return np.where(obs["is_control"].to_numpy(dtype=bool), "control", "treated")


def most_dosed(stores: Sequence[CellStore]) -> list[np.ndarray]:
    """Cells at the highest dose of their perturbation over all stores, bool [N] for each store; cells without a dose are among them."""
    tables = [pd.DataFrame({"perturbation": store.obs["perturbation"].astype(str), "dose": store.obs.get("dose", np.nan)}) for store in stores]
    highest = pd.concat(tables).groupby("perturbation")["dose"].max()
    return [(table["dose"].isna() | (table["dose"] >= table["perturbation"].map(highest))).to_numpy(dtype=bool) for table in tables]


def _only(split: Split, chosen: Rows) -> Split:
    """Take the rows of a split that are chosen; `chosen` is bool [N] for each store."""
    return Split(*([rows[mask[rows]] for rows, mask in zip(part, chosen, strict=True)] for part in split))


def _drawn(stores: Sequence[CellStore], split: Split, model: Checkpoint, nums: tuple[int, int], seed: int) -> list[Sample | None]:
    """Cells whose labels vote, and cells of held-out wells that are judged."""
    return [draw_sample(stores, rows, model, num, seed) for rows, num in zip(split, nums, strict=True)]


def _told(
    model: Checkpoint, samples: Sequence[Sample | None], label: str, labels_of: Callable[[pd.DataFrame], np.ndarray], seed: int
) -> list[dict[str, object]]:
    """Judge a label in the model's embedding and in a PCA of as many dimensions."""
    reference, query = samples
    if reference is None or query is None:
        return []
    genes, how = model.vocabulary.gene_ids, EmbedSettings(min_covered=0.0, seed=seed)
    counts = [sample.cells.counts[:, model.vocabulary.gene_tokens] for sample in (reference, query)]
    embedded = [
        embed_counts(model, part, genes, settings=how, keys=sample.cells.key_B).z_ND
        for part, sample in zip(counts, (reference, query), strict=True)
    ]  # fmt: skip
    pca = expression_pca(counts[0], counts[1], min(model.shape.d_model, MOST_COMPONENTS), seed=seed)
    cells = [Labelled(labels_of(sample.obs), sample.wells) for sample in (reference, query)]
    return separability({"tx1": (embedded[0], embedded[1]), "pca": pca}, label, cells[0], cells[1], seed=seed)
