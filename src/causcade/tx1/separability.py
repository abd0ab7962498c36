"""How well an embedding tells labels of cells apart: votes of the nearest neighbours, beside those in a PCA of as many dimensions.

The neighbours of a cell of a held-out well are sought among training cells. Each neighbour's vote is divided by the share of its label, so that a
common label is not guessed for its frequency; accuracy is the mean of the labels' recalls, and chance is one over their number, or what permuted
labels give. A linear probe (logistic regression) tells what the embedding holds beyond its nearest neighbours.

Axes: N cells, D dimensions, K neighbours, L labels, W wells, U wells or cells, G groups, P permutations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from causcade.cells import log_normalise
from causcade.tx1.seeds import generator_for

__all__ = ["Labelled", "Votes", "balanced_votes", "expression_pca", "less_group_means", "linear_probe", "separability"]

NEIGHBOURS = 15
PERMUTATIONS = 100
PROBE_ROUNDS = 2000


class Votes(NamedTuple):
    """What nearest neighbours tell.

    Attributes
    ----------
    accuracy, standard_error
        Mean recall over labels, 0 to 1, and its standard error over wells; NaN where there are fewer than two labels.
    permuted_P
        Accuracy with permuted labels; none without permutations.
    num_cells, num_wells
        Cells judged, and their wells.
    """

    accuracy: float
    standard_error: float
    permuted_P: np.ndarray
    num_cells: int
    num_wells: int

    @property
    def permuted_accuracy(self) -> float:
        """Mean accuracy with permuted labels; NaN without permutations."""
        return float(self.permuted_P.mean()) if len(self.permuted_P) else float("nan")

    @property
    def permuted_high(self) -> float:
        """What 95 of 100 permutations stay below; NaN without permutations."""
        return float(np.percentile(self.permuted_P, 95)) if len(self.permuted_P) else float("nan")


class Labelled(NamedTuple):
    """Label and well of each of some cells, and the group (such as the plate) that labels are permuted within, each [N]; None: no groups."""

    labels: np.ndarray
    wells: np.ndarray
    groups: np.ndarray | None = None


def balanced_votes(
    reference_ND: np.ndarray,
    reference: Labelled,
    query_ND: np.ndarray,
    query: Labelled,
    *,
    neighbours: int = NEIGHBOURS,
    permutations: int = 0,
    seed: int = 0,
) -> Votes:
    """Accuracy of nearest neighbours, balanced over labels.

    Parameters
    ----------
    reference_ND, reference
        Cells that vote.
    query_ND, query
        Cells that are judged; those whose label no reference cell has are left out.
    neighbours
        Number of votes, by Euclidean distance.
    permutations
        How often labels of the reference are permuted within its groups: over whole wells where each well has one label, else over cells.
    seed
        Of the permutations.
    """
    from sklearn.neighbors import NearestNeighbors

    names, code_N = np.unique(reference.labels, return_inverse=True)
    truth_N = pd.Index(names).get_indexer(query.labels)
    is_known = truth_N >= 0
    query_ND, truth_N, wells_N = query_ND[is_known], truth_N[is_known], query.wells[is_known]
    if len(names) < 2 or len(np.unique(truth_N)) < 2:
        return Votes(np.nan, np.nan, np.zeros(0), len(truth_N), len(np.unique(wells_N)))
    search = NearestNeighbors(n_neighbors=min(neighbours, len(reference_ND)), algorithm="brute").fit(reference_ND)
    nearest_NK = search.kneighbors(query_ND, return_distance=False)
    recall, error = _recall(_is_right(nearest_NK, code_N, truth_N), truth_N, wells_N)
    random = generator_for("permuted labels", seed, len(code_N))
    units_N = _units(code_N, reference)
    permuted = (_is_right(nearest_NK, _permuted(code_N, units_N, reference.groups, random), truth_N) for _ in range(permutations))
    permuted_P = np.array([_recall(is_right_N, truth_N, wells_N)[0] for is_right_N in permuted])
    return Votes(recall, error, permuted_P, len(truth_N), len(np.unique(wells_N)))


def _is_right(nearest_NK: np.ndarray, code_N: np.ndarray, truth_N: np.ndarray) -> np.ndarray:
    """Whether the votes are for the true label, each divided by the share of its label; bool [N]."""
    num_L = np.bincount(code_N)
    votes_NL = np.zeros((len(truth_N), len(num_L)))
    nearest_code_NK = code_N[nearest_NK]
    np.add.at(votes_NL, (np.arange(len(truth_N))[:, None], nearest_code_NK), (1.0 / num_L)[nearest_code_NK])
    right: np.ndarray = votes_NL.argmax(axis=1) == truth_N
    return right


def _recall(is_right_N: np.ndarray, truth_N: np.ndarray, wells_N: np.ndarray) -> tuple[float, float]:
    """Mean recall over labels, and its standard error: between wells, since cells of a well are alike; within it where a label has one well."""
    recalls, variances = [], []
    for label in np.unique(truth_N):
        right, of_well = is_right_N[truth_N == label], np.unique(wells_N[truth_N == label], return_inverse=True)[1]
        recall, num_W = right.mean(), np.bincount(of_well)
        residual_W = np.bincount(of_well, weights=right) - recall * num_W
        between = len(num_W) / max(len(num_W) - 1, 1) * np.square(residual_W).sum() / len(right) ** 2
        recalls.append(recall)
        variances.append(between if len(num_W) > 1 else recall * (1 - recall) / len(right))
    return float(np.mean(recalls)), float(np.sqrt(np.sum(variances)) / len(recalls))


def _units(code_N: np.ndarray, cells: Labelled) -> np.ndarray:
    """Find what changes its label as a whole, as numbers [N]: wells where each well has one label, else cells."""
    _, first, of_well_N = np.unique(cells.wells, return_index=True, return_inverse=True)
    return of_well_N if (code_N[first][of_well_N] == code_N).all() else np.arange(len(code_N))


def _permuted(code_N: np.ndarray, units_N: np.ndarray, groups_N: np.ndarray | None, random: np.random.Generator) -> np.ndarray:
    """Permute the labels of units, among those of a group."""
    _, first_U = np.unique(units_N, return_index=True)
    code_U = code_N[first_U]
    group_U = np.zeros(len(first_U), dtype=np.int64) if groups_N is None else np.unique(groups_N[first_U], return_inverse=True)[1]
    for group in range(group_U.max() + 1):
        of_group = group_U == group
        code_U[of_group] = random.permutation(code_U[of_group])
    permuted_N: np.ndarray = code_U[units_N]
    return permuted_N


def less_group_means(
    reference_ND: np.ndarray, reference_groups: np.ndarray, query_ND: np.ndarray, query_groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Take the mean of the reference cells of a group from all cells of the group, both [N, D].

    Each query cell has to be of a group of the reference. The mean is over cells of all labels, so that permuted labels need no other means.
    """
    names, code_N = np.unique(reference_groups, return_inverse=True)
    mean_GD = np.stack([reference_ND[code_N == code].mean(axis=0, dtype=np.float64) for code in range(len(names))]).astype(reference_ND.dtype)
    return reference_ND - mean_GD[code_N], query_ND - mean_GD[pd.Index(names).get_indexer(query_groups)]


