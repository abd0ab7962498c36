"""Embeddings that were computed elsewhere: aligned by row or by name, and every way in which they may not fit."""

import anndata
import numpy as np
import pandas as pd
import pytest
from cell_cases import NO_ROLES, gene_names, open_input, write_input

from causcade.cells import CellStore
from causcade.config import EmbeddingConfig, InputConfig, QualityConfig
from causcade.embedding.precomputed import embed_plate, read_embedding
from causcade.errors import InputError
from causcade.quality import store_plate

GENES = gene_names(25)
KEPT = [1, 2, 3, 5, 6, 7, 8, 10, 11]
VALUES = np.column_stack([np.arange(12.0), 100 + np.arange(12.0)])
NAMES = [f"c{row}" for row in range(12)]


@pytest.fixture
def filtered(tmp_path):
    """A plate of 12 cells in its file with an obsm, of which quality control removed 0, 4 and 9."""
    counts = np.random.default_rng(4).poisson(30, (12, 25))
    counts[[0, 4, 9]] = 0
    path = write_input(tmp_path / "input.h5ad", counts, GENES, drug=["DMSO_TF"] * 6 + ["Drug"] * 6, drugname_drugconc=["0"] * 6 + ["1.0"] * 6)
    data = anndata.read_h5ad(path)
    data.obsm["X_emb"] = VALUES
    data.write_h5ad(path)
    file, view = open_input(path)
    with file:
        store_plate(view, tmp_path / "p1.zarr", QualityConfig(min_counts=1, min_genes=1, mad=None), columns=[], seed=0)
    return path, CellStore(tmp_path / "p1.zarr")


def precomputed(filtered, **settings):
    path, store = filtered
    how = EmbeddingConfig(source="precomputed", **{"cells": "all", **settings})
    return embed_plate(store, how, source=(str(path), InputConfig(), "p1"), roles=NO_ROLES, block_cells=5)


def test_rows_of_the_input_are_mapped_after_filtering(filtered):
    result = precomputed(filtered)
    assert result.X.dtype == np.float32
    assert result.X.tolist() == [[row, 100.0 + row] for row in KEPT]
    assert result.obs_names.tolist() == [f"c{row}" for row in KEPT]
    assert result.uns["embedding"] == {"source": "precomputed"}
    assert precomputed(filtered, cells="controls").X[:, 0].tolist() == [1, 2, 3, 5]


def test_half_precision_is_stored_on_request_and_only_where_it_holds(filtered):
    path, _ = filtered
    assert precomputed(filtered, storage="float16").X.dtype == np.float16
    data = anndata.read_h5ad(path)
    data.obsm["X_emb"][5, 0] = 7e4
    data.write_h5ad(path)
    with pytest.raises(InputError, match=r"expected numbers that float16 holds \(below 65,504\), found 7e\+04\. Write `storage: float32`"):
        precomputed(filtered, storage="float16")


def test_embeddings_must_be_finite_where_they_are_used(filtered):
    path, _ = filtered
    data = anndata.read_h5ad(path)
    data.obsm["X_emb"][0] = np.nan  # a cell that was removed
    data.obsm["X_emb"][7, 1] = np.inf  # a treated one
    data.write_h5ad(path)
    assert len(precomputed(filtered, cells="controls")) == 4
    with pytest.raises(
        InputError, match=r"p1\.zarr: expected a finite embedding for each cell, found 1 cells with NaN or infinity\. Compute it again"
    ):
        precomputed(filtered)


def test_an_absent_obsm_key_is_an_error(filtered):
    with pytest.raises(InputError, match=r"expected obsm\['X_pca'\] \(embedding\.obsm\), found X_emb"):
        precomputed(filtered, obsm="X_pca")


def write_embedding(path, rows, *, values=VALUES, key="Z"):
    """Write rows of the embedding, in a file of any format; formats with names have them."""
    rows = list(rows)
    table = pd.DataFrame(values[rows], columns=["a", "b"], index=[NAMES[row] for row in rows])
    match path.suffix:
        case ".npy":
            np.save(path, values[rows])
        case ".parquet":
            table.to_parquet(path)
        case _:
            data = anndata.AnnData(obs=table[[]], obsm={key: values[rows]})
            data.write_h5ad(path) if path.suffix == ".h5ad" else data.write_zarr(path)
    return str(path)


