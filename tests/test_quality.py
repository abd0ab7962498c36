"""Quality control: metrics against scanpy, filters with reasons, doublets, names, and what a summary tells."""

import numpy as np
import pandas as pd
import pytest
from cell_cases import gene_names, open_input, write_input

from causcade.cells import CellStore
from causcade.config import InputConfig, PerturbationConfig, QualityConfig, SimulationConfig
from causcade.errors import InputError
from causcade.plates import Plate
from causcade.quality import PlateCounts, find_doublets, judge_cells, mad_outliers, measure_cells, store_plate, summarise_plate
from causcade.readers import CountsFile

OPEN = QualityConfig(min_counts=0, min_genes=0, max_mito=1.0, mad=None)
SIMULATION = SimulationConfig(num_genes=100, num_tfs=10, num_drugs=6, num_cell_lines=2, cells_per_well=10, plates=["plate1"])


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


@pytest.fixture
def plate_of(tmp_path):
    """Write and open a small input; files are closed at the end."""
    opened = []

    def make(counts, genes=None, *, columns=None, index=None, **options) -> PlateCounts:
        genes = gene_names(counts.shape[1]) if genes is None else genes
        file, view = open_input(write_input(tmp_path / f"{len(opened)}.h5ad", counts, genes, index=index, **(columns or {})), **options)
        opened.append(file)
        return view

    yield make
    for file in opened:
        file.close()


def test_metrics_equal_scanpy(simulated):
    import anndata
    import scanpy as sc

    data = anndata.read_h5ad(simulated._file.path)
    data.var["mt"] = data.var["gene_symbol"].str.startswith("MT-").to_numpy()
    assert data.var["mt"].sum() > 5
    sc.pp.calculate_qc_metrics(data, qc_vars=["mt"], inplace=True, percent_top=None, log1p=False)
    metrics, largest = measure_cells(simulated)
    np.testing.assert_array_equal(metrics["total_counts"], data.obs["total_counts"])
    np.testing.assert_array_equal(metrics["num_genes"], data.obs["n_genes_by_counts"])
    np.testing.assert_allclose(metrics["mito_fraction"], data.obs["pct_counts_mt"] / 100, rtol=1e-6)
    assert largest == data.X.max()
    assert metrics.index.tolist() == data.obs_names.tolist()


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


def test_the_store_holds_the_kept_cells_and_all_genes(simulated, tmp_path):
    import anndata

    table = store_plate(simulated, tmp_path / "p.zarr", QualityConfig(min_counts=150, min_genes=30), columns=[], seed=0)
    keep = (table["reason"] == "").to_numpy()
    assert 0 < keep.sum() < len(keep)
    store = CellStore(tmp_path / "p.zarr")
    data = anndata.read_h5ad(simulated._file.path)
    stored = np.concatenate([block.toarray() for _, block in store.iter_counts(50)])
    np.testing.assert_array_equal(stored, data.X.toarray()[keep])
    assert store.obs.index.tolist() == table.loc[keep, "cell"].tolist()
    np.testing.assert_array_equal(store.obs["source_row"], np.flatnonzero(keep))
    np.testing.assert_array_equal(store.obs["total_counts"], stored.sum(axis=1))
    assert store.obs.columns.tolist() == [
        "perturbation", "kind", "dose", "cell_line", "plate", "well", "is_control", "total_counts", "num_genes", "mito_fraction", "source_row",
    ]  # fmt: skip


def slow_outliers(values: list[float], num_mads: float) -> list[bool]:
    def median(numbers):
        ordered, half = sorted(numbers), len(numbers) // 2
        return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2

    centre = median(values)
    deviation = 1.4826 * median([abs(value - centre) for value in values])
    return [deviation > 0 and abs(value - centre) > num_mads * deviation for value in values]


@pytest.mark.parametrize("size", [1, 2, 9, 200])
def test_outliers_equal_a_slow_reference(size):
    values = np.random.default_rng(size).standard_cauchy(size)
    for num_mads in (0.5, 3.0):
        assert mad_outliers(values, num_mads).tolist() == slow_outliers(values.tolist(), num_mads)


