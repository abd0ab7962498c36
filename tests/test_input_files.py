"""What an input is, and the files behind it."""

import os
import subprocess
import sys

import h5py
import pytest
import zarr
from count_files import FORMATS, draw_counts, write_all, write_parse, write_tenx_mtx, write_text

from causcade.config import InputConfig
from causcade.errors import InputError
from causcade.input_files import (
    absent_table,
    find_mtx,
    first_line,
    folder_digest,
    input_files,
    is_cells_by_genes,
    list_shards,
    num_lines,
    open_bytes,
    read_mtx_header,
    table_paths,
    tell_format,
)

EXPECTED = "expected counts (h5ad, AnnData zarr, 10x h5, an mtx folder or Tahoe parquet)"


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("stored"), draw_counts())


def message(function, *arguments):
    with pytest.raises(InputError) as error:
        function(*arguments)
    return str(error.value)


@pytest.mark.parametrize("name", FORMATS)
def test_formats_are_told_from_the_file(stored, name):
    kinds = {"tenx": "tenx_h5", "mtx": "mtx", "parse": "mtx", "tahoe": "tahoe_parquet"}
    assert tell_format(stored[name][0]) == kinds.get(name.split("_")[0].split(".")[0], "anndata")
    assert tell_format(stored[name][0], "mtx") == "mtx"


def test_endings_do_not_matter(stored, tmp_path):
    for name, kind in (("csr.h5ad", "anndata"), ("tenx_v2", "tenx_h5"), ("tahoe_file", "tahoe_parquet")):
        (tmp_path / "x").write_bytes(stored[name][0].read_bytes())
        assert tell_format(tmp_path / "x") == kind
    for suffix in ("", ".gz"):
        path = write_tenx_mtx(tmp_path / f"mtx{suffix}", draw_counts(), suffix=suffix)
        assert tell_format(path / f"matrix.mtx{suffix}") == "mtx"


def test_nothing_there(tmp_path):
    path = tmp_path / "x.h5ad"
    for asked in ("auto", "mtx"):
        assert message(tell_format, path, asked) == f"{path}: expected counts of a plate, found no file. Correct column counts of the plate table."


@pytest.mark.parametrize("content", [b"", b"no counts", b"\x89HDF\r\n\x1a\n", b"\x1f\x8bno gzip"])
def test_files_that_are_no_counts(tmp_path, content):
    path = tmp_path / "x"
    path.write_bytes(content)
    text = message(tell_format, path)
    assert text.startswith(f"{path}: {EXPECTED}, found a file that cannot be opened: it is truncated or of another format (")
    assert text.endswith("). Copy it again, or convert it to one of these.")


