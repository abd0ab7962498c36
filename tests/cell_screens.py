"""A small screen with a planted network as counts of cells, in stores; for tests of what is fitted to cells.

Axes: G genes, D perturbations, N cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from cell_cases import NO_ROLES, gene_names, make_store, panel_of
from screens import make_edges, plant

from causcade.conditions import measure_conditions
from causcade.files import write_anndata
from causcade.responses import ScreenFiles

LINES = ("A549", "HepG2")
DOSES = (0.5, 5.0)


@dataclass(frozen=True)
class CellScreen:
    files: ScreenFiles
    stores: list[str]
    edges: pd.DataFrame
    genes: list[str]
    drugs: list[str]


def make_cell_screen(folder: Path, *, num_genes: int = 24, num_drugs: int = 10, num_sources: int = 8, num_cells: int = 15) -> CellScreen:
    """Two plates; the second lacks the last perturbation and has fewer cells of a condition."""
    rng = np.random.default_rng(3)
    names = gene_names(num_genes)
    genes = panel_of(names)["gene"].tolist()
    drugs = [f"drug{number:02d}" for number in range(num_drugs)]
    weight_GG = plant(rng, num_genes, num_sources)
    direct_DG = np.zeros((num_drugs, num_genes))
    direct_DG[np.arange(num_drugs), np.arange(num_drugs) % num_sources] = -1.2
    effect_DG = direct_DG @ np.linalg.inv(np.eye(num_genes) - weight_GG).T
    base_G = rng.uniform(2.0, 4.0, num_genes)
    paths: dict[str, list[str]] = {"conditions": [], "baselines": [], "cells": []}
    for number in range(2):
        plate = f"p{number}"
        rows, means = [], []
        for line in LINES:
            rows += [("control", 0.0, line, True)] * 60
            means += [base_G] * 60
            for drug in range(num_drugs - number):
                for dose in DOSES:
                    here = num_cells - 5 * (number and drug == 0)
                    rows += [(drugs[drug], dose, line, False)] * here
                    means += [base_G + dose * 5.3 / (5.0 * (dose + 0.3)) * effect_DG[drug]] * here
        table = pd.DataFrame(rows, columns=["perturbation", "dose", "cell_line", "is_control"])
        counts = rng.poisson(np.exp(np.array(means) + rng.normal(0, 0.2, (len(rows), num_genes))))
        columns = {name: table[name].to_numpy() for name in table}
        path = folder / "cells" / f"{plate}.zarr"
        path.parent.mkdir(exist_ok=True)
        with make_store(path, counts, names, plate=plate, **columns) as store:
            conditions = measure_conditions(store, panel_of(names), NO_ROLES, min_cells=1, block_cells=100)
        written = {"conditions": conditions, "baselines": _baseline(conditions)}
        for name, data in written.items():
            write_anndata(folder / name / f"{plate}.zarr", data)
            paths[name].append(str(folder / name / f"{plate}.zarr"))
        paths["cells"].append(str(path))
    targets = pd.DataFrame({"perturbation": drugs, "target": [genes[i % num_sources] for i in range(num_drugs)], "sign": -1})
    edges = make_edges(rng, weight_GG, genes, 3)
    return CellScreen(ScreenFiles(paths["conditions"], paths["baselines"], targets), paths["cells"], edges, genes, drugs)


def _baseline(conditions: anndata.AnnData) -> anndata.AnnData:
    controls = conditions[conditions.obs["is_control"].to_numpy()].copy()
    var = controls.layers["var"] / controls.obs["n_cells"].to_numpy()[:, None]
    return anndata.AnnData(controls.layers["mean"], obs=controls.obs[["cell_line", "plate", "n_cells"]], var=controls.var, layers={"var": var})
