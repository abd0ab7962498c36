"""Candidate edges: which gene may regulate which.

The top partners of a gene by residual coexpression are its candidate regulators; edges of the prior databases are added whatever their rank;
self-edges never. Everything later (the causal fit, every ranking of the evaluation) is about exactly these edges.

Axis letters: G genes of the panel, E candidate edges. An edge is one integer, ``target * G + regulator``, so that sorting by it sorts by target
and then by regulator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from causcade.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from causcade.config import MaskConfig

__all__ = ["COEXPRESSION", "CorrelationMatrix", "build_mask", "mask_summary"]

COEXPRESSION = "coexpression"
PARTNER_COLUMNS = ("gene", "partner", "correlation", "rank")
PRIOR_COLUMNS = ("regulator", "target", "sign", "sources", "confidence")
ROWS_PER_BLOCK = 512

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
CorrelationFunction = Callable[[IntArray, IntArray], Any]


class CorrelationMatrix(Protocol):
    """A [G, G] matrix that gives blocks of rows, such as a numpy or a zarr array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """[G, G]."""

    def __getitem__(self, rows: slice, /) -> Any:
        """Rows of the matrix."""


def _codes(table: pd.DataFrame, column: str, genes: pd.Index) -> IntArray:
    """Positions of the genes of a column in the panel; -1 where they are not in it."""
    import pandas as pd

    codes, unique = pd.factorize(table[column], use_na_sentinel=False)
    return np.asarray(genes.get_indexer(unique)[codes], dtype=np.int64)


def _check_columns(table: pd.DataFrame, what: str, expected: Sequence[str]) -> None:
    missing = [column for column in expected if column not in table.columns]
    if missing:
        raise InputError(
            f"{what}: expected the columns {', '.join(expected)}, found {', '.join(map(str, table.columns))} (missing: {', '.join(missing)}). "
            "Rerun the stage that makes it."
        )


def _panel(genes: Sequence[str]) -> pd.Index:
    import pandas as pd

    panel = pd.Index(np.asarray(genes, dtype=object))
    if not panel.is_unique:
        raise InputError(f"panel: expected each gene once, found {panel[panel.duplicated()][0]!r} again. Rerun the stage `panel`.")
    return panel


def _check_unique(edges: IntArray, panel: pd.Index, what: str) -> None:
    """Raise if an edge stands in `edges` twice."""
    order = np.sort(edges)
    repeated = np.flatnonzero(order[1:] == order[:-1])
    if len(repeated):
        target, regulator = divmod(int(order[repeated[0]]), len(panel))
        raise InputError(f"{what}: expected each pair once, found {panel[regulator]} and {panel[target]} again. Rerun the stage that makes it.")


def _coexpression_edges(partners: pd.DataFrame, panel: pd.Index, settings: MaskConfig) -> tuple[IntArray, FloatArray, IntArray]:
    """Edges from partners, sorted: edge, residual correlation, and rank (0 where the edge is only the reverse of a ranked one)."""
    _check_columns(partners, "partners", PARTNER_COLUMNS)
    top = partners[partners["rank"].to_numpy() <= settings.partners]
    target, regulator = _codes(top, "gene", panel), _codes(top, "partner", panel)
    outside = (target < 0) | (regulator < 0)
    if outside.any():
        row = top.iloc[int(outside.argmax())]
        raise InputError(f"partners: expected genes of the panel, found the pair {row['gene']}, {row['partner']}. Rerun the stage `coexpression`.")
    proper = target != regulator
    target, regulator = target[proper], regulator[proper]
    correlation = top["correlation"].to_numpy(dtype=np.float64)[proper]
    rank = top["rank"].to_numpy(dtype=np.int64)[proper]
    edges = target * len(panel) + regulator
    _check_unique(edges, panel, "partners")
    if settings.symmetric:
        edges = np.concatenate([edges, regulator * len(panel) + target])
        correlation, rank = np.tile(correlation, 2), np.concatenate([rank, np.zeros_like(rank)])
    # Of an edge and its added reverse the ranked one stays: rank descending puts the unranked 0 last.
    order = np.lexsort((-rank, edges))
    edges, correlation, rank = edges[order], correlation[order], rank[order]
    first = np.concatenate([[True], edges[1:] != edges[:-1]]) if len(edges) else np.zeros(0, dtype=bool)
    return edges[first], correlation[first], rank[first]


