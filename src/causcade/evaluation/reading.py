"""Inputs of the evaluation from the artifacts of a run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.errors import InputError
from causcade.evaluation.rankings import Responses, name_rankings
from causcade.evaluation.stage import EvaluationInputs
from causcade.evidence.fits import COLUMNS
from causcade.files import read_parquet
from causcade.responses import DrugEffects, ScreenFiles

__all__ = ["read_inputs"]

LINE = "line_"


def _as_responses(effects: DrugEffects) -> Responses:
    return Responses(
        perturbations=effects.table["perturbation"].tolist(), genes=effects.genes["gene"].astype(str).tolist(),
        effect_DG=effects.effect_DG.astype(np.float64), error_DG=effects.se_DG.astype(np.float64),
    )  # fmt: skip


def read_inputs(
    paths: Mapping[str, str], evidence: Mapping[str, str], held_out: Mapping[str, str], plates: tuple[Sequence[str], Sequence[str]], score: str = ""
) -> EvaluationInputs:
    """Read everything that is judged and everything that it is judged by.

    The column `score` of the evidence is `causal`, that of nulls and bootstraps its nulls and its spread; the other columns are rankings beside it.

    Parameters
    ----------
    paths
        Artifacts by name: edges, panel, targets, prior_edges, pairs, universe, coexpression and, in simulated screens only, truth.
    evidence, held_out
        `evidence/<fit>.parquet` of main, nulls and bootstraps, and `held_out.parquet` of causal fits, by name of the fit.
    plates
        Stores of conditions and of baselines.
    score
        Column that ranks the network. For `weight`, whose penalty knows the curated edges, `causal` is weight_no_prior, as its nulls are.

    Raises
    ------
    InputError
        If a column is absent, or artifacts are of different panels.
    """
    import zarr

    tables = {name: read_parquet(path) for name, path in paths.items() if name != "coexpression"}
    panel, edges = tables["panel"], tables["edges"]
    screen = ScreenFiles(*plates, tables["targets"])
    place = pd.Index(panel["gene"])
    stored: Any = zarr.open_group(paths["coexpression"], mode="r")["raw_correlation"]
    raw_E = stored[:][place.get_indexer(edges["target"]), place.get_indexer(edges["regulator"])].astype(np.float64)
    judged = "weight_no_prior" if score == "weight" else score  # nulls and bootstraps know no prior, so neither may what they are compared with
    columns = {fit: _columns(fit, path, judged) for fit, path in evidence.items()}
    return EvaluationInputs(
        candidate_edges=edges,
        panel=panel,
        scores=_scores(columns, judged),
        evidence={name: value_E for name, value_E in columns.get("main", {}).items() if name not in (judged, "weight")},
        evidence_nulls=_nulls(columns, judged),
        score=judged,
        raw_correlation=raw_E,
        reference_pairs=tables["pairs"],
        reference_universe=tables["universe"],
        drug_links=tables["targets"],
        prior_edges=tables["prior_edges"],
        responses=_as_responses(screen.effects()),
        truth_edges=tables.get("truth"),
        held_out={fit: read_parquet(path) for fit, path in held_out.items()},
        other_lines={fit: _as_responses(screen.without_line(fit.removeprefix(LINE))[0]) for fit in held_out if fit.startswith(LINE)},
    )


def _columns(fit: str, path: str, score: str) -> dict[str, npt.NDArray[np.float64]]:
    """Evidence columns [E] of a fit."""
    table = read_parquet(path)
    if score not in table:
        raise InputError(f"{path}: expected the column {score} that ranks the network, found {', '.join(table.columns)}. Rerun `evidence`.")
    return {name: table[name].to_numpy(np.float64) for name in COLUMNS if name in table}


def _scores(columns: Mapping[str, Mapping[str, npt.NDArray[np.float64]]], score: str) -> dict[str, npt.NDArray[np.floating]]:
    """Scores of `causal`, its nulls and its bootstraps, and W with the prior."""
    found: dict[str, npt.NDArray[np.floating]] = {"noprior" if fit == "main" else fit: values[score] for fit, values in columns.items()}
    if "weight" in columns.get("main", {}):
        found["main"] = columns["main"]["weight"]
    return name_rankings(found)


def _nulls(columns: Mapping[str, Mapping[str, npt.NDArray[np.float64]]], score: str) -> dict[str, npt.NDArray[np.floating]]:
    """Nulls of the other columns, where they are not the column itself: no label enters a partial correlation."""
    found: dict[str, npt.NDArray[np.floating]] = {}
    for fit, values in columns.items():
        match = re.fullmatch(r"(edge|label)null(\d+)", fit)
        if match is None:
            continue
        for name, value_E in values.items():
            if name != score and not np.array_equal(value_E, columns["main"][name]):
                found[f"{name}_{match[1]}_null{match[2]}"] = value_E
    return found
