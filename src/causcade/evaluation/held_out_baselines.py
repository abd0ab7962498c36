"""Simple predictions of held-out responses, from the same training perturbations that the model saw.

| baseline | for | prediction |
| --- | --- | --- |
| same_target_mean | held-out perturbations | mean response of the training perturbations that share a listed target |
| target_ridge | held-out perturbations | ridge regression of the responses on the listed targets (sign of the link, 1 where it is unknown; penalty 1), around the training mean |
| other_lines | held-out cell lines | response to the same perturbation in the other lines |

Where a baseline has nothing to go by (no training perturbation shares a target) its prediction is missing.

Legend of axes: D perturbations, G genes, S genes that a training perturbation is listed to hit, N rows of a table (perturbation x gene).
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from causcade.evaluation.edges import FloatArray
from causcade.evaluation.rankings import Responses

__all__ = ["BASELINES", "add_baselines", "same_target_mean", "target_ridge"]

BASELINES = ("same_target_mean", "target_ridge", "other_lines")
PENALTY = 1.0


def _measured(responses: Responses) -> FloatArray:
    """Effects [D, G]; NaN where nothing was measured."""
    return np.where(np.isfinite(responses.error_DG) & (responses.error_DG > 0), responses.effect_DG, np.nan)


def _mean(effect_DG: FloatArray) -> FloatArray:
    """Mean [G] over what was measured; 0 for a gene without any."""
    known_DG = np.isfinite(effect_DG)
    num_G = known_DG.sum(axis=0)
    mean_G: FloatArray = np.where(known_DG, effect_DG, 0.0).sum(axis=0) / np.maximum(num_G, 1)
    return mean_G


def _design(links: pd.DataFrame, names: list[str], genes: list[str]) -> FloatArray:
    """Write listed targets as a matrix [names, genes]: the sign of the link, 1 where it is unknown, 0 without a link."""
    row, column = pd.Index(names).get_indexer(links["perturbation"]), pd.Index(genes).get_indexer(links["gene"])
    known = (row >= 0) & (column >= 0)
    sign = links["sign"].to_numpy(dtype=np.float64)
    design = np.zeros((len(names), len(genes)))
    design[row[known], column[known]] = np.where(sign == 0, 1.0, sign)[known]
    return design


def same_target_mean(training: Responses, links: pd.DataFrame, names: list[str]) -> FloatArray:
    """Mean response [names, G] of the training perturbations that share a target with each name; NaN where none does."""
    effect_DG = _measured(training)
    hit = links.groupby("perturbation")["gene"].agg(set)
    found = np.full((len(names), len(training.genes)), np.nan)
    for row, name in enumerate(names):
        wanted = hit.get(name, set())
        like = [place for place, other in enumerate(training.perturbations) if wanted & hit.get(other, set())]
        if like:
            found[row] = _mean(effect_DG[like])
    return found


def target_ridge(training: Responses, links: pd.DataFrame, names: list[str]) -> FloatArray:
    """Ridge prediction [names, G] from listed targets, with an intercept that is not penalised; NaN for a name without a target seen in training."""
    genes = sorted(set(links.loc[links["perturbation"].isin(training.perturbations), "gene"]))
    if not genes:
        return np.full((len(names), len(training.genes)), np.nan)
    effect_DG = _measured(training)
    mean_G = _mean(effect_DG)
    design_DS = _design(links, training.perturbations, genes)
    centre_S = design_DS.mean(axis=0)
    rest_DG = np.where(np.isfinite(effect_DG), effect_DG - mean_G, 0.0)
    design_DS -= centre_S
    coefficient_SG = np.linalg.solve(design_DS.T @ design_DS + PENALTY * np.eye(len(genes)), design_DS.T @ rest_DG)
    asked = _design(links, names, genes)
    predicted = mean_G + (asked - centre_S) @ coefficient_SG
    predicted[~asked.any(axis=1)] = np.nan
    return np.asarray(predicted, dtype=np.float64)


def _at_rows(table: pd.DataFrame, names: list[str], genes: list[str], value: FloatArray) -> FloatArray:
    """Values [N] of a matrix [names, genes] at the rows of a table; NaN outside it."""
    row, column = pd.Index(names).get_indexer(table["perturbation"]), pd.Index(genes).get_indexer(table["gene"])
    return np.where((row >= 0) & (column >= 0), value[row, column], np.nan) if value.size else np.full(len(table), np.nan)


def add_baselines(
    tables: Mapping[str, pd.DataFrame], responses: Responses | None, links: pd.DataFrame, other_lines: Mapping[str, Responses]
) -> dict[str, pd.DataFrame]:
    """Put a column for each baseline into the tables of held-out predictions.

    Parameters
    ----------
    tables
        By name of the fit: perturbation, gene and the model's predictions. What a fit `drugs<i>` predicts it was not trained on.
    responses
        Responses of the whole screen; without them there is no baseline for held-out perturbations.
    links
        perturbation, gene, sign; from :func:`causcade.evaluation.rankings.screened_links`.
    other_lines
        By name of a fit `line_<name>`: responses in the lines that it was trained on.

    Returns
    -------
    dict
        The same tables with the columns of `BASELINES` that apply.
    """
    found = {}
    for fit, table in tables.items():
        held_out = sorted(set(table["perturbation"])) if "perturbation" in table.columns and "gene" in table.columns else []
        columns: dict[str, FloatArray] = {}
        if held_out and fit in other_lines:
            lines = other_lines[fit]
            columns["other_lines"] = _at_rows(table, lines.perturbations, lines.genes, _measured(lines))
        elif held_out and responses is not None and not fit.startswith("line_"):
            training = _without(responses, held_out)
            for name, predict in (("same_target_mean", same_target_mean), ("target_ridge", target_ridge)):
                columns[name] = _at_rows(table, held_out, training.genes, predict(training, links, held_out))
        found[fit] = table.assign(**columns)
    return found


def _without(responses: Responses, names: list[str]) -> Responses:
    keep = [row for row, name in enumerate(responses.perturbations) if name not in set(names)]
    kept = [responses.perturbations[row] for row in keep]
    return Responses(perturbations=kept, genes=responses.genes, effect_DG=responses.effect_DG[keep], error_DG=responses.error_DG[keep])
