"""Section 4: what cells are represented by, how its model was trained and what it is worth, and the map."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causcade.report import charts
from causcade.report.data import Artifacts, codes, natural, rounded, thinned

__all__ = ["embedding"]

MAX_MAP_CELLS = 15_000
FEW_PARAMETERS = 10_000_000
TWO_SIDED = 1.96
EMBEDDING_WORDS = {"tx1": "TX1", "pca": "PCA"}
LABEL_WORDS = {
    "cell_line": "cell line",
    "treated": "treated (highest doses) or control, within plate and line",
}
CURVES = {"held_out_expression_mse": ("from the gene’s own state", 1), "held_out_product_mse": ("from the cell’s embedding", 2)}


def embedding(artifacts: Artifacts, data: dict[str, Any], figures: dict[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Prepare the representation of cells, the training of its model, and the map with every column that can colour it."""
    return {
        "source": _source(artifacts, config),
        "pretraining": _pretraining(artifacts, figures, config),
        "map": _map(artifacts, data),
    }


def _facts(store: Path) -> dict[str, Any]:
    """Dimensions of an embedding, and what its `uns` says of it; a store of another writer says nothing."""
    import zarr
    from anndata.io import read_elem

    group: Any = zarr.open_group(str(store), mode="r")
    said = read_elem(group["uns"]).get("embedding", {}) if "uns" in group else {}
    return {"plate": store.stem, "num_rows": int(group["X"].shape[0]), "num_dimensions": int(group["X"].shape[1]), **said}


def _source(artifacts: Artifacts, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Say what the embedding is, with a row for each plate; None where no cell is embedded."""
    plates = sorted((_facts(store) for store in artifacts.matching("embedding/*.zarr")), key=lambda one: natural(one["plate"]))
    if not plates:
        return None
    settings: Mapping[str, Any] = config.get("embedding") or {}
    covered = [(one["covered"], one["plate"]) for one in plates if "covered" in one]
    return {
        "kind": plates[0].get("source") or settings.get("source"),
        "first": plates[0],
        "rows": plates if covered else [],
        "num_cells": sum(one["num_rows"] for one in plates),
        "num_empty": sum(one.get("num_empty", 0) for one in plates),
        "lowest": min(covered, default=None),
        "is_own": _is_own(config),
        "cells": settings.get("cells"),
        "has_genes": artifacts.matching("embedding/genes.parquet") != [],
    }


def _is_own(config: Mapping[str, Any]) -> bool:
    """Whether the run trained the model that it embeds with."""
    settings: Mapping[str, Any] = config.get("embedding") or {}
    return settings.get("source") == "tx1" and settings.get("model") is None


def _pretraining(artifacts: Artifacts, figures: dict[str, Any], config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Curve of held-out errors, and how well neighbours tell labels apart; None where the run trained no model of its own."""
    if not _is_own(config):
        return None
    folder = f"pretraining/{(config.get('pretraining') or {}).get('name', '')}"
    summary, metrics = artifacts.json(f"{folder}/summary.json"), artifacts.json_lines(f"{folder}/metrics.jsonl")
    if summary is None:
        return None
    summary = summary | (artifacts.json(f"{folder}/judging.json") or {})
    baselines = {"gene_mean_mse": "mean of the gene", "low_rank_mse": _of_rank(summary)}
    curves = []
    for name, (words, colour) in CURVES.items():
        if metrics is not None and name in metrics:
            rows = metrics[["step", name]].dropna()
            curves.append(charts.line(words, rows["step"].tolist(), rows[name].tolist(), colour=colour, wide=name == "held_out_expression_mse"))
    marks = [{"y": rounded([summary[name]])[0], "label": words} for name, words in baselines.items() if name in summary]
    if curves:
        figures["pretraining"] = charts.lines(
            "Pre-training of the model", x="optimiser step", y="mean squared error of a masked gene, bins²", series=curves, marks=marks
        )
    own = summary.get("held_out_expression_mse")
    return {
        "summary": summary,
        "baselines": [
            (words, summary[name], *_against(own, summary[name], summary.get(f"over_{name.removesuffix('_mse')}")))
            for name, words in baselines.items()
            if name in summary and own is not None
        ],
        "own": own,
        "labels": _labels(summary.get("separability") or []),
        "is_small": summary.get("num_parameters", 0) < FEW_PARAMETERS,
        # of a small new model the table of genes begins with a low-rank model (causcade.pretraining)
        "is_informed": summary.get("initial") is None and (config.get("pretraining") or {}).get("size") is None,
    }


def _against(own: float, other: float, over: Mapping[str, float] | None) -> tuple[str, Mapping[str, float] | None]:
    """Say how an error stands to that of a baseline, by the interval of their difference where there is one."""
    if over is None:
        return "below" if own < other else "not below", None
    return "below" if over["high"] < 0 else "above" if over["low"] > 0 else "not clearly different from", over


def _of_rank(summary: Mapping[str, Any]) -> str:
    """Name the low-rank model; it has fewer dimensions than the model where more would not fit into memory."""
    num = summary.get("low_rank_dimensions")
    return "PCA of as many dimensions" if num in (None, summary.get("num_dimensions")) else f"PCA of {num} dimensions"


def _labels(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per label, with the accuracy in each embedding and what may be said of it."""
    rows = []
    for label in dict.fromkeys(record["label"] for record in records):
        found = {record["embedding"]: record for record in records if record["label"] == label}
        if "tx1" not in found:
            continue
        own, other = found["tx1"], found.get("pca")
        rows.append(
            {
                "words": LABEL_WORDS.get(label, label),
                "values": [(EMBEDDING_WORDS.get(name, name), record["accuracy"], record["standard_error"]) for name, record in found.items()],
                "chance": own["chance"],
                "num_cells": own["num_cells"],
                "permuted_high": own.get("permuted_high"),
                "over_chance": _compared(
                    own["accuracy"] - own["chance"], own["standard_error"], also=own["accuracy"] > own.get("permuted_high", 0.0)
                ),
                "over_pca": None
                if other is None
                else _compared(own["accuracy"] - other["accuracy"], math.hypot(own["standard_error"], other["standard_error"])),
            }
        )
    return rows


def _compared(difference: float, error: float, *, also: bool = True) -> str:
    """Say whether a difference is larger than its 95 % interval; `also` has to hold of one above 0."""
    if abs(difference) <= TWO_SIDED * error or (difference > 0 and not also):
        return "not clearly different from"
    return "better than" if difference > 0 else "worse than"


def _map(artifacts: Artifacts, data: dict[str, Any]) -> dict[str, Any] | None:
    """Take a sample of cells of the map."""
    cells = artifacts.table("embedding/map.parquet", ["x", "y", "cell_line", "plate", "is_control", "log_counts", "s_score", "g2m_score"])
    if cells is None or not len(cells):
        return None
    num_sampled = len(cells)
    cells = cells.iloc[thinned(num_sampled, MAX_MAP_CELLS)]
    control = cells["is_control"].map({True: "control", False: "treated"})
    data["map"] = {
        "x": rounded(cells["x"]),
        "y": rounded(cells["y"]),
        "groups": {"cell line": codes(cells["cell_line"]), "plate": codes(cells["plate"]), "control": codes(control)},
        "values": {
            "log counts": rounded(cells["log_counts"], 3),
            "S score": rounded(cells["s_score"], 3),
            "G2M score": rounded(cells["g2m_score"], 3),
        },
    }
    return {"num_cells": len(cells), "num_sampled": num_sampled}