def linear_probe(reference_ND: np.ndarray, reference_labels: np.ndarray, query_ND: np.ndarray, query_labels: np.ndarray) -> float:
    """Accuracy of a logistic regression on standardised dimensions, balanced over labels; NaN where there are fewer than two labels.

    It finds labels in directions of little variance, which neighbours do not see.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import recall_score

    judged = np.isin(query_labels, reference_labels)
    if len(np.unique(reference_labels)) < 2 or len(np.unique(query_labels[judged])) < 2:
        return float("nan")
    mean_D, sd_D = reference_ND.mean(axis=0), reference_ND.std(axis=0)
    first, second = ((z_ND - mean_D) / np.where(sd_D > 0, sd_D, 1.0) for z_ND in (reference_ND, query_ND[judged]))
    told = LogisticRegression(class_weight="balanced", max_iter=PROBE_ROUNDS).fit(first, reference_labels).predict(second)
    present = np.unique(query_labels[judged])
    return float(recall_score(query_labels[judged], told, labels=present, average="macro", zero_division=0))


def expression_pca(reference: sp.csr_matrix, query: sp.csr_matrix, num_dimensions: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Project log(1 + CP10k) on the principal axes of the reference cells, both [N, D] float32."""
    from sklearn.decomposition import PCA

    first, second = (log_normalise(counts, np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()) for counts in (reference, query))
    seen = np.flatnonzero(first.getnnz(axis=0))
    num = min(num_dimensions, len(seen) - 1, first.shape[0] - 1)
    model = PCA(num, svd_solver="arpack", random_state=seed).fit(first[:, seen].astype(np.float64))
    return model.transform(first[:, seen]).astype(np.float32), model.transform(second[:, seen]).astype(np.float32)


def separability(
    embeddings: Mapping[str, tuple[np.ndarray, np.ndarray]],
    label: str,
    reference: Labelled,
    query: Labelled,
    *,
    neighbours: int = NEIGHBOURS,
    seed: int = 0,
) -> list[dict[str, object]]:
    """Judge embeddings by a label.

    Parameters
    ----------
    embeddings
        Of reference and query cells, [N, D] each, by the name of the embedding.
    label
        Name of the label.
    reference, query
        The same cells' labels and wells.
    neighbours
        Number of votes.
    seed
        Of the permuted labels.

    Returns
    -------
    list of dict
        One record for each embedding: embedding, label, accuracy (of neighbours; 0 to 1, balanced), standard_error, permuted_accuracy and
        permuted_high (mean and 95th percentile with permuted labels), probe_accuracy (of :func:`linear_probe`), chance, num_cells, num_wells. None
        where the query cells have one value of the label only.
    """
    records: list[dict[str, object]] = []
    num_labels = len(np.intersect1d(reference.labels, query.labels))
    for name, (reference_ND, query_ND) in embeddings.items():
        votes = balanced_votes(reference_ND, reference, query_ND, query, neighbours=neighbours, permutations=PERMUTATIONS, seed=seed)
        if np.isfinite(votes.accuracy):
            probed = linear_probe(reference_ND, reference.labels, query_ND, query.labels)
            records.append({
                "embedding": name, "label": label, "accuracy": votes.accuracy, "standard_error": votes.standard_error,
                "permuted_accuracy": votes.permuted_accuracy, "permuted_high": votes.permuted_high, "num_cells": votes.num_cells,
                "num_wells": votes.num_wells, "probe_accuracy": probed, "chance": 1 / num_labels,
            })  # fmt: skip
    return records
