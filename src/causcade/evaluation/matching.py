"""Degree-matched negatives: what a ranking is worth once "popular genes" cannot help it.

Positives of a reference sit at genes with many candidate edges, so that a product of degrees ranks them high without knowing any pair. Here every
positive is set against negatives of the same kind. Edges are put into strata by the out-degree of their regulator and the in-degree of their target,
both counted among all candidate edges, in up to 20 groups of equal size each. In every stratum each positive gets ten negatives, drawn without
replacement; where there are fewer, all of them stand in, each counting for more, so that positives and negatives have exactly the same distribution
over the strata. A positive in a stratum without negatives is left out. The base rate is therefore 1 / 11 on every reference and subset.

The draw depends on the seed and on the names of the genes, not on the order of the edges.

Legend of axes: E candidate edges, G panel genes.
"""

from __future__ import annotations

import numpy as np

from causcade.evaluation.edges import BoolArray, CodedEdges, FloatArray, IntArray

__all__ = ["MATCHED_BASE_RATE", "NEGATIVES_PER_POSITIVE", "degree_strata", "draw_keys", "match_negatives"]

NEGATIVES_PER_POSITIVE = 10
MATCHED_BASE_RATE = 1 / (1 + NEGATIVES_PER_POSITIVE)
MAX_DEGREE_GROUPS = 20


def _groups(degree_E: IntArray) -> IntArray:
    """Group edges by degree at its quantiles over the edges; equal degrees are never parted."""
    cuts = np.unique(np.quantile(degree_E, np.arange(1, MAX_DEGREE_GROUPS) / MAX_DEGREE_GROUPS)) if degree_E.size else np.zeros(0)
    return np.searchsorted(cuts, degree_E, side="left")


def degree_strata(edges: CodedEdges) -> IntArray:
    """Stratum of each edge [E] by the candidate out-degree of its regulator and the candidate in-degree of its target."""
    out_G, in_G = np.bincount(edges.source_E, minlength=edges.num_genes), np.bincount(edges.target_E, minlength=edges.num_genes)
    return _groups(out_G[edges.source_E]) * MAX_DEGREE_GROUPS + _groups(in_G[edges.target_E])


def draw_keys(edges: CodedEdges, rng: np.random.Generator) -> IntArray:
    """Draw a random order of the edges [E] (0 is first), the same for equal edges in any row order."""
    place_G = np.argsort(np.argsort(np.asarray(edges.gene_G, dtype=str)))
    by_name_E = np.argsort(place_G[edges.source_E] * edges.num_genes + place_G[edges.target_E])
    key_E = np.empty(edges.num_edges, dtype=np.int64)
    key_E[by_name_E] = rng.permutation(edges.num_edges)
    return key_E


def match_negatives(stratum_E: IntArray, key_E: IntArray, is_positive_E: BoolArray, in_subset_E: BoolArray) -> FloatArray:
    """How often each edge counts [E] when positives stand against negatives of equal degrees.

    Parameters
    ----------
    stratum_E
        From :func:`degree_strata`.
    key_E
        From :func:`draw_keys`: negatives are taken in this order.
    is_positive_E, in_subset_E
        Class of the edges, and which of them take part.

    Returns
    -------
    numpy.ndarray
        1 for a positive that has negatives in its stratum and for a negative drawn, more for negatives of a stratum with fewer than ten for each
        positive, 0 for all others.
    """
    num_strata = int(stratum_E.max(initial=-1)) + 1
    is_negative_E = in_subset_E & ~is_positive_E
    wanted = NEGATIVES_PER_POSITIVE * np.bincount(stratum_E[in_subset_E & is_positive_E], minlength=num_strata)
    present = np.bincount(stratum_E[is_negative_E], minlength=num_strata)
    weight_E = np.zeros(stratum_E.size)
    positive = np.flatnonzero(in_subset_E & is_positive_E)
    weight_E[positive] = present[stratum_E[positive]] > 0
    negative = np.flatnonzero(is_negative_E & (wanted[stratum_E] > 0)) if num_strata else np.zeros(0, dtype=np.int64)
    negative = negative[np.lexsort((key_E[negative], stratum_E[negative]))]
    stratum = stratum_E[negative]
    place = np.arange(negative.size) - np.searchsorted(stratum, stratum)  # within the stratum, in the order drawn
    drawn = place < wanted[stratum]
    taken = np.minimum(wanted, present)[stratum[drawn]]
    weight_E[negative[drawn]] = wanted[stratum[drawn]] / taken
    return weight_E
