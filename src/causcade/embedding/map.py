"""A map of a sample of the embedded cells, for the report.

Axes: N cells, D dimensions.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from causcade.backend import Backend, single_cell
from causcade.embedding.plate import OBS, SCORES

if TYPE_CHECKING:
    import anndata

__all__ = ["map_cells"]

logger = logging.getLogger(__name__)

MAP_CELLS = 5000
MAP_NEIGHBOURS = 15
MIN_MAP_CELLS = 10


def map_cells(embeddings: list[anndata.AnnData], *, seed: int, backend: Backend = "auto") -> pd.DataFrame:
    """Lay out a seeded sample of cells by UMAP (doi:10.21105/joss.00861), for the report.

    Parameters
    ----------
    embeddings
        Embeddings of the plates.
    seed
        Seed of the sample and of the layout.
    backend
        Where neighbours and layout are computed.

    Returns
    -------
    pandas.DataFrame
        x, y (no unit), perturbation, cell_line, plate, well, is_control, log_counts, s_score, g2m_score; at most 5,000 cells. Without rows where
        fewer than 10 cells are embedded.
    """
    import anndata

    columns = [*OBS, "log_counts", *SCORES]
    obs = pd.concat([data.obs for data in embeddings], ignore_index=True)
    z_ND = np.concatenate([np.asarray(data.X, dtype=np.float32) for data in embeddings])
    if len(obs) < MIN_MAP_CELLS:
        logger.warning("the embedding map needs at least %d cells, found %d: it is left out", MIN_MAP_CELLS, len(obs))
        return obs[columns].iloc[:0].assign(x=np.zeros(0), y=np.zeros(0))[["x", "y", *columns]]
    if len(obs) > MAP_CELLS:
        chosen = np.sort(np.random.default_rng(seed).choice(len(obs), MAP_CELLS, replace=False))
        obs, z_ND = obs.iloc[chosen].reset_index(drop=True), z_ND[chosen]
    data = anndata.AnnData(z_ND, obs=pd.DataFrame(index=obs.index.astype(str)))
    module = single_cell(backend)
    if module.__name__ == "rapids_singlecell":
        module.get.anndata_to_GPU(data)
    module.pp.neighbors(data, n_neighbors=min(MAP_NEIGHBOURS, len(obs) - 1), use_rep="X", random_state=seed)
    module.tl.umap(data, random_state=seed)
    points = np.asarray(data.obsm["X_umap"])
    return obs[columns].assign(x=points[:, 0], y=points[:, 1])[["x", "y", *columns]]
