"""Candidate edges, references and subsets as arrays: what every metric is computed on.

All rankings are judged on exactly the same candidate edges, in the row order of ``candidate_edges.parquet``.

* `truth` (simulation only) is directed: an edge is positive if that ordered pair is in the truth.
* The other references are undirected: an edge is positive if its unordered pair is in the reference. Both genes have to be in the reference's
  universe; an edge with a gene that the reference cannot speak of is left out, it is not a negative.
* `no_prior` removes every edge that a curated source lists, from positives AND negatives: curated edges leak into the references. An undirected
  reference cannot tell an edge from its reverse, so for it the reverse of a curated edge goes too (:func:`select_edges`).
* `no_prior_source_hit` and its complement split the rest by whether a screened perturbation bears on the source.

Legend of axes: E candidate edges, G panel genes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.errors import InputError

__all__ = [
    "REFERENCE_ORDER", "SUBSETS", "AnyIntArray", "BoolArray", "CodedEdges", "FloatArray", "IntArray", "Reference", "build_references",
    "build_subsets", "code_edges", "select_edges",
]  # fmt: skip

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
AnyIntArray = npt.NDArray[np.signedinteger[Any]]
BoolArray = npt.NDArray[np.bool_]

NO_PRIOR = "no_prior"
SUBSETS = (NO_PRIOR, "no_prior_source_hit", "no_prior_source_not_hit", "all")  # the prior-free edges lead every table
REFERENCE_ORDER = ("truth", "string", "complexportal", "humap", "humap3", "reactome")
COEXPRESSION_SOURCE = "coexpression"


@dataclass(frozen=True, slots=True, kw_only=True)
class CodedEdges:
    """Candidate edges as indices into the panel."""

    gene_G: list[str]  # symbols, in panel order
    source_E: IntArray
    target_E: IntArray
    reverse_E: IntArray  # row of the edge in the other direction, -1 where that is no candidate
    is_curated_E: BoolArray
    is_pair_curated_E: BoolArray  # the edge or its reverse is curated, whether or not the reverse is a candidate

    @property
    def num_edges(self) -> int:
        """Number of candidate edges."""
        return int(self.source_E.size)

    @property
    def num_genes(self) -> int:
        """Number of panel genes."""
        return len(self.gene_G)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What one reference says about each candidate edge."""

    name: str
    is_directed: bool
    is_positive_E: BoolArray
    is_eligible_E: BoolArray  # the reference can speak of both genes
    true_sign_E: npt.NDArray[np.int8]  # sign of the true weight; 0 where the reference gives none
    num_pairs: int  # pairs that the reference states
    num_pairs_in_candidates: int  # of them, with at least one direction among the candidates
    num_genes_in_panel: int  # genes of its universe that are in the panel


def _codes(values: pd.Series, index: pd.Index) -> IntArray:
    return np.asarray(index.get_indexer(values), dtype=np.int64)


def _require_columns(table: pd.DataFrame, columns: Iterable[str], where: str) -> None:
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise InputError(f"{where}: expected columns {', '.join(columns)}, found no {', '.join(missing)}. Rerun the stage that writes this table.")


def _rows_of_pairs(key_E: IntArray, wanted: IntArray) -> IntArray:
    """Row of each wanted key among the (unique) keys of the edges; -1 where absent."""
    if key_E.size == 0:
        return np.full(wanted.size, -1, dtype=np.int64)
    order = np.argsort(key_E, kind="stable")
    place = np.minimum(np.searchsorted(key_E[order], wanted), key_E.size - 1)
    row = order[place]
    return np.where(key_E[row] == wanted, row, -1)


def _is_curated(sources: pd.Series) -> BoolArray:
    code, values = pd.factorize(sources.fillna(""))
    curated = np.array([any(name not in ("", COEXPRESSION_SOURCE) for name in value.split(";")) for value in values], dtype=bool)
    return curated[code] if len(values) else np.zeros(0, dtype=bool)


