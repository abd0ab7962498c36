"""Listed targets that are not measured, as further genes of the effects: they have an activity and no response of their own.

Axes: D perturbations, G genes of the panel, U targets that are not measured, V both, the panel first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.responses.effects import DrugEffects, link_matrices
from causcade.responses.targets import list_targets

__all__ = ["names_of_unmeasured", "with_unmeasured"]


def names_of_unmeasured(targets: pd.DataFrame) -> list[str]:
    """Names of the targets that enter without being measured, sorted, by a table of :func:`causcade.unmeasured.find_unmeasured`; none by others."""
    if not {"is_measured", "enters"} <= set(targets.columns):
        return []
    return sorted(set(targets.loc[targets["enters"].astype(bool) & ~targets["is_measured"].astype(bool), "target"].astype(str)))


def with_unmeasured(effects: DrugEffects, targets: pd.DataFrame, names: Sequence[str]) -> DrugEffects:
    """Add genes that are not measured, with the links of the perturbations to them.

    Parameters
    ----------
    effects
        On the genes of the panel.
    targets
        perturbation, target, sign.
    names
        Targets to add. Those that no perturbation of `effects` hits are added too, so that the axis of a fit that holds some out is the same.

    Returns
    -------
    DrugEffects
        [D, V]; effect, error and mean in controls of the added genes are NaN.
    """
    if not len(names):
        return effects
    num_drugs, num_added = len(effects.table), len(names)
    added = pd.DataFrame({"gene": list(names), "gene_id": list(names)})
    drugs = effects.table["perturbation"].tolist()
    links, _ = list_targets(drugs, targets, added)
    sign_DU, is_target_DU = link_matrices(links, drugs, num_added)
    unknown_DU: npt.NDArray[np.float32] = np.full((num_drugs, num_added), np.nan, np.float32)
    return replace(
        effects, effect_DG=np.concatenate([effects.effect_DG, unknown_DU], axis=1), se_DG=np.concatenate([effects.se_DG, unknown_DU], axis=1),
        genes=pd.concat([effects.genes, added], ignore_index=True), sign_DG=np.concatenate([effects.sign_DG, sign_DU], axis=1),
        is_target_DG=np.concatenate([effects.is_target_DG, is_target_DU], axis=1),
        control_mean_G=np.concatenate([effects.control_mean_G, np.full(num_added, np.nan)]),
    )  # fmt: skip
