"""Prior edges: three databases of regulons become one table of directed edges with signs and a confidence.

What sources disagree on is kept: `num_positive` and `num_negative` count those that state each sign, and the sign is then 0
(:mod:`causcade.signs`).

Confidence of an edge, in [0, 1]: the best of its sources, plus 0.05 for each further source, at most 0.95. Of one source:

* CollecTRI 0.7 with literature, 0.5 without;
* DoRothEA A 0.9, B 0.7, C 0.5, D 0.3, E 0.1;
* TRRUST 0.6 with one publication, 0.05 more for each further one, at most 0.8.

The best and not a noisy-or, because the sources are not independent: CollecTRI contains TRRUST and DoRothEA's level A, so that a second listing
adds little.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from causcade.resources.ledger import Ledger, translate
from causcade.resources.literature import join_runs, pubmed_ids
from causcade.resources.prior_parsers import parse_collectri, parse_dorothea, parse_trrust
from causcade.resources.reading import ResourcePath
from causcade.signs import agreed_sign

if TYPE_CHECKING:
    import pandas as pd

    from causcade.resources.identifiers import Resolver

__all__ = ["PRIOR_SOURCES", "combine_priors", "prior_rows", "repair_dates"]

PRIOR_SOURCES = ("collectri", "dorothea", "trrust")
PRIOR_DTYPES = {
    "regulator": "object",
    "target": "object",
    "sign": "int8",
    "sources": "object",
    "confidence": "float64",
    "literature": "object",
    "num_positive": "int8",
    "num_negative": "int8",
}

COLLECTRI_CONFIDENCE = {True: 0.7, False: 0.5}
DOROTHEA_CONFIDENCE = {"A": 0.9, "B": 0.7, "C": 0.5, "D": 0.3, "E": 0.1}
TRRUST_CONFIDENCE, TRRUST_STEP, TRRUST_MOST = 0.6, 0.05, 0.8
FURTHER_SOURCE, MOST_CONFIDENCE = 0.05, 0.95

PSEUDO_TF = r"^(?:AP1|NFKB|COMPLEX:.*)$"
"""Protein complexes under one name in CollecTRI. They are dropped, not expanded: which subunit acts is not what the row says."""

DATE = re.compile(r"^(?:(\d{1,2})-([A-Z][a-z]{2})|([A-Z][a-z]{2})-(\d{1,2}))$")
MONTH_SYMBOLS = {
    "Feb": ("FEB",),
    "Mar": ("MARCH", "MARC"),
    "Apr": ("APR",),
    "Sep": ("SEPT", "SEP"),
    "Oct": ("OCT",),
    "Nov": ("NOV",),
    "Dec": ("DEC",),
}
"""Beginnings of symbols that a spreadsheet takes for a month."""


def repair_dates(identifiers: pd.Series, resolver: Resolver | None) -> tuple[pd.Series, Any]:
    """Undo what spreadsheets do to symbols (`7-Sep` was SEPT7), where only one gene can have been meant.

    All symbols that a spreadsheet turns into that date are looked up, old names and aliases included; the repair is made if together they name
    exactly one gene. `1-Dec` is not repaired: DEC1 is the old name of DELEC1 and an alias of BHLHE40.

    Returns
    -------
    repaired, damaged
        The identifiers with repairs, and a bool array [rows] of those that are dates and stay so.
    """
    dates = [value for value in identifiers.unique() if DATE.match(value)]
    repairs: dict[str, str] = {}
    for date in dates:
        day_first, month_last, month_first, day_last = DATE.match(date).groups()  # type: ignore[union-attr]
        day, month = int(day_first or day_last), month_last or month_first
        if resolver is not None:
            genes = {gene for stem in MONTH_SYMBOLS.get(month, ()) for gene in resolver.every_gene(f"{stem}{day}")}
            if len(genes) == 1:
                repairs[date] = genes.pop()
    return identifiers.replace(repairs), (identifiers.isin(dates) & ~identifiers.isin(list(repairs))).to_numpy()


def _num_publications(literature: pd.Series) -> pd.Series:
    return literature.str.count(r"(?:^|[;:])\s*\d").astype(int)


def prior_rows(name: str, path: ResourcePath, levels: tuple[str, ...]) -> tuple[pd.DataFrame, Any]:
    """Rows of one prior database in the common form.

    Parameters
    ----------
    name
        One of :data:`PRIOR_SOURCES`.
    path
        Its file.
    levels
        Levels of DoRothEA to take.

    Returns
    -------
    rows, is_below
        regulator, target (untranslated), sign (int8), is_positive, is_negative (bool: both where one row states both), confidence (of this source),
        literature; and a bool array [rows] of those below the cut-off.
    """
    if name == "collectri":
        rows = parse_collectri(path)
        rows["confidence"] = (_num_publications(rows["literature"]) > 0).map(COLLECTRI_CONFIDENCE)
    elif name == "dorothea":
        rows = parse_dorothea(path)
        rows["confidence"] = rows["level"].map(DOROTHEA_CONFIDENCE)
    else:
        rows = parse_trrust(path)
        # Publications of the pair, over its rows of different modes: the confidence is one of the edge, not of a mode.
        pair = ["regulator", "target"]
        cited = rows.assign(pmid=rows["literature"].str.split(";")).explode("pmid").drop_duplicates([*pair, "pmid"])
        num = cited.groupby(pair)["pmid"].size().rename("num")
        num = rows[pair].join(num, on=pair)["num"]
        rows["confidence"] = np.minimum(TRRUST_CONFIDENCE + TRRUST_STEP * (num.to_numpy() - 1), TRRUST_MOST)
    stated = {"is_positive": rows["sign"] > 0, "is_negative": rows["sign"] < 0, "literature": ""}
    rows = rows.assign(**{column: value for column, value in stated.items() if column not in rows})
    return rows, ~rows["level"].isin(levels).to_numpy() if "level" in rows else np.zeros(len(rows), dtype=bool)


def _resolved(rows: pd.DataFrame, is_below: Any, resolver: Resolver | None) -> tuple[pd.DataFrame, Ledger]:
    """Rows with genes instead of identifiers, and the account of those that were lost."""
    ledger = Ledger(len(rows))
    ledger.lose(is_below, "below_cutoff")
    genes: dict[str, Any] = {}
    for column in ("regulator", "target"):
        ledger.lose(rows[column].str.match(PSEUDO_TF).to_numpy(), "pseudo_tf")
    for column in ("regulator", "target"):
        repaired, damaged = repair_dates(rows[column].str.strip(), resolver)
        ledger.lose(damaged, "excel_damaged")
        genes[column], statuses = translate(repaired, resolver)
        ledger.lose_unresolved(rows[column], statuses)
    ledger.lose(genes["regulator"] == genes["target"], "self_loop")
    resolved = rows.assign(**genes)[["regulator", "target", "is_positive", "is_negative", "confidence", "literature"]]
    return resolved, ledger


def combine_priors(
    files: Mapping[str, ResourcePath], resolver: Resolver | None, levels: tuple[str, ...]
) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    """Combine the prior databases into one table of edges.

    Parameters
    ----------
    files
        Name of the database (:data:`PRIOR_SOURCES`) to its file; any may be absent.
    resolver
        Translates to approved symbols; None takes symbols as they are.
    levels
        Levels of DoRothEA to take.

    Returns
    -------
    edges, accounts
        Edges sorted by regulator and target: regulator, target, sign (+1, -1; 0 where no source or contradicting sources state it), sources
        (";"-joined), confidence (see the module), literature (PubMed ids, ";"-joined), num_positive, num_negative (sources that state that
        sign; one source may state both). And for each database its row counts for the manifest.
    """
    import pandas as pd

    parts, accounts = [], {}
    for name in PRIOR_SOURCES:
        if name not in files:
            continue
        resolved, ledger = _resolved(*prior_rows(name, files[name], levels), resolver)
        kept = resolved[ledger.kept]
        ledger.lose_repeated(resolved, ["regulator", "target"])
        accounts[name] = ledger.summary("edges")
        parts.append(kept.assign(source=name))
    if not parts or not sum(map(len, parts)):
        return pd.DataFrame({column: pd.Series(dtype=kind) for column, kind in PRIOR_DTYPES.items()}), accounts
    return _merged(pd.concat(parts, ignore_index=True)), accounts


def _merged(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per edge out of rows (regulator, target, is_positive, is_negative, confidence, literature, source)."""
    pair = ["regulator", "target"]
    rows = rows.assign(num_positive=rows["is_positive"].astype("int8"), num_negative=rows["is_negative"].astype("int8"))
    rows = rows.sort_values([*pair, "source"], ignore_index=True)
    by_source = rows.groupby([*pair, "source"], sort=True)[["num_positive", "num_negative", "confidence"]].max().reset_index()
    table = by_source.groupby(pair, sort=True).agg({"num_positive": "sum", "num_negative": "sum", "confidence": "max"}).reset_index()
    # Joined by position: both tables are sorted by pair, so that the n-th run of a pair is the n-th edge.
    table["sources"] = join_runs(by_source, pair, "source")
    table["literature"] = [pubmed_ids(text) for text in join_runs(rows, pair, "literature")]
    further = FURTHER_SOURCE * table["sources"].str.count(";")
    table["confidence"] = np.minimum(table["confidence"] + further, MOST_CONFIDENCE).round(6)
    table["sign"] = agreed_sign(table["num_positive"], table["num_negative"])
    return table[list(PRIOR_DTYPES)].astype(PRIOR_DTYPES)
