"""References: physical interactions, complexes and pathways become unordered pairs of genes.

Each reference also has a universe, the genes that it can speak of: a pair outside it is unknown and not a negative. That is, for STRING the proteins
with at least one link of any score in the file; for complexes and pathways the genes in at least one of them, whatever its confidence or size; for
pairs of hu.MAP the proteins of the table, whatever their probability.

Scores, larger is better: STRING combined_score / 1000; hu.MAP's probability of a pair, or (n + 1 - confidence) / n of a complex in n classes (5, in
hu.MAP 3.0 6), so that class 1 is 1.0; none elsewhere.

Literature: of Complex Portal the publications that the entries of the complexes of a pair cite. The files of STRING, hu.MAP and Reactome that are
read here name none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from causcade.errors import ResourceError
from causcade.resources.complexportal_parsers import parse_complexportal
from causcade.resources.humap_parsers import HUMAP_FORMATS, is_humap_pairs, parse_humap, parse_humap_pairs
from causcade.resources.ledger import Ledger, translate
from causcade.resources.literature import join_runs, pubmed_ids
from causcade.resources.reading import ResourcePath
from causcade.resources.reference_parsers import (
    parse_reactome,
    parse_reactome_relations,
    parse_string,
    parse_string_info,
)

if TYPE_CHECKING:
    import pandas as pd

    from causcade.resources.identifiers import Resolver

__all__ = ["PAIR_DTYPES", "Reference", "complexportal_reference", "humap_reference", "member_pairs", "reactome_reference", "string_reference"]

PAIR_DTYPES = {"reference": "object", "gene_a": "object", "gene_b": "object", "score": "float64", "literature": "object"}
STRING_SCALE = 1000.0
OLD_NAMES = ["previous", "alias"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One reference: its pairs, its universe, and the account of its rows."""

    pairs: pd.DataFrame
    """gene_a, gene_b (gene_a < gene_b, unique, sorted), score, literature (PubMed ids joined by ";"; empty where none is named)."""
    universe: list[str]
    """Genes, sorted."""
    account: dict[str, Any]
    """Row counts for the manifest."""
    members: pd.DataFrame | None = None
    """gene_set, gene of all sets, whatever their size; for Reactome."""


def _pairs_table(genes_a: Any, genes_b: Any, scores: Any, literature: Any = None) -> pd.DataFrame:
    """Unordered, unique, sorted pairs with their best score (NaN where there is none) and all publications cited for them."""
    import pandas as pd

    pair, swap = ["gene_a", "gene_b"], genes_a > genes_b
    columns = {"gene_a": np.where(swap, genes_b, genes_a), "gene_b": np.where(swap, genes_a, genes_b), "score": scores}
    table = pd.DataFrame(columns | {"literature": "" if literature is None else literature})
    table = table.astype({column: kind for column, kind in PAIR_DTYPES.items() if column in table})
    table = table.sort_values([*pair, "score"], ascending=[True, True, False], ignore_index=True)
    unique = table.drop_duplicates(pair, ignore_index=True)
    return unique if literature is None else unique.assign(literature=[pubmed_ids(text) for text in join_runs(table, pair, "literature")])


def member_pairs(sets: Any, genes: Any, scores: Any, choices: Any | None = None, *, literature: Any | None = None) -> pd.DataFrame:
    """All pairs of members of the same set.

    Parameters
    ----------
    sets, genes
        [M] object arrays: set and gene of each membership.
    scores
        [M] score of the set.
    choices
        [M] int; members of one set with the same number above 0 are alternatives and make no pair.
    literature
        [M] object array: publications of the set (PubMed ids joined by ";").

    Returns
    -------
    pandas.DataFrame
        gene_a, gene_b (gene_a < gene_b), score (the best over sets), literature (of all sets that hold the pair); unique and sorted.
    """
    import pandas as pd

    set_codes, _ = pd.factorize(sets)
    order = np.argsort(set_codes, kind="stable")
    _, starts, sizes = np.unique(set_codes[order], return_index=True, return_counts=True)
    # Row m of a set of n members is paired with the n - 1 - i members after it, where i is its place in the set.
    place = np.arange(len(order)) - np.repeat(starts, sizes)
    num_after = np.repeat(sizes, sizes) - 1 - place
    left = np.repeat(np.arange(len(order)), num_after)
    first = np.cumsum(num_after) - num_after
    right = left + 1 + (np.arange(len(left)) - np.repeat(first, num_after))
    left, right = order[left], order[right]
    good = np.asarray(genes, dtype=object)[left] != np.asarray(genes, dtype=object)[right]
    if choices is not None:
        good &= (choices[left] != choices[right]) | (choices[left] == 0)
    left, right = left[good], right[good]
    genes = np.asarray(genes, dtype=object)
    cited = None if literature is None else np.asarray(literature, dtype=object)[left]
    return _pairs_table(genes[left], genes[right], np.asarray(scores, dtype=float)[left], cited)


