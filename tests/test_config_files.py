"""The generated configuration files."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from causcade.config import ColumnSource, Config, parse_config
from causcade.config_files import _inline, config_schema, config_yaml

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
