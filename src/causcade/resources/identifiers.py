"""Gene identifiers: from whatever a resource or an input uses to one approved symbol and one Ensembl id.

Symbols change: older resources hold many that are no longer approved. The HGNC complete set (https://www.genenames.org, CC0) says which gene
each symbol, previous symbol, alias, Ensembl, UniProt and Entrez id belongs to. An identifier of two genes is reported as ambiguous, never guessed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from causcade.errors import InputError, ResourceError
from causcade.resources.reading import fetch_again, read_delimited

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FOUND", "NAMESPACES", "Resolver", "gene_names", "read_hgnc", "without_version"]

NAMESPACES = ("approved", "ensembl", "uniprot", "entrez", "previous", "alias")
"""Best first: an identifier is looked up in this order, and the first namespace that knows it decides. Database ids come before old names,
since a few aliases have the form of an accession; approved before previous before alias."""

FOUND = frozenset(NAMESPACES)
"""Statuses that come with a gene; the others are `ambiguous` and `unknown`."""

HGNC_COLUMNS = {
    "approved": "symbol",
    "previous": "prev_symbol",
    "alias": "alias_symbol",
    "ensembl": "ensembl_gene_id",
    "uniprot": "uniprot_ids",
    "entrez": "entrez_id",
}
HGNC_REMEDY = "Use HGNC's complete set (hgnc_complete_set.txt), or write `hgnc: null` to take all symbols as they are."

ENSEMBL_VERSIONED = r"^(ENS[A-Z]*G\d{11})\.\d+$"
UNIPROT_PART = r"^([OPQ][0-9][A-Z0-9]{3}[0-9]|[A-NR-Z][0-9](?:[A-Z][A-Z0-9]{2}[0-9]){1,2})-(?:\d+|PRO_\d+)$"


def without_version(identifiers: Sequence[str]) -> pd.Series:
    """Strip surrounding spaces and, from Ensembl genes, the version (`ENSG00000141510.18`).

    Other ids that end in a dot and a number (`AC008770.3` is a name) are left alone, and so are `_PAR_Y` copies.
    """
    import pandas as pd

    values = pd.Series(np.asarray(identifiers, dtype=object), dtype=object).astype(str).str.strip()
    return values.str.replace(ENSEMBL_VERSIONED, r"\1", regex=True)


def read_hgnc(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read the HGNC complete set (plain, gzip or zip) into the identifiers table.

    Returns
    -------
    pandas.DataFrame
        One row per identifier and gene, sorted: identifier, namespace (see :data:`NAMESPACES`), gene (approved symbol), gene_id (Ensembl
        id, or the approved symbol where HGNC has none).

    Raises
    ------
    ResourceError
        If the file is not the HGNC complete set.
    """
    import pandas as pd

    table = read_delimited(path, "hgnc", separator="\t", expected=list(HGNC_COLUMNS.values()), optional=["status"], remedy=HGNC_REMEDY)
    if "status" in table:
        table = table[table["status"].isin(["Approved", ""])]
    table = table[table["symbol"] != ""]
    if table.empty:
        raise ResourceError(f"{path}: expected approved genes, found none. {fetch_again('hgnc')}")
    gene = table["symbol"].str.strip()
    gene_id = table["ensembl_gene_id"].str.strip().where(table["ensembl_gene_id"] != "", gene)
    parts = []
    for namespace, column in HGNC_COLUMNS.items():
        identifiers = table[column].str.split("|").explode().str.strip()
        identifiers = identifiers[identifiers != ""]
        parts.append(
            pd.DataFrame(
                {
                    "identifier": identifiers.to_numpy(),
                    "namespace": namespace,
                    "gene": gene.loc[identifiers.index].to_numpy(),
                    "gene_id": gene_id.loc[identifiers.index].to_numpy(),
                }
            )
        )
    return pd.concat(parts).drop_duplicates().sort_values(["identifier", "namespace", "gene"], ignore_index=True)


