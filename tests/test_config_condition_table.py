"""Section `condition_table`: what cannot stand beside it, all told together; what a run without cells is made of."""

import pandas as pd
import pytest
from config_cases import mistakes_of

from causcade.cli import main
from causcade.config import parse_config
from causcade.errors import ConfigError
from causcade.pins import fingerprints
from causcade.plates import condition_stores, list_plates
from causcade.validation import load_config, resource_files

TABLE = {"path": "table.tsv", "values": "log"}
BESIDE = {
    "plates": "plates.tsv",
    "perturbation": {"kind": {"column": "what"}, "kind_in_name": True, "control_where": {"column": "vehicle", "equals": 1}},
    "causal": {"training": "cells", "held_out_lines": ["A549"], "context": "expression"},
    "coexpression": {"per_line": True},
}
SAID = [
    "plates: expected null beside `condition_table`",
    "perturbation.kind: expected one kind beside `condition_table`",
    "perturbation.kind_in_name: expected false",
    "perturbation.control_where: expected null",
    "causal.training: expected conditions",
    "causal.context: expected none",
    "coexpression.per_line: expected false",
    "run: expected a name of your own",
]


@pytest.mark.parametrize(
    ("table", "own"),
    [
        (TABLE, None),
        ({"path": "table.tsv", "values": "lgo"}, "condition_table.values: expected 'log', 'expression', 'counts' or 'change', found 'lgo'."),
        ({"path": "table.tsv"}, "condition_table.values: expected a value, found none. Add the key."),
        (TABLE | {"pseudocount": 1}, "condition_table: expected `pseudocount` beside `values: expression`, found it beside `values: log`"),
        (TABLE | {"value": "log"}, "condition_table.value: unknown key."),
    ],
)
def test_all_mistakes_are_told_together_whatever_is_wrong_with_the_table_itself(table, own):
    found = mistakes_of(BESIDE | {"condition_table": table})
    for words in SAID + ([] if own is None else [own]):
        assert sum(sentence.startswith(words) for sentence in found) == 1, (words, found)
    assert len(found) == len(SAID) + (own is not None)


def test_a_run_on_a_table_has_one_store_no_plate_no_pin_and_real_resources():
    config = parse_config({"run": "mine", "condition_table": TABLE, "perturbation": {"kind": "knockout"}})
    assert not config.has_cells
    assert not config.is_simulated
    assert list_plates(config) == []
    assert condition_stores(config) == (["results/mine/conditions/table.zarr"], [])
    assert fingerprints(config) == {}
    assert "simulation" not in "".join(resource_files(config).values())
    cells = parse_config({})
    assert cells.has_cells
    assert condition_stores(cells)[1][0] == "results/simulated/basal/baseline/plate1.zarr"


def test_absent_files_are_told_with_the_other_mistakes(tmp_path):
    missing = {"path": str(tmp_path / "t.tsv"), "errors": str(tmp_path / "se.tsv"), "values": "log"}
    resources = {"hgnc": {"path": str(tmp_path / "hgnc.txt")}}
    with pytest.raises(ConfigError) as caught:
        load_config({"run": "mine", "condition_table": missing, "resources": resources, "seed": "many"}, check_files=True)
    for words in (
        "condition_table.path: expected a table at",
        "condition_table.errors: expected a table at",
        "resources.hgnc.path",
        "seed: expected",
    ):
        assert any(words in sentence for sentence in caught.value.mistakes), words
    assert len(caught.value.mistakes) == 4


def test_the_doctor_promises_no_time_for_a_table(tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text(f"run: mine\nresults: {tmp_path}\ncondition_table: {{path: t.tsv, values: log}}\n")
    assert main(["doctor", str(path)]) == 0
    assert "run mine: a table of conditions; its time and memory are not predicted" in capsys.readouterr().out


def test_the_command_validates_the_table_too(tmp_path, capsys):
    table = pd.DataFrame({"perturbation": ["wild", "A", "B", "C"], "A": [1.0, 0, 1, 2], "B": [1.0, 2, 0, 3], "C": [1.0, 2, 3, 0]})
    table.to_csv(tmp_path / "t.tsv", sep="\t", index=False)
    lines = ["run: mine", f"condition_table: {{path: {tmp_path}/t.tsv, values: log}}", "resources: {hgnc: null}"]
    path = tmp_path / "mine.yaml"
    path.write_text("\n".join([*lines, "perturbation: {kind: knockout, control: [wild]}"]))
    assert main(["validate", str(path)]) == 0
    assert "valid (a table of 3 conditions x 3 genes, 3 perturbations)" in capsys.readouterr().out
    path.write_text("\n".join([*lines, "perturbation: {kind: knockout, control: [DMSO]}", "unknown: 1"]))
    assert main(["validate", str(path)]) == 2
    said = capsys.readouterr().err
    assert "unknown: unknown key" in said
    assert "expected conditions labelled 'DMSO' (perturbation.control), found none among 'A', 'B', 'C', 'wild'" in said
