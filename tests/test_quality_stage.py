"""The stage: what is stored, what is removed, and what the summary tells."""

import anndata
import numpy as np
import pandas as pd
import pytest

from causcade.cells import CellStore
from causcade.config import QualityConfig
from causcade.errors import InputError
from causcade.files import read_json, read_parquet, write_json, write_parquet
from causcade.quality import store_plate, summarise_plate

OPEN = QualityConfig(min_counts=0, min_genes=0, max_mito=1.0, mad=None)


def test_the_store_holds_the_kept_cells_and_all_genes(plate_of, tmp_path):
    rng = np.random.default_rng(0)
    plate = plate_of(rng.poisson(rng.uniform(0, 4, (90, 1)), (90, 12)), block_cells=13)
    table = store_plate(plate, tmp_path / "p.zarr", QualityConfig(min_counts=15, min_genes=6), columns=[], seed=0)
    keep = (table["reason"] == "").to_numpy()
    assert 0 < keep.sum() < len(keep)
    store = CellStore(tmp_path / "p.zarr")
    data = anndata.read_h5ad(plate.source.path)
    stored = np.concatenate([block.toarray() for _, block in store.iter_counts(50)])
    np.testing.assert_array_equal(stored, data.X.toarray()[keep])
    assert store.obs.index.tolist() == table.loc[keep, "cell"].tolist()
    np.testing.assert_array_equal(store.obs["source_row"], np.flatnonzero(keep))
    np.testing.assert_array_equal(store.obs["total_counts"], stored.sum(axis=1))
    np.testing.assert_array_equal(store.var["num_cells"], (stored > 0).sum(axis=0))  # of the cells that are kept
    assert store.obs.columns.tolist() == [
        "perturbation", "kind", "dose", "cell_line", "plate", "well", "is_control", "total_counts", "num_genes", "mito_fraction", "source_row",
    ]  # fmt: skip


def test_further_columns_are_kept(plate_of, tmp_path):
    columns = {"age": [1, 2, 3], "donor": ["x", "y", "x"]}
    plate = plate_of(np.full((3, 2), 5), columns=columns, constants={"site": "north"})
    store_plate(plate, tmp_path / "p.zarr", OPEN, columns=["donor", "site", "well", "dose", "age", "donor"], seed=0)
    obs = CellStore(tmp_path / "p.zarr").obs
    assert obs["donor"].tolist() == ["x", "y", "x"]
    assert obs["age"].tolist() == [1, 2, 3]
    assert obs["site"].tolist() == ["north"] * 3  # a constant of the plate table
    assert obs["well"].tolist() == ["w1"] * 3  # the store has it anyway


def test_an_absent_further_column_is_an_error(plate_of, tmp_path):
    plate = plate_of(np.full((3, 2), 5), columns={"donor": "x"})
    with pytest.raises(
        InputError, match=r"covariates\.terms: expected obs column 'dnor' in the input, found .*donor.*\. Leave the term out, or correct"
    ):
        store_plate(plate, tmp_path / "p.zarr", OPEN, columns=["dnor"], seed=0)
    assert not (tmp_path / "p.zarr").exists()


def test_a_further_column_has_to_be_whole_in_the_cells_that_are_kept(plate_of, tmp_path):
    plate = plate_of(np.array([[5, 5], [5, 5], [0, 1]]), columns={"age": [1.0, 2.0, np.nan]})
    store_plate(plate, tmp_path / "p.zarr", QualityConfig(min_counts=5, min_genes=1, mad=None, max_mito=1), columns=["age"], seed=0)
    assert CellStore(tmp_path / "p.zarr").obs["age"].tolist() == [1, 2]
    with pytest.raises(InputError, match=r"in 'age' for each cell of plate p1, found 1 missing or infinite\. Leave the term out, or mend"):
        store_plate(plate, tmp_path / "q.zarr", OPEN, columns=["age"], seed=0)
    assert not (tmp_path / "q.zarr").exists()


@pytest.mark.parametrize("block_cells", [1, 1000])
def test_block_size_does_not_matter(plate_of, tmp_path, block_cells):
    counts = np.random.default_rng(2).poisson(2, (30, 9))
    tables = [
        store_plate(plate_of(counts, block_cells=size), tmp_path / f"{size}.zarr", QualityConfig(min_counts=12, min_genes=1), columns=[], seed=0)
        for size in (7, block_cells)
    ]
    pd.testing.assert_frame_equal(*tables)
    first, second = (next(iter(CellStore(tmp_path / f"{size}.zarr").iter_counts(1000)))[1].toarray() for size in (7, block_cells))
    np.testing.assert_array_equal(first, second)