def test_outliers_need_a_spread():
    assert mad_outliers(np.zeros(0), 3.0).tolist() == []
    assert not mad_outliers(np.array([1.0] * 9 + [1000.0]), 3.0).any()  # more than half are equal: no deviation
    assert mad_outliers(np.array([1.0, 2.0, 3.0, 4.0, 1000.0]), 3.0).tolist() == [False] * 4 + [True]


def test_reasons_are_named_and_joined_in_order(plate_of):
    counts = np.array([[60, 40, 0], [3, 0, 0], [10, 10, 80], [60, 39, 1], [50, 50, 0]])
    drug = ["DMSO_TF", "DMSO_TF", "DMSO_TF", "Bad", "DMSO_TF"]
    plate = plate_of(counts, ["G1", "G2", "MT-ND1"], columns={"drug": drug, "drugname_drugconc": "1"}, exclude=["Bad"])
    metrics, _ = measure_cells(plate)
    table = judge_cells(plate, metrics, QualityConfig(min_counts=10, min_genes=2, max_mito=0.25, mad=None), seed=0)
    assert table["reason"].tolist() == ["", "low_counts;low_genes", "high_mito", "excluded", ""]
    assert table.columns.tolist() == [
        "cell", "well", "cell_line", "perturbation", "total_counts", "num_genes", "mito_fraction", "doublet_score", "reason",
    ]  # fmt: skip
    assert table["doublet_score"].isna().all()


def test_bounds_are_inclusive(plate_of):
    plate = plate_of(np.array([[6, 3, 1]]), ["G1", "G2", "MT-ND1"])
    metrics, _ = measure_cells(plate)
    at = QualityConfig(min_counts=10, min_genes=3, max_mito=0.1, mad=None)
    assert judge_cells(plate, metrics, at, seed=0)["reason"].tolist() == [""]
    for key, value in (("min_counts", 11), ("min_genes", 4), ("max_mito", 0.099)):
        with pytest.raises(InputError):
            judge_cells(plate, metrics, at.model_copy(update={key: value}), seed=0)


def test_outliers_are_judged_among_usable_cells_only(plate_of):
    rng = np.random.default_rng(0)
    counts = rng.poisson(20, (60, 12))
    counts[0] *= 40  # an outlier
    counts[30:] = rng.poisson(0.5, (30, 12))  # half of the plate is empty droplets
    plate = plate_of(counts)
    metrics, _ = measure_cells(plate)
    table = judge_cells(plate, metrics, QualityConfig(min_counts=100, min_genes=1, mad=5.0), seed=0)
    assert table["reason"].iloc[0] == "outlier"
    assert table["reason"].iloc[30:].str.startswith("low_counts").all()
    expected = slow_outliers(np.log1p(metrics["total_counts"].to_numpy()[:30]).tolist(), 5.0)
    expected_genes = slow_outliers(np.log1p(metrics["num_genes"].to_numpy(dtype=float)[:30]).tolist(), 5.0)
    found = (table["reason"].iloc[:30] == "outlier").tolist()
    assert found == [a or b for a, b in zip(expected, expected_genes, strict=True)]


def test_no_cell_left_is_an_error_that_counts_the_reasons(plate_of):
    plate = plate_of(np.array([[5, 0], [2, 2], [0, 0]]))
    metrics, _ = measure_cells(plate)
    with pytest.raises(InputError) as error:
        judge_cells(plate, metrics, QualityConfig(min_counts=100, min_genes=2), seed=0)
    assert str(error.value) == (
        "plate p1: expected cells that pass quality control, found none of 3 (low_counts 3, low_genes 2). Loosen `quality` in the configuration."
    )


