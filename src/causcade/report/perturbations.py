"""Each perturbation explained: section 9 (direct part, hops, paths, shares, similar perturbations, gene sets)."""

from __future__ import annotations

import itertools
from typing import Any

import pandas as pd

from causcade.report.data import Artifacts, known, rounded
from causcade.report.network import gene_codes

__all__ = ["perturbations"]

NUM_DIRECT = 15
NUM_PER_HOP = 8
NUM_LISTED = 25
MAX_HOPS = 3
NUM_SIMILAR = 8
NUM_SETS = 12
MAX_FDR = 0.25


def perturbations(artifacts: Artifacts, edges: pd.DataFrame, genes: dict[str, int], data: dict[str, Any]) -> dict[str, Any] | None:
    """All that the page shows of each perturbation, by name.

    Parameters
    ----------
    artifacts
        The run.
    edges
        network/edges.parquet; gives the links that are drawn between one hop and the next.
    genes
        Gene list of the page (name to number); it grows.
    data
        Data of the page; gets the key `perturbations`.
    """
    optional = ["share_unlisted"]
    columns = ["perturbation", "num_targets", "num_conditions", "num_cells", "share_direct", "share_propagated", "share_shared", "correlation"]
    summary = artifacts.table("cascades/summary.parquet", columns, every=True)
    if summary is None or not len(summary):
        return None
    summary = summary.sort_values("perturbation")
    numbers = {
        column: rounded(summary[column], 6 if column.startswith("num_") else 3)
        for column in [*columns[1:], *(name for name in optional if name in summary)]
    }
    entries: dict[str, dict[str, Any]] = {
        name: {column: numbers[column][row] for column in numbers} | {"direct": [], "hops": {}, "links": [], "paths": [], "similar": [], "sets": []}
        for row, name in enumerate(known(summary["perturbation"]))
    }
    has = {
        "direct": _direct(artifacts, genes, entries),
        "hops": _hops(artifacts, edges, genes, entries),
        "paths": _paths(artifacts, edges, genes, entries),
        "similar": _similar(artifacts, entries),
        "sets": _gene_sets(artifacts, entries),
    }
    data["perturbations"] = {"entries": entries, "has": has}
    shares = summary[["share_direct", "share_propagated", "share_shared", "correlation"]].median()
    return {"num": len(entries), "has": has, "median": {name: float(value) for name, value in shares.items()}, "novel": _novel(artifacts)}


def _direct(artifacts: Artifacts, genes: dict[str, int], entries: dict[str, Any]) -> bool:
    found = artifacts.table("cascades/direct.parquet", ["perturbation", "gene", "direct_effect", "is_target", "is_seen"])
    if found is None:
        return False
    found = found.assign(size=found["direct_effect"].abs()).sort_values(
        ["perturbation", "is_target", "size", "gene"], ascending=[True, False, False, True], kind="stable"
    )
    for name, part in found.groupby("perturbation", sort=False, observed=True):
        part = part.head(NUM_DIRECT)
        if str(name) in entries:
            flags = (part["is_target"].astype(int), part["is_seen"].astype(int))
            rows = zip(gene_codes(genes, part["gene"]), rounded(part["direct_effect"], 3), *(flag.tolist() for flag in flags), strict=True)
            entries[str(name)]["direct"] = [list(row) for row in rows]
    return True


def _hops(artifacts: Artifacts, edges: pd.DataFrame, genes: dict[str, int], entries: dict[str, Any]) -> bool:
    found = artifacts.table("cascades/hops.parquet", ["perturbation", "hop", "gene", "effect", "rank"])
    if found is None:
        return False
    found = found[(found["hop"] >= 1) & (found["hop"] <= MAX_HOPS)].sort_values(["perturbation", "hop", "rank"], kind="stable")
    for (name, hop), part in found.groupby(["perturbation", "hop"], sort=False, observed=True):
        part = part.head(NUM_LISTED)
        if str(name) in entries:
            rows = zip(gene_codes(genes, part["gene"]), rounded(part["effect"], 3), strict=True)
            entries[str(name)]["hops"][str(int(hop))] = [list(row) for row in rows]
    _links(edges, genes, entries)
    return True