class Resolver:
    """Looks identifiers up in an identifiers table; build it with :meth:`from_table` or :meth:`from_hgnc`."""

    def __init__(self, table: pd.DataFrame, winners: pd.DataFrame) -> None:
        import pandas as pd

        self._table = table
        self._index = pd.Index(winners["identifier"], dtype=object)  # unique; the I identifiers
        self._genes = winners["gene"].to_numpy(dtype=object)  # [I]
        self._gene_ids = winners["gene_id"].to_numpy(dtype=object)  # [I]
        self._levels = winners["level"].to_numpy(dtype=np.int8)  # [I], position in NAMESPACES
        self._ambiguous = winners["is_ambiguous"].to_numpy(dtype=bool)  # [I]

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> Resolver:
        """Build from an identifiers table (identifier, namespace, gene, gene_id); the order of its rows does not matter.

        Raises
        ------
        ResourceError
            If columns or namespaces are not those of :func:`read_hgnc`.
        """
        import pandas as pd

        missing = {"identifier", "namespace", "gene", "gene_id"} - set(table.columns)
        if missing:
            raise ResourceError(
                f"identifiers table: expected the columns identifier, namespace, gene, gene_id, found {', '.join(map(str, table.columns))}. "
                "Build it with `read_hgnc`."
            )
        level = pd.Categorical(table["namespace"], categories=list(NAMESPACES)).codes
        if (level < 0).any():
            raise ResourceError(
                f"identifiers table: expected the namespaces {', '.join(NAMESPACES)}, found {table['namespace'].to_numpy()[level < 0][0]!r}. "
                "Build it with `read_hgnc`."
            )
        rows = pd.DataFrame({"identifier": table["identifier"].to_numpy(), "level": level, "gene": table["gene"].to_numpy()})
        rows["gene_id"] = table["gene_id"].to_numpy()
        rows = rows.sort_values(["identifier", "level", "gene"], kind="stable", ignore_index=True)
        best = rows["level"] == rows.groupby("identifier", sort=False)["level"].transform("min")
        winners = rows[best].drop_duplicates(["identifier", "gene"])
        winners = winners.assign(is_ambiguous=winners["identifier"].duplicated(keep=False))
        return cls(table, winners[~winners["identifier"].duplicated()])

    @classmethod
    def from_hgnc(cls, path: str | os.PathLike[str]) -> Resolver:
        """Build from the HGNC complete set; see :func:`read_hgnc`."""
        return cls.from_table(read_hgnc(path))

    def every_gene(self, identifier: str) -> set[str]:
        """All genes that an identifier stands for in any namespace, the weaker ones included."""
        return set(self._table.loc[self._table["identifier"] == identifier, "gene"])

    def resolve(self, identifiers: Sequence[str]) -> pd.DataFrame:
        """Find the gene of each identifier.

        Surrounding spaces are ignored. What is not known as written is tried again without its Ensembl version, and, among UniProt
        accessions only, without its isoform (`P10827-2`) or chain (`P49768-PRO_0000025591`).

        Parameters
        ----------
        identifiers
            Any mixture of symbols, Ensembl, UniProt and Entrez ids; repeated ones are fine.

        Returns
        -------
        pandas.DataFrame
            One row per identifier, in order: identifier (as given), gene, gene_id (both None unless found), status (a namespace of
            :data:`NAMESPACES`, `ambiguous` or `unknown`).
        """
        import pandas as pd

        given = pd.Series(np.asarray(identifiers, dtype=object), dtype=object)
        codes, unique = pd.factorize(given.astype(str).str.strip())
        unique = pd.Series(unique, dtype=object)
        position = self._index.get_indexer(unique)
        if len(self._index):
            for pattern, namespace in ((ENSEMBL_VERSIONED, "ensembl"), (UNIPROT_PART, "uniprot")):
                shorter = unique.str.extract(pattern, expand=False)
                retry = (position < 0) & shorter.notna().to_numpy(dtype=bool)
                found = self._index.get_indexer(shorter[retry])
                # A shortened id may only be what it was taken for: `H2AC11-1` has the form of an isoform, but H2AC11 is a symbol.
                found[self._levels[found] != NAMESPACES.index(namespace)] = -1
                position[retry] = found
        known = position >= 0
        is_ambiguous = np.zeros(len(unique), dtype=bool)
        is_ambiguous[known] = self._ambiguous[position[known]]
        good = known & ~is_ambiguous
        gene, gene_id = np.full(len(unique), None, dtype=object), np.full(len(unique), None, dtype=object)
        gene[good], gene_id[good] = self._genes[position[good]], self._gene_ids[position[good]]
        status = np.full(len(unique), "unknown", dtype=object)
        status[is_ambiguous] = "ambiguous"
        status[good] = np.array(NAMESPACES, dtype=object)[self._levels[position[good]]]
        return pd.DataFrame({"identifier": given, "gene": gene[codes], "gene_id": gene_id[codes], "status": status[codes]})


