"""When a pinned stage stands."""

import re
from pathlib import Path

import pytest

from causcade.config import Config, parse_config
from causcade.files import write_json
from causcade.pins import PINNED_STAGES, fingerprints, is_pinned, requested_rules


def pin_all(folder, current):
    for stage, fingerprint in current.items():
        write_json(folder / f"{stage}.json", {"fingerprint": fingerprint})


def standing(config, folder, *requested):
    current = fingerprints(parse_config(config))
    return [stage for stage in current if is_pinned(stage, current, folder, requested)]


@pytest.fixture
def pinned(tmp_path):
    pin_all(tmp_path, fingerprints(Config()))
    return tmp_path


def test_nothing_stands_before_it_was_made(tmp_path):
    assert standing({}, tmp_path) == []


def test_everything_stands_while_nothing_changes(pinned):
    assert standing({}, pinned) == list(PINNED_STAGES)


@pytest.mark.parametrize(
    "change",
    [
        {"simulation": {"plates": ["plate1", "plate2", "plate3", "plate4"]}},
        {"quality": {"min_counts": 300}},
        {"mask": {"partners": 50}},
        {"causal": {"num_hops": 2}},
        {"input": {"layer": "counts"}},
        {"perturbation": {"dose_unit": "nM"}},
        {"covariates": {"terms": ["plate"]}},
    ],
)
def test_what_does_not_decide_a_pinned_stage_leaves_it(pinned, change):
    assert standing(change, pinned) == list(PINNED_STAGES)


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ({"panel": {"num_hvg": 100}}, []),
        ({"panel": {"num_genes": 100}}, []),
        ({"panel": {"flavor": "seurat_v3"}}, []),
        ({"perturbation": {"separator": "_"}}, []),  # it decides which genes a combination targets, and targets enter the panel
        ({"seed": 1}, []),
        ({"simulation": {"num_genes": 120}}, []),
        ({"embedding": {"dimensions": 3}}, ["panel"]),
        ({"basal": {"hidden": 3}}, ["panel", "embedding_basis"]),
        ({"backend": "cpu"}, ["panel", "embedding_basis"]),
        ({"input": {"block_cells": 512}}, ["panel", "embedding_basis"]),
    ],
)
def test_a_change_frees_its_stage_and_those_that_rest_on_it(pinned, change, left):
    assert standing(change, pinned) == left


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        ("panel", []),
        ("panel_votes", []),
        ("embedding_basis", ["panel"]),
        ("basal_roll", ["panel", "embedding_basis"]),
        ("causal", list(PINNED_STAGES)),
    ],
)
def test_a_request_frees_too(pinned, rule, left):
    assert standing({}, pinned, rule) == left


def test_changed_bytes_of_a_resource_free_the_panel(tmp_path):
    resource = tmp_path / "tfs.txt"
    resource.write_text("TP53")
    config = {"run": "mine", "plates": "plates.tsv", "resources": {"tfs": {"path": str(resource)}}}
    pin_all(tmp_path, fingerprints(parse_config(config)))
    assert standing(config, tmp_path) == list(PINNED_STAGES)
    resource.write_text("MYC")
    assert standing(config, tmp_path) == []


def test_a_precomputed_embedding_has_no_axes(tmp_path):
    config = {"embedding": {"source": "precomputed"}}
    current = fingerprints(parse_config(config))
    assert list(current) == ["panel", "basal"]
    pin_all(tmp_path, current)
    assert standing(config, tmp_path) == ["panel", "basal"]


@pytest.mark.parametrize(
    ("line", "rules"),
    [
        ("snakemake --forcerun panel -n", {"panel"}),
        ("snakemake -R panel basal --cores 2 results/x", {"panel", "basal"}),
        ("snakemake --forcerun=basal", {"basal"}),
        ("snakemake -F", set(PINNED_STAGES)),
        ("snakemake --forceall", set(PINNED_STAGES)),
        ("snakemake --profile forcerun panel", set()),
    ],
)
def test_requests_are_read_off_the_command_line(line, rules):
    assert requested_rules(line.split()) == rules


@pytest.mark.parametrize("stage", list(PINNED_STAGES))
def test_every_setting_of_a_pinned_rule_is_in_its_fingerprint(stage):
    # Else a change of it would rerun the rule while its collecting rules are not defined, on stores that other jobs are about to replace.
    rules = (Path(__file__).parents[1] / "rules" / f"{stage.split('_')[0]}.smk").read_text(encoding="utf-8")
    rule = re.search(rf"^rule {stage}:.*?settings_of\((.*?)\)", rules, re.MULTILINE | re.DOTALL)
    before = list(PINNED_STAGES)[: list(PINNED_STAGES).index(stage) + 1]
    fixed = {section for name in before for section in PINNED_STAGES[name].sections}
    assert set(re.findall(r'"(.+?)"', rule.group(1))) <= fixed


def test_every_setting_that_decides_targets_is_in_the_fingerprint_of_the_panel():
    # Targets enter the panel through its consensus, a collecting rule, which is not there while the panel stands.
    rules = (Path(__file__).parents[1] / "rules" / "targets.smk").read_text(encoding="utf-8")
    rule = re.search(r"^rule targets:.*?settings_of\((.*?)\)", rules, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r'"(.+?)"', rule.group(1))) <= set(PINNED_STAGES["panel"].sections)