def _lose_repeated_pairs(ledger: Ledger, gene_a: Any, gene_b: Any) -> None:
    """Lose rows whose pair, in either order, an earlier row has; the genes are those of the rows kept so far."""
    import pandas as pd

    swap = gene_a > gene_b
    ordered = pd.DataFrame({"a": np.where(swap, gene_b, gene_a), "b": np.where(swap, gene_a, gene_b)})
    kept = ledger.kept
    repeated = np.zeros(len(kept), dtype=bool)
    repeated[kept] = ordered.duplicated().to_numpy()
    ledger.lose(repeated, "duplicate")


def string_reference(links: ResourcePath, info: ResourcePath, resolver: Resolver | None, min_score: int) -> Reference:
    """Take STRING physical links of at least `min_score` as pairs of genes."""
    import pandas as pd

    rows, names = parse_string(links), parse_string_info(info)
    symbols, statuses = translate(names["symbol"], resolver)
    proteins = pd.Index(names["protein"])
    ledger = Ledger(len(rows))
    genes = {}
    for column in ("protein1", "protein2"):
        position = proteins.get_indexer(rows[column])
        ledger.lose(position < 0, "unknown_id")
        genes[column] = symbols[position]
        # The name, not the protein id, is what a person can look up in the list of ambiguous ones.
        ledger.lose_unresolved(names["symbol"].to_numpy(dtype=object)[position], np.where(position < 0, "unknown", statuses[position]))
    gene_a, gene_b = genes["protein1"], genes["protein2"]
    universe = sorted(set(gene_a[ledger.kept]) | set(gene_b[ledger.kept]))
    ledger.lose(gene_a == gene_b, "self_loop")
    ledger.lose(rows["combined_score"] < min_score, "below_cutoff")
    kept = ledger.kept
    pairs = _pairs_table(gene_a[kept], gene_b[kept], rows["combined_score"].to_numpy()[kept] / STRING_SCALE)
    _lose_repeated_pairs(ledger, gene_a[kept], gene_b[kept])
    return Reference(pairs=pairs, universe=universe, account=ledger.summary("links"))


def _lose_lonely(ledger: Ledger, sets: Any, genes: Any) -> None:
    """Lose repeated members of a set, then members of sets that are left with one gene: they make no pair."""
    import pandas as pd

    table = pd.DataFrame({"set": sets, "gene": genes})
    ledger.lose_repeated(table, ["set", "gene"])
    sizes = table[ledger.kept].groupby("set")["gene"].transform("size")
    ledger.lose(table.index.isin(sizes.index[sizes == 1]), "single_gene")


def _resolve_accessions(ledger: Ledger, identifiers: pd.Series, resolver: Resolver | None) -> Any:
    """Genes of UniProt accessions, which are lost without a resolver, since they are no symbols."""
    genes, statuses = translate(identifiers, resolver)
    if resolver is None:
        ledger.lose(np.ones(len(identifiers), dtype=bool), "needs_hgnc")
    ledger.lose_unresolved(identifiers, statuses)
    return genes


def complexportal_reference(path: ResourcePath, resolver: Resolver | None) -> Reference:
    """Complex Portal: pairs of proteins in one complex. Alternatives of a molecule set pair with the other members, not with each other."""
    rows = parse_complexportal(path)
    ledger = Ledger(len(rows))
    ledger.lose(rows["kind"] == "complex", "unknown_complex")
    ledger.lose(rows["kind"] != "protein", "non_protein")
    genes = _resolve_accessions(ledger, rows["identifier"], resolver)
    universe = sorted(set(genes[ledger.kept]))
    _lose_lonely(ledger, rows["complex"], genes)
    kept = ledger.kept
    table = rows[kept]
    no_score = np.full(len(table), np.nan)
    pairs = member_pairs(
        table["complex"].to_numpy(), genes[kept], no_score, table["choice"].to_numpy(), literature=table["literature"].to_numpy(dtype=object)
    )
    return Reference(pairs=pairs, universe=universe, account=ledger.summary("complex members"))


def _complexes(path: ResourcePath, resolver: Resolver | None, name: str, max_confidence: int) -> Reference:
    rows = parse_humap(path, name)
    ledger = Ledger(len(rows))
    genes = _resolve_accessions(ledger, rows["identifier"], resolver)
    universe = sorted(set(genes[ledger.kept]))
    ledger.lose(rows["confidence"] > max_confidence, "below_cutoff")
    _lose_lonely(ledger, rows["complex"], genes)
    kept = ledger.kept
    num_classes = HUMAP_FORMATS[name].num_classes
    scores = (num_classes + 1 - rows["confidence"].to_numpy(dtype=float)) / num_classes
    pairs = member_pairs(rows["complex"].to_numpy()[kept], genes[kept], scores[kept])
    return Reference(pairs=pairs, universe=universe, account=ledger.summary("complex members"))


