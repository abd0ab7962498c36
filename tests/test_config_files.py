"""The generated configuration files."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from causcade.config import ColumnSource, Config, parse_config
from causcade.config_files import _inline, config_schema, config_yaml
from causcade.files import read_parquet
from causcade.plates import read_plate_table
from causcade.validation import merge, read_yaml

CONFIG = Path(__file__).parents[1] / "config"


@pytest.mark.parametrize(("name", "text"), [("config.yaml", config_yaml), ("schema.json", config_schema)])
def test_files_do_not_drift_from_the_model(name, text):
    assert (CONFIG / name).read_text(encoding="utf-8") == text(), f"config/{name} differs from src/causcade/config.py: run `causcade config`"


def test_the_shipped_file_holds_every_default():
    raw = yaml.safe_load(config_yaml())
    assert parse_config(raw) == Config()

    def keys(model, mapping):
        assert list(mapping) == list(type(model).model_fields)

    keys(Config(), raw)
    for name in ("input", "perturbation", "resources", "causal", "quality"):
        keys(getattr(Config(), name), raw[name])
    keys(Config().input.columns, raw["input"]["columns"])


def test_every_key_has_a_comment_above_it():
    lines = config_yaml().splitlines()
    for above, line in pairwise(lines):
        if line.strip() and not line.lstrip().startswith("#"):
            assert above.lstrip().startswith("#"), line


def test_the_schema_names_every_key_with_a_description():
    schema = json.loads(config_schema())
    assert schema["$schema"].endswith("2020-12/schema")
    for section in [schema, *(part for name, part in schema["$defs"].items() if name.endswith("Config"))]:
        assert section["additionalProperties"] is False
        for name, field in section["properties"].items():
            referred = schema["$defs"].get(field.get("$ref", "").removeprefix("#/$defs/"), {})
            assert field.get("description", referred.get("description")), name


@pytest.mark.parametrize(
    "value",
    [
        "plain", "2023", "yes", "null", "", " space ", "a: b", "it's", "'quoted'", "[x]", "a, b", "# no comment", "@at", "`tick`", "%", "- dash",
        "*star", 1, 0.1, 1e-12, 5.0, True, None, ["a", "1"],
    ],
)  # fmt: skip
def test_values_come_back_from_yaml(value):
    assert yaml.safe_load(f"key: {_inline(value)}") == {"key": value}


def test_a_column_is_its_name_and_a_pattern_is_kept():
    assert _inline(ColumnSource(column="drug")) == "drug"
    source = ColumnSource(column="sample, id", pattern=r"(\d+)$")
    assert ColumnSource.model_validate(yaml.safe_load(_inline(source))) == source


# ---- the configurations that are shipped beside it

EXAMPLES = sorted([CONFIG / "tahoe100m.yaml", *(CONFIG / "examples").glob("*.yaml")])
PARQUET = CONFIG / "examples/tahoe100m_parquet.yaml"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_shipped_examples_are_valid_over_the_defaults(path):
    config = parse_config(merge(read_yaml(CONFIG / "config.yaml"), read_yaml(path)))
    # Real plates, or a table of conditions, never the simulated screen.
    assert not config.is_simulated
    if config.has_cells:
        assert read_plate_table(CONFIG.parent / str(config.plates))
    assert config.run != Config().run


def test_the_atlas_by_parquet_differs_from_the_atlas_in_its_input_alone():
    atlas = parse_config(read_yaml(CONFIG / "tahoe100m.yaml"))
    both = parse_config(merge(read_yaml(CONFIG / "tahoe100m.yaml"), read_yaml(PARQUET)))
    changed = {name for name in type(atlas).model_fields if getattr(atlas, name) != getattr(both, name)}
    assert changed == {"run", "plates", "input"}
    tables = [read_plate_table(CONFIG.parent / str(config.plates)) for config in (atlas, both)]
    assert [(plate.name, plate.num_cells) for plate in tables[0]] == [(plate.name, plate.num_cells) for plate in tables[1]]
    assert {plate.num_sharing for plate in tables[1]} == {14}


@pytest.mark.shared_data
def test_the_atlas_names_what_its_tables_have(shared_data):
    folder = shared_data / "references/tahoe"
    config = parse_config(merge(read_yaml(CONFIG / "tahoe100m.yaml"), read_yaml(PARQUET)))
    (table,) = config.input.tables
    wells = read_parquet(folder / Path(table.path).name)
    assert wells[table.key].is_unique
    assert {table.of, config.input.columns.dose.column, config.input.columns.perturbation.column} <= set(wells.columns)
    assert set(config.perturbation.control) <= set(wells["drug"])
    genes = read_parquet(folder / Path(config.input.gene_table).name)
    assert {"token_id", "ensembl_id", "gene_symbol"} <= set(genes.columns)
    plates = read_plate_table(CONFIG.parent / str(config.plates))
    cells = read_parquet(folder / "obs_cell_grid.parquet").groupby("plate")["n_cells"].sum()
    assert {plate.name: plate.num_cells for plate in plates} == cells.to_dict()
    assert set(cells.index) == set(wells["plate"])
