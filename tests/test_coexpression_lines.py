"""Matrices per cell line against those of the line's cells alone."""

import logging

import numpy as np
import pandas as pd
import pytest
import zarr
from cell_cases import gene_names, make_store, random_counts
from coexpression_cases import GENES, ROLES, TERMS, assert_same, explicit, make_plates, pooled

from causcade import files
from causcade.coexpression import (
    blocks,
    centring,
    coexpression_by_line,
    measure_moments,
    measure_moments_by_line,
    moments,
    read_moments,
    residual_correlation,
    top_partners,
)
from causcade.coexpression.lines import INDEX, MAX_NAME, file_names
from causcade.errors import InputError

PANEL = pd.Index(gene_names(GENES))


@pytest.fixture(scope="module", autouse=True)
def small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        for module in (blocks, centring, moments):
            patch.setattr(module, "KERNEL_CELLS", 16)
        yield


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    return make_plates(tmp_path_factory.mktemp("plates"))


@pytest.fixture(scope="module")
def folders(plates, tmp_path_factory):
    """Sums per line of the three plates."""
    base = tmp_path_factory.mktemp("lines")
    for number, store in enumerate(plates):
        measure_moments_by_line(base / f"p{number}", store, PANEL, TERMS, ROLES, block_cells=13, backend="cpu", threads=2)
    return sorted(base.iterdir())


def only(path, store, cells):
    """A store of some cells of another."""
    _, counts = next(iter(store.iter_counts(store.num_cells)))
    columns = {name: store.obs[name].to_numpy()[cells] for name in ("plate", "cell_line", "age", "mito_fraction", "total_counts")}
    return make_store(path, counts[cells].toarray(), **columns)


def test_sums_of_a_line_are_those_of_its_cells_alone(plates, folders, tmp_path):
    index = files.read_parquet(folders[0] / INDEX)
    lines = plates[0].obs["cell_line"].astype(str).to_numpy()
    assert index["cell_line"].tolist() == ["A", "C"]
    assert index["num_cells"].tolist() == [(lines == "A").sum(), (lines == "C").sum()]
    assert sorted(path.name for path in folders[0].iterdir()) == ["A.npz", "C.npz", INDEX]
    for line in "AC":
        alone = only(tmp_path / f"{line}.zarr", plates[0], np.flatnonzero(lines == line))
        expected = measure_moments(alone, PANEL, TERMS, ROLES, block_cells=50, backend="cpu")
        # the kernel goes by the densities of the plate, which round otherwise than those of the line
        assert_same(read_moments(folders[0] / f"{line}.npz"), expected, 1e-6)


def test_lines_add_up_to_the_plate(plates, folders):
    whole = measure_moments(plates[1], PANEL, TERMS, ROLES, block_cells=50, backend="cpu")
    first, second = (read_moments(folders[1] / f"{line}.npz") for line in "AC")
    np.testing.assert_allclose(first.sxx_upper + second.sxx_upper, whole.sxx_upper, rtol=1e-5, atol=1e-3)
    assert first.num_cells + second.num_cells == whole.num_cells


def test_one_matrix_and_one_table_for_each_line(plates, folders, tmp_path):
    genes = [name.upper() for name in gene_names(GENES)]
    coexpression_by_line(tmp_path / "lines", folders, genes, 5)
    index = files.read_parquet(tmp_path / "lines" / INDEX)
    assert index["cell_line"].tolist() == index["name"].tolist() == ["A", "B", "C"]
    for row in index.itertuples():
        stores = [
            only(tmp_path / f"{row.name}{number}.zarr", store, cells)
            for number, store in enumerate(plates)
            if len(cells := np.flatnonzero(store.obs["cell_line"].astype(str) == row.cell_line))
        ]
        assert row.num_cells == sum(store.num_cells for store in stores)
        x, c = pooled(stores, gene_names(GENES), TERMS)
        group = zarr.open_group(tmp_path / "lines" / f"{row.name}.zarr", mode="r")
        np.testing.assert_allclose(group["correlation"][:], explicit(x, c), rtol=0, atol=2e-6)
        assert group.attrs["num_cells"] == row.num_cells
        pd.testing.assert_frame_equal(files.read_parquet(tmp_path / "lines" / f"{row.name}.parquet"), top_partners(group["correlation"][:], genes, 5))


def test_a_line_with_too_few_cells_has_no_matrix_and_the_log_says_so(tmp_path, caplog):
    counts = random_counts(np.random.default_rng(1), 30, GENES)
    store = make_store(tmp_path / "p.zarr", counts, cell_line=["rare/1", *["A"] * 29], age=np.arange(30.0), mito_fraction=0.1)
    measure_moments_by_line(tmp_path / "sums", store, PANEL, ["age"], ROLES, block_cells=8, backend="cpu")
    assert read_moments(tmp_path / "sums" / "rare%2F1.npz").num_cells == 1
    with caplog.at_level(logging.WARNING, logger="causcade"):
        coexpression_by_line(tmp_path / "lines", [tmp_path / "sums"], gene_names(GENES), 3)
    assert "cell line rare/1 has no matrix: coexpression: expected more cells than covariates, found 1 cells" in caplog.text
    index = files.read_parquet(tmp_path / "lines" / INDEX)
    assert index["name"].tolist() == ["A", None]
    assert index["num_cells"].tolist() == [29, 1]
    assert sorted(path.name for path in (tmp_path / "lines").iterdir()) == ["A.parquet", "A.zarr", INDEX]


def test_a_plate_without_cells_has_no_lines(tmp_path):
    store = make_store(tmp_path / "p.zarr", np.zeros((0, GENES), dtype=int))
    measure_moments_by_line(tmp_path / "sums", store, PANEL, [], ROLES, block_cells=8, backend="cpu")
    assert len(files.read_parquet(tmp_path / "sums" / INDEX)) == 0
    coexpression_by_line(tmp_path / "lines", [tmp_path / "sums"], gene_names(GENES), 3)
    assert files.read_parquet(tmp_path / "lines" / INDEX).columns.tolist() == ["cell_line", "name", "num_cells"]


def test_plates_of_two_panels_are_an_error(plates, folders, tmp_path):
    measure_moments_by_line(tmp_path / "other", plates[0], PANEL[:5], TERMS, ROLES, block_cells=8, backend="cpu")
    with pytest.raises(InputError, match="expected plates with one gene panel, found two"):
        coexpression_by_line(tmp_path / "lines", [folders[0], tmp_path / "other"], gene_names(GENES), 3)
    assert not (tmp_path / "lines").exists()


def test_names_of_files_are_safe_and_differ():
    lines = ["A549", "NCI-H1792", "LoVo", "lovo", "A/B", "..", ".hidden", "x y", "µ", "", "a.b", "L" * 300, "L" * 300 + "x"]
    names = file_names(lines)
    assert set(names) == set(lines)
    assert {line: names[line] for line in ("A549", "NCI-H1792", "LoVo", "A/B", "..", "a.b")} == {
        "A549": "A549", "NCI-H1792": "NCI-H1792", "LoVo": "LoVo", "A/B": "A%2FB", "..": "%2E%2E", "a.b": "a%2Eb",
    }  # fmt: skip
    assert len({name.lower() for name in names.values()}) == len(lines)
    assert all(name and len(name) <= MAX_NAME + 13 and not set(name) & set("/. ") for name in names.values())
    assert file_names(reversed(lines)) == names


def test_residual_correlation_of_a_line_drops_what_does_not_vary(folders):
    result = residual_correlation(read_moments(folders[0] / "A.npz"))
    assert result.dropped_covariates == ["age", "cell_line=A", "plate=p1"]
