"""How well an embedding tells labels of cells apart: votes of the nearest neighbours, beside those in a PCA of as many dimensions.

The neighbours of a cell of a held-out well are sought among training cells. Each neighbour's vote is divided by the share of its label, so that a
common label is not guessed for its frequency; accuracy is the mean of the labels' recalls, and chance is one over their number. A linear probe
(logistic regression) tells what the embedding holds beyond its nearest neighbours.

Axes: N cells, D dimensions, K neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import scipy.sparse as sp

from causcade.cells import log_normalise

__all__ = ["balanced_votes", "expression_pca", "linear_probe", "separability"]

NEIGHBOURS = 15
PROBE_ROUNDS = 2000


def balanced_votes(
    reference_ND: np.ndarray, reference_labels: np.ndarray, query_ND: np.ndarray, query_labels: np.ndarray, *, neighbours: int = NEIGHBOURS
) -> tuple[float, float, int]:
    """Accuracy of nearest neighbours, balanced over labels.

    Parameters
    ----------
    reference_ND, reference_labels
        Cells that vote.
    query_ND, query_labels
        Cells that are judged; those whose label no reference cell has are left out.
    neighbours
        Number of votes, by Euclidean distance.

    Returns
    -------
    accuracy, error : float
        Mean recall over labels, and its standard error (binomial, within labels); NaN where there are fewer than two labels.
    num_cells : int
        Cells judged.
    """
    from sklearn.neighbors import NearestNeighbors

    labels, code_N = np.unique(reference_labels, return_inverse=True)
    truth = pd.Index(labels).get_indexer(query_labels)
    query_ND, truth = query_ND[truth >= 0], truth[truth >= 0]
    present = np.unique(truth)
    if len(labels) < 2 or len(present) < 2:
        return float("nan"), float("nan"), len(truth)
    search = NearestNeighbors(n_neighbors=min(neighbours, len(reference_ND)), algorithm="brute").fit(reference_ND)
    votes = np.zeros((len(truth), len(labels)))
    nearest = code_N[search.kneighbors(query_ND, return_distance=False)]
    np.add.at(votes, (np.arange(len(truth))[:, None], nearest), (1.0 / np.bincount(code_N))[nearest])
    is_right = votes.argmax(axis=1) == truth
    recall = np.array([is_right[truth == label].mean() for label in present])
    num = np.array([(truth == label).sum() for label in present])
    return float(recall.mean()), float(np.sqrt((recall * (1 - recall) / num).sum()) / len(present)), len(truth)


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
    embeddings: Mapping[str, tuple[np.ndarray, np.ndarray]], labels: Mapping[str, tuple[np.ndarray, np.ndarray]], *, neighbours: int = NEIGHBOURS
) -> list[dict[str, object]]:
    """Judge embeddings by labels.

    Parameters
    ----------
    embeddings
        Of reference and query cells, [N, D] each, by the name of the embedding.
    labels
        Of the same cells, by the name of the label.
    neighbours
        Number of votes.

    Returns
    -------
    list of dict
        One record for each embedding and label: embedding, label, accuracy (of neighbours; 0 to 1, balanced), standard_error, probe_accuracy (of
        :func:`linear_probe`), chance, num_cells. Labels of which the query cells have one value only are left out.
    """
    records: list[dict[str, object]] = []
    for label, (reference_labels, query_labels) in labels.items():
        num_labels = len(np.intersect1d(reference_labels, query_labels))
        for name, (reference_ND, query_ND) in embeddings.items():
            accuracy, error, num = balanced_votes(reference_ND, reference_labels, query_ND, query_labels, neighbours=neighbours)
            if np.isfinite(accuracy):
                probed = linear_probe(reference_ND, reference_labels, query_ND, query_labels)
                record: dict[str, object] = {"embedding": name, "label": label, "accuracy": accuracy, "standard_error": error}
                records.append(record | {"probe_accuracy": probed, "chance": 1 / num_labels, "num_cells": num})
    return records
