"""Plate tables."""

import pytest

from causcade.config import Config
from causcade.errors import ConfigError
from causcade.plates import Plate, is_plate_name, list_plates, read_plate_table, scan_plate_table, simulated_plate_path, write_plate_table


@pytest.fixture
def table(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "plates.tsv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def mistakes_of(path):
    with pytest.raises(ConfigError) as error:
        read_plate_table(path)
    return error.value.mistakes


def test_rows_become_plates_with_constants(table):
    path = table("# a comment\nplate\tcounts\tbatch\tsite\nP1\ta.h5ad\t1\t\n\nP2 \t b.h5ad\t2\tLund\n")
    assert read_plate_table(path) == [
        Plate(name="P1", counts="a.h5ad", constants={"batch": "1"}),
        Plate(name="P2", counts="b.h5ad", constants={"batch": "2", "site": "Lund"}),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tables_of_spreadsheets_are_read(table, encoding, end):
    path = table(end.join(["plate \tcounts", "P1\ta.h5ad", "\t", "P2\tb.h5ad", ""]), encoding)
    assert [(plate.name, plate.counts) for plate in read_plate_table(path)] == [("P1", "a.h5ad"), ("P2", "b.h5ad")]


def test_rows_that_name_one_file_are_counted_however_they_write_it(table, tmp_path):
    (tmp_path / "link.h5ad").symlink_to(tmp_path / "a.h5ad")
    path = table(f"plate\tcounts\nP1\t{tmp_path}/a.h5ad\nP2\t{tmp_path}/./a.h5ad\nP3\t{tmp_path}/link.h5ad\nP4\tb.h5ad\n")
    assert [plate.num_sharing for plate in read_plate_table(path)] == [3, 3, 3, 1]


def test_a_number_of_cells_is_no_constant(table):
    path = table("plate\tcounts\tcells\tbatch\nP1\ta.h5ad\t1200\t1\nP2\tb.h5ad\t\t2\n")
    assert read_plate_table(path) == [
        Plate(name="P1", counts="a.h5ad", num_cells=1200, constants={"batch": "1"}),
        Plate(name="P2", counts="b.h5ad", constants={"batch": "2"}),
    ]


@pytest.mark.parametrize("cells", ["0", "-5", "1e6", "1,000", "many", "²"])
def test_a_number_of_cells_that_is_none(table, cells):
    path = table(f"plate\tcounts\tcells\nP1\ta.h5ad\t{cells}\n")
    assert mistakes_of(path) == [f"{path}, row 1: expected a whole number above 0 in column cells, found {cells!r}. Correct it, or leave it empty."]


def test_an_absent_table_names_the_command_that_writes_one(tmp_path):
    path = tmp_path / "none.tsv"
    expected = f"plates: expected a plate table at {path}, found none (No such file or directory). Write one with `causcade plates FILE`."
    assert mistakes_of(path) == [expected]


def test_missing_columns(table):
    path = table("plate,counts\nP1,a.h5ad\n")
    assert mistakes_of(path) == [
        f"{path}: expected tab-separated columns plate and counts, each once, found plate,counts. Add plate and counts to its first line."
    ]
    assert mistakes_of(table("")) == [
        f"{path}: expected tab-separated columns plate and counts, each once, found none. Add plate and counts to its first line."
    ]


def test_a_column_twice(table):
    path = table("plate\tcounts\tcounts\nP1\ta.h5ad\tb.h5ad\n")
    assert mistakes_of(path) == [
        f"{path}: expected tab-separated columns plate and counts, each once, found plate, counts, counts. Name 'counts' once."
    ]


def test_no_row(table):
    path = table("plate\tcounts\n")
    assert mistakes_of(path) == [f"{path}: expected at least one plate, found none. Add a row: plate1<TAB>path/to/plate1.h5ad."]


def test_every_mistake_of_a_table_at_once(table):
    path = table("plate\tcounts\nP 1\ta.h5ad\nP2\tb.h5ad\nP2\tc.h5ad\nP3\nP4\td.h5ad\tmore\n")
    assert mistakes_of(path) == [
        f"{path}, row 5: expected 2 values, found 3. Remove the superfluous tabs.",
        f"{path}, row 1: expected a plate name of letters, digits, '.', '_' and '-', found 'P 1'. Rename it.",
        f"{path}, row 3: expected each plate once, found 'P2' in row 2 already. Remove or rename one of them.",
        f"{path}, row 4: expected a path in column counts, found nothing. Give the file of plate 'P3'.",
    ]


def test_a_table_of_another_format(table):
    path = table("plate\tcounts\nP1\tä.h5ad\n", "latin-1")
    (mistake,) = mistakes_of(path)
    assert mistake.startswith(f"{path}: expected a tab-separated text in UTF-8, found another format (")
    assert mistake.endswith("Save it as text.")


@pytest.mark.parametrize(
    ("name", "is_legal"), [("P1", True), ("a.b-c_d", True), ("1", True), ("", False), ("-x", False), ("a/b", False), ("a\n", False)]
)
def test_names_of_plates(name, is_legal):
    assert is_plate_name(name) == is_legal


def test_a_written_table_is_read_back(table):
    path = table(write_plate_table(["P1", "P2"], "all.h5ad"))
    assert read_plate_table(path) == [Plate(name=name, counts="all.h5ad", num_sharing=2) for name in ("P1", "P2")]


def test_plates_of_a_run(table):
    simulated = Config()
    assert [plate.name for plate in list_plates(simulated)] == simulated.simulation.plates
    assert list_plates(simulated)[0].counts == simulated_plate_path(simulated, "plate1") == "results/simulated/simulation/plate1.h5ad"
    path = table("plate\tcounts\nP1\ta.h5ad\n")
    assert list_plates(Config(run="mine", plates=str(path))) == read_plate_table(path)


def test_a_table_with_mistakes_is_read_as_far_as_it_can_be(table, tmp_path):
    (tmp_path / "a.h5ad").touch()
    path = table(f"plate\tcounts\nP1\t{tmp_path}/a.h5ad\nP1\t{tmp_path}/a.h5ad\nP2\t{tmp_path}/b.h5ad\n")
    plates, mistakes = scan_plate_table(path, check_files=True)
    assert plates == [Plate(name="P1", counts=f"{tmp_path}/a.h5ad")]
    assert mistakes == [
        f"{path}, row 2: expected each plate once, found 'P1' in row 1 already. Remove or rename one of them.",
        f"{path}: expected counts of plate 'P2' at {tmp_path}/b.h5ad, found no file. Correct column counts, or remove the row.",
    ]
    assert [plate.name for plate in scan_plate_table(path, check_files=False)[0]] == ["P1", "P2"]
    assert scan_plate_table(tmp_path / "none.tsv", check_files=False)[0] == []
