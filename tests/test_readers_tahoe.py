"""Tahoe-100M as parquet."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from count_files import (
    FIRST_TOKEN,
    NUM_CELLS,
    NUM_GENES,
    cell_names,
    dense,
    draw_counts,
    gene_ids,
    message,
    read,
    symbols,
    token_rows,
    write_gene_table,
    write_shard,
    write_tahoe,
)

from causcade.config import InputConfig, PerturbationConfig
from causcade.errors import InputError
from causcade.labels import canonical_obs, select_plate
from causcade.plates import Plate
from causcade.readers import CountsFile, tahoe
from causcade.readers.tahoe import open_tahoe, read_token_table


@pytest.fixture
def keys(tmp_path):
    return {"gene_table": str(write_gene_table(tmp_path / "genes.parquet"))}


@pytest.mark.parametrize("cuts", [(), (15, 16), (1, 20, 36), (0, 37)])
@pytest.mark.parametrize("num_cells", [1, 5, 100])
def test_shards_of_any_size_are_one_input(tmp_path, keys, cuts, num_cells):
    path = write_tahoe(tmp_path / "x", draw_counts(), cuts=cuts)
    blocks = read(path, num_cells, **keys)
    assert [rows.tolist() for rows, _ in blocks] == [
        list(range(start, min(start + num_cells, NUM_CELLS))) for start in range(0, NUM_CELLS, num_cells)
    ]
    np.testing.assert_array_equal(dense(blocks), draw_counts())


@pytest.mark.parametrize("row_group_size", [1, 4, 100])
@pytest.mark.parametrize("batch", [1, 3, 1000])
def test_row_groups_and_batches_change_nothing(tmp_path, keys, monkeypatch, row_group_size, batch):
    monkeypatch.setattr(tahoe, "BATCH_CELLS", batch)
    path = write_shard(tmp_path / "x.parquet", draw_counts(), row_group_size=row_group_size)
    for rows in (list(range(NUM_CELLS)), [0, 36], [5, 6, 20]):
        np.testing.assert_array_equal(dense(read(path, 7, rows, **keys)), draw_counts()[rows])


def test_row_groups_without_wanted_cells_are_not_opened(tmp_path, keys, monkeypatch):
    path = write_shard(tmp_path / "x.parquet", draw_counts(), row_group_size=5)
    opened = []
    batches = tahoe.TokenRows._batches
    monkeypatch.setattr(tahoe.TokenRows, "_batches", lambda self, group: opened.append(group.number) or batches(self, group))
    np.testing.assert_array_equal(dense(read(path, 3, [1, 2, 17, 36], **keys)), draw_counts()[[1, 2, 17, 36]])
    assert opened == [0, 3, 7]


def test_only_the_cells_of_the_plate_are_read(tmp_path, keys):
    """Where shards hold cells of many plates."""
    counts = draw_counts()
    plates = np.array(["plate1", " plate2 ", "plate3"])[np.random.default_rng(0).integers(0, 3, NUM_CELLS)]
    (tmp_path / "x").mkdir()
    for number, rows in enumerate(np.split(np.arange(NUM_CELLS), [10, 30])):
        names = [f"c{row}" for row in rows]
        write_shard(tmp_path / "x" / f"{number}.parquet", counts[rows], row_group_size=3, plate=plates[rows].tolist(), BARCODE_SUB_LIB_ID=names)
    for name in ("plate1", "plate2", "plate3"):
        members = np.flatnonzero(np.char.strip(plates) == name)
        with CountsFile(tmp_path / "x", InputConfig(**keys), name) as file:
            assert file.obs.index.tolist() == [f"c{row}" for row in members]
            assert select_plate(file.obs, Plate(name=name, counts="x", num_sharing=3), InputConfig(**keys)).all()
            np.testing.assert_array_equal(dense(list(file.iter_blocks(np.arange(len(members)), 4))), counts[members])
            np.testing.assert_array_equal(dense(list(file.iter_blocks(np.arange(2, 7), 4))), counts[members[2:7]])


def test_a_plate_that_no_cell_names_reads_all_cells(tmp_path, keys):
    """Whether that is a mistake is for the labels to say: a file of one plate may give it another name."""
    path = write_tahoe(tmp_path / "x", draw_counts())
    for name in ("other", None):
        with CountsFile(path, InputConfig(**keys), name) as file:
            assert len(file.obs) == NUM_CELLS
    pattern = {"columns": {"plate": {"column": "plate", "pattern": "(\\d)"}}}
    with CountsFile(path, InputConfig(**keys, **pattern), "1") as file:
        assert select_plate(file.obs, Plate(name="1", counts="x"), InputConfig(**keys, **pattern)).all()


def test_obs_columns_are_categories(tmp_path, keys):
    path = write_tahoe(tmp_path / "x", draw_counts())
    with CountsFile(path, InputConfig(**keys)) as file:
        assert sorted(file.obs.columns) == ["drug", "plate", "sample"]
        assert {str(kind) for kind in file.obs.dtypes} == {"category"}
        assert file.obs.index.tolist() == cell_names()


def test_numbers_truth_values_and_missing_texts_of_obs(tmp_path, keys):
    """Shards may hold different values, and one none at all."""
    (tmp_path / "x").mkdir()
    columns = {"pubchem_cid": [1.5, None, 3.0], "num": [1, 2, 3], "is_x": [True, False, True], "moa": ["a", None, "b"], "tags": [["t"]] * 3}
    write_shard(tmp_path / "x" / "a.parquet", draw_counts()[:3], **columns)
    write_shard(tmp_path / "x" / "b.parquet", draw_counts()[3:6], **columns | {"moa": ["c", "a", "c"], "num": [4, 5, 6]})
    write_shard(tmp_path / "x" / "c.parquet", draw_counts()[6:9], **columns | {"moa": [None] * 3})
    with CountsFile(tmp_path / "x", InputConfig(**keys), "plate1") as file:
        obs = file.obs
    assert obs["num"].tolist() == [1, 2, 3, 4, 5, 6, 1, 2, 3]
    assert obs["is_x"].tolist() == [True, False, True] * 3
    np.testing.assert_array_equal(obs["pubchem_cid"].to_numpy(dtype=float), [1.5, np.nan, 3.0] * 3)
    assert [None if pd.isna(value) else value for value in obs["moa"]] == ["a", None, "b", "c", "a", "c", None, None, None]
    assert "tags" not in obs


def test_doses_from_the_table_of_samples(tmp_path, keys):
    """In the way of Tahoe-100M: the dose stands in a text, in another table, for each well."""
    samples = pd.DataFrame(
        {
            "sample": ["s1", "s2", "s3"], "plate": ["plate1"] * 3, "drug": ["Adagrasib", "DMSO_TF", "Adagrasib"],
            "drugname_drugconc": ["[('Adagrasib', 0.05, 'uM')]", "[('DMSO_TF', 0.0, 'uM')]", "[('Adagrasib', 5.0, 'uM')]"],
        }
    )  # fmt: skip
    samples.to_parquet(tmp_path / "samples.parquet")
    wells = np.array(["s1", "s2", "s3"])[np.arange(NUM_CELLS) % 3]
    drugs = np.array(["Adagrasib", "DMSO_TF", "Adagrasib"])[np.arange(NUM_CELLS) % 3]
    path = write_shard(tmp_path / "x.parquet", draw_counts(), sample=wells.tolist(), drug=drugs.tolist(), cell_line_id=["CVCL_0023"] * NUM_CELLS)
    columns = {"perturbation": "drug", "dose": "drugname_drugconc", "cell_line": "cell_line_id", "plate": "plate", "well": "sample"}
    settings = InputConfig(**keys, columns=columns, tables=[{"path": str(tmp_path / "samples.parquet"), "key": "sample", "of": "sample"}])
    with CountsFile(path, settings, "plate1") as file:
        found = canonical_obs(file.obs, Plate(name="plate1", counts=str(path)), settings, PerturbationConfig())
    assert found["dose"].tolist() == np.array([0.05, 0.0, 5.0])[np.arange(NUM_CELLS) % 3].tolist()
    assert found["is_control"].tolist() == (wells == "s2").tolist()
    assert found["well"].tolist() == wells.tolist()


# ---- markers and tokens


def test_rows_without_markers_are_read_whole_and_told(tmp_path, keys, caplog):
    path = write_shard(tmp_path / "x.parquet", draw_counts(), is_marked=False)
    np.testing.assert_array_equal(dense(read(path, **keys)), draw_counts())
    assert caplog.text.count("rows of a batch begin with a gene and not with a marker; all of their tokens are read as genes") == 1


def write_rows(path, tokens, values, **columns):
    pq.write_table(pa.table({"genes": tokens, "expressions": values} | columns), path)
    return path


def test_empty_rows_and_rows_of_a_marker_alone(tmp_path, keys):
    path = write_rows(tmp_path / "x.parquet", [[1], [], [1, 4], None], [[-2.0], [], [-2.0, 3.0], None])
    expected = np.zeros((4, NUM_GENES))
    expected[2, 1] = 3
    np.testing.assert_array_equal(dense(read(path, **keys)), expected)
    with CountsFile(path, InputConfig(**keys)) as file:
        assert file.obs.index.tolist() == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("tokens", "values", "shown"),
    [
        ([1, 4, 99], [-2.0, 1.0, 1.0], "found 99."),  # no such gene
        ([1, 4, 1], [-2.0, 1.0, -2.0], "found 1."),  # a marker that is not the first
        ([1, 4], [0.0, 1.0], "found 1."),  # the first, but no marker by its value
        ([-1, 4], [1.0, 1.0], "found -1."),
    ],
)
def test_tokens_that_are_no_genes(tmp_path, keys, tokens, values, shown):
    path = write_rows(tmp_path / "x.parquet", [[1], tokens], [[-2.0], values])
    text = message(path, **keys)
    assert text.startswith(f"{path}: expected tokens of {keys['gene_table']} (input.gene_table) after the marker of each row, found")
    assert shown in text
    assert text.endswith("Take the gene table of this release.")


def test_a_negative_count_of_a_gene_is_no_marker(tmp_path, keys):
    path = write_rows(tmp_path / "x.parquet", [[FIRST_TOKEN, 4]], [[-2.0, 1.0]])
    assert "expected raw counts (whole numbers from 0), found -2.0 in gene 'G0'" in message(path, **keys)


@pytest.mark.parametrize(("tokens", "values"), [([[1, 4]], [[-2.0]]), ([[1, None]], [[-2.0, 1.0]]), ([[1, 4]], [[-2.0, None]])])
def test_lists_that_do_not_fit(tmp_path, keys, tokens, values):
    path = write_rows(tmp_path / "x.parquet", tokens, values)
    assert message(path, **keys) == f"{path}: expected as many expressions as genes in each row, none empty, found others. Copy the file again."


def test_other_types_of_lists(tmp_path, keys):
    tokens, values = token_rows(draw_counts())
    table = {"genes": pa.array(tokens, pa.large_list(pa.int32())), "expressions": pa.array(values, pa.list_(pa.int16()))}
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    np.testing.assert_array_equal(dense(read(tmp_path / "x.parquet", **keys)), draw_counts())


# ---- what may be wrong with the files


def test_the_gene_table_is_needed(tmp_path, keys):
    path = write_tahoe(tmp_path / "x", draw_counts())
    assert message(path) == f"{path}: expected the table of gene tokens of Tahoe parquet, found `input.gene_table: null`. Give gene_metadata.parquet."
    expected = f"input.gene_table: expected a table at {tmp_path / 'no.parquet'}, found no file. Correct the path, or write null."
    assert message(path, gene_table=str(tmp_path / "no.parquet")) == expected


def test_a_gene_table(tmp_path, keys):
    table = read_token_table(keys["gene_table"], "f")
    assert table.var.index.tolist() == gene_ids()
    assert table.var["gene_symbol"].tolist() == symbols()
    assert table.find(np.array([3, 13, 14, 2, -1, 10**9])).tolist() == [0, 10, -1, -1, -1, -1]
    (tmp_path / "g.tsv").write_text("token_id\tensembl_id\tgene_symbol\n7\tENSG1\tA\n5\tENSG2\tB\n")
    assert read_token_table(str(tmp_path / "g.tsv"), "f").find(np.array([5, 6, 7])).tolist() == [1, -1, 0]
    (tmp_path / "g.tsv").write_text("token_id\tensembl_id\tgene_symbol\n")
    assert read_token_table(str(tmp_path / "g.tsv"), "f").find(np.array([0, 5])).tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "token_id\tensembl_id\n1\tA\n",
            "expected columns token_id, ensembl_id, gene_symbol (input.gene_table), found token_id, ensembl_id. Add gene",
        ),
        ("token_id\tensembl_id\tgene_symbol\n1\tA\tA\n1\tB\tB\n", "expected each token_id once, as a whole number from 0, found others."),
        ("token_id\tensembl_id\tgene_symbol\nx\tA\tA\n", "expected each token_id once, as a whole number from 0, found others."),
        ("token_id\tensembl_id\tgene_symbol\n-1\tA\tA\n", "expected each token_id once, as a whole number from 0, found others."),
    ],
)
def test_gene_tables_of_another_form(tmp_path, text, shown):
    (tmp_path / "g.tsv").write_text(text)
    with pytest.raises(InputError) as error:
        read_token_table(str(tmp_path / "g.tsv"), "f")
    assert str(error.value).startswith(f"{tmp_path / 'g.tsv'}: {shown}")


def test_shards_of_other_columns(tmp_path, keys):
    path = write_tahoe(tmp_path / "x", draw_counts())
    other = write_shard(path / "z.parquet", draw_counts()[:3], drug=None)
    assert message(path, **keys) == (
        f"{other}: expected the columns of {path / 'train-00000.parquet'}, found that drug is in one of them only. "
        "Keep shards of one release together."
    )
    pq.write_table(pa.table({"cells": [1]}), other)
    assert message(path, **keys) == f"{other}: expected columns genes and expressions (Tahoe parquet), found cells. Correct column counts."


def test_a_truncated_shard(tmp_path, keys):
    path = write_tahoe(tmp_path / "x", draw_counts())
    shard = path / "train-00002.parquet"
    shard.write_bytes(shard.read_bytes()[:-20])
    assert message(path, **keys).startswith(f"{shard}: expected Tahoe parquet, found a file that is damaged, truncated or of another kind (")


def test_a_damaged_shard_is_told_when_it_is_read(tmp_path, keys):
    path = write_tahoe(tmp_path / "x", draw_counts())
    shard = path / "train-00002.parquet"
    whole = bytearray(shard.read_bytes())
    column = pq.ParquetFile(shard).metadata.row_group(0).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    whole[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    shard.write_bytes(bytes(whole))
    text = message(path, **keys)
    assert text.startswith(f"{path}: expected counts, found a damaged or truncated file (")


def test_what_is_handed_over(tmp_path, keys):
    found = open_tahoe(write_tahoe(tmp_path / "x", draw_counts()), InputConfig(**keys), None)
    assert found.matrix.shape == (NUM_CELLS, NUM_GENES)
    assert found.symbol == "gene_symbol"
    assert [block.shape for block in found.matrix.windows([(3, 3), (36, 37)])] == [(0, NUM_GENES), (1, NUM_GENES)]


@pytest.mark.shared_data
def test_the_real_tables_of_genes_and_samples(shared_data, tmp_path):
    """All 62,710 genes, and wells whose dose is taken from the table of samples."""
    folder = shared_data / "references" / "tahoe"
    genes = pd.read_parquet(folder / "gene_metadata.parquet")
    samples = pd.read_parquet(folder / "sample_metadata.parquet").head(5)
    chosen = genes.sample(20, random_state=0).sort_values("token_id")
    counts = draw_counts(0, 5, 20)
    tokens = [[1, *chosen["token_id"].to_numpy()[row > 0]] for row in counts]
    values = [[-2.0, *row[row > 0]] for row in counts]
    path = write_rows(tmp_path / "x.parquet", tokens, values, sample=samples["sample"].tolist(), plate=samples["plate"].tolist())
    table = {"path": str(folder / "sample_metadata.parquet"), "of": "sample"}
    settings = InputConfig(gene_table=str(folder / "gene_metadata.parquet"), tables=[table])
    with CountsFile(path, settings, samples["plate"].iloc[0]) as file:
        assert len(file.genes) == len(genes) == 62_710
        found = pd.DataFrame(dense(list(file.iter_blocks(np.arange(5), 2))), columns=file.genes["gene_id"])
        np.testing.assert_array_equal(found[chosen["ensembl_id"]].to_numpy(), counts)
        assert found.to_numpy().sum() == counts.sum()
        assert file.obs["drugname_drugconc"].tolist() == samples["drugname_drugconc"].tolist()
