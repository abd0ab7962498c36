"""What a trained TX1 model is worth on held-out wells: errors at masked genes beside baselines, and labels that its embeddings tell beside a PCA.

A job of its own, beside those that embed cells: no GPU of the training waits for it, and it may be done again without training.

Labels: cell line, and treated cells against controls. Of treated cells those at the highest dose of their perturbation are taken (all where there are
no doses), since at low doses a drug changes little; the choice looks at no expression. Plates and lines differ by more than most drugs change, so
treatment is judged within them: the mean of the training cells of a plate and line is taken from each of their cells first
(docs/design/013-treated-cells.md).

Axes: N cells, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from causcade.backend import Backend
from causcade.cells import CellStore
from causcade.config_tx1 import PretrainingConfig
from causcade.pretraining import collation_of, validation_of
from causcade.training_cells import Sample, Split, draw_sample, join_samples, split_cells
from causcade.tx1.checkpoint import Checkpoint, read_checkpoint
from causcade.tx1.embedded import EmbedSettings
from causcade.tx1.inference import embed_counts
from causcade.tx1.parallel import open_group
from causcade.tx1.separability import Labelled, expression_pca, less_group_means, separability
from causcade.tx1.validation import baseline_errors

__all__ = ["Question", "judge_model", "line_question", "most_dosed", "treated_question"]

REFERENCE_CELLS = 10_000  # that baselines are fitted to
LINE_CELLS = (600, 400)  # neighbours and judged cells
TREATED_CELLS = (1400, 700)  # of the treated cells, and of the controls
MOST_COMPONENTS = 256

Rows = Sequence[np.ndarray]


def judge_model(
    stores: Sequence[CellStore], settings: PretrainingConfig, folder: str | Path, *, seed: int, backend: Backend = "auto"
) -> dict[str, Any]:
    """Judge a model that was trained and written.

    Parameters
    ----------
    stores, settings, seed
        Those that it was trained with: the wells that are kept back follow from them.
    folder
        Folder of the model.
    backend
        Where to compute.

    Returns
    -------
    dict
        Held-out errors of both heads, what :func:`causcade.tx1.validation.baseline_errors` returns, and `separability`, the records of
        :func:`causcade.tx1.separability.separability`; empty where no cells are kept back.
    """
    stores = sorted(stores, key=lambda store: store.path.stem)
    with open_group(backend, kind="ddp") as group:
        model, split = read_checkpoint(folder, device=group.device), split_cells(stores, settings, seed)
        collation = collation_of(model, settings, seed, group.device)
        validation = validation_of(stores, split, model, collation, group, settings, seed)
        if validation is None:
            return {}
        reference = draw_sample(stores, split.training, model, REFERENCE_CELLS, seed)
        if reference is None:
            raise AssertionError("a split always has cells to train on")
        found: dict[str, Any] = dict(validation(model.model))
        found |= baseline_errors(
            validation, model.model, reference.cells, collation, num_tokens=model.vocabulary.size, seed=seed, device=group.device
        )  # fmt: skip
        records: list[dict[str, object]] = []
        for label, ask in (("cell_line", line_question), ("treated", treated_question)):
            question = ask(model, stores, split, seed)
            if question is not None:
                records += separability(question.embeddings, label, question.reference, question.query, seed=seed)
    return found | {"separability": records}


class Question(NamedTuple):
    """What is asked of embeddings: those of the cells that vote and of the cells that are judged [N, D], by name, and their labels."""

    embeddings: dict[str, tuple[np.ndarray, np.ndarray]]
    reference: Labelled
    query: Labelled


def line_question(model: Checkpoint, stores: Sequence[CellStore], split: Split, seed: int) -> Question | None:
    """Ask for the cell line; None where no cells are kept back."""
    return _question(model, _seen(stores, split, model, LINE_CELLS, seed), lambda obs: obs["cell_line"].to_numpy(dtype=str), seed)


def treated_question(
    model: Checkpoint, stores: Sequence[CellStore], split: Split, seed: int, *, num_cells: tuple[int, int] = TREATED_CELLS
) -> Question | None:
    """Ask whether a cell is treated, at the highest dose, or a control, within plate and cell line.

    Parameters
    ----------
    model
        The model.
    stores, split
        Cell stores of the plates, and their rows to train on and kept back.
    seed
        Of the samples and the PCA.
    num_cells
        Most treated cells, and most controls, that vote and that are judged.

    Returns
    -------
    Question or None
        Labels are permuted within plates. None where there are no treated cells, or no controls, to vote or to be judged.
    """
    is_control = [store.obs["is_control"].to_numpy(dtype=bool) for store in stores]
    is_treated = [most & ~control for most, control in zip(most_dosed(stores), is_control, strict=True)]
    kinds = [_seen(stores, _only(split, chosen), model, num_cells, seed) for chosen in (is_treated, is_control)]
    parts = [_joined(*pair) for pair in zip(*kinds, strict=True)]
    return _question(model, parts, lambda obs: np.where(obs["is_control"].to_numpy(dtype=bool), "control", "treated"), seed, within_places=True)


def most_dosed(stores: Sequence[CellStore]) -> list[np.ndarray]:
    """Cells at the highest dose of their perturbation over all stores, bool [N] for each store; cells without a dose are among them."""
    tables = [pd.DataFrame({"perturbation": store.obs["perturbation"].astype(str), "dose": store.obs.get("dose", np.nan)}) for store in stores]
    highest = pd.concat(tables).groupby("perturbation")["dose"].max()
    return [(table["dose"].isna() | (table["dose"] >= table["perturbation"].map(highest))).to_numpy(dtype=bool) for table in tables]


def _only(split: Split, chosen: Rows) -> Split:
    """Take the rows of a split that are chosen; `chosen` is bool [N] for each store."""
    return Split(*([rows[mask[rows]] for rows, mask in zip(part, chosen, strict=True)] for part in split))


class _Seen(NamedTuple):
    """Some cells, and where the model puts them [N, D]."""

    sample: Sample
    z_ND: np.ndarray


def _seen(stores: Sequence[CellStore], split: Split, model: Checkpoint, nums: tuple[int, int], seed: int) -> list[_Seen | None]:
    """Cells whose labels vote, and cells of held-out wells that are judged."""
    how = EmbedSettings(min_covered=0.0, seed=seed)
    found: list[_Seen | None] = []
    for rows, num in zip(split, nums, strict=True):
        sample = draw_sample(stores, rows, model, num, seed)
        if sample is None:
            found.append(None)
            continue
        counts = sample.cells.counts[:, model.vocabulary.gene_tokens]
        found.append(_Seen(sample, embed_counts(model, counts, model.vocabulary.gene_ids, settings=how, keys=sample.cells.key_B).z_ND))
    return found


def _joined(one: _Seen | None, other: _Seen | None) -> _Seen | None:
    """Both, one after the other; None where one of them is missing."""
    if one is None or other is None:
        return None
    return _Seen(join_samples([one.sample, other.sample]), np.concatenate([one.z_ND, other.z_ND]))


def _question(
    model: Checkpoint, parts: Sequence[_Seen | None], labels_of: Callable[[pd.DataFrame], np.ndarray], seed: int, *, within_places: bool = False
) -> Question | None:
    """Put a PCA of as many dimensions beside the model's embedding; within plate and cell line where it is asked."""
    reference, query = parts
    if reference is None or query is None:
        return None
    counts = [part.sample.cells.counts[:, model.vocabulary.gene_tokens] for part in (reference, query)]
    pca = expression_pca(counts[0], counts[1], min(model.shape.d_model, MOST_COMPONENTS), seed=seed)
    embeddings = {"tx1": (reference.z_ND, query.z_ND), "pca": pca}
    voting, judged = (Labelled(labels_of(part.sample.obs), part.sample.wells) for part in (reference, query))
    if within_places:
        first, second = (_places(part.sample.obs) for part in (reference, query))
        known = np.isin(second, first)
        voting = voting._replace(groups=reference.sample.obs["plate"].to_numpy(dtype=str))
        judged = Labelled(judged.labels[known], judged.wells[known])
        embeddings = {name: less_group_means(one, first, other[known], second[known]) for name, (one, other) in embeddings.items()}
    return Question(embeddings, voting, judged)


def _places(obs: pd.DataFrame) -> np.ndarray:
    """Plate and cell line of each cell."""
    places: np.ndarray = (obs["plate"].astype(str) + "/" + obs["cell_line"].astype(str)).to_numpy(dtype=str)
    return places
