"""Sections 10 and 11: what was done with which values, sources, versions, seeds and timings.

Literature is cited only with identifiers that were checked against the publication.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from causcade.report import charts
from causcade.report.data import Artifacts

__all__ = ["CITATIONS", "flat", "input_rows", "resources", "timings"]

CITATIONS = [
    ("Wolf, Angerer and Theis 2018, scanpy", "10.1186/s13059-017-1382-0"),
    ("Tirosh et al. 2016, cell-cycle scores", "10.1126/science.aad0501"),
    ("Müller-Dott et al. 2023, CollecTRI", "10.1093/nar/gkad841"),
    ("Garcia-Alonso et al. 2019, DoRothEA", "10.1101/gr.240663.118"),
    ("Han et al. 2018, TRRUST v2", "10.1093/nar/gkx1013"),
    ("Szklarczyk et al. 2023, STRING", "10.1093/nar/gkac1000"),
    ("Drew, Wallingford and Marcotte 2021, hu.MAP 2.0", "10.15252/msb.202010016"),
    ("Tahoe-100M 2025", "10.1101/2025.02.20.639398"),
    ("Mölder et al. 2021, Snakemake", "10.12688/f1000research.29032.2"),
]
MIB = 1024.0


def flat(value: Mapping[str, Any], head: str = "") -> list[tuple[str, str]]:
    """Flatten a nested mapping to dotted keys and texts, in order."""
    rows: list[tuple[str, str]] = []
    for key, item in value.items():
        name = f"{head}.{key}" if head else str(key)
        if isinstance(item, Mapping) and item:
            rows += flat(item, name)
        else:
            rows.append((name, ", ".join(map(_written, item)) if isinstance(item, list | tuple) else _written(item)))
    return rows


def _written(value: Any) -> str:
    """Write a value as in a configuration: nothing for none, `true` and `false`."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def input_rows(inputs: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """Input files as (path, identity in words, bytes)."""
    rows: list[tuple[str, str, Any]] = []
    for path, found in sorted(inputs.items()):
        if not isinstance(found, Mapping):
            rows.append((path, str(found), None))
            continue
        rest = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in found.items() if key not in ("sha256", "bytes"))
        rows.append((path, str(found.get("sha256") or rest), found.get("bytes")))
    return rows


def resources(artifacts: Artifacts) -> list[dict[str, Any]] | None:
    """One row per curated resource: where from, terms, and rows read, kept and lost by reason."""
    found = artifacts.json("resources/manifest.json")
    if found is None:
        return None
    rows = []
    for name, entry in sorted(found.items()):
        if not isinstance(entry, Mapping):
            continue
        # The address is shown as text: a page that opens offline should not look as if it needed the network.
        lost = entry.get("lost") or {}
        rows.append({"name": name, **entry, "from": entry.get("path") or entry.get("url") or "", "lost": sorted(lost.items())})
    return rows


def timings(artifacts: Artifacts, figures: dict[str, Any]) -> list[dict[str, Any]]:
    """Wall time and memory of each rule, summed and maximised over its jobs, from Snakemake's benchmark files.

    The rule is the first part of the path below `benchmarks/`.
    """
    folder = artifacts.folder / "benchmarks"
    parts = []
    for path in artifacts.matching("benchmarks/**/*.tsv"):
        table = pd.read_csv(path, sep="\t")
        if "s" not in table or not len(table):
            continue
        numbers = {
            name: pd.to_numeric(table[name], errors="coerce") if name in table else pd.Series([float("nan")]) for name in ("s", "max_rss", "cpu_time")
        }
        rule = path.relative_to(folder).parts[0].removesuffix(".tsv")
        parts.append({"rule": rule, "s": numbers["s"].sum(), "rss_mib": numbers["max_rss"].max(), "cpu_s": numbers["cpu_time"].sum(min_count=1)})
    if not parts:
        artifacts.has("benchmarks")
        return []
    grouped = pd.DataFrame(parts).groupby("rule", sort=True)
    table = pd.DataFrame(
        {
            "jobs": grouped.size(),
            "total_s": grouped["s"].sum(),
            "longest_s": grouped["s"].max(),
            "rss_gib": grouped["rss_mib"].max() / MIB,
            "cpu_s": grouped["cpu_s"].sum(min_count=1),
        }
    )
    table = table.sort_values(["total_s"], ascending=False, kind="stable").reset_index()
    items = [{"name": str(row.rule), "value": float(row.total_s)} for row in table.itertuples(index=False)]
    figures["timings"] = charts.bars("Time by rule, all jobs together", x="wall time (s)", items=items)
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]