def _prior_edges(prior_edges: pd.DataFrame, panel: pd.Index) -> tuple[IntArray, pd.DataFrame]:
    """Curated edges within the panel without self-edges, sorted: edge, and the rows of the table in that order."""
    _check_columns(prior_edges, "prior_edges", PRIOR_COLUMNS)
    regulator, target = _codes(prior_edges, "regulator", panel), _codes(prior_edges, "target", panel)
    rows = np.flatnonzero((regulator >= 0) & (target >= 0) & (regulator != target))
    edges = target[rows] * len(panel) + regulator[rows]
    _check_unique(edges, panel, "prior_edges")
    order = np.argsort(edges)
    return edges[order], prior_edges.iloc[rows[order]]


def _looked_up(edges: IntArray, num_genes: int, correlation: CorrelationMatrix | CorrelationFunction | None) -> FloatArray:
    """Look up the residual correlation of each edge (sorted by target), in blocks of rows; 0 where the matrix has NaN."""
    target, regulator = np.divmod(edges, num_genes)
    values: FloatArray = np.full(len(edges), np.nan)
    if correlation is None:
        return values
    if callable(correlation):
        values = np.asarray(correlation(target, regulator), dtype=np.float64)
        if values.shape != edges.shape:
            raise InputError(f"correlation: expected one value for each of {len(edges)} edges, found an array of shape {values.shape}.")
        return np.where(np.isnan(values), 0.0, values)
    if tuple(correlation.shape) != (num_genes, num_genes):
        raise InputError(
            f"correlation: expected a matrix of the {num_genes} genes of the panel, found the shape {tuple(correlation.shape)}. "
            "Rerun the stage `coexpression`."
        )
    for start in range(0, num_genes, ROWS_PER_BLOCK):
        first, last = np.searchsorted(target, [start, start + ROWS_PER_BLOCK])
        if first < last:
            block = np.asarray(correlation[slice(start, min(start + ROWS_PER_BLOCK, num_genes))])
            values[first:last] = block[target[first:last] - start, regulator[first:last]]
    return np.where(np.isnan(values), 0.0, values)


def _sources(is_coexpressed: NDArray[np.bool_], prior_sources: NDArray[np.object_]) -> NDArray[np.object_]:
    """Name what supports each edge, sorted and joined by ";"; built once for each different combination."""
    import pandas as pd

    codes, unique = pd.factorize(prior_sources)
    names = np.full((len(unique), 2), "", dtype=object)  # [combinations of databases, without and with coexpression]
    for row, text in enumerate(unique):
        databases = [name for name in str(text).split(";") if name]
        names[row] = ";".join(sorted(databases)), ";".join(sorted([*databases, COEXPRESSION]))
    joined: NDArray[np.object_] = names[codes, is_coexpressed.astype(np.int64)]
    return joined


def build_mask(
    partners: pd.DataFrame,
    correlation: CorrelationMatrix | CorrelationFunction | None,
    prior_edges: pd.DataFrame,
    genes: Sequence[str],
    settings: MaskConfig,
) -> pd.DataFrame:
    """Candidate edges from coexpression partners and curated edges.

    Parameters
    ----------
    partners
        gene, partner, correlation (residual), rank (1 is the best). Partner becomes regulator and gene becomes target, for ranks up to
        `settings.partners`; fewer are fine. With `settings.symmetric` the other direction is added too.
    correlation
        Residual correlation of curated edges that are not among the partners: a [G, G] array (numpy, zarr) that is read in blocks of
        512 rows, or a function of two arrays of positions in the panel (targets, regulators). None where there is none: then NaN.
    prior_edges
        regulator, target, sign, sources, confidence; edges outside the panel and self-edges are left out.
    genes
        [G] the panel, which is the order of everything.
    settings
        `partners` and `symmetric`.

    Returns
    -------
    pandas.DataFrame
        [E] unique, sorted by target and regulator in the order of the panel: regulator, target, coexpression (signed; 0 where a gene is
        constant), rank (Int32; of the regulator among the partners of the target), sources, prior_confidence (0 where none), prior_sign (int8).

    Raises
    ------
    InputError
        If partners are not of the panel or repeated, the matrix has another shape, or there is no edge at all.
    """
    import pandas as pd

    panel = _panel(genes)
    ranked, ranked_r, rank = _coexpression_edges(partners, panel, settings)
    curated, rows = _prior_edges(prior_edges, panel)
    edges = np.union1d(ranked, curated)
    if not len(edges):
        raise InputError(
            f"candidate edges: expected coexpression partners or curated edges among the {len(panel)} genes of the panel, found neither. "
            "Set a prior under `resources`, check that the gene ids of the input are recognised, or add cells so that genes are not constant."
        )
    at_ranked, at_curated = np.searchsorted(edges, ranked), np.searchsorted(edges, curated)
    is_coexpressed = np.zeros(len(edges), dtype=bool)
    is_coexpressed[at_ranked] = True
    coexpression, ranks = np.zeros(len(edges)), np.zeros(len(edges), dtype=np.int32)
    coexpression[at_ranked], ranks[at_ranked] = ranked_r, rank
    coexpression[~is_coexpressed] = _looked_up(edges[~is_coexpressed], len(panel), correlation)
    prior_sources = np.full(len(edges), "", dtype=object)
    confidence, sign = np.zeros(len(edges)), np.zeros(len(edges), dtype=np.int8)
    prior_sources[at_curated] = rows["sources"].to_numpy(dtype=object)
    confidence[at_curated], sign[at_curated] = rows["confidence"].to_numpy(), rows["sign"].to_numpy()
    target, regulator = np.divmod(edges, len(panel))
    names = panel.to_numpy()
    return pd.DataFrame(
        {
            "regulator": names[regulator],
            "target": names[target],
            "coexpression": coexpression,
            "rank": pd.arrays.IntegerArray(ranks, ranks == 0),
            "sources": _sources(is_coexpressed, prior_sources),
            "prior_confidence": confidence,
            "prior_sign": sign,
        }
    )


