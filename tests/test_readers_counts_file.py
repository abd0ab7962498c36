"""One interface to every format: the same counts, cells and genes, and the same errors."""

import gzip

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp
from count_files import FORMATS, NUM_CELLS, NUM_GENES, cell_names, dense, draw_counts, message, read, symbols, write_all, write_tenx_mtx

from causcade.config import InputConfig
from causcade.errors import InputError
from causcade.files import write_anndata
from causcade.readers import CountsFile, check_counts


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The same counts in every format: name -> (path, keys of the section `input`)."""
    found = write_all(tmp_path_factory.mktemp("stored"), draw_counts())
    assert list(found) == FORMATS
    return found


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("num_cells", [1, 8, NUM_CELLS, 10_000])
def test_every_format_gives_the_same_blocks(stored, name, num_cells):
    path, keys = stored[name]
    expected = sp.csr_matrix(draw_counts())
    blocks = read(path, num_cells, **keys)
    starts = range(0, NUM_CELLS, num_cells)
    assert [rows.tolist() for rows, _ in blocks] == [list(range(start, min(start + num_cells, NUM_CELLS))) for start in starts]
    found = sp.vstack([counts for _, counts in blocks], format="csr")
    np.testing.assert_array_equal(found.indptr, expected.indptr)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.data, expected.data)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_cells_and_genes(stored, name):
    path, keys = stored[name]
    with CountsFile(path, InputConfig(**keys)) as file:
        assert file.path == path
        assert file.obs.index.tolist() == cell_names()
        assert file.obs.index.name is None
        assert file.genes["gene_id"].tolist() == [f"ENSG{i:011d}" for i in range(NUM_GENES)]
        has_symbols = ".h5ad" not in name and ".zarr" not in name
        assert file.genes["symbol"].tolist() == (symbols() if has_symbols else file.genes["gene_id"].tolist())
        assert file.obsm_widths == {}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("rows", [[], [0], [36], [3, 4, 5], [0, 7, 8, 20, 36], list(range(1, 37, 2))])
def test_some_rows_of_every_format(stored, name, rows):
    path, keys = stored[name]
    blocks = read(path, rows=rows, **keys)
    assert [row for part, _ in blocks for row in part.tolist()] == rows
    np.testing.assert_array_equal(dense(blocks), draw_counts()[rows])


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_may_be_read_again_and_from_any_cell(stored, name):
    path, keys = stored[name]
    with CountsFile(path, InputConfig(**keys)) as file:
        for rows in (np.arange(NUM_CELLS), np.arange(30, 37), np.arange(0, 3), np.arange(NUM_CELLS)):
            np.testing.assert_array_equal(dense(list(file.iter_blocks(rows, 5))), draw_counts()[rows])
        first, second = file.iter_blocks(np.arange(20), 4), file.iter_blocks(np.arange(10, NUM_CELLS), 4)
        for _ in range(5):
            np.testing.assert_array_equal(next(first)[1].toarray() * 0, 0)
            rows, counts = next(second)
            np.testing.assert_array_equal(counts.toarray(), draw_counts()[rows])


@pytest.mark.parametrize("size", [0, 1])
def test_none_and_one_cell_in_every_format(tmp_path, size):
    for name, (path, keys) in write_all(tmp_path, draw_counts()[:size]).items():
        np.testing.assert_array_equal(dense(read(path, **keys)), draw_counts()[:size], err_msg=name)
        with CountsFile(path, InputConfig(**keys)) as file:
            file.check_sample(np.arange(size), 3)


def test_counts_above_16_bits_in_every_format(tmp_path):
    counts = draw_counts()
    counts[2, 3], counts[30, 0] = 70_000, 2**24
    for name, (path, keys) in write_all(tmp_path, counts).items():
        np.testing.assert_array_equal(dense(read(path, **keys)), counts, err_msg=name)


@pytest.mark.parametrize(("value", "kind"), [(0.5, "log-normalised or scaled data"), (-2.0, "scaled or corrected data")])
def test_what_is_no_count_is_told_in_every_format(tmp_path, value, kind):
    counts = draw_counts()
    counts[20, 4] = value
    for name, (path, keys) in write_all(tmp_path, counts).items():
        gene = "ENSG00000000004" if "gene_id" in keys else "G4"
        assert message(path, **keys).replace("-2 ", "-2.0 ") == (
            f"{path}: expected raw counts (whole numbers from 0), found {value} in gene {gene!r}, which looks like {kind}. "
            "Set `input: {layer: NAME}` to the layer that holds counts, or give the file before normalisation."
        ), name


@pytest.mark.parametrize("name", FORMATS)
def test_a_sample_of_every_format_is_checked(stored, name):
    path, keys = stored[name]
    with CountsFile(path, InputConfig(**keys)) as file:
        for rows in (np.arange(NUM_CELLS), np.arange(3), np.arange(0), np.array([5, 30])):
            file.check_sample(rows, 4)


@pytest.mark.parametrize("cell", [0, 18, 36])
def test_a_sample_sees_the_first_the_middle_and_the_last_cells(tmp_path, cell):
    counts = draw_counts()
    counts[cell, 4] = -1
    for path, keys in write_all(tmp_path, counts).values():
        with CountsFile(path, InputConfig(**keys)) as file, pytest.raises(InputError, match="expected raw counts"):
            file.check_sample(np.arange(NUM_CELLS), 3)


@pytest.mark.parametrize("name", [name for name in FORMATS if ".h5ad" not in name and ".zarr" not in name])
def test_a_layer_is_refused_where_there_are_none(stored, name):
    path, keys = stored[name]
    text = message(path, layer="raw", **keys)
    assert text.startswith(f"{path}: expected no layer (input.layer) for ")
    assert text.endswith(", found 'raw'. Write `input: {layer: null}`.")


@pytest.mark.parametrize("name", FORMATS)
def test_an_embedding_that_is_not_there(stored, name):
    path, keys = stored[name]
    with CountsFile(path, InputConfig(**keys)) as file, pytest.raises(InputError) as error:
        file.embedding("X_tx1")
    expected = f"{path}: expected obsm['X_tx1'] (embedding.obsm), found no obsm. Name one that is there, or write `embedding: {{source: pca}}`."
    assert str(error.value) == expected


def test_an_absent_file(tmp_path):
    path = tmp_path / "none.h5ad"
    assert message(path) == f"{path}: expected counts of a plate, found no file. Correct column counts of the plate table."


def test_plates_may_differ_in_their_genes(tmp_path):
    """Each file has its own list; they are joined by id, later."""
    one = write_tenx_mtx(tmp_path / "one", draw_counts())
    two = write_tenx_mtx(tmp_path / "two", draw_counts(1, 5, 4))
    found = []
    for path in (one, two):
        with CountsFile(path, InputConfig()) as file:
            found.append(pd.DataFrame(dense(list(file.iter_blocks(np.arange(len(file.obs)), 10))), columns=file.genes["gene_id"]))
    assert [table.shape for table in found] == [(NUM_CELLS, NUM_GENES), (5, 4)]
    assert set(found[1].columns) < set(found[0].columns)


def test_tables_are_joined_when_obs_is_wanted(stored, tmp_path):
    (tmp_path / "P1.csv").write_text("cell,line\n" + "".join(f"{name},L{name}\n" for name in cell_names()))
    table = {"path": str(tmp_path / "{plate}.csv")}
    for name in FORMATS:
        path, keys = stored[name]
        with CountsFile(path, InputConfig(tables=[table], **keys), "P1") as file:
            assert file.obs["line"].tolist() == [f"L{cell}" for cell in cell_names()]
    with CountsFile(path, InputConfig(tables=[table], **keys), "P2") as file:
        assert file.genes.shape == (NUM_GENES, 2)
        with pytest.raises(InputError, match=rf"input.tables.0.path: expected a table at {tmp_path / 'P2.csv'}, found no file"):
            _ = file.obs
    with CountsFile(path, InputConfig(tables=[table], **keys)) as file, pytest.raises(InputError, match="where no plate is named, found"):
        _ = file.obs


# ---- raw counts


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int32, np.uint16, bool])
def test_whole_numbers_of_any_type_are_counts(kind):
    check_counts(sp.csr_matrix(np.array([[0, 1], [1, 0]], dtype=kind)), np.array(["A", "B"]), "x")


@pytest.mark.parametrize(
    ("value", "shown", "kind"),
    [
        (0.6931472, "0.6931472", "log-normalised or scaled data"), (1.0000001, "1.0000001", "log-normalised or scaled data"),
        (-1.0, "-1.0", "scaled or corrected data"), (np.nan, "nan", "scaled or corrected data"), (np.inf, "inf", "log-normalised or scaled data"),
    ],
)  # fmt: skip
def test_what_is_no_count_is_told_with_its_gene(value, shown, kind):
    counts = sp.csr_matrix(np.array([[1.0, 0, 3], [0, value, 0]]))
    with pytest.raises(InputError) as error:
        check_counts(counts, np.array(["A", "B", "C"]), "x.h5ad")
    assert str(error.value) == (
        f"x.h5ad: expected raw counts (whole numbers from 0), found {shown} in gene 'B', which looks like {kind}. "
        "Set `input: {layer: NAME}` to the layer that holds counts, or give the file before normalisation."
    )


def test_negative_integers_are_no_counts():
    with pytest.raises(InputError, match="found -2 in gene 'A', which looks like scaled or corrected data"):
        check_counts(sp.csr_matrix(np.array([[-2]])), np.array(["A"]), "x")


# ---- real files, as scanpy reads them


def agrees(path, expected, num_cells=1000, **keys):
    """Compare every entry, the cells and the symbols."""
    with CountsFile(path, InputConfig(**keys)) as file:
        blocks = list(file.iter_blocks(np.arange(len(file.obs)), num_cells))
        found = sp.vstack([counts for _, counts in blocks], format="csr")
        assert found.shape == expected.shape
        assert (found != sp.csr_matrix(expected.X)).nnz == 0
        assert file.obs.index.tolist() == expected.obs_names.tolist()
        assert file.genes["symbol"].tolist() == expected.var_names.tolist()
        return file.genes


@pytest.mark.shared_data
@pytest.mark.filterwarnings("ignore:Variable names are not unique")
@pytest.mark.parametrize(
    ("name", "genome"),
    [
        ("1.2.0/filtered_gene_bc_matrices_h5.h5", None), ("1.2.0/multiple_genomes.h5", "hg19_chr21"), ("1.2.0/multiple_genomes.h5", "another_genome"),
        ("3.0.0/filtered_feature_bc_matrix.h5", None),
    ],
)  # fmt: skip
def test_real_tenx_h5(shared_data, name, genome):
    path = shared_data / "cells" / "tenx" / name
    expected = sc.read_10x_h5(path, genome=genome)
    assert agrees(path, expected, 100, genome=genome)["gene_id"].tolist() == expected.var["gene_ids"].tolist()


@pytest.mark.shared_data
def test_real_genomes_have_to_be_named(shared_data):
    path = shared_data / "cells" / "tenx" / "1.2.0" / "multiple_genomes.h5"
    assert message(path) == f"{path}: expected one genome, found another_genome, hg19_chr21. Set `input: {{genome: NAME}}` to one of them."


@pytest.mark.shared_data
@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_real_probes(shared_data):
    """Probes of the filtered set, with the ids and symbols of their genes."""
    path = shared_data / "cells" / "tenx" / "raw_probe_bc_matrix.h5"
    whole = sc.read_10x_h5(path)
    expected = whole[:, whole.var["filtered_probes"]].copy()
    expected.var_names = [name.split("|")[0] for name in expected.var_names]
    assert agrees(path, expected)["gene_id"].tolist() == expected.var["gene_ids"].tolist()


@pytest.mark.shared_data
@pytest.mark.filterwarnings("ignore:Variable names are not unique")
@pytest.mark.parametrize("name", ["1.2.0/filtered_gene_bc_matrices/hg19_chr21", "3.0.0/filtered_feature_bc_matrix"])
def test_real_mtx_folders(shared_data, name):
    path = shared_data / "cells" / "tenx" / name
    expected = sc.read_10x_mtx(path)
    assert agrees(path, expected, 100)["gene_id"].tolist() == expected.var["gene_ids"].tolist()


@pytest.mark.shared_data
def test_a_real_mtx_folder_with_numbers_as_ids(shared_data, tmp_path):
    """Scanpy reads such a folder only when it is packed."""
    path = shared_data / "cells" / "tenx" / "int-ids"
    for part in path.iterdir():
        (tmp_path / f"{part.name}.gz").write_bytes(gzip.compress(part.read_bytes()))
    expected = sc.read_10x_mtx(tmp_path)
    for folder in (path, tmp_path):
        assert agrees(folder, expected)["gene_id"].tolist() == [str(name) for name in expected.var["gene_ids"]]


@pytest.mark.shared_data
def test_a_real_parse_folder(shared_data):
    path = shared_data / "cells" / "parse"
    genes = pd.read_csv(path / "all_genes.csv")
    expected = sc.read_mtx(path / "gene_mat.mtx")
    expected.var_names = genes["gene_name"].tolist()
    assert agrees(path, expected)["gene_id"].tolist() == genes["gene_id"].tolist()


@pytest.mark.shared_data
@pytest.mark.filterwarnings("ignore::anndata.OldFormatWarning")
@pytest.mark.parametrize("name", ["kang_muscat_counts", "a549_dex_counts", "schraivogel_tapseq_counts", "pbmc_5k_protein_v3", "perturbench_counts"])
def test_real_h5ad_as_zarr_and_by_genes(shared_data, tmp_path, name):
    path = shared_data / "cells" / f"{name}.h5ad"
    expected = anndata.read_h5ad(path)
    columns = anndata.AnnData(sp.csc_matrix(expected.X), obs=expected.obs[[]], var=expected.var[[]])
    columns.write_h5ad(tmp_path / "columns.h5ad")
    write_anndata(tmp_path / "columns.zarr", columns)
    expected.var_names = expected.var_names.str.replace(r"^(ENSG\d+)\.\d+$", r"\1", regex=True)
    for each in (path, tmp_path / "columns.h5ad", tmp_path / "columns.zarr"):
        agrees(each, expected)
