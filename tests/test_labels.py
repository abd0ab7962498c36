"""Canonical labels from untidy obs tables."""

import numpy as np
import pandas as pd
import pytest

from causcade.config import ColumnSource, InputConfig, PerturbationConfig
from causcade.errors import InputError
from causcade.labels import CONTROL, canonical_obs, plate_names, select_plate
from causcade.plates import Plate

PLATE = Plate(name="P1", counts="p1.h5ad")


def settings(**columns):
    """Section `input` without doses, plates and wells, and with the columns that are given."""
    base = {"perturbation": "drug", "dose": None, "cell_line": "line", "plate": None, "well": None}
    return InputConfig.model_validate({"columns": base | columns})


def table(**columns):
    size = max(len(values) for values in columns.values())
    return pd.DataFrame({"line": ["A"] * size} | columns, index=[f"c{i}" for i in range(size)])


def labels(obs, plate=PLATE, perturbation=None, **columns):
    return canonical_obs(obs, plate, settings(**columns), PerturbationConfig.model_validate(perturbation or {"control": ["DMSO_TF"]}))


def message(function, *arguments, **keywords):
    with pytest.raises(InputError) as error:
        function(*arguments, **keywords)
    return str(error.value)


def test_canonical_columns_of_a_tidy_table():
    obs = table(drug=["DMSO_TF", "Trametinib"], dose=[0.0, 0.5], well=["w1", "w2"])
    found = labels(obs, dose="dose", well="well")
    expected = pd.DataFrame(
        {
            "perturbation": [CONTROL, "Trametinib"],
            "kind": ["drug", "drug"],
            "dose": [0.0, 0.5],
            "cell_line": ["A", "A"],
            "plate": ["P1", "P1"],
            "well": ["w1", "w2"],
            "is_control": [True, False],
            "is_excluded": [False, False],
        },
        index=["c0", "c1"],
    )
    pd.testing.assert_frame_equal(found, expected)


def test_labels_are_stripped_and_matched_whole():
    obs = table(drug=["DMSO_TF ", " Trametinib (DMSO_TF solvate)", "DMSO_TF2", "dmso_tf"])
    found = labels(obs)
    assert found["is_control"].tolist() == [True, False, False, False]
    assert found["perturbation"].tolist() == [CONTROL, "Trametinib (DMSO_TF solvate)", "DMSO_TF2", "dmso_tf"]
    spaced = labels(obs, perturbation={"control": [" DMSO_TF"], "exclude": ["DMSO_TF2 "]})
    assert spaced["is_control"].tolist() == [True, False, False, False]
    assert spaced["is_excluded"].tolist() == [False, False, True, False]


@pytest.mark.parametrize("values", [[1, 2], [1.0, 2.0], ["1", "2 "], pd.Categorical([1, 2]), pd.array([1, 2], dtype="Int64")])
def test_a_label_is_one_whatever_type_it_is_stored_in(values):
    assert labels(table(drug=values), perturbation={"control": ["1"]})["perturbation"].tolist() == [CONTROL, "2"]


def test_constant_columns():
    obs = table(drug=["DMSO_TF", "x"]).drop(columns="line")
    found = labels(obs, cell_line={"constant": 7}, dose={"constant": 2.5}, well={"constant": "w"})
    assert found["cell_line"].tolist() == ["7", "7"]
    assert found["dose"].tolist() == [0.0, 2.5]
    assert found["well"].tolist() == ["w", "w"]


def test_constants_of_the_plate_table_count_as_columns():
    plate = Plate(name="P1", counts="p1.h5ad", constants={"line": "B", "dose_um": "0.5"})
    found = labels(table(drug=["DMSO_TF", "x"]), plate=plate, dose="dose_um")
    assert found["cell_line"].tolist() == ["B", "B"]
    assert found["dose"].tolist() == [0.0, 0.5]


def test_a_pattern_takes_a_part():
    obs = table(drug=["ctrl", "stim"], sample=["ctrl101", "stim1016"])
    assert labels(obs, perturbation={"control": ["ctrl"]}, well={"column": "sample", "pattern": r"(\d+)$"})["well"].tolist() == ["101", "1016"]


