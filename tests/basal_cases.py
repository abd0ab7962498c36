"""Control cells with a planted map from embedding to expression, and plates of controls in stores."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp
from cell_cases import gene_names, make_store, random_counts

from causcade.basal.cells import ControlCells
from causcade.files import write_anndata

GENES = gene_names(6)


def control_cells(z: np.ndarray, x: np.ndarray, well: np.ndarray, group: np.ndarray | None = None) -> ControlCells:
    """Control cells of dense arrays."""
    found = sp.csr_matrix(x.astype(np.float32))
    return ControlCells(
        z_ND=z.astype(np.float32), data_E=found.data, column_E=found.indices, indptr=found.indptr.astype(np.int64), well_N=well,
        group_N=np.zeros(len(well), np.int64) if group is None else group, num_genes=x.shape[1],
    )  # fmt: skip


def planted(num_cells: int = 400, noise: float = 0.05, seed: int = 0, num_wells: int = 10) -> ControlCells:
    """x = 3 + A z + noise for six genes; the last gene is constant."""
    rng = np.random.default_rng(seed)
    z = rng.normal(2.0, 5.0, size=(num_cells, 3))
    x = 3.0 + z @ rng.normal(scale=0.2, size=(3, 6)) + rng.normal(scale=noise, size=(num_cells, 6))
    x[:, 5] = 1.5
    return control_cells(z, x, np.arange(num_cells) % num_wells)


def dense(cells: ControlCells) -> np.ndarray:
    return cells.expression(np.arange(cells.num_cells)).toarray()


def write_plate(folder: Path, name: str = "p1", *, seed: int = 2, embed_all: bool = False) -> dict[str, str]:
    """A plate whose controls are scattered over lines A, B and D; line C has none, D has one. Two drugs, one of them at two doses."""
    rng = np.random.default_rng(seed)
    line = rng.choice(["A", "B", "C"], 70)
    is_control = (rng.random(70) < 0.5) & (line != "C")
    line[10], is_control[10] = "D", True
    drug = np.where(is_control, "control", rng.choice(["drug1", "drug2"], 70))
    dose = np.where(drug == "drug1", rng.choice([0.5, 5.0], 70), np.where(drug == "drug2", 1.0, 0.0))
    path = folder / f"{name}.zarr"
    store = make_store(
        path, random_counts(rng, 70, 6), cell_line=line, is_control=is_control, well=rng.choice(["w1", "w2"], 70), plate=name, perturbation=drug,
        dose=dose,
    )  # fmt: skip
    rows = np.arange(70) if embed_all else np.sort(rng.permutation(np.union1d(np.flatnonzero(is_control), np.arange(20))))
    obs = store.obs.iloc[rows][["perturbation", "cell_line", "plate", "well", "is_control"]].assign(row=rows)
    write_embedding(folder / f"{name}_embedding.zarr", rng.normal(size=(len(rows), 3)), obs)
    return {"cells": str(path), "embedding": str(folder / f"{name}_embedding.zarr")}


def write_embedding(path: Path, z: np.ndarray, obs: pd.DataFrame) -> None:
    write_anndata(path, anndata.AnnData(z.astype(np.float32), obs=obs))
