"""Tables of further obs columns."""

import gzip

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causcade.config_input import ObsTable
from causcade.errors import InputError
from causcade.readers.tables import join_table, join_tables, read_table

OBS = pd.DataFrame({"sample": pd.Categorical(["s1", "s2", "s1", None])}, index=["a", "b", "c", "d"])


def join(table, obs=OBS, key=None, of=None):
    return join_table(obs, pd.DataFrame(table), ObsTable(path="t.csv", key=key, of=of), path="t.csv", where="f.h5")


def message(*arguments, **keys):
    with pytest.raises(InputError) as error:
        join(*arguments, **keys)
    return str(error.value)


def write(path, text):
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


# ---- reading


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.tsv", "t.txt", "t.parquet"])
def test_formats(tmp_path, name):
    table = pd.DataFrame({"well": ["w1", "w2"], "dose": [0.5, 1.0], "num": [1, 2]})
    path = tmp_path / name
    if name.endswith("parquet"):
        table.to_parquet(path)
    else:
        write(path, table.to_csv(index=False, sep="," if "csv" in name else "\t"))
    pd.testing.assert_frame_equal(read_table(path, "key"), table)


@pytest.mark.parametrize(
    "values", [["007", "8"], ["1E5", "2"], ["1.10", "1.1"], ["12345678901234567890", "1"], ["1", "x"], ["+1", "2"], ["NA", "1"], ["", ""]]
)
def test_texts_that_are_no_plain_numbers_stay_texts(tmp_path, values):
    path = write(tmp_path / "t.csv", "x,y\n" + "".join(f"{value},1\n" for value in values))
    found = read_table(path, "key")["x"]
    assert [None if pd.isna(value) else value for value in found] == [value or None for value in values]
    assert found.dtype == object


@pytest.mark.parametrize(
    ("values", "expected"),
    [(["1", "-2"], [1, -2]), (["0.5", " 1e-05 ", ""], [0.5, 1e-5, np.nan]), (["0", "0"], [0, 0]), (["1.0", "2.25"], [1.0, 2.25])],
)
def test_plain_numbers_become_numbers(tmp_path, values, expected):
    path = write(tmp_path / "t.csv", "x,y\n" + "".join(f"{value},1\n" for value in values))
    np.testing.assert_array_equal(read_table(path, "key")["x"].to_numpy(dtype=float), expected)
    assert pd.api.types.is_numeric_dtype(read_table(path, "key")["x"])


def test_row_names_are_the_first_column(tmp_path):
    """R writes no heading above them; pandas keeps them apart in parquet."""
    path = write(tmp_path / "t.tsv", "well\tdose\na\tw1\t1\nb\tw2\t2\n")
    assert read_table(path, "key").iloc[:, 0].tolist() == ["a", "b"]
    pd.DataFrame({"well": ["w1"]}, index=pd.Index(["a"], name="cell")).to_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet", "key").columns.tolist() == ["cell", "well"]


def test_files_that_are_no_tables(tmp_path):
    def text(path):
        with pytest.raises(InputError) as error:
            read_table(path, "input.tables.0.path")
        return str(error.value)

    path = tmp_path / "t.csv"
    assert text(path) == f"input.tables.0.path: expected a table at {path}, found no file. Correct the path, or remove the table."
    path = write(tmp_path / "t.xlsx", "x")
    assert text(path) == f"{path}: expected a table ending in .tsv, .csv or .parquet (input.tables.0.path), found t.xlsx. Rename or convert it."
    for name, content in (("a.parquet", b"no"), ("a.csv", b""), ("b.csv", b"\xff\xfe\x00"), ("a.csv.gz", gzip.compress(b"a,b\n1,2\n" * 99)[:-9])):
        path = tmp_path / name
        path.write_bytes(content)
        assert text(path).startswith(f"{path}: expected a table (input.tables.0.path), found a file that cannot be read ("), name


# ---- joining


def test_by_the_names_of_the_cells(caplog):
    found = join({"cell": ["b", "a", "x", "d"], "line": ["B", "A", "X", "D"], "num": [2, 1, 9, 4]})
    assert found["line"].tolist() == ["A", "B", np.nan, "D"]
    assert found["num"].tolist()[:2] == [1, 2]
    assert found.index.tolist() == OBS.index.tolist()
    assert OBS.columns.tolist() == ["sample"]
    assert "t.csv: 1 of 4 cells of f.h5 have no row in the table; its columns are missing there" in caplog.text


def test_by_an_obs_column():
    found = join({"dose": [0.5, 1.5], "sample": ["s1", "s2"]}, key="sample", of="sample")
    np.testing.assert_array_equal(found["dose"], [0.5, 1.5, 0.5, np.nan])