def test_what_a_pattern_does_not_match_is_missing():
    obs = table(drug=["DMSO_TF", "x"], line=["A549_1", "none"])
    expected = "p1.h5ad: expected a cell line for each cell, found none for 1 cells. Fill the column, or exclude their labels."
    assert message(labels, obs, cell_line={"column": "line", "pattern": "^(A[0-9]+)_"}) == expected
    found = labels(obs, cell_line={"column": "line", "pattern": "^(A[0-9]+)_"}, perturbation={"control": ["DMSO_TF"], "exclude": ["x"]})
    assert found["cell_line"].tolist() == ["A549", ""]


@pytest.mark.parametrize(
    ("values", "equals"),
    [
        ([1, 0, 0], 1), ([1.0, 0.0, np.nan], 1), (["1", "0", "0"], 1), (["yes", "no", "no"], "yes"), ([True, False, False], True),
        (["True", "False", "false "], True), ([1, 0, 0], True), ([0.0, 0.5, 5.0], 0), (["0", "0.5", "n/a"], 0), ([False, True, True], False),
        (pd.Categorical(["1", "0", "0"]), 1), (pd.array([True, False, None], dtype="boolean"), True), ([1, 0, 0], "1"),
    ],
)  # fmt: skip
def test_controls_by_the_value_of_another_column(values, equals):
    obs = table(drug=["Dex", "Dex", "Dex"], vehicle=values)
    found = labels(obs, perturbation={"control_where": {"column": "vehicle", "equals": equals}})
    assert found["is_control"].tolist() == [True, False, False]
    assert found["perturbation"].tolist() == [CONTROL, "Dex", "Dex"]


def test_a_control_rule_about_an_absent_column():
    expected = "p1.h5ad: expected obs column 'vehicle' (perturbation.control_where.column), found line, drug. Name a column that is there."
    assert message(labels, table(drug=["x"]), perturbation={"control_where": {"column": "vehicle", "equals": 1}}) == expected


def test_excluded_and_unlabelled_cells_need_no_dose():
    obs = table(drug=["DMSO_TF", "x", "none/multi", None, "", np.nan], dose=[0, 1, "?", None, "?", "?"])
    found = labels(obs, dose="dose", perturbation={"control": ["DMSO_TF"], "exclude": ["none/multi"]})
    assert found["is_excluded"].tolist() == [False, False, True, True, True, True]
    assert found["perturbation"].tolist() == [CONTROL, "x", "none/multi", "", "", ""]
    assert found["dose"].tolist() == [0, 1, 0, 0, 0, 0]


def test_unlabelled_controls_are_controls():
    """Where another column tells controls, their own label may be empty."""
    obs = table(drug=[None, "x", None], vehicle=[1, 0, 0])
    found = labels(obs, perturbation={"control_where": {"column": "vehicle", "equals": 1}})
    assert found["is_control"].tolist() == [True, False, False]
    assert found["is_excluded"].tolist() == [False, False, True]


def test_the_name_of_controls_is_not_a_perturbation():
    expected = (
        "p1.h5ad: expected the label 'control' in control cells only, found it in cells that are no controls by the configuration. "
        "Set `perturbation: {control: [control]}` (or control_where), or exclude the label."
    )
    assert message(labels, table(drug=["control", "x"])) == expected
    assert labels(table(drug=["control", "x"]), perturbation={"control": ["control"]})["is_control"].tolist() == [True, False]


@pytest.mark.parametrize(
    ("value", "dose"),
    [
        ("[('Trametinib', 0.05, 'uM')]", 0.05), ("[('(S)-X, 5, [a]', 5, 'uM')]", 5.0), ('[("5\'-Drug", 1e-3, "uM")]', 0.001),
        ("0.5", 0.5), (" 5 ", 5.0), (5, 5.0), (np.array([0.1], dtype=np.float32), 0.1), ("1e1", 10.0), (0, 0.0),
    ],
)  # fmt: skip
def test_doses_as_numbers_and_as_tahoe_writes_them(value, dose):
    obs = table(drug=["x"], dose=value if isinstance(value, np.ndarray) else [value])
    assert labels(obs, dose="dose")["dose"].tolist() == [dose]


@pytest.mark.parametrize(
    "value", ["1+1", "5 uM", None, "nan", float("inf"), -1, "[('A', 0.05, 'uM'), ('B', 5.0, 'uM')]", "[('A', 'b', 'uM')]", "__import__('os')"]
)
def test_what_is_no_dose_is_told(value):
    shown = "nothing" if value is None else str(value)
    expected = (
        f"p1.h5ad: expected a number from 0 as dose, found {shown}. Correct input.columns.dose (a `pattern` takes the number out of a text), "
        "or set it to null where there are no doses."
    )
    assert message(labels, table(drug=["DMSO_TF", "x"], dose=["rubbish", value]), dose="dose") == expected


