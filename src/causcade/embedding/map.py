"""A map of a sample of the embedded cells, for the report.

Axes: N cells, D dimensions.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.backend import Backend, single_cell
from causcade.embedding.plate import OBS, SCORES

__all__ = ["map_cells", "sample_cells"]

logger = logging.getLogger(__name__)

COLUMNS = [*OBS, "log_counts", *SCORES]
MAP_CELLS = 5000
MAP_NEIGHBOURS = 15
MIN_MAP_CELLS = 10


def sample_cells(paths: Sequence[str], *, seed: int) -> tuple[pd.DataFrame, npt.NDArray[np.float32]]:
    """Read a seeded sample of at most 5,000 cells, and of no other cell its embedding: at 95 million cells of 512 numbers those are 195 GB.

    Parameters
    ----------
    paths
        Stores `embedding/<plate>.zarr`; their order is that of the cells.
    seed
        Seed of the sample.

    Returns
    -------
    obs
        perturbation, cell_line, plate, well, is_control, log_counts, s_score, g2m_score [N].
    z_ND
        Embeddings.
    """
    import zarr
    from anndata.io import read_elem

    stores: list[Any] = [zarr.open_group(path, mode="r") for path in paths]
    first = np.cumsum([0, *(store["X"].shape[0] for store in stores)])
    chosen = np.arange(first[-1])
    if len(chosen) > MAP_CELLS:
        chosen = np.sort(np.random.default_rng(seed).choice(len(chosen), MAP_CELLS, replace=False))
    obs, parts = [], []
    for store, start, end in zip(stores, first[:-1], first[1:], strict=True):
        rows = chosen[(chosen >= start) & (chosen < end)] - start
        # As text: plates have other categories.
        table = read_elem(store["obs"]).iloc[rows][COLUMNS]
        obs.append(table.astype({name: object for name in COLUMNS if isinstance(table[name].dtype, pd.CategoricalDtype)}))
        parts.append(np.asarray(store["X"].oindex[rows], dtype=np.float32))
    return pd.concat(obs, ignore_index=True), np.concatenate(parts)


def map_cells(obs: pd.DataFrame, z_ND: npt.NDArray[np.float32], *, seed: int, backend: Backend = "auto") -> pd.DataFrame:
    """Lay out a sample of cells by UMAP (doi:10.21105/joss.00861), for the report.

    Parameters
    ----------
    obs, z_ND
        From :func:`sample_cells`.
    seed
        Seed of the layout.
    backend
        Where neighbours and layout are computed.

    Returns
    -------
    pandas.DataFrame
        x, y (no unit) and the columns of `obs`. Without rows where fewer than 10 cells are embedded.
    """
    import anndata

    if len(obs) < MIN_MAP_CELLS:
        logger.warning("the embedding map needs at least %d cells, found %d: it is left out", MIN_MAP_CELLS, len(obs))
        return obs.iloc[:0].assign(x=np.zeros(0), y=np.zeros(0))[["x", "y", *COLUMNS]]
    data = anndata.AnnData(z_ND, obs=pd.DataFrame(index=obs.index.astype(str)))
    module = single_cell(backend)
    if module.__name__ == "rapids_singlecell":
        module.get.anndata_to_GPU(data)
    module.pp.neighbors(data, n_neighbors=min(MAP_NEIGHBOURS, len(obs) - 1), use_rep="X", random_state=seed)
    module.tl.umap(data, random_state=seed)
    points = np.asarray(data.obsm["X_umap"])
    return obs.assign(x=points[:, 0], y=points[:, 1])[["x", "y", *COLUMNS]]