def code_edges(candidate_edges: pd.DataFrame, panel: pd.DataFrame, prior_edges: pd.DataFrame | None = None) -> CodedEdges:
    """Turn candidate edges into indices and find reverse and curated edges.

    Parameters
    ----------
    candidate_edges
        Columns `regulator`, `target`, `sources` (";"-joined); unique ordered pairs without self edges.
    panel
        Column `gene`; its order is the gene axis.
    prior_edges
        Columns `regulator`, `target`. An edge listed here counts as curated even if `sources` does not say so.

    Returns
    -------
    CodedEdges
        In the row order of `candidate_edges`.

    Raises
    ------
    InputError
        If a column or a gene is missing, an edge stands twice, or an edge points to its own source.
    """
    _require_columns(candidate_edges, ("regulator", "target", "sources"), "candidate_edges")
    index = pd.Index(panel["gene"])
    if not index.is_unique:
        raise InputError(f"panel: expected unique genes, found {index[index.duplicated()][0]!r} twice. Rerun the panel stage.")
    source_E, target_E = _codes(candidate_edges["regulator"], index), _codes(candidate_edges["target"], index)
    absent = (source_E < 0) | (target_E < 0)
    if absent.any():
        row = candidate_edges.iloc[int(np.flatnonzero(absent)[0])]
        raise InputError(
            f"candidate_edges: expected genes of the panel, found the edge {row['regulator']} -> {row['target']} with a gene outside it. "
            "Rerun the mask stage on the present panel."
        )
    if (source_E == target_E).any():
        raise InputError("candidate_edges: expected no self edges, found at least one. Rerun the mask stage.")
    num_genes = len(index)
    key_E = source_E * num_genes + target_E
    if np.unique(key_E).size != key_E.size:
        raise InputError("candidate_edges: expected each ordered pair once, found duplicates. Rerun the mask stage.")
    reverse_key_E = target_E * num_genes + source_E
    reverse_E = _rows_of_pairs(key_E, reverse_key_E)
    is_curated_E = _is_curated(candidate_edges["sources"])
    is_reverse_curated_E = np.zeros(key_E.size, dtype=bool)
    if prior_edges is not None:
        prior_source, prior_target = _codes(prior_edges["regulator"], index), _codes(prior_edges["target"], index)
        known = (prior_source >= 0) & (prior_target >= 0)
        prior_key = prior_source[known] * num_genes + prior_target[known]
        is_curated_E = is_curated_E | np.isin(key_E, prior_key)
        is_reverse_curated_E = np.isin(reverse_key_E, prior_key)
    has_reverse_E = reverse_E >= 0
    is_reverse_curated_E[has_reverse_E] |= is_curated_E[reverse_E[has_reverse_E]]
    return CodedEdges(
        gene_G=list(index),
        source_E=source_E,
        target_E=target_E,
        reverse_E=reverse_E,
        is_curated_E=is_curated_E,
        is_pair_curated_E=is_curated_E | is_reverse_curated_E,
    )


def _truth_reference(edges: CodedEdges, truth_edges: pd.DataFrame) -> Reference:
    _require_columns(truth_edges, ("regulator", "target", "weight"), "truth edges")
    index = pd.Index(edges.gene_G)
    stated = truth_edges[truth_edges["weight"] != 0]
    source, target = _codes(stated["regulator"], index), _codes(stated["target"], index)
    inside = (source >= 0) & (target >= 0)
    row = _rows_of_pairs(edges.source_E * edges.num_genes + edges.target_E, source[inside] * edges.num_genes + target[inside])
    true_sign_E = np.zeros(edges.num_edges, dtype=np.int8)
    true_sign_E[row[row >= 0]] = np.sign(stated["weight"].to_numpy()[inside][row >= 0]).astype(np.int8)
    return Reference(
        name="truth", is_directed=True, is_positive_E=true_sign_E != 0, is_eligible_E=np.ones(edges.num_edges, dtype=bool),
        true_sign_E=true_sign_E, num_pairs=len(stated), num_pairs_in_candidates=int((row >= 0).sum()),
        num_genes_in_panel=edges.num_genes,
    )  # fmt: skip


