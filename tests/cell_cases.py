"""Small cell stores and input files for tests, and slow obvious references computed from dense counts."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

from causcade.cells import CellStore, write_store
from causcade.config import InputConfig, PerturbationConfig
from causcade.plates import Plate
from causcade.quality import PlateCounts
from causcade.readers import CountsFile

NO_ROLES = pd.DataFrame({"gene_id": pd.Series(dtype=str), "role": pd.Series(dtype=str)})


def gene_names(num_genes: int) -> list[str]:
    return [f"g{number:03d}" for number in range(num_genes)]


def random_counts(rng: np.random.Generator, num_cells: int, num_genes: int) -> np.ndarray:
    """Counts with a shared factor, so that genes correlate; mean expression spans three orders of magnitude."""
    factor = rng.normal(size=(num_cells, 3)) @ rng.normal(scale=0.5, size=(3, num_genes))
    return rng.poisson(np.exp(np.linspace(-2, 4, num_genes) + factor))


def make_store(path: Path, counts: np.ndarray, gene_ids: list[str] | None = None, **columns: object) -> CellStore:
    """Write and open a cell store of dense counts; columns override those of a plate of controls."""
    num_cells, num_genes = counts.shape
    names = pd.Index(gene_names(num_genes) if gene_ids is None else gene_ids, name="gene_id")
    obs = pd.DataFrame(
        {
            "perturbation": "control", "kind": "drug", "dose": 0.0, "cell_line": "A", "plate": "p1", "well": "w1", "is_control": True,
            "total_counts": counts.sum(axis=1).astype(np.float64), "num_genes": (counts > 0).sum(axis=1), "mito_fraction": 0.0,
            "source_row": np.arange(num_cells),
        },
        index=pd.Index([f"c{number}" for number in range(num_cells)], name="cell"),
    ).assign(**columns)  # fmt: skip
    matrix = sp.csr_matrix(counts.astype(np.int64))
    blocks = (matrix[start : start + 7] for start in range(0, num_cells, 7))
    var = pd.DataFrame({"gene": names.to_numpy()}, index=names)
    write_store(path, obs, var, blocks, num_nonzero=matrix.nnz, largest=int(counts.max(initial=0)))
    return CellStore(path)


def dense_x(store: CellStore, gene_ids: list[str] | pd.Index) -> np.ndarray:
    """x = log(1 + CP10k) [N, G], gene by gene, float64 of the float32 values; absent genes are zero."""
    (_, counts), *rest = store.iter_counts(store.num_cells)
    assert not rest
    table = pd.DataFrame(counts.toarray(), columns=store.var.index)
    share = table.div(store.obs["total_counts"].replace(0.0, 1.0).to_numpy(), axis=0)
    return np.log1p(share * 1e4).reindex(columns=gene_ids, fill_value=0.0).to_numpy().astype(np.float32).astype(np.float64)


def panel_of(gene_ids: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"gene_id": gene_ids, "gene": [name.upper() for name in gene_ids]})


def write_input(path: Path, counts: np.ndarray, genes: list[str], *, index: list[str] | None = None, **columns: object) -> Path:
    """Write an h5ad of raw counts whose obs has the default columns of the configuration."""
    obs = pd.DataFrame(
        {"drug": "DMSO_TF", "drugname_drugconc": "0", "cell_line": "A", "plate": "p1", "sample": "w1"},
        index=[f"c{number}" for number in range(len(counts))] if index is None else index,
    ).assign(**columns)
    data = anndata.AnnData(sp.csr_matrix(counts.astype(np.float32)), obs=obs, var=pd.DataFrame(index=genes))
    data.write_h5ad(path)
    return path


def open_input(
    path: Path, *, names: pd.DataFrame | None = None, block_cells: int = 7, constants: dict[str, str] | None = None, **perturbation: object
):
    """Open an input of :func:`write_input`: the file (to close) and its plate `p1`."""
    settings = InputConfig(block_cells=block_cells)
    file = CountsFile(path, settings)
    if names is None:
        names = pd.DataFrame({"gene_id": file.genes["gene_id"], "gene": file.genes["symbol"]})
    plate = Plate(name="p1", counts=str(path), constants=constants or {})
    return file, PlateCounts(file, plate, settings, PerturbationConfig(**perturbation), names)
