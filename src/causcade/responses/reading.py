"""Responses from the stores of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from causcade.files import read_anndata
from causcade.responses.conditions import Responses, build_responses

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_responses"]


def read_responses(conditions: Sequence[str], baselines: Sequence[str], targets: pd.DataFrame) -> Responses:
    """Read `conditions/<plate>.zarr` and `basal/baseline/<plate>.zarr` and build the responses.

    Plates are read in the order of their names, so that the order in a plate table changes nothing.

    Parameters
    ----------
    conditions, baselines
        Paths of the stores.
    targets
        `targets.parquet`.
    """
    return build_responses([read_anndata(path) for path in sorted(conditions)], [read_anndata(path) for path in sorted(baselines)], targets)
