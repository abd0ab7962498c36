"""Metrics of cells: equal to scanpy's on simulated and real counts, on a CPU and through Dask; mitochondrial genes by any name."""

import contextlib

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

from causcade.backend import gpu_cluster, uses_rapids
from causcade.config import InputConfig, PerturbationConfig, SimulationConfig
from causcade.gene_lists import MITO_GENE_IDS
from causcade.plates import Plate
from causcade.quality import PlateCounts, measure_cells, measure_cells_by_dask, mitochondrial, open_plate
from causcade.readers import CountsFile

SIMULATION = SimulationConfig(num_genes=100, num_tfs=10, num_drugs=6, num_cell_lines=2, cells_per_well=10, plates=["plate1"])
UNLABELLED = {"perturbation": {"constant": "x"}, "dose": None, "cell_line": {"constant": "x"}, "plate": None, "well": None}
REAL = ["kang_muscat_counts", "schraivogel_tapseq_counts", "pbmc_5k_protein_v3", "a549_dex_counts", "perturbench_counts"]


def by_scanpy(path, is_mito):
    """Metrics as scanpy computes them on the whole file; `is_mito` says which of its names are mitochondrial."""
    data = anndata.read_h5ad(path)
    data.var["mt"] = [is_mito(name) for name in data.var_names]
    sc.pp.calculate_qc_metrics(data, qc_vars=["mt"], inplace=True, percent_top=None, log1p=False)
    return data


def assert_equal_to_scanpy(metrics, largest, data):
    np.testing.assert_array_equal(metrics["total_counts"], data.obs["total_counts"])
    np.testing.assert_array_equal(metrics["num_genes"], data.obs["n_genes_by_counts"])
    expected = data.obs["total_counts_mt"].astype(np.float64) / data.obs["total_counts"].replace(0, 1)  # scanpy's own percentage is float32
    np.testing.assert_array_equal(metrics["mito_fraction"], expected)
    np.testing.assert_allclose(metrics["mito_fraction"], data.obs["pct_counts_mt"].fillna(0) / 100, rtol=1e-6)
    assert largest == data.X.max()