def test_hdf5_that_is_no_counts(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["matrix"] = [1]
    assert message(tell_format, path) == (
        f"{path}: expected AnnData (obs, var, X) or 10x h5 (matrix with barcodes), found an HDF5 file with matrix. Convert it to one of these."
    )


def test_folders_that_are_no_counts(tmp_path):
    assert message(tell_format, tmp_path) == f"{tmp_path}: {EXPECTED}, found a folder with nothing. Correct column counts of the plate table."
    for name in ("hg19", "mm10"):
        write_tenx_mtx(tmp_path / name, draw_counts())
    assert message(tell_format, tmp_path) == f"{tmp_path}: {EXPECTED}, found a folder with hg19, mm10. Name one of its folders hg19, mm10."
    zarr.open_group(str(tmp_path / "z"), mode="w")
    assert tell_format(tmp_path / "z") == "anndata"  # whose reader says what it lacks


def test_shards(stored, tmp_path):
    path = stored["tahoe_folder"][0]
    assert [shard.name for shard in list_shards(path)] == [f"train-{number:05d}.parquet" for number in range(3)]
    (path / ".hidden.parquet").touch()
    assert len(list_shards(path)) == 3
    assert list_shards(stored["tahoe_file"][0]) == [stored["tahoe_file"][0]]
    write_text(tmp_path / "a.txt", "")
    assert message(list_shards, tmp_path) == f"{tmp_path}: expected Tahoe parquet files, found a.txt. Correct column counts of the plate table."


# ---- mtx folders


def test_files_of_a_folder(tmp_path):
    two, three = write_tenx_mtx(tmp_path / "v2", draw_counts(), version=2), write_tenx_mtx(tmp_path / "v3", draw_counts(), suffix=".gz")
    found = find_mtx(two)
    assert (found.vendor, found.matrix.name, found.genes.name, found.cells.name) == ("10x", "matrix.mtx", "genes.tsv", "barcodes.tsv")
    found = find_mtx(three)
    assert (found.vendor, found.matrix.name, found.genes.name, found.cells.name) == ("10x", "matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz")
    assert find_mtx(three / "matrix.mtx.gz") == found
    found = find_mtx(write_parse(tmp_path / "p", draw_counts()))
    assert (found.vendor, found.matrix.name, found.genes.name, found.cells.name) == (
        "Parse",
        "count_matrix.mtx",
        "all_genes.csv",
        "cell_metadata.csv",
    )
    assert find_mtx(write_parse(tmp_path / "q", draw_counts(), name="DGE.mtx", metadata=False)).cells is None


def test_a_header(tmp_path):
    path = write_text(tmp_path / "x.mtx.gz", "%%MatrixMarket matrix coordinate real general\n% a\n%b\n\n3 4 2\n1 1 1\n2 2 1\n")
    header = read_mtx_header(path)
    assert (header.num_rows, header.num_columns, header.num_entries, header.num_lines) == (3, 4, 2, 5)
    assert header.comments == "% a\n%b\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", "in the first line, found ''. Write it again."),
        ("%%MatrixMarket matrix array real general\n2 2\n", "in the first line, found '%%matrixmarket matrix array real general'. Write it again."),
        ("%%MatrixMarket matrix coordinate pattern general\n2 2 0\n", "found '%%matrixmarket matrix coordinate pattern general'."),
        ("%%MatrixMarket matrix coordinate real symmetric\n2 2 0\n", "found '%%matrixmarket matrix coordinate real symmetric'."),
        ("%%MatrixMarket matrix coordinate real general\n%\n", "expected numbers of rows, columns and entries after the comments, found ''."),
        ("%%MatrixMarket matrix coordinate real general\n2 2\n", "expected numbers of rows, columns and entries after the comments, found '2 2'."),
        (
            "%%MatrixMarket matrix coordinate real general\na b c\n",
            "expected numbers of rows, columns and entries after the comments, found 'a b c'.",
        ),
    ],
)
def test_headers_of_another_kind(tmp_path, text, shown):
    path = write_text(tmp_path / "x.mtx", text)
    assert shown in message(read_mtx_header, path)
    assert message(read_mtx_header, path).startswith(f"{path}: ")


def test_a_header_that_cannot_be_read(tmp_path):
    path = tmp_path / "x.mtx.gz"
    path.write_bytes(b"\x1f\x8b\x08\x00")
    assert message(read_mtx_header, path).startswith(f"{path}: expected a matrix in text, found a file that cannot be read (")


@pytest.mark.parametrize("name", ["tenx", "parse"])
@pytest.mark.parametrize("comment", ["", "Rows=cells (9), Cols=genes (4)", "rows = genes, cols = cells"])
@pytest.mark.parametrize(("cells", "genes", "text_is"), [(9, 4, None), (4, 4, None), (9, 4, True), (9, 4, False)])
def test_which_size_are_the_cells(tmp_path, name, comment, cells, genes, text_is):
    """The sizes decide where they can; else a comment; else the vendor."""
    from count_files import mtx_text

    counts = draw_counts(0, cells, genes)
    path = write_tenx_mtx(tmp_path / "x", counts) if name == "tenx" else write_parse(tmp_path / "x", counts)
    files = find_mtx(path)
    told = {"": name == "parse", "R": True, "r": False}[comment[:1]]
    is_so = told if text_is is None else text_is
    write_text(files.matrix, mtx_text(counts, cells_first=is_so, comment=comment))
    assert is_cells_by_genes(files, read_mtx_header(files.matrix), genes, cells) is is_so


