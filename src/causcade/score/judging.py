"""The verdict on a network: tables, JSON, and a text for the terminal.

The network takes the place of the model in :func:`causcade.evaluation.evaluate`, so that it meets the same references, subsets, metrics, intervals
and baselines on the same pairs. In the tables it is called `network`. Where the run has been evaluated, the rows of its own rankings (its model, its
nulls) are put beside it as they stand in `evaluation/metrics.parquet`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from causcade.config import EvaluationConfig
from causcade.evaluation import EvaluationTables, evaluate
from causcade.files import write_json, write_parquet, write_text
from causcade.score.inputs import JUDGED, ScoreInputs

__all__ = ["METRIC_WORDS", "NETWORK", "ScoreTables", "format_score", "judge", "write_score"]

NETWORK = "network"
RANDOM_ORDER = "(random order)"
SUBSET_WORDS = {"no_prior": "without curated edges", "all": "all"}
"""Subsets of the leading table, the prior-free one first."""

METRIC_WORDS = {
    "auprc": "AUPRC (95 % interval)", "same_source_auroc": "same-source AUROC", "auroc": "AUROC", "degree_matched_auprc": "matched AUPRC",
    "better_direction_auprc": "undirected AUPRC", "early_precision": "early precision", "direction_accuracy": "direction", "sign_accuracy": "sign",
}  # fmt: skip
"""Metrics of the leading table, as far as the stage gives them, and their headings; docs/evaluation.md says what they mean."""

MARKS = frozenset({"ranking", "prior"})  # a table with one of these columns is about rankings or priors; the others are about a model's fits
KEYS = ["reference", "subset", "ranking"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTables:
    """What a network scores: `leading` (see :func:`judge`), all tables of the evaluation by name, and the summary for the JSON."""

    leading: pd.DataFrame
    tables: dict[str, pd.DataFrame]
    summary: dict[str, Any]


def _tables(found: EvaluationTables, inputs: ScoreInputs) -> dict[str, pd.DataFrame]:
    """Tables of the evaluation that are about rankings or priors, with the network under its own name and without baselines that have no data."""
    tables = {}
    has_signs = inputs.account.get("truth", {}).get("has_signs", True)
    for one in fields(found):
        table = getattr(found, one.name)
        if not isinstance(table, pd.DataFrame) or not MARKS & set(table.columns):
            continue
        if "ranking" in table.columns:
            table = table[~table["ranking"].isin(inputs.absent)]
            table = table.assign(ranking=table["ranking"].replace({JUDGED: NETWORK}))
        if "metric" in table.columns and not has_signs:
            table = table[table["metric"] != "sign_accuracy"]
        tables[one.name] = table.reset_index(drop=True)
    if inputs.run_metrics is not None:
        rest = inputs.run_metrics[~inputs.run_metrics["ranking"].isin(tables["metrics"]["ranking"])]
        tables["metrics"] = pd.concat([tables["metrics"], rest], ignore_index=True)
    return tables


def _leading(metrics: pd.DataFrame) -> pd.DataFrame:
    """One row per reference, subset and ranking, in the order of `metrics`, prior-free edges first."""
    rows = metrics[metrics["subset"].isin(SUBSET_WORDS) & metrics["metric"].isin(METRIC_WORDS)]
    known = [metric for metric in METRIC_WORDS if (rows["metric"] == metric).any()]
    wide = rows.pivot(index=KEYS, columns="metric", values=["value", "low", "high"])
    columns = {}
    for metric in known:
        columns[metric] = wide[("value", metric)]
        if wide[("low", metric)].notna().any():
            columns |= {f"{metric}_{end}": wide[(end, metric)] for end in ("low", "high")}
    first = rows.drop_duplicates(["reference", "ranking"])
    by_reference = first.groupby("reference", sort=False)["ranking"]
    order = [(reference, subset, name) for reference, names in by_reference for subset in SUBSET_WORDS for name in names]
    index = pd.MultiIndex.from_tuples([key for key in order if key in wide.index], names=KEYS)
    return pd.DataFrame(columns, index=wide.index).astype("Float64").reindex(index).reset_index()


def _counts(metrics: pd.DataFrame) -> dict[str, dict[str, dict[str, Any]]]:
    """By reference and subset: edges, positives, their prevalence, and what a random order gives by metric."""
    rows = metrics[metrics["ranking"] == NETWORK]
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows[rows["metric"] == "auprc"].itertuples(index=False):
        prevalence = None if pd.isna(row.prevalence) else float(row.prevalence)
        numbers: dict[str, Any] = {
            "num_edges": int(row.num_edges),
            "num_positive": int(row.num_positive),
            "prevalence": prevalence,
            "random_order": {},
        }
        found.setdefault(row.reference, {})[row.subset] = numbers
    for row in rows[rows["base_rate"].notna()].itertuples(index=False):
        found[row.reference][row.subset]["random_order"][row.metric] = float(row.base_rate)
    return found


def _notes(metrics: pd.DataFrame) -> list[str]:
    """Why leading metrics of the network are missing, in sentences."""
    rows = metrics[(metrics["ranking"] == NETWORK) & metrics["value"].isna() & (metrics["note"] != "")]
    rows = rows[rows["subset"].isin(SUBSET_WORDS) & rows["metric"].isin(METRIC_WORDS)]
    said: dict[tuple[str, str, str], list[str]] = {}
    for row in rows.itertuples(index=False):
        said.setdefault((row.subset, row.metric, row.note), []).append(row.reference)
    together: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for (subset, metric, note), references in said.items():
        together.setdefault((subset, note, tuple(references)), []).append(metric)
    return [
        f"{', '.join(references)}, {SUBSET_WORDS[subset]}: the network has no {', '.join(names)} ({note})"
        for (subset, note, references), names in together.items()
    ]


def _nested(leading: pd.DataFrame) -> dict[str, Any]:
    """Numbers of the leading table by reference, subset, ranking and column; None where one is missing."""
    found: dict[str, Any] = {}
    for row in leading.to_dict("records"):
        numbers = {name: None if pd.isna(value) else float(value) for name, value in row.items() if name not in KEYS}
        found.setdefault(row["reference"], {}).setdefault(row["subset"], {})[row["ranking"]] = numbers
    return found


def judge(inputs: ScoreInputs, settings: EvaluationConfig, seed: int) -> ScoreTables:
    """Judge a network as the stage `evaluation` judges the model.

    Parameters
    ----------
    inputs
        From :func:`causcade.score.inputs.gather`.
    settings, seed
        Those of the stage.

    Returns
    -------
    ScoreTables
        `leading` has reference, subset (no_prior, all), ranking and a column for each leading metric, with `_low` and `_high` beside it where there
        are intervals; missing where not defined.
    """
    found = evaluate(inputs.evaluation, settings=settings, seed=seed)
    tables = _tables(found, inputs)
    leading = _leading(tables["metrics"])
    summary = {
        **inputs.account,
        "messages": [*inputs.messages, *_notes(tables["metrics"])],
        "edges": _counts(tables["metrics"]),
        "scores": _nested(leading),
        "settings": found.summary["settings"],
    }
    return ScoreTables(leading=leading, tables=tables, summary=summary)


def _cell(row: dict[str, Any], metric: str) -> str:
    value, low, high = row.get(metric), row.get(f"{metric}_low"), row.get(f"{metric}_high")
    if pd.isna(value):
        return "-"
    return f"{value:.3f}" + (f" ({low:.3f} to {high:.3f})" if metric == "auprc" and pd.notna(low) else "")


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column to the left, the others to the right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return ["  ".join([first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]).rstrip() for first, *rest in rows]


def _block(part: pd.DataFrame, words: str, counts: dict[str, Any]) -> list[str]:
    """Text of one reference and subset."""
    rate = "" if counts["prevalence"] is None else f", base rate {counts['prevalence']:.4f}"
    lines = [f"{words}: {counts['num_edges']:,} pairs, {counts['num_positive']:,} positive{rate}"]
    metrics = [metric for metric in METRIC_WORDS if metric in part.columns and part[metric].notna().any()]
    if not metrics:
        return [*lines, "  no metric is defined"]
    heading = ["ranking", *(METRIC_WORDS[metric] for metric in metrics)]
    rows = [[str(row["ranking"]), *(_cell(row, metric) for metric in metrics)] for row in part.to_dict("records")]
    rows.append([RANDOM_ORDER, *(_cell(counts["random_order"], metric) for metric in metrics)])
    return [*lines, *(f"  {line}" for line in _aligned([heading, *rows]))]


def format_score(score: ScoreTables) -> str:
    """Write the leading table, and everything that is to be known beside it, as text for a terminal."""
    lines = [f"note: {message}" for message in score.summary["messages"]]
    for reference, of_reference in score.leading.groupby("reference", sort=False):
        counts = score.summary["edges"][reference]
        # Without any curated edge both subsets are the same pairs: they are told once.
        is_same = counts["no_prior"]["num_edges"] == counts["all"]["num_edges"]
        for subset, words in {"all": "all (none is curated)"}.items() if is_same else SUBSET_WORDS.items():
            part = of_reference[of_reference["subset"] == subset]
            lines += ["", *_block(part, f"{reference}, {words}", counts[subset])]
    return "\n".join(lines)


def write_score(score: ScoreTables, folder: str | os.PathLike[str]) -> None:
    """Write `scores.tsv` (the leading table), `score.json`, and all tables of the evaluation as Parquet into `folder`."""
    write_text(Path(folder) / "scores.tsv", score.leading.to_csv(sep="\t", index=False))
    for name, table in score.tables.items():
        write_parquet(Path(folder) / f"{name}.parquet", table)
    write_json(Path(folder) / "score.json", score.summary)
