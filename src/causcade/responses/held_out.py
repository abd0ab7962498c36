"""What every estimator predicts of held-out perturbations, and the table of it.

Axes: L links, G genes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.responses.effects import DrugEffects

__all__ = ["HELD_OUT_COLUMNS", "held_out_table", "typical_effects"]

HELD_OUT_COLUMNS = ["perturbation", "gene", "predicted", "observed", "training_mean"]
MIN_LINKS = 5  # links of a sign from which its own typical effect is used


def typical_effects(direct_L: npt.NDArray[np.floating], sign_L: npt.NDArray[Any], typical_effect: float) -> dict[int, float]:
    """Direct effect to expect of a link, by its sign (-1, 0, 1).

    Parameters
    ----------
    direct_L, sign_L
        Direct effects that a fit learnt for its links, and the signs of those.
    typical_effect
        Of the whole screen, for a link of sign 1; it stands in for a sign of fewer than five links, and is 0 for links without a sign.
    """
    of_sign = {sign: direct_L[sign_L == sign] for sign in (-1, 0, 1)}
    return {sign: float(np.median(found)) if len(found) >= MIN_LINKS else sign * typical_effect for sign, found in of_sign.items()}


def held_out_table(predicted: Mapping[str, npt.NDArray[np.floating]], training: DrugEffects, held_out: DrugEffects) -> pd.DataFrame:
    """Predictions on all genes but the listed targets: that a target moves is known from the list, and no merit of the network.

    Parameters
    ----------
    predicted
        Predicted change [G] of held-out perturbations, in the genes of `training`; those without one, and genes that are not measured, have no rows.
    training, held_out
        Effects that the fit had, and those that it had not.

    Returns
    -------
    pandas.DataFrame
        perturbation, gene, predicted, observed, training_mean (mean over the perturbations of the training), all changes of x.
    """
    keep_G = training.is_measured_G
    training, held_out = training.measured(), held_out.measured()
    genes, mean_G = training.genes["gene"].astype(str).to_numpy(), training.effect_DG.mean(axis=0)
    frames = []
    for name, observed_G, is_target_G in zip(held_out.table["perturbation"], held_out.effect_DG, held_out.is_target_DG, strict=True):
        if name in predicted:
            columns = {"perturbation": name, "gene": genes, "predicted": predicted[name][keep_G].astype(np.float32), "observed": observed_G}
            frames.append(pd.DataFrame({**columns, "training_mean": mean_G})[~is_target_G])
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=HELD_OUT_COLUMNS)