@pytest.fixture
def mixed_wells(plate_of):
    """Well w1: four cell types of 60 cells and 20 sums of two types; well w2: 20 cells."""
    rng = np.random.default_rng(0)
    means = np.exp(rng.normal(0.0, 1.5, size=(4, 150)))
    singlets = [rng.poisson(means[kind], (60, 150)) for kind in range(4)]
    doublets = rng.poisson([means[rng.choice(4, 2, replace=False)].sum(axis=0) for _ in range(20)])
    counts = np.concatenate([*singlets, doublets, rng.poisson(means[0], (20, 150))])
    order = rng.permutation(280)
    is_doublet, is_large = np.repeat([False, True, False], [240, 20, 20])[order], (np.arange(280) < 260)[order]
    return plate_of(counts[order], columns={"sample": np.where(is_large, "w1", "w2")}), is_doublet, is_large


@pytest.mark.filterwarnings("ignore")
def test_scrublet_finds_doublets_well_by_well(mixed_wells):
    plate, is_doublet, is_large = mixed_wells
    score, called = find_doublets(plate, np.ones(280, dtype=bool), seed=0)
    assert np.isfinite(score[is_large]).all()
    assert np.isnan(score[~is_large]).all()  # too few cells
    assert not called[~is_large].any()
    assert np.median(score[is_doublet]) > np.quantile(score[is_large & ~is_doublet], 0.95)
    assert called[is_doublet].mean() > 0.8
    assert called[~is_doublet].mean() < 0.05
    again, _ = find_doublets(plate, np.ones(280, dtype=bool), seed=0)
    np.testing.assert_array_equal(again, score)
    # Cells that are no candidates are not looked at, and doublets get their reason.
    metrics, _ = measure_cells(plate)
    settings = OPEN.model_copy(update={"doublets": "scrublet", "min_counts": int(metrics["total_counts"].quantile(0.02))})
    table = judge_cells(plate, metrics, settings, seed=0)
    low = table["reason"].str.contains("low_counts")
    assert low.any()
    assert table.loc[low, "doublet_score"].isna().all()
    assert (table["reason"] == "doublet").to_numpy()[is_doublet].mean() > 0.8


@pytest.mark.filterwarnings("ignore")
def test_wells_that_scrublet_cannot_judge_call_none_and_say_so(plate_of, caplog):
    counts = np.random.default_rng(1).poisson(3, (60, 8))
    with caplog.at_level("WARNING", logger="causcade"):
        _, called = find_doublets(plate_of(counts), np.ones(60, dtype=bool), seed=0)  # fewer variable genes than components
        score, none = find_doublets(plate_of(counts[:, :2]), np.ones(60, dtype=bool), seed=0)
    assert called.dtype == bool
    assert np.isnan(score).all()
    assert not none.any()
    assert "well w1: no doublet is called (too few genes)" in caplog.text


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_repeated_cell_names_become_distinct(plate_of):
    plate = plate_of(np.ones((5, 2), dtype=int), index=["a", "a", "b", "a-1", "a"])
    assert plate.obs.index.tolist() == ["a", "a-2", "b", "a-1", "a-3"]
    assert plate.extra.index.tolist() == plate.obs.index.tolist()


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


def quality_table(**columns) -> pd.DataFrame:
    size = len(columns["reason"])
    base = {
        "cell": [f"c{number}" for number in range(size)], "well": "w1", "cell_line": "A", "perturbation": "control",
        "total_counts": np.linspace(10, 1000, size), "num_genes": np.arange(size) + 1, "mito_fraction": 0.1, "doublet_score": np.nan,
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


def test_summary_can_be_written_whatever_is_left(tmp_path):
    from causcade.files import read_json, write_json, write_parquet

    for name, table in (("none", quality_table(reason=["low_counts"])), ("empty", quality_table(reason=["x"]).iloc[:0])):
        write_parquet(tmp_path / "t.parquet", table)
        summary = summarise_plate(pd.read_parquet(tmp_path / "t.parquet"))
        write_json(tmp_path / f"{name}.json", summary)
        assert read_json(tmp_path / f"{name}.json")["num_kept"] == 0
        assert summary["median_counts"] is None
