"""The configuration model: what it takes, and every mistake in a person's words."""

import json

import pytest
from config_cases import mistakes_of

from causcade.config import (
    CausalConfig,
    ColumnSource,
    Config,
    InputConfig,
    PerturbationConfig,
    ResourcesConfig,
    parse_config,
)
from causcade.resource_catalogue import CATALOGUE


def test_nothing_is_the_simulated_screen():
    config = parse_config({})
    assert config.is_simulated
    assert config == Config()
    assert not parse_config({"run": "mine", "plates": "plates.tsv"}).is_simulated


def test_a_configuration_survives_json():
    """The workflow hands sections to its jobs as JSON values."""
    raw = {
        "run": "mine",
        "plates": "p.tsv",
        "input": {"columns": {"dose": None, "plate": {"column": "sample", "pattern": r"(\d+)$"}, "cell_line": {"constant": 1}}},
        "perturbation": {"kind": {"column": "type"}, "control_where": {"column": "vehicle", "equals": True}},
    }
    config = parse_config(raw)
    settings = json.loads(json.dumps(config.model_dump(mode="json")))
    assert parse_config(settings) == config
    assert InputConfig(**settings["input"]) == config.input
    assert PerturbationConfig(**settings["perturbation"]).control_where.equals is True
    assert ResourcesConfig(**settings["resources"]) == config.resources


@pytest.mark.parametrize(("equals", "kind"), [(True, bool), (1, float), (0.5, float), ("1", str)])
def test_the_value_of_control_cells_keeps_its_type(equals, kind):
    config = parse_config({"perturbation": {"control_where": {"column": "vehicle", "equals": equals}}})
    assert type(config.perturbation.control_where.equals) is kind


def test_a_column_may_be_given_by_its_name():
    assert ColumnSource.model_validate("drug") == ColumnSource(column="drug")
    assert parse_config({"input": {"columns": {"well": "w"}}}).input.columns.well == ColumnSource(column="w")


def test_numbers_may_be_written_as_yaml_reads_them():
    assert parse_config({"causal": {"learning_rate": "1e-3"}}).causal.learning_rate == 1e-3  # YAML 1.1 reads 1e-3 as a text
    assert parse_config({"quality": {"mad": None}}).quality.mad is None