def _undirected_reference(edges: CodedEdges, name: str, pairs: pd.DataFrame, universe: pd.Series) -> Reference:
    index = pd.Index(edges.gene_G)
    in_universe_G = np.isin(np.asarray(index, dtype=object), universe.to_numpy(dtype=object))
    is_eligible_E = in_universe_G[edges.source_E] & in_universe_G[edges.target_E]
    a, b = _codes(pairs["gene_a"], index), _codes(pairs["gene_b"], index)
    known = (a >= 0) & (b >= 0) & (a != b)
    wanted = np.unique(np.minimum(a, b)[known] * edges.num_genes + np.maximum(a, b)[known])
    unordered_E = np.minimum(edges.source_E, edges.target_E) * edges.num_genes + np.maximum(edges.source_E, edges.target_E)
    is_positive_E = np.isin(unordered_E, wanted) & is_eligible_E
    return Reference(
        name=name, is_directed=False, is_positive_E=is_positive_E, is_eligible_E=is_eligible_E,
        true_sign_E=np.zeros(edges.num_edges, dtype=np.int8), num_pairs=len(pairs),
        num_pairs_in_candidates=int(np.unique(unordered_E[is_positive_E]).size), num_genes_in_panel=int(in_universe_G.sum()),
    )  # fmt: skip


def build_references(
    edges: CodedEdges, reference_pairs: pd.DataFrame, reference_universe: pd.DataFrame, truth_edges: pd.DataFrame | None = None
) -> list[Reference]:
    """Look up what each reference says about the candidate edges.

    Parameters
    ----------
    edges
        From :func:`code_edges`.
    reference_pairs
        Columns `reference`, `gene_a`, `gene_b` (unordered).
    reference_universe
        Columns `reference`, `gene`: the genes that a reference can speak of.
    truth_edges
        Columns `regulator`, `target`, `weight`; simulated screens only.

    Returns
    -------
    list of Reference
        `truth` first, then string, complexportal, humap, reactome, then any other by name.

    Raises
    ------
    InputError
        If a reference has pairs but no universe.
    """
    _require_columns(reference_pairs, ("reference", "gene_a", "gene_b"), "reference_pairs")
    _require_columns(reference_universe, ("reference", "gene"), "reference_universe")
    names = sorted(set(reference_pairs["reference"]) | set(reference_universe["reference"]), key=_reference_place)
    without = sorted(set(reference_pairs["reference"]) - set(reference_universe["reference"]))
    if without:
        raise InputError(f"reference_universe: expected genes of each reference, found none for {', '.join(without)}. Rerun the resources stage.")
    references = [] if truth_edges is None else [_truth_reference(edges, truth_edges)]
    for name in names:
        pairs = reference_pairs[reference_pairs["reference"] == name]
        universe = reference_universe.loc[reference_universe["reference"] == name, "gene"]
        references.append(_undirected_reference(edges, name, pairs, universe))
    return references


def _reference_place(name: str) -> tuple[int, str]:
    return (REFERENCE_ORDER.index(name) if name in REFERENCE_ORDER else len(REFERENCE_ORDER), name)


def build_subsets(edges: CodedEdges, is_hit_G: BoolArray) -> dict[str, BoolArray]:
    """Make masks [E] of the four subsets of edges, by name; see the module's description.

    Parameters
    ----------
    edges
        From :func:`code_edges`.
    is_hit_G
        Whether a screened perturbation is listed to hit the gene.
    """
    no_prior_E = ~edges.is_curated_E
    is_hit_E = is_hit_G[edges.source_E]
    masks = (no_prior_E, no_prior_E & is_hit_E, no_prior_E & ~is_hit_E, np.ones(edges.num_edges, dtype=bool))
    return dict(zip(SUBSETS, masks, strict=True))


def select_edges(edges: CodedEdges, reference: Reference, subset: str, in_subset_E: BoolArray) -> BoolArray:
    """Mark the edges [E] of a subset that a reference can judge; of a prior-free subset, see the module's description for the reverse edges."""
    chosen_E = reference.is_eligible_E & in_subset_E
    return chosen_E & ~edges.is_pair_curated_E if subset.startswith(NO_PRIOR) and not reference.is_directed else chosen_E