def test_on_a_gpu_metrics_come_from_dask_on_a_cluster(plate_of, tmp_path, monkeypatch):
    import contextlib

    import scanpy

    from causcade.quality import metrics, stage

    told = []

    @contextlib.contextmanager
    def cluster(backend, *, oversubscribe):
        told.append((backend, oversubscribe))
        yield 2

    plate = plate_of(np.random.default_rng(1).poisson(2, (40, 9)))
    settings = OPEN.model_copy(update={"gpu_oversubscribe": True})
    expected = store_plate(plate, tmp_path / "cpu.zarr", settings, columns=[], seed=0)
    monkeypatch.setattr(stage, "uses_rapids", lambda backend: True)
    monkeypatch.setattr(stage, "gpu_cluster", cluster)
    monkeypatch.setattr(metrics, "single_cell", lambda backend: scanpy)
    found = store_plate(plate, tmp_path / "gpu.zarr", settings, columns=[], seed=0, backend="gpu")
    assert told == [("gpu", True)]
    pd.testing.assert_frame_equal(found, expected)
    files = [
        {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}
        for path in map(tmp_path.joinpath, ("cpu.zarr", "gpu.zarr"))
    ]
    assert files[0] == files[1]


def quality_table(**columns) -> pd.DataFrame:
    size = len(columns["reason"])
    base = {
        "cell": [f"c{number}" for number in range(size)], "well": "w1", "cell_line": "A", "perturbation": "control",
        "total_counts": np.linspace(10, 1000, size), "num_genes": np.arange(size) + 1, "mito_fraction": 0.1, "doublet_score": np.nan,
        "doublet_problem": "",
    }  # fmt: skip
    return pd.DataFrame(base | columns)


def test_summary(caplog):
    table = quality_table(
        reason=["", "low_counts;low_genes", "low_counts", "", "excluded", "high_mito", ""],
        perturbation=["control", "X", "X", "Y", "Unwanted", "Y", "control"],
        well=["w1", "w2", "w2", "w3", "w4", "w3", "w5"],
        cell_line=["B", "A", "A", "A", "A", "A", "A"],
    )
    with caplog.at_level("WARNING", logger="causcade"):
        summary = summarise_plate(table)
    assert summary["removed"] == {"low_counts": 2, "low_genes": 1, "high_mito": 1, "outlier": 0, "doublet": 0, "excluded": 1}
    assert summary["num_removed"] == sum(summary["removed_together"].values()) == 4
    assert summary["removed_together"] == {"excluded": 1, "high_mito": 1, "low_counts": 1, "low_counts;low_genes": 1}
    assert summary["wells_without_doublet_call"] == {}
    assert (summary["num_cells"], summary["num_kept"], summary["num_wells"]) == (7, 3, 3)
    assert (summary["num_control_wells"], summary["num_control_cells"]) == (2, 2)
    assert summary["cell_lines"] == {"A": 2, "B": 1}
    assert summary["median_genes"] == 4.0
    assert summary["lost_perturbations"] == ["X"]  # Unwanted was not lost: the configuration excludes it
    assert "no cell passes quality control for 1 perturbation(s): X" in caplog.text
    for name, histogram in summary["histograms"].items():
        assert sum(histogram["counts"]) == 7, name
        assert len(histogram["edges"]) == len(histogram["counts"]) + 1
    assert summary["histograms"]["total_counts"]["edges"][0] == 10.0
    assert summary["histograms"]["total_counts"]["edges"][-1] == 1000.0


def test_summary_names_wells_that_call_no_doublet():
    table = quality_table(
        reason=["", "", "low_counts", ""],
        well=["w2", "w2", "w1", "w1"],
        doublet_problem=["half would be called", "half would be called", "", "too few"],
    )
    assert summarise_plate(table)["wells_without_doublet_call"] == {"w1": "too few", "w2": "half would be called"}


def test_summary_can_be_written_whatever_is_left(tmp_path):
    for name, table in (("none", quality_table(reason=["low_counts"])), ("empty", quality_table(reason=["x"]).iloc[:0])):
        write_parquet(tmp_path / "t.parquet", table)
        summary = summarise_plate(read_parquet(tmp_path / "t.parquet"))
        write_json(tmp_path / f"{name}.json", summary)
        assert read_json(tmp_path / f"{name}.json")["num_kept"] == 0
        assert summary["median_counts"] is None