def test_a_pattern_takes_the_dose_out_of_a_text():
    obs = table(drug=["x"], dose=["5 uM"])
    assert labels(obs, dose={"column": "dose", "pattern": r"^([\d.]+) uM$"})["dose"].tolist() == [5.0]


def test_no_dose_column_is_dose_one():
    assert labels(table(drug=["DMSO_TF", "x"]))["dose"].tolist() == [0.0, 1.0]


def test_wells_that_are_missing_are_one_per_condition():
    obs = table(drug=["DMSO_TF", "x", "x", "x"], dose=[0, 0.5, 0.5, 5], well=["w1", None, "", "w2"])
    assert labels(obs, dose="dose")["well"].tolist() == ["P1_control_0", "P1_x_0.5", "P1_x_0.5", "P1_x_5"]
    assert labels(obs, dose="dose", well="well")["well"].tolist() == ["w1", "P1_x_0.5", "P1_x_0.5", "w2"]


def test_kinds_from_a_column():
    obs = table(drug=["non-targeting", "KLF1", "MYC"], kind=["control", "CRISPRa", "CRISPRi "])
    found = labels(obs, perturbation={"kind": {"column": "kind"}, "control": ["non-targeting"]})
    assert found["kind"].tolist() == ["", "crispra", "crispri"]


@pytest.mark.parametrize(("kind", "shown"), [("overexpression", "overexpression"), (None, "nothing")])
def test_kinds_that_are_none(kind, shown):
    obs = table(drug=["DMSO_TF", "x"], kind=[None, kind])
    expected = f"p1.h5ad: expected kinds drug, knockout, crispri, crispra, found {shown}. Correct the column that perturbation.kind names."
    assert message(labels, obs, perturbation={"kind": {"column": "kind"}, "control": ["DMSO_TF"]}) == expected


@pytest.mark.parametrize(
    ("key", "otherwise"), [("perturbation", "{constant: VALUE}"), ("dose", "null"), ("cell_line", "{constant: VALUE}"), ("well", "null")]
)
def test_an_absent_column_is_told_with_its_key(key, otherwise):
    expected = (
        f"p1.h5ad: expected obs column 'nowhere' (input.columns.{key}), found line, drug. "
        f"Set `input: {{columns: {{{key}: NAME}}}}` to one of the columns that are there, or `{key}: {otherwise}`."
    )
    reading = settings(**{key: "nowhere"})
    assert message(canonical_obs, table(drug=["x"]), PLATE, reading, PerturbationConfig()) == expected


def test_kinds_in_names_tell_one_label_apart():
    obs = table(drug=["DMSO_TF", "MYC", "MYC", "A+B", "Trametinib"], how=["", "CRISPRa", "CRISPRi", "crispra", "drug"])
    found = labels(obs, perturbation={"control": ["DMSO_TF"], "kind": {"column": "how"}, "kind_in_name": True})
    assert found["perturbation"].tolist() == [CONTROL, "MYC (crispra)", "MYC (crispri)", "A+B (crispra)", "Trametinib"]


def test_an_absent_column_of_kinds_is_told_with_its_own_key():
    expected = (
        "p1.h5ad: expected obs column 'nowhere' (perturbation.kind), found line, drug. "
        "Set `perturbation: {kind: NAME}` to one of the columns that are there, or `kind: {constant: VALUE}`."
    )
    assert message(labels, table(drug=["x"]), perturbation={"kind": {"column": "nowhere"}}) == expected


def test_many_columns_are_shortened():
    obs = table(drug=["x"], **{f"extra{i}": [0] for i in range(20)})
    assert "found line, drug, extra0, extra1, extra2 and 17 more." in message(labels, obs, cell_line="nowhere")


@pytest.mark.parametrize("size", [0, 1])
def test_none_and_one_cell(size):
    found = labels(table(drug=["x", "y"], dose=[1, 2], well=["w", "w"]).iloc[:size], dose="dose", well="well")
    assert len(found) == size
    assert found["dose"].dtype == np.float64
    assert found["is_control"].dtype == bool


