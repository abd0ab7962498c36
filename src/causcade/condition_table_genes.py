"""Genes of a table of conditions: their roles, the correlation of each pair between perturbations, and the best partners of each.

They stand where a run on cells has its panel and its residual coexpression, so that candidate edges are made of them by the same rule.

Axes: D perturbations, G genes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.coexpression.partners import top_partners
from causcade.errors import InputError
from causcade.files import replacing, zarr_v3
from causcade.panel import LISTED
from causcade.responses import DrugEffects

__all__ = ["correlate_conditions", "correlation_partners", "genes_of_table", "write_correlation"]

MIN_PERTURBATIONS = 3
ROWS = 1024


def correlate_conditions(effects: DrugEffects, *, with_targets: bool = False) -> npt.NDArray[np.float32]:
    """Correlation of genes over perturbations, [G, G]; 0 in the rows of constant genes, also on the diagonal.

    What a perturbation does to its own target is left out (0, no change), since it is no relation between genes, unless `with_targets`.
    """
    effect_DG = effects.effect_DG.astype(np.float64)
    if not with_targets:
        effect_DG = np.where(effects.is_target_DG, 0.0, effect_DG)
    centred_DG = effect_DG - effect_DG.mean(axis=0)
    norm_G = np.sqrt((centred_DG**2).sum(axis=0))
    scaled_DG = np.divide(centred_DG, norm_G, out=np.zeros_like(centred_DG), where=norm_G > 0)
    return np.asarray(scaled_DG.T @ scaled_DG, dtype=np.float32)


def correlation_partners(effects: DrugEffects, priors: pd.DataFrame, num_partners: int) -> tuple[npt.NDArray[np.float32], pd.DataFrame]:
    """Correlation [G, G] of genes between perturbations, and the best partners of each as of :func:`causcade.coexpression.top_partners`.

    Parameters
    ----------
    effects
        On measured genes.
    priors
        Curated edges; without any, candidate edges come from the correlation alone.
    num_partners
        Most partners of a gene.

    Raises
    ------
    InputError
        For fewer than three perturbations without a curated edge: two are correlated whatever they do.
    """
    if len(effects.table) < MIN_PERTURBATIONS and priors.empty:
        raise InputError(
            f"table of conditions: expected at least {MIN_PERTURBATIONS} perturbations, from whose correlation candidate edges come, found "
            f"{len(effects.table)}. Add perturbations, or give curated edges (`--priors`, or section `resources`)."
        )
    correlation_GG = correlate_conditions(effects)
    return correlation_GG, top_partners(correlation_GG, effects.genes["gene"].astype(str).tolist(), num_partners)


def genes_of_table(effects: DrugEffects, members: dict[str, set[str]]) -> pd.DataFrame:
    """Every gene of the table, with its roles: gene_id, gene, is_tf, is_rbp, is_hallmark, is_drug_target; in the order of the table.

    Parameters
    ----------
    effects
        Of its perturbations.
    members
        From :func:`causcade.panel.source_members`.
    """
    genes = effects.genes[["gene_id", "gene"]]
    return genes.assign(**{flag: genes["gene"].isin(members.get(source, set())) for source, flag in LISTED.items()})


def write_correlation(path: str | Path, correlation_GG: npt.NDArray[np.float32], raw_GG: npt.NDArray[np.float32]) -> None:
    """Write arrays correlation and raw_correlation, [G, G] float32, as `coexpression.zarr` of a run on cells has them.

    Parameters
    ----------
    path
        The store.
    correlation_GG, raw_GG
        Without and with what perturbations do to their own targets.
    """
    import zarr

    num = len(correlation_GG)
    with replacing(path) as temporary, zarr_v3():
        group = zarr.open_group(str(temporary), mode="w", zarr_format=3)
        for name, values in (("correlation", correlation_GG), ("raw_correlation", raw_GG)):
            array = group.create_array(name, shape=(num, num), chunks=(min(num, ROWS), min(num, ROWS)), dtype="float32")
            for start in range(0, num, ROWS):
                array[start : start + ROWS] = values[start : start + ROWS]
        group.attrs["over"] = "perturbations"
        zarr.consolidate_metadata(group.store)
