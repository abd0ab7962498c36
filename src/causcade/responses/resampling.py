"""Data of the further fits: nulls, bootstrap, held-out perturbations and lines.

All but the line work on effects of perturbations, so all doses, lines and plates of a perturbation move together by construction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.errors import InputError
from causcade.responses.conditions import Responses
from causcade.responses.effects import DrugEffects

__all__ = ["bootstrap", "drug_folds", "edge_null", "hold_out_drugs", "hold_out_line", "label_null", "mean_without", "unknown_line"]


def edge_null(effects: DrugEffects, rng: np.random.Generator) -> DrugEffects:
    """Permute the effects of each gene, with their errors, among the perturbations that do not target it: no relation between genes is left.

    What a perturbation does to its own listed targets stays: it is no edge, and elsewhere it would stand out as an edge of unusual strength.
    """
    order_DG = np.argsort(rng.random(effects.effect_DG.shape), axis=0)
    for gene in np.flatnonzero(effects.is_target_DG.any(axis=0)):
        free = np.flatnonzero(~effects.is_target_DG[:, gene])
        order_DG[:, gene] = np.arange(len(order_DG))
        order_DG[free, gene] = rng.permutation(free)
    return replace(
        effects, effect_DG=np.take_along_axis(effects.effect_DG, order_DG, axis=0), se_DG=np.take_along_axis(effects.se_DG, order_DG, axis=0)
    )


def label_null(effects: DrugEffects, rng: np.random.Generator) -> DrugEffects:
    """Permute target sets among the perturbations that have one; responses stay."""
    listed = np.flatnonzero(effects.num_targets_D > 0)
    order = rng.permutation(listed)
    sign_DG, is_target_DG = effects.sign_DG.copy(), effects.is_target_DG.copy()
    sign_DG[listed], is_target_DG[listed] = effects.sign_DG[order], effects.is_target_DG[order]
    return replace(effects, sign_DG=sign_DG, is_target_DG=is_target_DG)


def bootstrap(effects: DrugEffects, rng: np.random.Generator) -> DrugEffects:
    """Draw as many perturbations with replacement; a drawn one gets its multiplicity as weight, the others go."""
    num = len(effects.table)
    weight_D = np.bincount(rng.integers(num, size=num), minlength=num)
    weighted = replace(effects, table=effects.table.assign(weight=weight_D * effects.table["weight"].to_numpy()))
    return weighted.take(weight_D > 0)


def drug_folds(effects: DrugEffects, num_folds: int, rng: np.random.Generator) -> list[list[str]]:
    """Split the perturbations that have a target into folds of equal size (to one); names, sorted."""
    listed = np.flatnonzero(effects.num_targets_D > 0)
    if len(listed) < num_folds:
        raise InputError(
            f"held-out perturbations: expected at least {num_folds} perturbations with a known target, found {len(listed)}. "
            "Write `causal: {drug_folds: 0}`."
        )
    names = effects.table["perturbation"].to_numpy()
    return [sorted(names[part].tolist()) for part in np.array_split(rng.permutation(listed), num_folds)]


def hold_out_drugs(effects: DrugEffects, names: list[str]) -> tuple[DrugEffects, DrugEffects]:
    """Split into the other perturbations and those named."""
    held_D: npt.NDArray[np.bool_] = effects.table["perturbation"].isin(names).to_numpy(bool)
    return effects.take(~held_D), effects.take(held_D)


def unknown_line(cell_line: str, lines: set[str]) -> InputError:
    """Error of a line that cannot be held out."""
    return InputError(
        f"causal.held_out_lines: expected one of several cell lines, found {cell_line!r} among {sorted(lines)[:10]}. Correct the name, or remove it."
    )


def hold_out_line(responses: Responses, cell_line: str) -> tuple[Responses, Responses]:
    """Conditions of the other lines, and those of one line; their means in controls are those of these lines.

    Raises
    ------
    InputError
        If the line is unknown, or the only one.
    """
    lines = pd.Series(responses.obs["cell_line"])
    held_C = (lines == cell_line).to_numpy(bool)
    if not held_C.any() or held_C.all():
        raise unknown_line(cell_line, set(lines))
    others, held_out = responses.take(~held_C), responses.take(held_C)
    own_mean_G = responses.mean_of_line.get(cell_line)
    if own_mean_G is None:
        return others, held_out
    return replace(others, control_mean_G=mean_without(responses.mean_of_line, cell_line)), replace(held_out, control_mean_G=own_mean_G)


def mean_without(mean_of_line: Mapping[str, npt.NDArray[np.float64]], cell_line: str) -> npt.NDArray[np.float64]:
    """Mean of x in controls over all lines but one, [G]."""
    return np.asarray(np.mean([mean_G for line, mean_G in mean_of_line.items() if line != cell_line], axis=0))
