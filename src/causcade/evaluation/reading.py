"""Inputs of the evaluation from the artifacts of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from causcade.causal import read_weights
from causcade.evaluation.rankings import Responses, name_rankings
from causcade.evaluation.stage import EvaluationInputs
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
    paths: Mapping[str, str], models: Mapping[str, str], held_out: Mapping[str, str], plates: tuple[Sequence[str], Sequence[str]]
) -> EvaluationInputs:
    """Read everything that is judged and everything that it is judged by.

    Edges are ranked by W in standard errors, in every fit alike.

    Parameters
    ----------
    paths
        Artifacts by name: edges, panel, targets, prior_edges, pairs, universe, coexpression and, in simulated screens only, truth.
    models, held_out
        `model.safetensors` and `held_out.parquet` by name of the fit.
    plates
        Stores of conditions and of baselines.

    Raises
    ------
    InputError
        If a fit is absent, or artifacts are of different panels.
    """
    import zarr

    tables = {name: read_parquet(path) for name, path in paths.items() if name != "coexpression"}
    panel, edges = tables["panel"], tables["edges"]
    screen = ScreenFiles(*plates, tables["targets"])
    place = pd.Index(panel["gene"])
    stored: Any = zarr.open_group(paths["coexpression"], mode="r")["raw_correlation"]
    raw_E = stored[:][place.get_indexer(edges["target"]), place.get_indexer(edges["regulator"])].astype(np.float64)
    scores = {fit: read_weights(Path(path).parent).score.astype(np.float64) for fit, path in models.items()}
    return EvaluationInputs(
        candidate_edges=edges,
        panel=panel,
        scores=name_rankings(scores),
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
