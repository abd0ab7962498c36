"""When a pinned stage stands."""

import os
import re
from pathlib import Path

import pytest

from causcade.config import parse_config
from causcade.files import write_json
from causcade.pins import PINNED_STAGES, fingerprints, is_pinned, requested_rules
from causcade.tx1.hub import REQUIRED
from causcade.validation import merge

PCA = {"embedding": {"source": "pca"}}
OF_PCA = ["panel", "embedding_basis", "basal"]
TRAINED = {"embedding": {"source": "tx1"}}
OF_TRAINED = ["panel", "pretraining", "basal"]


def pin_all(folder, current):
    for stage, fingerprint in current.items():
        write_json(folder / f"{stage}.json", {"fingerprint": fingerprint})


def standing(config, folder, *requested):
    current = fingerprints(parse_config(config))
    return [stage for stage in current if is_pinned(stage, current, folder, requested)]


@pytest.fixture
def pinned(tmp_path):
    pin_all(tmp_path, fingerprints(parse_config(PCA)))
    return tmp_path


@pytest.fixture
def trained(tmp_path):
    pin_all(tmp_path, fingerprints(parse_config(TRAINED)))
    return tmp_path


def test_nothing_stands_before_it_was_made(tmp_path):
    assert standing(PCA, tmp_path) == []


def test_everything_stands_while_nothing_changes(pinned):
    assert standing(PCA, pinned) == OF_PCA


LEAVES_ALL = [
    {"simulation": {"plates": ["plate1", "plate2", "plate3", "plate4"]}},
    {"quality": {"min_counts": 300}},
    {"mask": {"partners": 50}},
    {"causal": {"num_hops": 2}},
    {"input": {"layer": "counts"}},
    {"perturbation": {"dose_unit": "nM"}},
    {"covariates": {"terms": ["plate"]}},
]


@pytest.mark.parametrize("change", [*LEAVES_ALL, {"embedding": {"max_length": 100}}, {"embedding": {"obsm": "X"}}, {"pretraining": {"steps": 3}}])
def test_what_does_not_decide_a_pinned_stage_leaves_it(pinned, change):
    assert standing(merge(PCA, change), pinned) == OF_PCA


SPEED = [
    {"embedding": {"batch_tokens": 100, "shard_cells": 7, "workers": 3, "compile": True}},
    {"embedding": {"dimensions": 3}},
    {"pretraining": {"processes": 2, "parallel": "ddp", "micro_cells": 4, "checkpoint_every": 7}},
]


@pytest.mark.parametrize("change", [*LEAVES_ALL, *SPEED])
def test_what_does_not_decide_a_model_leaves_it(trained, change):
    assert standing(merge(TRAINED, change), trained) == OF_TRAINED


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
        ({"basal": {"max_cells": 9}}, ["panel", "embedding_basis"]),
        # What the decoder is used for, and how fast it is fitted, change nothing of it.
        ({"basal": {"baseline": "control_mean", "processes": 2}, "input": {"block_cells": 512}}, OF_PCA),
    ],
)
def test_a_change_frees_its_stage_and_those_that_rest_on_it(pinned, change, left):
    assert standing(merge(PCA, change), pinned) == left


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ({"panel": {"num_hvg": 100}}, ["pretraining"]),  # a model is dear, and holds all genes
        ({"pretraining": {"steps": 7}}, ["panel"]),
        ({"backend": "cpu"}, ["panel"]),
        ({"embedding": {"max_length": 100}}, ["panel", "pretraining"]),
        ({"basal": {"hidden": 3}}, ["panel", "pretraining"]),
        ({"seed": 1}, []),
    ],
)
def test_a_change_frees_the_model_and_what_rests_on_it(trained, change, left):
    assert standing(merge(TRAINED, change), trained) == left


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        ("panel", []),
        ("panel_votes", []),
        ("embedding_basis", ["panel"]),
        ("basal_roll", ["panel", "embedding_basis"]),
        ("causal", OF_PCA),
        ("pretraining", OF_PCA),
    ],
)
def test_a_request_frees_too(pinned, rule, left):
    assert standing(PCA, pinned, rule) == left


@pytest.mark.parametrize(("rule", "left"), [("panel", ["pretraining"]), ("pretraining", ["panel"]), ("pretraining_roll", ["panel"])])
def test_a_request_frees_the_model(trained, rule, left):
    assert standing(TRAINED, trained, rule) == left


def test_a_model_that_the_run_does_not_use_is_pinned_by_itself(tmp_path):
    current = fingerprints(parse_config(PCA), ["pretraining"])
    assert list(current) == ["pretraining"]
    assert current == {"pretraining": fingerprints(parse_config(TRAINED))["pretraining"]}
    assert not is_pinned("pretraining", current, tmp_path, [])
    pin_all(tmp_path, current)
    assert is_pinned("pretraining", current, tmp_path, [])
    assert not is_pinned("pretraining", current, tmp_path, ["pretraining"])


def test_changed_files_of_a_model_free_what_rests_on_it(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in REQUIRED:
        (folder / name).write_text(name)
    config = {"embedding": {"source": "tx1", "model": str(folder)}, "pretraining": {"initial": str(folder)}}
    current = fingerprints(parse_config(config))
    assert list(current) == ["panel", "basal"]
    alone = fingerprints(parse_config(config), ["pretraining"])
    (folder / "model.safetensors").write_text("other")
    again = fingerprints(parse_config(config))
    assert again["panel"] == current["panel"]
    assert again["basal"] != current["basal"]
    assert fingerprints(parse_config(config), ["pretraining"]) != alone


def test_large_weights_are_told_by_size_and_time(tmp_path, monkeypatch):
    monkeypatch.setattr("causcade.pins.MAX_HASHED_BYTES", 3)
    (tmp_path / "model.safetensors").write_text("weights")
    config = parse_config({"embedding": {"source": "tx1", "model": str(tmp_path)}})
    before = fingerprints(config)["basal"]
    os.utime(tmp_path / "model.safetensors", ns=(0, 0))
    assert fingerprints(config)["basal"] != before


def test_changed_bytes_of_a_resource_free_the_panel(tmp_path):
    resource = tmp_path / "tfs.txt"
    resource.write_text("TP53")
    config = {"run": "mine", "plates": "plates.tsv", "resources": {"tfs": {"path": str(resource)}}, **PCA}
    pin_all(tmp_path, fingerprints(parse_config(config)))
    assert standing(config, tmp_path) == OF_PCA
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
    fixed = {section for name in (stage, *PINNED_STAGES[stage].rests_on) for section in PINNED_STAGES[name].sections}
    assert set(re.findall(r'"(.+?)"', rule.group(1))) <= fixed


def test_every_setting_that_decides_targets_is_in_the_fingerprint_of_the_panel():
    # Targets enter the panel through its consensus, a collecting rule, which is not there while the panel stands.
    rules = (Path(__file__).parents[1] / "rules" / "targets.smk").read_text(encoding="utf-8")
    rule = re.search(r"^rule targets:.*?settings_of\((.*?)\)", rules, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r'"(.+?)"', rule.group(1))) <= set(PINNED_STAGES["panel"].sections)
