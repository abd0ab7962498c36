"""Where the targets of perturbations are on the gene axis. Which they are is decided by :mod:`causcade.targets`."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from causcade.errors import InputError
from causcade.signs import merge_signs

__all__ = ["list_targets"]


def list_targets(perturbations: Collection[str], targets: pd.DataFrame, genes: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Targets of each perturbation, as indices into the gene axis.

    Parameters
    ----------
    perturbations
        Those that occur.
    targets
        `targets.parquet`: perturbation, target (symbol or id), sign (-1, 0, +1).
    genes
        Columns `gene` and `gene_id`, in the order of the gene axis.

    Returns
    -------
    links
        perturbation, target (position on the gene axis), sign (int8); sorted, each pair once. Where a pair is listed with both signs the sign is 0.
    unmeasured
        perturbation, target, sign: listed targets that are not on the gene axis.

    Raises
    ------
    InputError
        For a sign other than -1, 0 and 1.
    """
    listed = targets.loc[targets["perturbation"].isin(list(perturbations)), ["perturbation", "target", "sign"]].drop_duplicates()
    wrong = sorted(set(listed["sign"].astype(int)) - {-1, 0, 1})
    if wrong:
        raise InputError(f"table of targets, column sign: expected -1, 0 or 1, found {wrong[:5]}. Correct the table.")
    listed = listed.sort_values(["perturbation", "target", "sign"], ignore_index=True)
    position = {name: i for i, name in enumerate(genes["gene_id"].astype(str))} | {name: i for i, name in enumerate(genes["gene"].astype(str))}
    place = listed["target"].map(position)
    unmeasured = listed[place.isna()].reset_index(drop=True)
    links = listed.assign(target=place)[place.notna()].astype({"perturbation": str, "target": np.int64})
    return merge_signs(links, ["perturbation", "target"]), unmeasured