def test_duplicated_cell_names_keep_their_rows():
    obs = table(drug=["DMSO_TF", "x", "y"], dose=[0, 1, 2]).set_axis(["c", "c", "c"])
    found = labels(obs, dose="dose")
    assert found["perturbation"].tolist() == [CONTROL, "x", "y"]
    assert found["dose"].tolist() == [0, 1, 2]


def test_labels_do_not_depend_on_the_order_of_cells():
    rng = np.random.default_rng(0)
    obs = table(drug=rng.choice(["DMSO_TF", "x", "y "], 50), dose=rng.choice([1, 5], 50), well=rng.choice(["w1", "w2", None], 50))
    order = rng.permutation(50)
    pd.testing.assert_frame_equal(labels(obs.iloc[order], dose="dose", well="well"), labels(obs, dose="dose", well="well").iloc[order])


SHARED = Plate(name="P1", counts="all.h5ad", num_sharing=2)


def test_cells_of_a_plate_are_selected():
    obs = table(plate=["P1", "P2 ", " P1", None])
    assert select_plate(obs, SHARED, settings(plate="plate")).tolist() == [True, False, True, False]
    assert select_plate(table(plate=[1.0, 2.0]), Plate(name="1", counts="x"), settings(plate="plate")).tolist() == [True, False]
    pattern = {"column": "plate", "pattern": r"(\d+)$"}
    assert select_plate(table(plate=["stim1", "ctrl2"]), Plate(name="1", counts="x", num_sharing=2), settings(plate=pattern)).tolist() == [
        True,
        False,
    ]


@pytest.mark.parametrize("source", [None, "absent", {"constant": "x"}])
def test_a_file_of_one_row_is_taken_whole(source):
    assert select_plate(table(drug=["x", "y"]), PLATE, settings(plate=source)).tolist() == [True, True]


def test_a_file_of_one_row_and_one_other_plate_is_taken_whole():
    assert select_plate(table(plate=["plate 1", "plate 1"]), PLATE, settings(plate="plate")).tolist() == [True, True]


def test_a_file_of_other_plates():
    expected = "p1.h5ad: expected cells whose plate is 'P1', found P2, P3. Correct the plate table (`causcade plates` writes it)."
    assert message(select_plate, table(plate=["P2", "P3"]), PLATE, settings(plate="plate")) == expected
    shared = message(select_plate, table(plate=["P2", "P2"]), SHARED, settings(plate="plate"))
    assert shared.startswith("all.h5ad: expected cells whose plate is 'P1', found P2.")


def test_rows_of_one_file_that_nothing_tells_apart():
    expected = (
        "all.h5ad: expected an obs plate column that tells the cells of 2 rows of the plate table apart, since they name this file, found none. "
        "Set `input: {columns: {plate: NAME}}`."
    )
    assert message(select_plate, table(drug=["x"]), SHARED, settings(plate=None)) == expected
    assert "expected obs column 'absent' (input.columns.plate)" in message(select_plate, table(drug=["x"]), SHARED, settings(plate="absent"))


def test_an_empty_file_has_no_cells_of_any_plate():
    assert select_plate(table(plate=["P1"]).iloc[:0], SHARED, settings(plate="plate")).tolist() == []


def test_plate_names_are_distinct_and_sorted():
    assert plate_names(table(plate=["P2", "P1", "P2 "]), "x", settings(plate="plate")) == ["P1", "P2"]


def test_plate_names_that_cannot_be_told():
    obs = table(plate=["P1", None])
    expected = "x: expected a plate for each cell, found none for 1 cells. Correct input.columns.plate or its pattern."
    assert message(plate_names, obs, "x", settings(plate="plate")) == expected
    expected = "x: expected an obs plate column to tell plates apart, found `input.columns.plate: null`. Name the column."
    assert message(plate_names, obs, "x", settings(plate=None)) == expected
    expected = (
        "x: expected plate names of letters, digits, '.', '_' and '-', found plate 1. "
        "Take a part of the name by `input: {columns: {plate: {column: NAME, pattern: '(PART)'}}}`."
    )
    assert message(plate_names, table(plate=["plate 1"]), "x", settings(plate="plate")) == expected
    source = ColumnSource(column="plate", pattern=r"(\d+)$")
    assert plate_names(table(plate=["plate 1"]), "x", settings(plate=source.model_dump())) == ["1"]
