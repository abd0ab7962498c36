"""Folders with a matrix in text."""

import numpy as np
import pytest
from count_files import (
    NUM_CELLS,
    NUM_GENES,
    cell_names,
    dense,
    draw_counts,
    gene_ids,
    message,
    mtx_text,
    read,
    symbols,
    write_parse,
    write_tenx_mtx,
    write_text,
)

from causcade.config import InputConfig
from causcade.readers import CountsFile, matrices, transposition
from causcade.readers.mtx import open_mtx


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_in_chunks_and_within_a_small_budget(tmp_path, monkeypatch):
    """Entries in any order, of which no more than a few are in memory."""
    monkeypatch.setattr(matrices, "CHUNK_ENTRIES", 13)
    monkeypatch.setattr("causcade.readers.mtx.CHUNK_ENTRIES", 13)
    monkeypatch.setattr(transposition, "BUDGET_BYTES", 20 * transposition.BYTES_PER_ENTRY)
    for order in ("cells", "genes", "random"):
        path = write_tenx_mtx(tmp_path / order, draw_counts(), order=order)
        for num_cells in (1, 5, 100):
            np.testing.assert_array_equal(dense(read(path, num_cells)), draw_counts())


@pytest.mark.parametrize("name", ["count_matrix.mtx", "DGE.mtx", "gene_mat.mtx", "DGE.mtx.gz"])
def test_names_of_parse(tmp_path, name):
    path = write_parse(tmp_path / "x", draw_counts(), name=name)
    np.testing.assert_array_equal(dense(read(path)), draw_counts())
    with CountsFile(path, InputConfig()) as file:
        assert file.obs.index.tolist() == cell_names()
        assert file.obs["sample"].tolist() == ["s1"] * NUM_CELLS
        assert file.obs["tscp_count"].tolist() == draw_counts().sum(axis=1).tolist()


def test_parse_without_metadata_of_the_cells(tmp_path, caplog):
    caplog.set_level("INFO", logger="causcade")
    path = write_parse(tmp_path / "x", draw_counts(), metadata=False, genome=False)
    np.testing.assert_array_equal(dense(read(path)), draw_counts())
    with CountsFile(path, InputConfig()) as file:
        assert file.obs.index.tolist() == [str(number) for number in range(NUM_CELLS)]
        assert file.obs.shape == (NUM_CELLS, 0)
    assert f"{path / 'count_matrix.mtx'}: Parse, cells x genes, {NUM_CELLS} cells" in caplog.text
    assert "no cell_metadata.csv beside it, so that its cells are numbered from 0" in caplog.text


def test_the_sizes_say_which_way_round_a_matrix_is(tmp_path, caplog):
    """Where the vendor's layout does not fit and the other one does."""
    caplog.set_level("INFO", logger="causcade")
    tenx = write_tenx_mtx(tmp_path / "tenx", draw_counts())
    write_text(tenx / "matrix.mtx", mtx_text(draw_counts(), cells_first=True))
    parse = write_parse(tmp_path / "parse", draw_counts())
    write_text(parse / "count_matrix.mtx", mtx_text(draw_counts(), cells_first=False))
    for path in (tenx, parse):
        np.testing.assert_array_equal(dense(read(path)), draw_counts())
    assert f"{tenx / 'matrix.mtx'}: 10x, cells x genes, {NUM_CELLS} cells" in caplog.text
    assert f"{parse / 'count_matrix.mtx'}: Parse, genes x cells, {NUM_CELLS} cells" in caplog.text


def test_square_matrices_are_as_the_vendor_or_a_comment_says(tmp_path):
    counts = draw_counts(0, 6, 6)
    np.testing.assert_array_equal(dense(read(write_tenx_mtx(tmp_path / "tenx", counts))), counts)
    np.testing.assert_array_equal(dense(read(write_parse(tmp_path / "parse", counts))), counts)
    np.testing.assert_array_equal(dense(read(write_parse(tmp_path / "told", counts, comment="Rows=genes (6), Cols=cells (6)"))), counts.T)


def test_sizes_that_fit_neither_way(tmp_path):
    path = write_tenx_mtx(tmp_path / "x", draw_counts())
    write_text(path / "barcodes.tsv", "c0\nc1\n")
    assert message(path) == (
        f"{path / 'matrix.mtx'}: expected a matrix of 11 genes (features.tsv) and 2 cells (barcodes.tsv), found 11 x 37. Copy the files of one run."
    )
    path = write_parse(tmp_path / "y", draw_counts(), metadata=False)
    write_text(path / "all_genes.csv", "gene_id,gene_name\na,b\n")
    assert message(path) == f"{path / 'count_matrix.mtx'}: expected a matrix of 1 genes (all_genes.csv), found 37 x 11. Copy the files of one run."


def test_features_of_one_column_and_with_quotes(tmp_path):
    path = write_tenx_mtx(tmp_path / "x", draw_counts(), version=2)
    names = ["\"5'-nucleotidase", "NA", "123", *[f"g{i}" for i in range(NUM_GENES - 3)]]
    write_text(path / "genes.tsv", "".join(f"{name}\n" for name in names))
    with CountsFile(path, InputConfig()) as file:
        assert file.genes["gene_id"].tolist() == file.genes["symbol"].tolist() == names


def test_other_features_and_genomes_are_left_out(tmp_path):
    path = write_tenx_mtx(tmp_path / "x", draw_counts())
    replace(path / "features.tsv", "G4\tGene Expression", "G4\tAntibody Capture")
    np.testing.assert_array_equal(dense(read(path)), np.delete(draw_counts(), 4, axis=1))
    path = write_parse(tmp_path / "y", draw_counts())
    replace(path / "all_genes.csv", "G2,hg38", "G2,mm10")
    assert message(path) == f"{path}: expected one genome, found hg38, mm10. Set `input: {{genome: NAME}}` to one of them."
    np.testing.assert_array_equal(dense(read(path, genome="mm10")), draw_counts()[:, [2]])


