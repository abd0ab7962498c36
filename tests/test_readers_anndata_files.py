"""AnnData on disk: one answer for every storage, and what is told of files that are damaged or lack something."""

import re
import shutil

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr
from count_files import NUM_CELLS, NUM_GENES, dense, draw_counts, make_anndata, message, read, write_annotated

from causcade.config import InputConfig
from causcade.errors import InputError
from causcade.readers import CountsFile


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The same counts in every storage: name -> (path, keys of the section `input`)."""
    folder = tmp_path_factory.mktemp("stored")
    counts = draw_counts()
    doubled = sp.coo_matrix(np.repeat(counts / 2, 2, axis=1))  # each entry in two halves, that is repeated, unsorted indices
    untidy = sp.csr_matrix((NUM_CELLS, NUM_GENES), dtype=np.float32)
    order = np.lexsort((-doubled.col, doubled.row))
    untidy.data, untidy.indices = doubled.data[order] * 2, (doubled.col // 2)[order]
    untidy.data[::2] = 0  # and explicit zeros
    untidy.indptr = np.searchsorted(doubled.row[order], np.arange(NUM_CELLS + 1))
    matrices = {
        "csr": sp.csr_matrix(counts), "csc": sp.csc_matrix(counts), "dense": counts, "untidy": untidy, "dense_double": counts.astype(np.float64),
        "csr_int": sp.csr_matrix(counts.astype(np.int64)), "csc_uint": sp.csc_matrix(counts.astype(np.uint16)),
    }  # fmt: skip
    found = {}
    for suffix in (".h5ad", ".zarr"):
        for name, matrix in matrices.items():
            found[name + suffix] = (write_annotated(folder / (name + suffix), make_anndata(matrix)), {})
        log = np.log1p(counts)
        found["layer" + suffix] = (
            write_annotated(folder / ("layer" + suffix), make_anndata(sp.csr_matrix(log), raw=sp.csr_matrix(counts))),
            {"layer": "raw"},
        )
    return found


STORAGES = ["csr", "csc", "dense", "untidy", "csr_int", "csc_uint", "dense_double", "layer"]


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
@pytest.mark.parametrize("name", STORAGES)
def test_every_storage_gives_the_same_blocks(stored, name, suffix):
    path, keys = stored[name + suffix]
    expected = sp.csr_matrix(draw_counts())
    blocks = read(path, **keys)
    assert [rows.tolist() for rows, _ in blocks] == [list(range(start, min(start + 8, NUM_CELLS))) for start in range(0, NUM_CELLS, 8)]
    found = sp.vstack([counts for _, counts in blocks], format="csr")
    np.testing.assert_array_equal(found.indptr, expected.indptr)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.data, expected.data)


@pytest.mark.parametrize("num_cells", [1, 5, NUM_CELLS, 10_000])
@pytest.mark.parametrize("name", ["csr.h5ad", "csc.h5ad", "dense.h5ad", "csr.zarr"])
def test_any_block_size_gives_the_same_counts(stored, name, num_cells):
    np.testing.assert_array_equal(dense(read(stored[name][0], num_cells=num_cells)), draw_counts())


@pytest.mark.parametrize("rows", [[], [0], [36], [3, 4, 5], [0, 7, 8, 20, 36], list(range(1, 37, 2))])
@pytest.mark.parametrize("name", ["csr.h5ad", "csc.h5ad", "dense.zarr"])
def test_some_rows_of_a_file(stored, name, rows):
    blocks = read(stored[name][0], rows=rows)
    assert [row for part, _ in blocks for row in part.tolist()] == rows
    np.testing.assert_array_equal(dense(blocks), draw_counts()[rows])


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csc_matrix, np.asarray])
def test_none_and_one_cell(tmp_path, size, kind):
    path = write_annotated(tmp_path / "x.h5ad", make_anndata(kind(draw_counts()[:size])))
    np.testing.assert_array_equal(dense(read(path)), draw_counts()[:size])


def test_genes_of_a_file(stored):
    path = stored["csr.h5ad"][0]
    with CountsFile(path, InputConfig()) as file:
        assert file.genes["gene_id"].tolist() == file.genes["symbol"].tolist() == [f"G{i}" for i in range(NUM_GENES)]
    with CountsFile(path, InputConfig(gene_id="ensembl")) as file:
        assert file.genes["gene_id"].tolist() == file.genes["symbol"].tolist() == [f"ENSG{i:011d}" for i in range(NUM_GENES)]


def test_a_gene_without_an_id_keeps_its_name(tmp_path, caplog):
    """Otherwise all of them would be summed into one gene called nan."""
    data = make_anndata(draw_counts())
    data.var["id"] = ["ENSG1.1", np.nan, "", *[f" ENSG{i}.2 " for i in range(2, NUM_GENES - 1)]]
    data.var["name"] = pd.Categorical(["A", "B", None, *[f"S{i}" for i in range(NUM_GENES - 3)]])
    path = write_annotated(tmp_path / "x.h5ad", data)
    with CountsFile(path, InputConfig(gene_id="id", gene_symbol="name")) as file:
        assert file.genes["gene_id"].tolist()[:4] == ["ENSG1", "G1", "G2", "ENSG2"]
        assert file.genes["symbol"].tolist()[:4] == ["A", "B", "G2", "S0"]
    assert "2 of 11 genes have nothing in var column 'id' and keep their name" in caplog.text


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csc_matrix, np.asarray])
def test_log_normalised_files_are_refused(tmp_path, kind):
    path = write_annotated(tmp_path / "x.h5ad", make_anndata(kind(np.log1p(draw_counts()))))
    text = message(path)
    assert re.match(rf"{path}: expected raw counts \(whole numbers from 0\), found [01]\.\d+ in gene 'G\d+', which looks like log-normalised", text)


@pytest.mark.parametrize("name", ["csr.h5ad", "dense.h5ad"])
@pytest.mark.parametrize("share", [0, 0.001, 0.05, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_file_is_told_wherever_it_was_cut(stored, tmp_path, name, share):
    whole = stored[name][0].read_bytes()
    path = tmp_path / "cut.h5ad"
    path.write_bytes(whole[: int(share * len(whole))])
    text = message(path)
    assert text.startswith(
        f"{path}: expected counts (h5ad, AnnData zarr, 10x h5, an mtx folder or Tahoe parquet), found a file that cannot be opened: it is truncated"
    )
    assert text.endswith("Copy it again, or convert it to one of these.")


def damaged(path, tmp_path, element):
    """A copy of an h5ad whose compressed chunks of one element are overwritten."""
    copy = tmp_path / "damaged.h5ad"
    shutil.copy(path, copy)
    with h5py.File(copy, "r") as file:
        chunk = file[element].id.get_chunk_info(0)
    with copy.open("r+b") as handle:
        handle.seek(chunk.byte_offset)
        handle.write(b"\xff" * chunk.size)
    return copy


@pytest.mark.parametrize(("name", "element"), [("csr.h5ad", "X/data"), ("csr.h5ad", "X/indices"), ("dense.h5ad", "X"), ("csc.h5ad", "X/data")])
def test_a_damaged_matrix_is_told_when_it_is_read(stored, tmp_path, name, element):
    path = damaged(stored[name][0], tmp_path, element)
    text = message(path)
    assert text.startswith(f"{path}: expected counts, found a damaged or truncated file (")
    assert text.endswith("Copy it again.")


@pytest.mark.parametrize("element", ["obs/_index", "var/_index", "var/ensembl"])
def test_damaged_tables_are_told_when_the_file_is_opened(stored, tmp_path, element):
    path = damaged(stored["csr.h5ad"][0], tmp_path, element)
    text = message(path)
    assert text.startswith(f"{path}: expected AnnData, found a file that is damaged, truncated or of another kind (")
    assert text.endswith("Copy it again, or write it again.")


def test_files_that_are_no_anndata(tmp_path):
    """Where the format is not told from the file but asked for."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["matrix"] = [1]
    zarr.open_group(str(tmp_path / "x.zarr"), mode="w").create_group("other")
    for name, found in (("x.h5", "matrix"), ("x.zarr", "other")):
        path = tmp_path / name
        expected = f"{path}: expected AnnData (obs, var, X), found a file with {found}. Correct column counts, or input.format."
        assert message(path, format="anndata") == expected
    (tmp_path / "x.txt").write_text("no")
    assert message(tmp_path / "x.txt", format="anndata").startswith(f"{tmp_path / 'x.txt'}: expected AnnData, found a file that is damaged, ")