def _check_axis(gene_ids: pd.Series, symbols: Sequence[str] | None) -> None:
    """Raise unless ids are unique, none is empty, and symbols match them in number."""
    if symbols is not None and len(symbols) != len(gene_ids):
        raise InputError(f"genes of the input: expected one symbol per id ({len(gene_ids)}), found {len(symbols)}. Correct `input.gene_symbol`.")
    if (gene_ids == "").any():
        raise InputError("genes of the input: expected an id for every gene, found an empty one. Choose another column in `input.gene_id`.")
    repeated = gene_ids[gene_ids.duplicated()]
    if len(repeated):
        raise InputError(
            f"genes of the input: expected each id once, found {repeated.iloc[0]!r} again ({len(repeated)} repeated in all). "
            "Choose a column of unique ids in `input.gene_id` (Ensembl ids are)."
        )


def _claim(names: Any, taken: set[str], candidates: Any, eligible: Any) -> Any:
    """Name rows of `eligible` by their candidate, in place, where no better row and no other row of the same kind wants it.

    Returns which rows [G] were named.
    """
    import pandas as pd

    wanted = pd.Series(candidates, dtype=object).where(eligible)
    wins = (wanted.notna() & ~wanted.isin(taken) & ~wanted.duplicated(keep=False)).to_numpy(dtype=bool)
    names[wins] = wanted.to_numpy(dtype=object)[wins]
    # Contested names are gone too: a weaker kind of evidence must not settle what two stronger rows dispute.
    taken.update(wanted.dropna())
    return wins


def _settle(names: Any, ids: Any) -> Any:
    """Fall back to the id (unique) for rows without a name, and for rows whose name is another row's id."""
    import pandas as pd

    names = np.where(pd.isna(names), ids, names)
    while (clash := pd.Series(names).duplicated(keep=False).to_numpy() & (names != ids)).any():
        names = np.where(clash, ids, names)
    return names


def gene_names(gene_ids: Sequence[str], symbols: Sequence[str] | None, resolver: Resolver | None) -> pd.DataFrame:
    """Names of an input's gene axis: the approved symbol where it is unique within the axis, else the id.

    With a resolver, ids are resolved first, best evidence first: approved symbols and database ids, then previous symbols, then aliases, then
    the given symbols. A name that a better row holds is not given again, and a name that two equal rows want goes to neither. Without one, the given
    symbol is taken where it is unique.

    Parameters
    ----------
    gene_ids
        [G] Ensembl ids (versions are dropped where that keeps them unique), other ids, or symbols.
    symbols
        [G] symbols, where the input has them besides; empty ones are ignored.
    resolver
        From the HGNC table, or None.

    Returns
    -------
    pandas.DataFrame
        [G] rows in order: gene_id (Ensembl where known, else as given; unique), gene (unique).

    Raises
    ------
    InputError
        If ids are repeated or empty, or symbols are of another number.
    """
    import pandas as pd

    given = pd.Series(np.asarray(gene_ids, dtype=object), dtype=object).astype(str).str.strip()
    _check_axis(given, symbols)
    shortened = without_version(given.to_numpy())
    ids = shortened.where(~shortened.duplicated(keep=False), given).to_numpy(dtype=object)
    names, final_ids = np.full(len(ids), None, dtype=object), np.full(len(ids), None, dtype=object)
    taken: set[str] = set()
    labels = None if symbols is None else pd.Series([str(symbol).strip() if pd.notna(symbol) else "" for symbol in symbols], dtype=object)
    if resolver is not None:
        by_id = resolver.resolve(ids)
        taken_ids = set(ids)
        # A symbol for which HGNC has no Ensembl id comes back with the symbol as gene_id; the id then stays as given.
        has_ensembl = (by_id["gene_id"] != by_id["gene"]).to_numpy() & (by_id["status"] != "ensembl").to_numpy()
        for tier in (["approved", "ensembl", "uniprot", "entrez"], ["previous"], ["alias"]):
            named = _claim(names, taken, by_id["gene"], by_id["status"].isin(tier).to_numpy())
            _claim(final_ids, taken_ids, by_id["gene_id"], named & has_ensembl)
        if labels is not None:
            by_symbol = resolver.resolve(labels.to_numpy())
            labels = by_symbol["gene"].where(by_symbol["status"].isin(FOUND), labels)
    if labels is not None:
        _claim(names, taken, labels, (labels != "").to_numpy() & pd.isna(names))
    return pd.DataFrame({"gene_id": _settle(final_ids, ids), "gene": _settle(names, ids)})