@pytest.mark.parametrize("suffix", ["npy", "parquet", "h5ad", "zarr"])
def test_files_of_each_format_are_aligned(filtered, tmp_path, suffix):
    order = range(12) if suffix == "npy" else np.random.default_rng(0).permutation(12)
    write_embedding(tmp_path / f"emb_p1.{suffix}", order)
    result = precomputed(filtered, path=str(tmp_path / f"emb_{{plate}}.{suffix}"), obsm="Z")
    assert result.X.tolist() == [[row, 100.0 + row] for row in KEPT]


def test_tables_name_their_cells_in_a_column_or_not_at_all(filtered, tmp_path):
    path = tmp_path / "emb.parquet"
    shuffled = np.random.default_rng(0).permutation(12)
    named = pd.DataFrame({"cell": [NAMES[row] for row in shuffled], "vector": [VALUES[row] for row in shuffled]})
    for table in (named, pd.DataFrame({"vector": list(VALUES)}), pd.DataFrame(VALUES, columns=["a", "b"])):
        table.to_parquet(path, index=False)
        assert precomputed(filtered, path=str(path)).X[:, 0].tolist() == KEPT


def test_a_table_of_all_plates_has_a_column_plate(filtered, tmp_path):
    path = tmp_path / "emb.parquet"
    twice = pd.DataFrame({"cell": NAMES * 2, "plate": ["p1"] * 12 + ["p2"] * 12, "a": range(24)})
    twice.to_parquet(path, index=False)
    assert precomputed(filtered, path=str(path)).X[:, 0].tolist() == KEPT
    twice.drop(columns="plate").to_parquet(path, index=False)
    with pytest.raises(InputError, match=r"emb\.parquet: expected each cell once, found 'c1' and 8 more several times\. Give each plate a file"):
        precomputed(filtered, path=str(path))


def test_names_that_only_unused_cells_share_do_no_harm(filtered, tmp_path):
    write_embedding(tmp_path / "emb.parquet", [*range(12), 0, 4])  # c0 and c4 were removed
    assert precomputed(filtered, path=str(tmp_path / "emb.parquet")).X[:, 0].tolist() == KEPT


def test_rows_of_another_number_of_cells(filtered, tmp_path):
    path = write_embedding(tmp_path / "emb.npy", KEPT)
    with pytest.raises(InputError, match=r"emb\.npy: expected a row for each of the 12 cells of .*input\.h5ad, in their order, found 9 rows"):
        precomputed(filtered, path=path)


def test_cells_that_are_not_in_the_file(filtered, tmp_path):
    path = write_embedding(tmp_path / "emb.parquet", [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11])
    with pytest.raises(InputError, match=r"found none of 1 of 9 \(such as 'c3'; the file has names such as 'c0'\)"):
        precomputed(filtered, path=path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.npy", None, r"gone\.npy: expected the embedding of plate 'p1' \(embedding\.path\), found no file"),
        ("emb.csv", b"a,b", r"emb\.csv: expected an embedding as npy, parquet, h5ad or zarr, found a name that ends in '\.csv'"),
        ("emb.npy", b"no array", r"emb\.npy: expected an embedding .*, found a file that cannot be read"),
        ("emb.parquet", b"PAR1", r"emb\.parquet: expected an embedding .*, found a file that cannot be read"),
        ("emb.h5ad", b"", r"emb\.h5ad: expected an embedding .*, found a file that cannot be read"),
    ],
)
def test_files_that_are_no_embedding(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_embedding(tmp_path / name, "Z", plate="p1")


def test_arrays_and_tables_of_another_shape(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(InputError, match=r"expected an array of cells x dimensions, found one of shape \(3,\)"):
        read_embedding(tmp_path / "a.npy", None, plate="p1")
    pd.DataFrame({"a": [1.0], "label": ["x"], "other": ["y"]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"expected columns of numbers beside 'cell' and 'plate', found label, other of another kind"):
        read_embedding(tmp_path / "a.parquet", None, plate="p1")
    path = write_embedding(tmp_path / "a.h5ad", range(3))
    with pytest.raises(InputError, match=r"expected obsm\['Q'\] \(embedding\.obsm\), found Z\. Name one that is there"):
        read_embedding(path, "Q", plate="p1")
    with pytest.raises(InputError, match=r"expected `embedding\.obsm`, the key of the embedding in this file, found null"):
        read_embedding(path, None, plate="p1")