CASES = {
    "unknown key": (
        {"panel": {"num_hvgs": 3}},
        "panel.num_hvgs: unknown key. Did you mean `num_hvg`? config/config.yaml lists every key.",
    ),
    "unknown section": (
        {"zzz": 1},
        "zzz: unknown key. Remove it, or correct its spelling; config/config.yaml lists every key.",
    ),
    "whole number": (
        {"panel": {"num_hvg": "many"}},
        "panel.num_hvg: expected a whole number, found 'many'. Correct the value; config/config.yaml says what it means.",
    ),
    "fraction of a whole number": (
        {"panel": {"num_hvg": 1.5}},
        "panel.num_hvg: expected a whole number, found 1.5. Correct the value; config/config.yaml says what it means.",
    ),
    "yes as a number": (
        {"seed": True},
        "seed: expected a number or a text, found true; YAML reads a bare yes, no, on and off as true or false, so quote a text.",
    ),
    "text as truth": (
        {"mask": {"symmetric": "perhaps"}},
        "mask.symmetric: expected true or false, found 'perhaps'. Correct the value; config/config.yaml says what it means.",
    ),
    "number as text": (
        {"run": 7},
        "run: expected a text, found 7. Correct the value; config/config.yaml says what it means.",
    ),
    "section": (
        {"input": 5},
        "input: expected keys and values, found 5. Correct the value; config/config.yaml says what it means.",
    ),
    "list": (
        {"perturbation": {"control": "DMSO"}},
        "perturbation.control: expected a list, such as [a, b], found 'DMSO'. Correct the value; config/config.yaml says what it means.",
    ),
    "item of a list": (
        {"perturbation": {"exclude": ["a", 1]}},
        "perturbation.exclude.1: expected a text, found 1. Correct the value; config/config.yaml says what it means.",
    ),
    "too small": (
        {"causal": {"rank": 0}},
        "causal.rank: expected a number of at least 1, found 0. Correct the value; config/config.yaml says what it means.",
    ),
    "too large": (
        {"quality": {"max_mito": 25}},
        "quality.max_mito: expected a number of at most 1, found 25. Correct the value; config/config.yaml says what it means.",
    ),
    "bound itself": (
        {"causal": {"max_spectral_radius": 1.0}},
        "causal.max_spectral_radius: expected a number below 1, found 1.0. Correct the value; config/config.yaml says what it means.",
    ),
    "zero where positive": (
        {"causal": {"learning_rate": 0}},
        "causal.learning_rate: expected a number above 0, found 0. Correct the value; config/config.yaml says what it means.",
    ),
    "infinite": (
        {"causal": {"l1": float("inf")}},
        "causal.l1: expected a finite number, found inf. Correct the value; config/config.yaml says what it means.",
    ),
    "choice": (
        {"backend": "tpu"},
        "backend: expected 'auto', 'cpu' or 'gpu', found 'tpu'. Correct the value; config/config.yaml says what it means.",
    ),
    "empty list": (
        {"panel": {"sources": []}},
        "panel.sources: expected at least 1 item(s), found []. Correct the value; config/config.yaml says what it means.",
    ),
    "member of a union": (
        {"perturbation": {"control_where": {"column": "a", "equals": [1]}}},
        "perturbation.control_where.equals: expected a text or a number or true or false, found [1]. "
        "Correct the value; config/config.yaml says what it means.",
    ),
    "missing": (
        {"perturbation": {"control_where": {"column": "a"}}},
        "perturbation.control_where.equals: expected a value, found none. Add the key.",
    ),
    "misspelt kind": (
        {"perturbation": {"kind": "crispr"}},
        "perturbation.kind: expected drug, knockout, crispri, crispra or `{column: NAME}`, found 'crispr'; correct the kind.",
    ),
    "column and constant": (
        {"input": {"columns": {"well": {"column": "a", "constant": "b"}}}},
        "input.columns.well: expected either `column` or `constant`, found both or neither; write `{column: NAME}` or `{constant: VALUE}`.",
    ),
    "pattern beside constant": (
        {"input": {"columns": {"well": {"constant": "b", "pattern": "(.)"}}}},
        "input.columns.well: expected `pattern` beside `column`, found it beside `constant`; remove one of them.",
    ),
    "pattern without group": (
        {"input": {"columns": {"well": {"column": "b", "pattern": r"\d+"}}}},
        r"input.columns.well: expected one group in `pattern`, found 0 in '\\d+'; put parentheses around the value to take.",
    ),
    "pattern that is none": (
        {"input": {"columns": {"well": {"column": "b", "pattern": "("}}}},
        "input.columns.well: expected a regular expression, found '(' (missing ), unterminated subpattern at position 0); correct `pattern`.",
    ),
    "resource nowhere": (
        {"resources": {"hgnc": {"version": "1"}}},
        "resources.hgnc: expected `url` or `path`, found neither; give one, or write null instead of the whole resource.",
    ),
    "checksum": (
        {"resources": {"hgnc": {"path": "x", "sha256": "abc"}}},
        "resources.hgnc.sha256: expected a text of the form ^[0-9a-f]{64}$, found 'abc'. Correct the value; config/config.yaml says what it means.",
    ),
    "one fold": (
        {"causal": {"drug_folds": 1}},
        "causal.drug_folds: expected 0 or at least 2 folds, found 1; write `drug_folds: 2`, or 0 for none.",
    ),
    "simulated plate name": (
        {"simulation": {"plates": ["a b"]}},
        "simulation.plates: expected plate names of letters, digits, '.', '_' and '-', found 'a b'; rename it.",
    ),
    "simulated plate twice": (
        {"simulation": {"plates": ["a", "a"]}},
        "simulation.plates: expected each plate once, found ['a', 'a']; remove the repeated name.",
    ),
    "run of the simulated screen": (
        {"plates": "p.tsv"},
        "run: expected a name of your own, found `run: simulated` beside `plates: p.tsv`; write for example `run: my_screen`.",
    ),
    "more candidates than partners": (
        {"mask": {"partners": 200}},
        "mask.partners: expected at most `coexpression.partners` (100), found 200; write `coexpression: {partners: 200}`.",
    ),
    "leaves in the simulated screen": (
        {"resources": {"reactome_pathways": "leaves"}},
        "resources.reactome_pathways: expected `all`, or `resources.reactome_relations` beside it, found leaves; "
        "write `all`, which is all that the simulated screen has.",
    ),
    "leaves without the hierarchy": (
        {"run": "r", "plates": "p.tsv", "resources": {"reactome_pathways": "leaves"}},
        "resources.reactome_pathways: expected `all`, or `resources.reactome_relations` beside it, found leaves; "
        "set it, or write `reactome_pathways: all`.",
    ),
    "string without names": (
        {"resources": {"string_info": None}},
        "resources.string_info: expected a resource beside `resources.string` (it translates the protein ids), found null; "
        "set it, or write `string: null`.",
    ),
    "own cells without their embeddings": (
        {"basal": {"baseline": "own_cell"}},
        "embedding.cells: expected all beside `basal.baseline: own_cell`, found controls; write `embedding: {cells: all}`, or "
        "`basal: {baseline: matched_control}`.",
    ),
    "no control": (
        {"run": "r", "plates": "p.tsv", "perturbation": {"control": []}},
        "perturbation.control: expected at least one label of control cells, found none; write `control: [LABEL]`, or set `control_where`.",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_mistake_is_one_sentence(case):
    raw, sentence = CASES[case]
    assert mistakes_of(raw) == [sentence]


def test_long_values_are_cut():
    (sentence,) = mistakes_of({"seed": "x" * 1000})
    assert len(sentence) < 250
    assert "xxx..." in sentence


def test_a_key_that_is_no_text():
    assert mistakes_of({3: 4}) == [
        "3: expected another value (Keys should be strings), found 3. Correct the value; config/config.yaml says what it means."
    ]


def test_rules_between_sections_are_told_beside_wrong_keys():
    """Pydantic skips them where a key is wrong; the person would find them one run later."""
    found = mistakes_of({
        "panell": {},
        "seed": "one",
        "plates": "p.tsv",
        "mask": {"partners": 200, "symetric": True},
        "perturbation": {"control_where": {"column": "a"}},
        "resources": {"string_info": None, "tfs": {"urll": 1}},
    })  # fmt: skip
    assert len(found) == len(set(found))
    assert sorted(sentence.split(":")[0] for sentence in found) == [
        "mask.partners", "mask.symetric", "panell", "perturbation.control_where.equals", "resources.string_info", "resources.tfs.urll", "run", "seed",
    ]  # fmt: skip


def test_a_rule_says_nothing_about_a_key_that_is_wrong_itself():
    assert [sentence.split(":")[0] for sentence in mistakes_of({"run": "my run!", "plates": "p.tsv"})] == ["run"]
    assert [sentence.split(":")[0] for sentence in mistakes_of({"mask": {"partners": 200}, "coexpression": {"partners": "x"}})] == [
        "coexpression.partners"
    ]


def test_sections_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        CausalConfig().rank = 3


def test_every_resource_of_the_catalogue_has_a_section_with_its_address():
    resources = ResourcesConfig()
    for name, entry in CATALOGUE.items():
        section = getattr(resources, name)
        if entry.is_optional:
            assert section is None
            assert entry.url in ResourcesConfig.model_fields[name].description
            continue
        assert (section.url, section.version, section.licence) == (entry.url, entry.version, entry.licence)


def test_obs_columns_of_covariates_are_told_from_built_in_ones():
    assert parse_config({}).covariates.obs_columns == []
    assert parse_config({"covariates": {"terms": ["plate", "viability", "s_score"]}}).covariates.obs_columns == ["viability"]