def _probable_pairs(path: ResourcePath, resolver: Resolver | None, name: str, min_probability: float) -> Reference:
    rows = parse_humap_pairs(path, name)
    ledger = Ledger(len(rows.probability))
    genes, statuses = translate(rows.identifiers, resolver)
    if resolver is None:
        ledger.lose(np.ones(len(rows.probability), dtype=bool), "needs_hgnc")
    else:
        # By position, since there are tens of millions of rows and some ten thousand identifiers.
        ledger.remember(rows.identifiers, statuses)
        for status in ("unknown", "ambiguous"):
            is_lost = statuses == status
            ledger.lose(is_lost[rows.first] | is_lost[rows.second], f"{status}_id")
    seen = np.union1d(rows.first[ledger.kept], rows.second[ledger.kept])
    universe = sorted(set(genes[seen]))
    ledger.lose(rows.probability < min_probability, "below_cutoff")
    ledger.lose(genes[rows.first] == genes[rows.second], "self_loop")
    first, second = genes[rows.first[ledger.kept]], genes[rows.second[ledger.kept]]
    pairs = _pairs_table(first, second, rows.probability[ledger.kept].astype(np.float64))
    _lose_repeated_pairs(ledger, first, second)
    return Reference(pairs=pairs, universe=universe, account=ledger.summary("pairs"))


def humap_reference(
    path: ResourcePath, resolver: Resolver | None, max_confidence: int, *, name: str = "humap", min_probability: float = 0.5
) -> Reference:
    """hu.MAP: pairs of proteins in one complex, or pairs by themselves.

    Parameters
    ----------
    path
        Complexes, or pairs with probabilities.
    resolver
        Translates accessions; without it there is nothing to tell.
    max_confidence
        Worst confidence class of complexes to take.
    name
        `humap` (2.0) or `humap3`.
    min_probability
        Smallest probability of pairs to take.
    """
    if is_humap_pairs(path, name):
        return _probable_pairs(path, resolver, name, min_probability)
    return _complexes(path, resolver, name, max_confidence)


def _lose_by_hierarchy(ledger: Ledger, pathways: pd.Series, relations: ResourcePath) -> None:
    """Lose members of pathways that have pathways below them, and of those that the hierarchy does not know."""
    table = parse_reactome_relations(relations)
    is_parent = pathways.isin(set(table["parent"]))
    is_known = is_parent | pathways.isin(set(table["child"]))
    if len(pathways) and not is_known.any():
        raise ResourceError(
            f"{relations}: expected the hierarchy of the pathways of `reactome`, found none of them ({pathways.iloc[0]}, ...). "
            "Use ReactomePathwaysRelation.txt of the same version."
        )
    ledger.lose(~is_known, "not_in_hierarchy")
    ledger.lose(is_parent, "parent_pathway")


def reactome_reference(path: ResourcePath, resolver: Resolver | None, max_genes: int, *, relations: ResourcePath | None = None) -> Reference:
    """Reactome: pairs of genes in one pathway of at most `max_genes` genes (counted after translation).

    A pathway holds the genes of all pathways below it, so that without the limit nearly everything is a pair. Larger ones stay gene sets. With the
    hierarchy (`relations`) only leaves, the pathways without a pathway below them, make pairs; the universe stays the genes of all pathways.

    Previous symbols and aliases are not followed here: the file has proteins of viruses among the human ones, by names that are old names of human
    genes (NP and NA of influenza, TRX1 of cytomegalovirus), and which of both is meant it does not say.

    Raises
    ------
    ResourceError
        If the hierarchy knows none of the pathways.
    """
    import pandas as pd

    rows = parse_reactome(path)
    ledger = Ledger(len(rows))
    genes, statuses = translate(rows["identifier"], resolver)
    ledger.lose_unresolved(rows["identifier"], statuses)
    ledger.lose(np.isin(statuses, OLD_NAMES), "old_name")
    members = pd.DataFrame({"gene_set": rows["gene_set"], "gene": genes})[ledger.kept].drop_duplicates(ignore_index=True)
    if relations is not None:
        _lose_by_hierarchy(ledger, rows["pathway"], relations)
    _lose_lonely(ledger, rows["gene_set"], genes)
    sizes = members.groupby("gene_set").size()
    ledger.lose(rows["gene_set"].isin(sizes.index[sizes > max_genes]), "too_large_pathway")
    kept = ledger.kept
    pairs = member_pairs(rows["gene_set"].to_numpy()[kept], genes[kept], np.full(kept.sum(), np.nan))
    return Reference(pairs=pairs, universe=sorted(set(members["gene"])), account=ledger.summary("pathway members"), members=members)