@contextlib.contextmanager
def real_plate(path, block_cells=777):
    settings = InputConfig(columns=UNLABELLED, block_cells=block_cells)
    with CountsFile(path, settings) as file:
        yield open_plate(file, Plate(name="p", counts=str(path)), settings, PerturbationConfig(control=["x"]), None)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A simulated plate, open, with approved symbols as gene names."""
    from causcade.simulation import simulate_plate

    path = tmp_path_factory.mktemp("simulated") / "plate1.h5ad"
    simulate_plate(SIMULATION, 0, "plate1", path)
    settings = InputConfig(gene_symbol="gene_symbol", block_cells=64)
    with CountsFile(path, settings) as file:
        names = file.genes.rename(columns={"symbol": "gene"})
        yield PlateCounts(file, Plate(name="plate1", counts=str(path)), settings, PerturbationConfig(), names)


def test_metrics_equal_scanpy(simulated):
    symbols = anndata.read_h5ad(simulated.source.path).var["gene_symbol"].to_dict()
    data = by_scanpy(simulated.source.path, lambda name: symbols[name].startswith("MT-"))
    assert data.var["mt"].sum() > 5
    metrics, largest = measure_cells(simulated)
    assert_equal_to_scanpy(metrics, largest, data)
    assert metrics.index.tolist() == data.obs_names.tolist()


@pytest.mark.shared_data
@pytest.mark.parametrize("name", REAL)
def test_metrics_equal_scanpy_on_real_counts(shared_data, name):
    path = shared_data / "cells" / f"{name}.h5ad"
    data = by_scanpy(path, lambda gene: gene.upper().startswith("MT-") or gene.split(".")[0] in MITO_GENE_IDS)
    with real_plate(path) as plate:
        assert_equal_to_scanpy(*measure_cells(plate), data)
    if name == "pbmc_5k_protein_v3":
        assert data.var["mt"].sum() == 13


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["kang_muscat_counts", "pbmc_5k_protein_v3"])
def test_dask_equals_the_pass_over_the_file_on_real_counts(shared_data, name):
    with real_plate(shared_data / "cells" / f"{name}.h5ad") as plate:
        expected, largest = measure_cells(plate)
        found, found_largest = measure_cells_by_dask(plate, backend="cpu", task_cells=150, group_cells=600)
    pd.testing.assert_frame_equal(found, expected)
    assert found_largest == largest


@pytest.mark.parametrize(("task_cells", "group_cells", "num_workers"), [(1000, 1000, 1), (7, 20, 1), (30, 30, 2), (1, 5, 1)])
def test_dask_equals_the_pass_over_the_file(simulated, task_cells, group_cells, num_workers):
    expected, largest = measure_cells(simulated)
    found, found_largest = measure_cells_by_dask(simulated, backend="cpu", task_cells=task_cells, group_cells=group_cells, num_workers=num_workers)
    pd.testing.assert_frame_equal(found, expected)
    assert found_largest == largest


def test_dask_workers_open_the_file_themselves(simulated):
    distributed = pytest.importorskip("distributed")
    expected, largest = measure_cells(simulated)
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster):
        found, found_largest = measure_cells_by_dask(simulated, backend="cpu", num_workers=2, task_cells=20, group_cells=40)
    pd.testing.assert_frame_equal(found, expected)
    assert found_largest == largest


@pytest.mark.skipif(not uses_rapids("auto"), reason="needs a GPU and rapids-singlecell (docs/gpu.md)")
@pytest.mark.parametrize("oversubscribe", [False, True])
def test_a_gpu_equals_the_pass_over_the_file(simulated, oversubscribe):
    expected, largest = measure_cells(simulated)
    with gpu_cluster("gpu", oversubscribe=oversubscribe) as num_workers:
        found, found_largest = measure_cells_by_dask(simulated, backend="gpu", num_workers=num_workers, task_cells=20, group_cells=40)
    pd.testing.assert_frame_equal(found, expected)
    assert found_largest == largest


def test_dask_sums_the_features_of_one_gene_and_keeps_large_counts(plate_of):
    counts = np.array([[1, 2, 0, 5], [0, 0, 0, 0], [4, 2**24, 3, 1], [0, 2**24, 0, 1]])
    names = pd.DataFrame({"gene_id": ["a", "b", "a", "m"], "gene": ["A", "B", "A", "mt-co1"]})
    plate = plate_of(counts, names=names)
    expected, largest = measure_cells(plate)
    assert expected["total_counts"].tolist() == [8.0, 0.0, 2.0**24 + 8, 2.0**24 + 1]  # beyond float32
    found, found_largest = measure_cells_by_dask(plate, backend="cpu", task_cells=2)
    pd.testing.assert_frame_equal(found, expected)
    assert found_largest == largest == 2**24


def test_dask_on_no_cells(plate_of):
    plate = plate_of(np.zeros((0, 3), dtype=int))
    found, largest = measure_cells_by_dask(plate, backend="cpu")
    pd.testing.assert_frame_equal(found, measure_cells(plate)[0])
    assert largest == 0


def test_features_of_one_gene_are_summed_before_they_are_counted(plate_of):
    counts = np.array([[1, 2, 0, 5], [0, 0, 0, 0], [4, 0, 3, 1]])
    names = pd.DataFrame({"gene_id": ["a", "b", "a", "m"], "gene": ["A", "B", "A", "mt-co1"]})
    plate = plate_of(counts, names=names)
    metrics, largest = measure_cells(plate)
    assert plate.var["gene"].to_dict() == {"a": "A", "b": "B", "m": "mt-co1"}
    assert metrics["total_counts"].tolist() == [8.0, 0.0, 8.0]
    assert metrics["num_genes"].tolist() == [3, 0, 2]
    assert metrics["mito_fraction"].tolist() == [0.625, 0.0, 0.125]  # no counts: no share
    assert largest == 7


def test_mitochondrial_genes_by_symbol_or_ensembl_id():
    var = pd.DataFrame(
        {"gene": ["TP53", "MT-ND1", "mt-Nd1", "ENSG00000198888", "MT1A", "X", "Mtor", "ENSG00000141510"]},
        index=["ENSG00000141510", "ENSG1", "ENSMUSG1", "ENSG00000198888", "ENSG2", "MT-CO1", "ENSMUSG2", "ENSG00000141511"],
    )
    assert mitochondrial(var).tolist() == [False, True, True, True, False, True, False, False]
    assert mitochondrial(var.iloc[:0]).tolist() == []


def test_ensembl_ids_without_symbols_and_resolver_still_give_a_mitochondrial_share(tmp_path):
    from cell_cases import write_input

    ids = [f"{gene_id}.7" for gene_id in sorted(MITO_GENE_IDS)] + ["ENSG00000141510.18", "ENSG00000136997.22"]
    path = write_input(tmp_path / "p.h5ad", np.ones((3, len(ids)), dtype=int), ids)
    settings = InputConfig()
    with CountsFile(path, settings) as file:
        metrics, _ = measure_cells(open_plate(file, Plate(name="p1", counts=str(path)), settings, PerturbationConfig(), None))
    np.testing.assert_allclose(metrics["mito_fraction"], 37 / 39)


def test_no_mitochondrial_gene_is_told(plate_of, caplog):
    with caplog.at_level("WARNING", logger="causcade"):
        metrics, _ = measure_cells(plate_of(np.ones((2, 3), dtype=int)))
    assert metrics["mito_fraction"].tolist() == [0.0, 0.0]
    assert "none of 3 genes is mitochondrial, by symbol (MT-) or human Ensembl id: the share is 0 and filters no cell" in caplog.text
