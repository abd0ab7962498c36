"""Leak audit: how much of each reference the curated priors already know.

The priors are directed and the references are not, so that both are compared as unordered pairs of genes. A prior can only leak pairs of which the
reference can speak: of its pairs, those with both genes in the universe of the reference count. `expected` is the number of common pairs if the
reference's pairs lay anywhere in its universe.

Two databases may also have read the same papers. Common literature is counted where both give it (column `literature`: ids joined by ";"); where one
gives none, its counts are null and never 0, and `note` says which one gives none.
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
    "enrichment", "num_positive_edges", "num_positive_curated", "share_of_positives", "num_reference_literature", "num_prior_literature",
    "num_common_literature", "share_of_reference_literature", "num_pairs_of_common_literature", "num_common_with_literature", "note",
]  # fmt: skip
NO_LITERATURE = "the {} gives no literature"


def _pair_keys(first: pd.Series, second: pd.Series, genes: pd.Index) -> IntArray:
    """Give each unordered pair of known, different genes a number; -1 elsewhere."""
    a, b = (np.asarray(genes.get_indexer(column), dtype=np.int64) for column in (first, second))
    return np.where((a >= 0) & (b >= 0) & (a != b), np.minimum(a, b) * len(genes) + np.maximum(a, b), -1)


def _cited(table: pd.DataFrame) -> pd.DataFrame:
    """Unite what the rows of a pair cite: key of the pair, publication; unique."""
    given = table[table["literature"].fillna("") != ""] if "literature" in table.columns else table.iloc[:0].assign(literature="")
    cited = given[["key"]].assign(publication=given["literature"].str.split(";")).explode("publication").drop_duplicates(ignore_index=True)
    return cited[cited["publication"].fillna("") != ""]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _common_literature(pairs: pd.DataFrame, priors: pd.DataFrame) -> dict[str, Any]:
    """Count publications that both cite, pairs of the reference that rest on them, and common pairs for which both cite the same one."""
    of_reference, of_prior = _cited(pairs), _cited(priors)
    in_reference, in_prior = set(of_reference["publication"]), set(of_prior["publication"])
    counts: dict[str, Any] = {"num_reference_literature": len(in_reference) or None, "num_prior_literature": len(in_prior) or None}
    if not in_reference or not in_prior:
        # Without pairs there is nothing to cite for: their number says that.
        silent = "reference" if len(pairs) and not in_reference else "prior" if len(priors) and not in_prior else None
        return counts | {"note": NO_LITERATURE.format(silent) if silent else ""}
    common = in_reference & in_prior
    return counts | {
        "num_common_literature": len(common), "share_of_reference_literature": len(common) / len(in_reference),
        "num_pairs_of_common_literature": of_reference.loc[of_reference["publication"].isin(common), "key"].nunique(),
        "num_common_with_literature": of_reference.merge(of_prior, on=["key", "publication"])["key"].nunique(), "note": "",
    }  # fmt: skip


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
        share_of_positives (candidate edges, filled in the row `any`), num_reference_literature and num_prior_literature (publications cited for those
        pairs; of a prior those of the edges that it lists, by whatever source), num_common_literature, share_of_reference_literature,
        num_pairs_of_common_literature (pairs of the reference for which it cites a publication that the prior cites too, for whatever pair),
        num_common_with_literature (common pairs for which both cite the same publication), note.
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
    numbers = ["share_of_reference", "share_of_prior", "expected", "enrichment", "share_of_positives", "share_of_reference_literature"]
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(counts, "Int64") | dict.fromkeys(numbers, "Float64"))