def test_files_before_anndata_07(tmp_path):
    path = tmp_path / "x.h5ad"
    with h5py.File(path, "w") as file:
        file["obs"] = file["var"] = np.array([(b"a",)], dtype=[("index", "S1")])
        file["X"] = np.ones((1, 1))
    assert message(path) == (
        f"{path}: expected AnnData as anndata 0.7 and later write it, found an older file, whose tables are arrays. "
        "Write it again with `anndata.read_h5ad(PATH).write_h5ad(PATH)`."
    )


def test_sparse_matrices_of_anndata_06(stored, tmp_path):
    path = tmp_path / "x.h5ad"
    shutil.copy(stored["csr.h5ad"][0], path)
    with h5py.File(path, "r+") as file:
        attributes = file["X"].attrs
        attributes["h5sparse_format"], attributes["h5sparse_shape"] = "csr", attributes["shape"]
        for name in ("encoding-type", "encoding-version", "shape"):
            del attributes[name]
    np.testing.assert_array_equal(dense(read(path)), draw_counts())


@pytest.mark.parametrize(("element", "value"), [("indptr", -1), ("indptr", 10**6), ("indices", NUM_GENES), ("indices", -1)])
def test_numbers_that_lead_out_of_the_matrix_are_damage(stored, tmp_path, element, value):
    path = tmp_path / "x.h5ad"
    shutil.copy(stored["csr.h5ad"][0], path)
    with h5py.File(path, "r+") as file:
        file["X"][element][3] = value
    assert message(path).startswith(f"{path}: expected ")
    assert "damaged" in message(path)