def test_sizes_that_fit_neither_way(tmp_path):
    files = find_mtx(write_tenx_mtx(tmp_path / "x", draw_counts()))
    expected = f"{files.matrix}: expected a matrix of 5 genes (features.tsv) and 6 cells (barcodes.tsv), found 11 x 37. Copy the files of one run."
    assert message(is_cells_by_genes, files, read_mtx_header(files.matrix), 5, 6) == expected


@pytest.mark.parametrize(("text", "num"), [("", 0), ("a", 1), ("a\n", 1), ("a\nb", 2), ("a\nb\n", 2)])
@pytest.mark.parametrize("name", ["x.tsv", "x.tsv.gz"])
def test_lines(tmp_path, text, num, name):
    path = write_text(tmp_path / name, text)
    assert num_lines(path) == num
    with open_bytes(path) as handle:
        assert handle.read().decode() == text


# ---- what the rules list


def test_files_that_the_rules_list(stored, tmp_path):
    for name in FORMATS:
        path = stored[name][0]
        found = input_files(str(path))
        if "mtx" in name or "parse" in name:
            assert len(found) == 3
            assert all(file.startswith(str(path)) for file in found)
        else:
            assert found == [str(path)]
    path = stored["mtx_v2"][0]
    assert input_files(str(path), "anndata") == [str(path)]
    assert input_files(str(path / "matrix.mtx")) == [str(path / name) for name in ("matrix.mtx", "genes.tsv", "barcodes.tsv")]
    assert len(input_files(str(write_parse(tmp_path / "p", draw_counts(), metadata=False)))) == 2
    assert input_files("nowhere/x.mtx") == ["nowhere/x.mtx"]
    assert input_files(str(tmp_path)) == [str(tmp_path)]


def test_digest_of_a_folder_follows_its_files(tmp_path):
    folder = tmp_path / "shards"
    (folder / "deep").mkdir(parents=True)

    def digest() -> str:
        folder_digest.cache_clear()
        return folder_digest(str(folder))

    assert digest() == ""
    (folder / "deep" / "a").write_text("1")
    first = digest()
    assert len(first) == 16
    os.utime(folder / "deep" / "a", (1, 1))
    assert digest() == first
    (folder / "deep" / "a").write_text("12")
    second = digest()
    (folder / "deep" / "a").rename(folder / "deep" / "b")
    assert len({first, second, digest()}) == 3
    assert folder_digest(str(folder / "deep" / "b")) == folder_digest(str(folder / "nothing")) == ""


def test_tables_that_the_rules_list():
    tables = [{"path": "a/{plate}.csv"}, {"path": "b.tsv"}]
    settings = InputConfig(tables=tables, gene_table="g.parquet")
    assert table_paths(settings, "P1") == ["a/P1.csv", "b.tsv", "g.parquet"]
    assert table_paths(InputConfig(), None) == []
    assert table_paths(InputConfig(tables=tables[1:]), None) == ["b.tsv"]
    assert message(table_paths, settings, None) == (
        "input.tables.0.path: expected one table for all cells where no plate is named, found 'a/{plate}.csv'. "
        "Leave the table out, or name one without {plate}."
    )


def test_sentences():
    assert absent_table("input.gene_table", "g") == "input.gene_table: expected a table at g, found no file. Correct the path, or write null."
    assert absent_table("input.tables.0.path", "t").endswith("Correct the path, or remove the table.")
    assert first_line(ValueError("a.\nb")) == "a"
    assert first_line(EOFError()) == "EOFError"


def test_the_module_is_light():
    """The Snakefile imports it each time it is parsed."""
    heavy = {"anndata", "scanpy", "torch", "zarr", "pandas", "h5py"}
    code = f"import sys, causcade.input_files, causcade.cell_count; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