def test_texts_are_categories_and_other_types_stay():
    found = join({"cell": list("abcd"), "line": list("ABAB"), "num": [1, 2, 3, 4], "is_x": [True, False, True, True]})
    assert [str(kind) for kind in found.dtypes[1:]] == ["category", "int64", "bool"]


def test_keys_are_compared_as_texts():
    """A column of whole numbers with a missing value comes as 1.0 from pandas."""
    obs = pd.DataFrame({"batch": [1.0, np.nan, 2.0]}, index=["a", "b", "c"])
    assert join({"batch": [1, 2], "day": ["x", "y"]}, obs, of="batch")["day"].tolist() == ["x", np.nan, "y"]
    assert join({"batch": ["1 ", "2"], "day": ["x", "y"]}, obs, of="batch")["day"].tolist() == ["x", np.nan, "y"]


def test_repeated_rows_are_one_and_differing_ones_a_mistake(caplog):
    twice = {"cell": ["a", "a", "b", "c", "d", None], "line": ["A", "A", "B", "C", "D", "E"]}
    assert join(twice)["line"].tolist() == ["A", "B", "C", "D"]
    assert "t.csv: 1 of 6 rows have nothing in column 'cell' and are left out" in caplog.text
    assert message(twice | {"line": ["A", "Z", "B", "C", "D", "E"]}) == (
        "t.csv: expected one row for each 'cell', found several that differ for 1 of them (a). "
        "Leave one row of each, or name another `key` in input.tables."
    )


def test_no_cell_is_known():
    assert message({"cell": ["a-1", "b-1", "c-1", "d-1"], "line": list("ABCD")}) == (
        "t.csv: expected in column 'cell' the names of cells of f.h5 (a, b, c and 1 more), found others (a-1, b-1, c-1 and 1 more). "
        "Correct `key` or `of` of the table in input.tables."
    )
    assert "the values of obs column 'sample' of f.h5 (s1, s2)" in message({"cell": ["a"], "x": [1]}, of="sample")


def test_columns_that_are_not_there():
    assert message({"cell": ["a"]}, key="no") == "t.csv: expected column 'no' (input.tables, key), found cell. Name one that is there."
    assert message({"cell": ["a"]}, of="no") == "f.h5: expected obs column 'no' (input.tables, of), found sample. Name one that is there."
    assert message({}) == "t.csv: expected a table with columns (input.tables), found none. Correct the path."


def test_a_column_that_obs_has_too_must_agree():
    rows = {"cell": list("abcd"), "sample": ["s1", "s2 ", None, "s4"]}
    assert join(rows)["sample"].tolist() == ["s1", "s2", "s1", "s4"]  # and is completed
    whole = OBS.dropna()
    assert join({"cell": ["a"], "sample": ["s1"]}, whole)["sample"].dtype == whole["sample"].dtype
    rows["sample"][0] = "s9"
    assert message(rows) == (
        "t.csv: expected in column 'sample' what obs column 'sample' of f.h5 says, found s9 where that says s1. "
        "Rename or remove the column of the table."
    )
    doses = pd.DataFrame({"dose": [1.0, 2.0]}, index=["a", "b"])
    assert join({"cell": ["a", "b"], "dose": [1, 2]}, doses)["dose"].tolist() == [1.0, 2.0]


def test_no_cells():
    found = join({"cell": ["a"], "line": ["A"]}, OBS.iloc[:0])
    assert found.shape == (0, 2)


def test_tables_are_joined_one_after_the_other(tmp_path):
    """The second looks its key up in a column of the first."""
    first, second = write(tmp_path / "1.csv", "cell,well\na,w1\nb,w2\nc,w1\nd,w2\n"), write(tmp_path / "2.csv", "well,dose\nw1,0.5\nw2,1\n")
    tables = [ObsTable(path=str(first)), ObsTable(path=str(second), of="well")]
    found = join_tables(OBS, tables, [str(first), str(second)], "f.h5")
    assert found["dose"].tolist() == [0.5, 1.0, 0.5, 1.0]
    assert join_tables(OBS, [], [], "f.h5") is OBS


@given(
    cells=st.lists(st.sampled_from("abcdef"), max_size=12),
    rows=st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 9), min_size=1, max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_joining_equals_a_loop(cells, rows):
    obs = pd.DataFrame({"key": pd.Series(cells, dtype=object)})
    expected = [rows.get(cell, np.nan) for cell in cells]
    table = {"key": list(rows), "value": list(rows.values())}
    if cells and not set(cells) & set(rows):
        assert "found others" in message(table, obs, of="key")
    else:
        np.testing.assert_array_equal(join(table, obs, of="key")["value"].to_numpy(dtype=float), expected)