def test_absent_layers_columns_and_embeddings(stored, tmp_path):
    path = stored["layer.h5ad"][0]
    assert message(path, layer="counts") == f"{path}: expected layer 'counts' (input.layer), found raw. Name one that is there, or null for X."
    plain = stored["csr.zarr"][0]
    assert message(plain, layer="counts") == f"{plain}: expected layer 'counts' (input.layer), found no layer. Name one that is there, or null for X."
    for key in ("gene_id", "gene_symbol"):
        expected = f"{path}: expected var column 'nowhere' (input.{key}), found ensembl. Name one that is there, or null for the index."
        assert message(path, **{key: "nowhere"}) == expected
    with CountsFile(path, InputConfig()) as file, pytest.raises(InputError) as error:
        file.embedding("X_tx1")
    expected = f"{path}: expected obsm['X_tx1'] (embedding.obsm), found no obsm. Name one that is there, or write `embedding: {{source: pca}}`."
    assert str(error.value) == expected


def test_a_file_without_x(tmp_path):
    data = make_anndata(draw_counts(), raw=sp.csr_matrix(draw_counts()))
    data.X = None
    path = write_annotated(tmp_path / "x.h5ad", data)
    assert message(path) == f"{path}: expected counts in X, found no X but layers raw. Set `input: {{layer: NAME}}`."
    np.testing.assert_array_equal(dense(read(path, layer="raw")), draw_counts())


def test_a_matrix_of_another_shape(tmp_path):
    path = write_annotated(tmp_path / "x.h5ad", make_anndata(draw_counts()))
    with h5py.File(path, "r+") as file:
        del file["X"]
        file["X"] = np.zeros((3, 2), dtype=np.float32)
    assert message(path) == f"{path}: expected a matrix of ({NUM_CELLS}, {NUM_GENES}) (obs x var), found (3, 2). Write the file again."


def test_a_precomputed_embedding(tmp_path):
    data = make_anndata(draw_counts())
    values = np.random.default_rng(0).normal(size=(NUM_CELLS, 4))
    data.obsm["X_emb"] = values
    with CountsFile(write_annotated(tmp_path / "x.h5ad", data), InputConfig()) as file:
        np.testing.assert_array_equal(file.embedding("X_emb"), values.astype(np.float32))
        assert file.embedding("X_emb").dtype == np.float32


@pytest.mark.parametrize("name", ["x.h5ad", "x.zarr"])
def test_widths_of_embeddings(tmp_path, name):
    data = make_anndata(draw_counts())
    with CountsFile(write_annotated(tmp_path / f"none_{name}", data), InputConfig()) as file:
        assert file.obsm_widths == {}
    data.obsm["X_emb"] = np.zeros((NUM_CELLS, 4))
    data.obsm["table"] = pd.DataFrame(np.zeros((NUM_CELLS, 3)), index=data.obs_names, columns=list("abc"))
    with CountsFile(write_annotated(tmp_path / name, data), InputConfig()) as file:
        assert file.obsm_widths == {"X_emb": 4, "table": 3}


@pytest.mark.shared_data
@pytest.mark.filterwarnings("ignore::anndata.OldFormatWarning")
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("kang_muscat_counts.h5ad", (1556, 1267)), ("a549_dex_counts.h5ad", (500, 198)), ("schraivogel_tapseq_counts.h5ad", (21977, 72)),
        ("pbmc_5k_protein_v3.h5ad", (200, 16581)), ("perturbench_counts.h5ad", (5961, 500)),
    ],
)  # fmt: skip
def test_real_files_are_read_as_anndata_reads_them(shared_data, name, shape):
    path = shared_data / "cells" / name
    expected = anndata.read_h5ad(path)
    blocks = read(path, num_cells=4096)
    assert (sum(len(rows) for rows, _ in blocks), blocks[0][1].shape[1]) == expected.shape == shape
    found = sp.vstack([counts for _, counts in blocks])
    assert (found != sp.csr_matrix(expected.X)).nnz == 0


@pytest.mark.shared_data
def test_versions_of_real_ids_are_dropped(shared_data):
    with CountsFile(shared_data / "cells" / "a549_dex_counts.h5ad", InputConfig(gene_symbol="gene_short_name")) as file:
        assert file.genes["gene_id"].str.fullmatch(r"ENSG\d{11}").all()
        assert "ANGPTL4" in set(file.genes["symbol"])


@pytest.mark.shared_data
def test_real_log_normalised_data_are_refused(shared_data):
    path = shared_data / "cells" / "perturbench_lognormalised.h5ad"
    text = message(path)
    assert text.startswith(f"{path}: expected raw counts (whole numbers from 0), found ")
    assert "which looks like log-normalised or scaled data. Set `input: {layer: NAME}`" in text
