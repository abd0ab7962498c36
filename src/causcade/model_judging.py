"""What a trained TX1 model is worth on held-out wells: errors at masked genes beside baselines, and labels that its embeddings tell beside a PCA.

Labels: cell line, and treated cells against controls, twice, since at most doses a drug changes little and no embedding can tell what is not there.
(1) `treated`: cells at the highest dose of their perturbation (all where there are no doses); the choice looks at no expression. (2) `treated_most`:
cells of the quarter of the treated wells whose mean expression differs most from that of the controls; so the question is chosen by what there is to
see, and the answer is not.

Axes: N cells, G genes, W wells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from causcade.cells import CellStore, log_normalise
from causcade.training_cells import Sample, Split, draw_sample, join_samples, wells_of
from causcade.tx1.checkpoint import Checkpoint, read_checkpoint
from causcade.tx1.embedded import EmbedSettings
from causcade.tx1.inference import embed_counts
from causcade.tx1.separability import Labelled, expression_pca, separability
from causcade.tx1.stream import Collation
from causcade.tx1.validation import Validation, baseline_errors

__all__ = ["changed_most", "judge", "most_dosed"]

REFERENCE_CELLS = 10_000  # that baselines are fitted to
LINE_CELLS, LABEL_CELLS = (600, 400), (800, 500)  # neighbours and judged cells: of all labels, and of treated cells and controls each
MOST_COMPONENTS = 256
SMALL_VARIANCE = 2.5e-3  # of genes that controls hardly express

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
    records = _told(model, _seen(stores, split, model, LINE_CELLS, seed), "cell_line", _lines, seed)
    is_control = [store.obs["is_control"].to_numpy(dtype=bool) for store in stores]
    held = draw_sample(stores, split.held_out, model, REFERENCE_CELLS, seed)
    wells = changed_most(reference if held is None else join_samples([reference, held]), model)
    changed = [np.isin(wells_of(store.obs), wells) for store in stores]
    controls = _seen(stores, _only(split, is_control), model, LABEL_CELLS, seed)
    for label, chosen in (("treated", most_dosed(stores)), ("treated_most", changed)):
        is_treated = [most & ~control for most, control in zip(chosen, is_control, strict=True)]
        treated = _seen(stores, _only(split, is_treated), model, LABEL_CELLS, seed)
        records += _told(model, [_joined(*pair) for pair in zip(treated, controls, strict=True)], label, _kinds, seed)
    return found | {"separability": records}


def changed_most(sample: Sample, model: Checkpoint) -> list[str]:
    """Names of the quarter of the treated wells whose mean log(1 + CP10k) differs most from that of the controls of their plate and line.

    Differences are in standard deviations of the controls, squared, averaged over genes, less what as few cells differ by without any change.
    """
    counts = sample.cells.counts[:, model.vocabulary.gene_tokens]
    x_NG = log_normalise(counts, np.asarray(counts.sum(axis=1), dtype=np.float64).ravel())
    is_control = sample.obs["is_control"].to_numpy(dtype=bool)
    place = (sample.obs["plate"].astype(str) + "/" + sample.obs["cell_line"].astype(str)).to_numpy(dtype=str)
    places, of_place_N = np.unique(place, return_inverse=True)
    control_PG = _means(x_NG[is_control], of_place_N[is_control], len(places))
    has_controls = np.isin(np.arange(len(places)), of_place_N[is_control])
    kept = ~is_control & has_controls[of_place_N]
    wells, of_well = np.unique(sample.wells[kept], return_inverse=True)
    if not len(wells):
        return []
    share_WP = _means(
        sp.csr_matrix((np.ones(kept.sum()), (np.arange(kept.sum()), of_place_N[kept])), shape=(kept.sum(), len(places))), of_well, len(wells)
    )
    controls = x_NG[is_control]
    variance_G = np.asarray(controls.multiply(controls).mean(axis=0) - np.square(controls.mean(axis=0))).ravel()
    difference_WG = _means(x_NG[kept], of_well, len(wells)) - share_WP @ control_PG
    change_W = (np.square(difference_WG) / (variance_G + SMALL_VARIANCE)).mean(axis=1) - 1 / np.bincount(of_well)
    return sorted(wells[np.argsort(-change_W, kind="stable")[: -(-len(wells) // 4)]].tolist())


def _means(x_NG: sp.csr_matrix, group_N: np.ndarray, num_groups: int) -> np.ndarray:
    """Mean rows of groups [groups, G]; zeros where a group has none."""
    num = np.bincount(group_N, minlength=num_groups)
    weights = sp.csr_matrix((1.0 / num[group_N], (group_N, np.arange(len(group_N)))), shape=(num_groups, len(group_N)))
    means: np.ndarray = (weights @ x_NG).toarray()
    return means


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


def _told(
    model: Checkpoint, parts: Sequence[_Seen | None], label: str, labels_of: Callable[[pd.DataFrame], np.ndarray], seed: int
) -> list[dict[str, object]]:
    """Judge a label in the model's embedding and in a PCA of as many dimensions."""
    reference, query = parts
    if reference is None or query is None:
        return []
    counts = [part.sample.cells.counts[:, model.vocabulary.gene_tokens] for part in (reference, query)]
    pca = expression_pca(counts[0], counts[1], min(model.shape.d_model, MOST_COMPONENTS), seed=seed)
    cells = [Labelled(labels_of(part.sample.obs), part.sample.wells) for part in (reference, query)]
    return separability({"tx1": (reference.z_ND, query.z_ND), "pca": pca}, label, cells[0], cells[1], seed=seed)
