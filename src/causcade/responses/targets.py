"""Where the targets of perturbations, and the genes of candidate edges, are on the gene axis. Which they are is decided by other stages."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.errors import InputError
from causcade.signs import merge_signs

__all__ = ["gene_positions", "list_targets"]

IndexArray = npt.NDArray[np.int64]


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


def gene_positions(edges: pd.DataFrame, genes: pd.DataFrame) -> tuple[IndexArray, IndexArray]:
    """Positions of the targets and of the regulators of candidate edges on the gene axis.

    Raises
    ------
    InputError
        If there is no edge, or one names a gene that is not on the axis.
    """
    if edges.empty:
        raise InputError(
            "candidate edges: expected at least one, found none. Raise `mask.partners`, or give prior resources whose genes are in the panel."
        )
    place = pd.Series(np.arange(len(genes)), index=genes["gene"].astype(str))
    found = [edges[column].astype(str).map(place) for column in ("target", "regulator")]
    for column, positions in zip(("target", "regulator"), found, strict=True):
        missing = edges.loc[positions.isna(), column]
        if len(missing):
            raise InputError(f"candidate edges, {column}: expected genes of the panel, found {sorted(set(missing))[:5]}. Rebuild the mask.")
    target_C, source_C = (positions.to_numpy(np.int64) for positions in found)
    if len(np.unique(target_C * len(genes) + source_C)) < len(edges):
        raise InputError("candidate edges: expected each pair of genes once, found repeated pairs. Rebuild the mask.")
    return target_C, source_C