def _links(edges: pd.DataFrame, genes: dict[str, int], entries: dict[str, Any]) -> None:
    """Edges of the network between the drawn genes of one hop and those of the next."""
    pairs = []
    for name, entry in entries.items():
        layers = [[row[0] for row in entry["direct"] if row[2]][:NUM_PER_HOP]]
        layers += [[row[0] for row in entry["hops"].get(str(hop), [])][:NUM_PER_HOP] for hop in range(1, MAX_HOPS + 1)]
        for layer, (above, below) in enumerate(itertools.pairwise(layers)):
            pairs += [(name, layer, regulator, target) for regulator in above for target in below if regulator != target]
    names = list(genes)
    wanted = pd.DataFrame(pairs, columns=["perturbation", "layer", "a", "b"])
    wanted["regulator"] = [names[code] for code in wanted["a"]]
    wanted["target"] = [names[code] for code in wanted["b"]]
    joined = wanted.merge(edges[["regulator", "target", "effect"]].astype({"regulator": str, "target": str}), on=["regulator", "target"])
    for name, layer, regulator, target, effect in zip(
        joined["perturbation"], joined["layer"], joined["a"], joined["b"], rounded(joined["effect"], 3), strict=True
    ):
        if effect:
            entries[name]["links"].append([layer, regulator, target, effect])


def _paths(artifacts: Artifacts, edges: pd.DataFrame, genes: dict[str, int], entries: dict[str, Any]) -> bool:
    """Best paths; each step carries the sign of its edge (0 where the network has none)."""
    found = artifacts.table("cascades/paths.parquet", ["perturbation", "rank", "path", "hops", "effect", "num_curated"])
    if found is None:
        return False
    found = found.sort_values(["perturbation", "rank"], kind="stable").reset_index(drop=True)
    steps = [text.split(">") for text in known(found["path"])]
    pairs = {(a, b) for path in steps for a, b in itertools.pairwise(path)}
    wanted = pd.DataFrame(sorted(pairs), columns=["regulator", "target"])
    joined = wanted.merge(edges[["regulator", "target", "sign"]].astype({"regulator": str, "target": str}), on=["regulator", "target"])
    signs = {(a, b): int(sign) for a, b, sign in zip(joined["regulator"], joined["target"], joined["sign"], strict=True)}
    effects = rounded(found["effect"], 3)
    for row, (name, path) in enumerate(zip(known(found["perturbation"]), steps, strict=True)):
        if name in entries:
            numbers = [genes.setdefault(gene, len(genes)) for gene in path]
            sign = [signs.get(pair, 0) for pair in itertools.pairwise(path)]
            entries[name]["paths"].append([numbers, sign, effects[row], int(found["num_curated"].iloc[row])])
    return True


def _similar(artifacts: Artifacts, entries: dict[str, Any]) -> bool:
    found = artifacts.table("cascades/similarity.parquet", ["perturbation_a", "perturbation_b", "cosine", "shared_targets"])
    if found is None:
        return False
    swapped = found.rename(columns={"perturbation_a": "perturbation_b", "perturbation_b": "perturbation_a"})
    both = pd.concat([found, swapped]).dropna(subset=["cosine"]).drop_duplicates(["perturbation_a", "perturbation_b"])
    both = both[both["perturbation_a"].astype(str) != both["perturbation_b"].astype(str)]
    both = both.sort_values(["perturbation_a", "cosine", "perturbation_b"], ascending=[True, False, True], kind="stable")
    for name, part in both.groupby("perturbation_a", sort=False, observed=True):
        if str(name) in entries:
            part = part.head(NUM_SIMILAR)
            rows = zip(known(part["perturbation_b"]), rounded(part["cosine"], 3), known(part["shared_targets"]), strict=True)
            entries[str(name)]["similar"] = [list(row) for row in rows]
    return True


def _gene_sets(artifacts: Artifacts, entries: dict[str, Any]) -> bool:
    columns = ["perturbation", "collection", "gene_set", "hits", "size", "expected", "p_value", "fdr"]
    found = artifacts.table("cascades/gene_sets.parquet", columns)
    if found is None:
        return False
    found = found[found["fdr"] <= MAX_FDR].sort_values(["perturbation", "p_value", "gene_set"], kind="stable")
    for name, part in found.groupby("perturbation", sort=False, observed=True):
        if str(name) in entries:
            part = part.head(NUM_SETS)
            numbers = [rounded(part[column], 3) for column in columns[3:]]
            rows = zip(known(part["collection"]), known(part["gene_set"]), *numbers, strict=True)
            entries[str(name)]["sets"] = [list(row) for row in rows]
    return True


def _novel(artifacts: Artifacts) -> list[dict[str, Any]] | None:
    """List the best edges that no curated source lists."""
    found = artifacts.table("cascades/novel_edges.parquet", ["regulator", "target", "score", "rank", "effect", "stability", "num_perturbations"])
    return (
        None if found is None else [{str(key): value for key, value in row.items()} for row in found.sort_values("rank").head(15).to_dict("records")]
    )
