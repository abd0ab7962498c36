"""Leak audit: how much of each reference the curated priors already know.

The priors are directed and the references are not, so that both are compared as unordered pairs of genes. A prior can only leak pairs of which the
reference can speak: of its pairs, those with both genes in the universe of the reference count. `expected` is the number of common pairs if the
reference's pairs lay anywhere in its universe. Common literature is counted where both tables give it (column `literature`: ids joined by ";").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from causcade.evaluation.edges import CodedEdges, IntArray, Reference

__all__ = ["ANY_PRIOR", "leak_table"]

ANY_PRIOR = "any"
COLUMNS = [
    "reference", "prior", "num_reference_pairs", "num_prior_pairs", "num_common_pairs", "share_of_reference", "share_of_prior", "expected",
    "enrichment", "num_positive_edges", "num_positive_curated", "share_of_positives", "num_common_literature", "num_common_with_literature", "note",
]  # fmt: skip
NO_LITERATURE = "the reference gives no literature"


def _pair_keys(first: pd.Series, second: pd.Series, genes: pd.Index) -> IntArray:
    """Give each unordered pair of known, different genes a number; -1 elsewhere."""
    a, b = (np.asarray(genes.get_indexer(column), dtype=np.int64) for column in (first, second))
    return np.where((a >= 0) & (b >= 0) & (a != b), np.minimum(a, b) * len(genes) + np.maximum(a, b), -1)


def _literature(text: pd.Series) -> list[set[str]]:
    return [{item for item in str(one).split(";") if item} if isinstance(one, str) else set() for one in text]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _common_literature(pairs: pd.DataFrame, priors: pd.DataFrame) -> dict[str, Any]:
    """Count publications that both cite, and common pairs for which they cite the same one."""
    if "literature" not in pairs.columns or "literature" not in priors.columns:
        return {"num_common_literature": None, "num_common_with_literature": None, "note": NO_LITERATURE}
    of_reference, of_prior = _literature(pairs["literature"]), _literature(priors["literature"])
    cited: dict[int, set[str]] = {}
    for key, ids in zip(pairs["key"], of_reference, strict=True):
        cited.setdefault(key, set()).update(ids)
    same = {key for key, ids in zip(priors["key"], of_prior, strict=True) if cited.get(key, set()) & ids}
    common = set().union(*of_reference) & set().union(*of_prior)
    return {"num_common_literature": len(common), "num_common_with_literature": len(same), "note": ""}


def _audit(pairs: pd.DataFrame, priors: pd.DataFrame, num_genes: int) -> dict[str, Any]:
    wanted, known = np.unique(pairs["key"]), np.unique(priors["key"])
    common = int(np.isin(wanted, known).sum())
    possible = num_genes * (num_genes - 1) // 2
    expected = wanted.size * known.size / possible if possible else 0.0
    return {
        "num_reference_pairs": int(wanted.size), "num_prior_pairs": int(known.size), "num_common_pairs": common,
        "share_of_reference": _share(common, wanted.size), "share_of_prior": _share(common, known.size), "expected": expected,
        "enrichment": common / expected if expected else None, **_common_literature(pairs, priors),
    }  # fmt: skip


def leak_table(
    edges: CodedEdges, references: Sequence[Reference], reference_pairs: pd.DataFrame, reference_universe: pd.DataFrame, prior_edges: pd.DataFrame
) -> pd.DataFrame:
    """Compare the pairs of each reference with those of each prior, and of all priors together (`any`).

    Parameters
    ----------
    edges, references
        What is judged, for the share of positive candidate edges that a curated source lists (in either direction).
    reference_pairs
        reference, gene_a, gene_b and, where known, literature.
    reference_universe
        reference, gene.
    prior_edges
        regulator, target, sources (";"-joined) and, where known, literature.

    Returns
    -------
    pandas.DataFrame
        reference, prior, num_reference_pairs, num_prior_pairs (within the universe of the reference), num_common_pairs, share_of_reference,
        share_of_prior, expected (common pairs by chance), enrichment (common / expected), num_positive_edges, num_positive_curated,
        share_of_positives (candidate edges, filled in the row `any`), num_common_literature, num_common_with_literature (common pairs for which both
        cite the same publication), note.
    """
    sources = prior_edges["sources"].fillna("") if "sources" in prior_edges.columns else pd.Series("", index=prior_edges.index)
    names = sorted({name for text in sources.unique() for name in text.split(";") if name})
    rows = []
    for reference in (one for one in references if not one.is_directed):
        universe = pd.Index(reference_universe.loc[reference_universe["reference"] == reference.name, "gene"].drop_duplicates())
        pairs = reference_pairs[reference_pairs["reference"] == reference.name]
        pairs = pairs.assign(key=_pair_keys(pairs["gene_a"], pairs["gene_b"], universe)).query("key >= 0")
        priors = prior_edges.assign(key=_pair_keys(prior_edges["regulator"], prior_edges["target"], universe), sources=sources).query("key >= 0")
        for name in (ANY_PRIOR, *names):
            is_listed = np.array([name == ANY_PRIOR or name in text.split(";") for text in priors["sources"]], dtype=bool)
            of_prior = priors[is_listed]
            row = {"reference": reference.name, "prior": name, **_audit(pairs, of_prior, len(universe))}
            if name == ANY_PRIOR:
                num = int(reference.is_positive_E.sum())
                curated = int((reference.is_positive_E & edges.is_pair_curated_E).sum())
                row |= {"num_positive_edges": num, "num_positive_curated": curated, "share_of_positives": _share(curated, num)}
            rows.append(row)
    counts = [name for name in COLUMNS if name.startswith("num_")]
    numbers = ["share_of_reference", "share_of_prior", "expected", "enrichment", "share_of_positives"]
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(counts, "Int64") | dict.fromkeys(numbers, "Float64"))
