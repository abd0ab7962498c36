"""All fits of a run: what each is trained on, with which settings, and what held-out fits predict.

main       everything
noprior    main, but the prior does not lower any penalty
edgenull*  responses of each gene permuted among perturbations;   labelnull*  target sets permuted among perturbations
boot*      perturbations drawn with replacement
drugs*     a fold of perturbations held out, predicted from their listed targets
line_*     a cell line held out, predicted from the same perturbations in the other lines

Nulls and bootstraps use no prior either: they are compared with `noprior`, and a penalty that knows the curated edges would hand them to a null too.
Each starts from the effects of perturbations, so shared responses, seen targets and the typical effect are estimated anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from causcade.causal.cells import CellStream
from causcade.causal.context import expression_context
from causcade.causal.fit import CausalFit, FloatArray, assemble_fit, empty_fit
from causcade.causal.problem import make_problem
from causcade.causal.training import train
from causcade.config import CausalConfig
from causcade.errors import InputError
from causcade.ranks import ALONE, Ranks
from causcade.responses import DrugEffects, Responses, ScreenFiles, aggregate, gene_positions, held_out_table, responses_for_fit, typical_effects

__all__ = ["fit_causal", "responses_for_fit", "run_fit", "settings_for_fit"]

logger = logging.getLogger("causcade")

DOSES = ["lowest_dose", "half_dose", "top_dose"]
NO_PRIOR = ("noprior", "edgenull", "labelnull", "boot")


def settings_for_fit(name: str, settings: CausalConfig) -> CausalConfig:
    """Take the prior out of the settings of `noprior`, nulls and bootstraps."""
    return settings.model_copy(update={"prior_strength": 0.0}) if name.startswith(NO_PRIOR) else settings


def fit_causal(
    effects: DrugEffects | Responses,
    edges: pd.DataFrame,
    settings: CausalConfig,
    *,
    seed: int,
    device: str = "cpu",
    checkpoint: Path | None = None,
    ranks: Ranks = ALONE,
    open_cells: Callable[[DrugEffects], CellStream] | None = None,
) -> CausalFit:
    """Fit the causal module.

    Parameters
    ----------
    effects
        Effects of perturbations, or responses of conditions, which are aggregated first.
    edges
        Candidate edges: regulator, target, prior_confidence. W has their order.
    settings
        Section `causal`.
    seed
        Of first values, edge dropout and batches.
    device
        torch device, such as ``"cpu"`` or ``"cuda:0"``.
    checkpoint
        File to save the state to and to resume from.
    ranks
        The processes that make the fit together; each calls with equal arguments and gets the same fit.
    open_cells
        Makes the stream of cells to fit, of the perturbations that take part; None: their effects are fitted.

    Returns
    -------
    CausalFit
        With all weights 0, and a warning in the log, when no perturbation has a target in the panel.

    Raises
    ------
    InputError
        For an empty or damaged table of edges, or a loss that is not finite.
    """
    effects = aggregate(effects) if isinstance(effects, Responses) else effects
    genes = effects.genes["gene"].astype(str).tolist()
    problem = make_problem(effects, edges, settings)
    if problem is None:
        logger.warning(
            "no perturbation has a known target in the panel: no edge can be learnt and every weight is 0. "
            "Give a table `perturbation.targets`, or set `causal.unknown_targets: learn`."
        )
        return empty_fit(genes, *gene_positions(edges, effects.genes), settings.num_hops)
    cells = None
    if open_cells is not None:
        cells = open_cells(effects.take(effects.table["perturbation"].isin(problem.perturbations).to_numpy(bool)))
    trained = train(problem, len(genes), settings, seed=seed, device=torch.device(device), checkpoint=checkpoint, ranks=ranks, cells=cells)
    doses = effects.table.set_index("perturbation").reindex(columns=DOSES).loc[problem.perturbations]
    return replace(assemble_fit(problem, trained, genes, settings.num_hops), dose_D3=doses.to_numpy(np.float64))


def run_fit(
    name: str,
    responses: Responses | ScreenFiles,
    edges: pd.DataFrame,
    settings: CausalConfig,
    *,
    seed: int,
    device: str = "cpu",
    checkpoint: Path | None = None,
    ranks: Ranks = ALONE,
    cells: Sequence[str] = (),
) -> CausalFit:
    """One named fit, with its data, its settings and, where something is held out, its predictions.

    Parameters
    ----------
    name
        One of :func:`causcade.fits.fit_names`.
    responses
        Responses of conditions, or the files of a screen, which only the first process reads.
    edges, settings, seed, device, checkpoint, ranks
        As in :func:`fit_causal`.
    cells
        Paths of the cell stores, for `training: cells`. An edge null is fitted to effects all the same: what it permutes are effects.

    Raises
    ------
    InputError
        As of :func:`fit_causal`, and where cells are asked for without their stores.
    """
    training, held_out = ranks.object_of_first(lambda: _measured_for_fit(name, responses, settings, seed))
    open_cells = None
    if settings.training == "cells" and not name.startswith("edgenull"):
        if not cells or not isinstance(responses, ScreenFiles):
            raise InputError("causal.training: expected cell stores for `cells`, found none. Give their paths, or write `training: conditions`.")
        open_cells = partial(
            CellStream, responses, cells, batch_cells=settings.batch_cells, seed=seed, device=device, ranks=ranks,
            without_line=name.removeprefix("line_") if name.startswith("line_") else None,
        )  # fmt: skip
    own = settings_for_fit(name, settings)
    fit = fit_causal(training, edges, own, seed=seed, device=device, checkpoint=checkpoint, ranks=ranks, open_cells=open_cells)
    if held_out is None:
        return fit
    if name.startswith("line_"):
        context_G = expression_context(held_out.control_mean_G, training.control_mean_G) if settings.context == "expression" else None
        predicted = _predict_line(fit, training, held_out, context_G)
    else:
        predicted = _predict_drugs(fit, training, held_out)
    return replace(fit, held_out=held_out_table(predicted, training, held_out))


def _measured_for_fit(name: str, responses: Responses | ScreenFiles, settings: CausalConfig, seed: int) -> tuple[DrugEffects, DrugEffects | None]:
    """Leave out targets that are not measured: W is between measured genes. What is drawn and permuted is the same as for the latent estimator."""
    training, held_out = responses_for_fit(name, responses, settings, seed=seed)
    return training.measured(), None if held_out is None else held_out.measured()


def _predict_line(fit: CausalFit, training: DrugEffects, held_out: DrugEffects, context_G: FloatArray | None) -> dict[str, FloatArray]:
    """Prediction of the other lines for the perturbations that took part, scaled by the context of the line if there is one."""
    total_DG = fit.predict().total if context_G is None else fit.predict().total * context_G
    asked = set(held_out.table["perturbation"]) & set(training.table["perturbation"])
    return {name: total_DG[d] for d, name in enumerate(fit.perturbations) if name in asked}


def _predict_drugs(fit: CausalFit, training: DrugEffects, held_out: DrugEffects) -> dict[str, FloatArray]:
    """Network part of the prediction: a typical direct effect on each listed target, propagated.

    The typical effect of a sign is the median of the direct effects that the fit learnt for links of that sign; with fewer than five, it is the
    typical effect of the whole screen, and 0 where the sign is unknown.
    """
    of_sign = _effect_of_sign(fit, training)
    direct_DG = np.zeros(held_out.effect_DG.shape, np.float32)
    for sign, effect in of_sign.items():
        direct_DG[held_out.is_target_DG & (held_out.sign_DG == sign)] = effect
    predicted_DG = np.sum(fit.propagate(direct_DG), axis=0)
    return dict(zip(held_out.table["perturbation"], predicted_DG, strict=True))


def _effect_of_sign(fit: CausalFit, training: DrugEffects) -> dict[int, float]:
    row = {name: d for d, name in enumerate(training.table["perturbation"])}
    listed_S = fit.direct_is_target_S
    rows = np.array([row[name] for name in fit.perturbations], dtype=np.int64)
    sign_S = training.sign_DG[rows[fit.direct_drug_S[listed_S]], fit.direct_gene_S[listed_S]] if len(rows) else np.zeros(0, np.int8)
    return typical_effects(fit.direct_S[listed_S], sign_S, fit.typical_effect)