def _by_database(combinations: pd.Series, prior_edges: pd.DataFrame, panel: pd.Index) -> dict[str, dict[str, int]]:
    """Coverage of each prior database: its edges, those within the panel, and those of them that coexpression proposes too."""
    _, rows = _prior_edges(prior_edges, panel)
    listed = {"num_edges": prior_edges.loc[prior_edges["regulator"] != prior_edges["target"], "sources"].value_counts()}
    listed["num_in_panel"] = rows["sources"].value_counts()
    listed["num_coexpressed"] = combinations[[COEXPRESSION in str(text).split(";") for text in combinations.index]]
    counts: dict[str, dict[str, int]] = {}
    for what, combined in listed.items():
        for text, count in combined.items():
            for database in set(str(text).split(";")) - {COEXPRESSION}:
                entry = counts.setdefault(database, dict.fromkeys(listed, 0))
                entry[what] += int(count)
    return dict(sorted(counts.items()))


def mask_summary(edges: pd.DataFrame, prior_edges: pd.DataFrame, genes: Sequence[str]) -> dict[str, Any]:
    """Count the candidate edges, for `mask_summary.json`.

    Parameters
    ----------
    edges
        As :func:`build_mask` returns them.
    prior_edges
        As given to it.
    genes
        [G] the panel.

    Returns
    -------
    dict
        num_edges, num_pairs_unordered, fraction_of_all (of the G (G - 1) directed edges), by_source, only_curated, only_coexpression,
        curated_in_panel and curated_outside_panel (self-edges in neither), by_database (of each prior database: num_edges without self-edges,
        num_in_panel, num_coexpressed of those), num_regulators, num_targets, regulators_per_target (median and max over targets that have any).
    """
    panel = _panel(genes)
    num_genes = len(panel)
    regulator, target = _codes(edges, "regulator", panel), _codes(edges, "target", panel)
    pairs = np.minimum(regulator, target) * num_genes + np.maximum(regulator, target)
    combinations = edges["sources"].value_counts()
    by_source: dict[str, int] = {}
    for text, count in combinations.items():
        for source in str(text).split(";"):
            by_source[source] = by_source.get(source, 0) + int(count)
    curated, _ = _prior_edges(prior_edges, panel)
    num_self = int((prior_edges["regulator"] == prior_edges["target"]).sum())
    num_coexpressed, only_coexpression = by_source.get(COEXPRESSION, 0), int(combinations.get(COEXPRESSION, 0))
    per_target = np.bincount(target, minlength=num_genes)
    per_target = per_target[per_target > 0]
    return {
        "num_edges": len(edges),
        "num_pairs_unordered": len(np.unique(pairs)),
        "fraction_of_all": len(edges) / (num_genes * (num_genes - 1)) if num_genes > 1 else 0.0,
        "by_source": by_source,
        "only_curated": len(edges) - num_coexpressed,
        "only_coexpression": only_coexpression,
        "curated_in_panel": len(curated),
        "curated_outside_panel": len(prior_edges) - len(curated) - num_self,
        "by_database": _by_database(combinations, prior_edges, panel),
        "num_regulators": len(np.unique(regulator)),
        "num_targets": len(per_target),
        "regulators_per_target": {"median": float(np.median(per_target)) if len(per_target) else 0.0, "max": int(per_target.max(initial=0))},
    }