def test_a_parse_gene_without_a_name_keeps_its_id(tmp_path):
    path = write_parse(tmp_path / "x", draw_counts())
    replace(path / "all_genes.csv", ",G2,", ",,")
    with CountsFile(path, InputConfig()) as file:
        assert file.genes["symbol"].tolist()[1:4] == ["G1", "ENSG00000000002", "G3"]


def test_a_folder_that_is_named_by_its_matrix(tmp_path):
    path = write_tenx_mtx(tmp_path / "x", draw_counts())
    for name in ("matrix.mtx", "barcodes.tsv", "features.tsv"):
        (path / name).rename(path / f"GSM1_{name}")
    np.testing.assert_array_equal(dense(read(path)), draw_counts())
    np.testing.assert_array_equal(dense(read(path / "GSM1_matrix.mtx")), draw_counts())
    (path / "GSM2_matrix.mtx").touch()
    expected = (
        f"{path}: expected one matrix, matrix.mtx (10x) or count_matrix.mtx, DGE.mtx, gene_mat.mtx (Parse), plain or gzip, "
        "found GSM1_matrix.mtx, GSM2_matrix.mtx. Name the file itself in column counts."
    )
    assert message(path) == expected
    np.testing.assert_array_equal(dense(read(path / "GSM1_matrix.mtx")), draw_counts())


def test_files_that_are_missing(tmp_path):
    path = write_tenx_mtx(tmp_path / "x", draw_counts())
    (path / "barcodes.tsv").unlink()
    assert message(path) == (
        f"{path / 'matrix.mtx'}: expected barcodes.tsv and features.tsv (or genes.tsv) of 10x, or all_genes.csv of Parse, beside it, "
        "found features.tsv. Copy the whole folder."
    )
    path = write_parse(tmp_path / "y", draw_counts())
    write_text(path / "all_genes.csv", "id,name\n")
    expected = f"{path / 'all_genes.csv'}: expected columns gene_id and gene_name, found id, name. Copy the whole folder."
    assert message(path) == expected


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9])
def test_a_truncated_matrix(tmp_path, suffix, share):
    path = write_tenx_mtx(tmp_path / "x", draw_counts(), suffix=suffix)
    matrix = path / f"matrix.mtx{suffix}"
    whole = matrix.read_bytes()
    matrix.write_bytes(whole[: int(share * len(whole))])
    text = message(path)
    assert str(matrix) in text or str(path) in text
    assert "Copy it again" in text or "Write it again" in text


def test_a_matrix_that_ends_at_the_end_of_a_line(tmp_path):
    path = write_tenx_mtx(tmp_path / "x", draw_counts())
    lines = (path / "matrix.mtx").read_text().splitlines()
    write_text(path / "matrix.mtx", "\n".join(lines[:-5]) + "\n")
    num = len(lines) - 3
    expected = f"{path / 'matrix.mtx'}: expected {num} entries, as its header says, found {num - 5}: it is truncated or damaged. Copy it again."
    assert message(path) == expected


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("12 1 1", "expected rows from 1 to 11, as its header says, found 12: it is damaged. Copy it again."),
        ("1 0 1", "expected columns from 1 to 37, as its header says, found 0: it is damaged. Copy it again."),
        ("1 1", "expected row, column and count in each line, found a line without a count. Copy it again."),
        ("1 1 1 1", "expected counts, found a damaged or truncated file ("), ("1 x 1", "expected counts, found a damaged or truncated file ("),
        ("1 1 inf", "expected raw counts (whole numbers from 0), found inf in gene"),
        ("1 1 0.5", "expected raw counts (whole numbers from 0), found "),
    ],
)  # fmt: skip
def test_lines_that_are_no_entries(tmp_path, line, shown):
    path = write_tenx_mtx(tmp_path / "x", draw_counts())
    lines = (path / "matrix.mtx").read_text().splitlines()
    lines[7] = line
    write_text(path / "matrix.mtx", "\n".join(lines) + "\n")
    assert shown in message(path)


def test_the_first_line_has_other_values(tmp_path):
    path = write_tenx_mtx(tmp_path / "x", draw_counts()[:1])
    num = int((draw_counts()[:1] > 0).sum())
    write_text(path / "matrix.mtx", f"%%MatrixMarket matrix coordinate real general\n11 1 {num}\n" + "1 1 1 0\n" * num)
    assert message(path) == f"{path / 'matrix.mtx'}: expected row, column and count in each line, found 4 values. Copy it again."


def test_white_space_of_any_kind(tmp_path):
    path = write_tenx_mtx(tmp_path / "x", draw_counts())
    head, *lines = (path / "matrix.mtx").read_text().splitlines()
    write_text(path / "matrix.mtx", "\r\n".join([head, "%", "", *["  " + line.replace(" ", " \t") + " " for line in lines[1:]]]) + "\r\n\r\n")
    np.testing.assert_array_equal(dense(read(path)), draw_counts())


def test_what_is_handed_over(tmp_path):
    found = open_mtx(write_tenx_mtx(tmp_path / "x", draw_counts()), InputConfig())
    assert found.matrix.shape == (NUM_CELLS, NUM_GENES)
    assert found.var.columns.tolist() == ["gene_ids", "gene_symbols", "feature_types"]
    assert found.var["gene_ids"].tolist() == gene_ids()
    assert found.var["gene_symbols"].tolist() == symbols()
    assert found.obs.shape == (NUM_CELLS, 0)
