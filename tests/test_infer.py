"""A network from a table of conditions: planted edges, its files, the command, and knockouts of DREAM4."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from latent_cases import make_case
from sklearn.metrics import average_precision_score

from causcade.cli import main
from causcade.condition_table import NO_DRUGS, ConditionTable, labels_of_table, read_condition_table, responses_of_table
from causcade.config import Config
from causcade.evidence import choose_score
from causcade.files import read_json
from causcade.infer import infer_network
from causcade.latent import fit_latent
from causcade.responses import aggregate
from causcade.targets import build_targets

QUICK = """
causal: {edge_nulls: 1, label_nulls: 1, bootstraps: 1, drug_folds: 2}
latent: {num_rounds: 2, first_sweeps: 8, sweeps: 5}
"""


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A table of changes under knockouts of known genes: its path, and the effects that it was written from."""
    case = make_case(num_genes=30, num_drugs=24, num_sources=8)
    effects = case.effects
    symbols = effects.genes["gene"].to_numpy()
    table = pd.DataFrame(effects.effect_DG, columns=symbols)
    # Several knockouts of one gene are told apart by a number, and named in a table of targets.
    table.insert(0, "perturbation", effects.table["perturbation"])
    folder = tmp_path_factory.mktemp("planted")
    table.to_csv(folder / "table.tsv", sep="\t", index=False)
    drug, gene = np.nonzero(effects.is_target_DG)
    names = effects.table["perturbation"].to_numpy()
    pd.DataFrame({"perturbation": names[drug], "target": symbols[gene], "sign": -1}).to_csv(folder / "targets.tsv", sep="\t", index=False)
    (folder / "quick.yaml").write_text(QUICK)
    return folder, case


def test_the_command_finds_planted_edges(planted, capsys):
    folder, case = planted
    arguments = ["infer", folder / "table.tsv", "--values", "change", "--kind", "crispri", "--targets", folder / "targets.tsv"]
    assert main([*map(str, arguments), "--config", str(folder / "quick.yaml"), "--output", str(folder / "out")]) == 0
    said = capsys.readouterr().out
    assert "24 perturbations (24 with a target) of 30 genes, 870 candidate edges" in said
    assert " of 24 measured targets change in the listed direction" in said
    edges = pd.read_parquet(folder / "out" / "edges.parquet")
    place = pd.Series(range(30), index=case.effects.genes["gene"])
    is_true = case.weight_GG[place[edges["target"]], place[edges["regulator"]]] != 0
    assert average_precision_score(is_true, edges["score"]) > 0.7
    assert edges["source_measured"].all()
    assert edges["weight"].isna().all()
    best = edges[edges["rank"] <= 5]
    assert np.allclose(best["effect"], best["latent_weight"], rtol=1e-5)  # a change of a logarithm is a fold change
    counted = read_json(folder / "out" / "summary.json")["probability"]
    assert sorted(counted) == ["edgenull0", "labelnull0", "main"]
    assert counted["main"]["above_0.9"] > 5 * max(counted["edgenull0"]["above_0.9"], 1)
    assert {"weight", "partial_within"} <= set(read_json(folder / "out" / "score_choice.json")["left_out"])
    written = {path.name for path in (folder / "out").iterdir()}
    assert written >= {
        "edges.tsv",
        "network.graphml",
        "regulons.gmt",
        "changes.parquet",
        "targets.parquet",
        "activities.parquet",
        "score_choice.json",
    }


def test_mistakes_are_one_line(planted, capsys):
    folder, _ = planted
    arguments = ["infer", str(folder / "table.tsv"), "--values", "change", "--output", str(folder / "none")]
    assert main(arguments) == 2
    assert "causcade: table of conditions: expected kinds drug, knockout, crispri, crispra, found ''. Name the kind of all" in capsys.readouterr().err


def test_a_target_that_is_not_measured_enters(planted):
    folder, case = planted
    hidden = "G000"
    effects = case.effects
    table = read_condition_table(folder / "table.tsv")
    keep = [name != hidden for name in table.genes]
    table = replace(table, value_CG=table.value_CG[:, keep], genes=[name for name in table.genes if name != hidden])
    targets = pd.read_csv(folder / "targets.tsv", sep="\t")
    responses = responses_of_table(table, targets, values="change", kind="crispri")
    settings = Config.model_validate(
        {"mask": {"unmeasured_targets": "all"}, "causal": {"edge_nulls": 0, "label_nulls": 0, "bootstraps": 1, "drug_folds": 0}}
    )
    found = infer_network(aggregate(responses), targets, settings)
    rows = found.edges[~found.edges["source_measured"]]
    assert rows["regulator"].unique().tolist() == [hidden]
    place = pd.Series(range(30), index=effects.genes["gene"])
    is_true = case.weight_GG[place[rows["target"]], 0] != 0
    assert rows.loc[is_true, "probability"].mean() > 2 * rows.loc[~is_true, "probability"].mean()
    assert rows["effect"].isna().all()
    assert rows["stability"].notna().all()
    assert found.changes.loc[found.changes["target"] == hidden, "effect"].isna().all()


def test_where_no_column_predicts_anything_the_first_that_is_stable_is_taken():
    rng = np.random.default_rng(0)
    main_table = pd.DataFrame({name: rng.normal(size=20) for name in ("latent", "mean_shift", "ridge")})
    rows = [("drugs0", name, 5, f"p{i}", rng.normal(0, 1)) for name in main_table for i in range(30)]
    held_out = pd.DataFrame(rows, columns=["fit", "column", "num_edges", "perturbation", "pearson"])
    choice = choose_score("auto", main_table, [main_table], held_out, num_genes=10)
    assert choice["score"] == "latent"
    assert choice["reason"].startswith("latent: no column predicts held-out perturbations")


@pytest.mark.shared_data
@pytest.mark.parametrize(("network", "least"), [(1, 0.64), (2, 0.57)])
def test_knockouts_of_dream4(shared_data, network, least):
    """Average precision over all 9,900 ordered pairs, well above |correlation| (0.09, 0.10) and the knockout z-score (0.49, 0.39); no controls."""
    stem = shared_data / "networks" / "dream4"
    knockouts = pd.read_csv(stem / f"insilico_size100_{network}_knockouts.tsv", sep="\t")
    gold = pd.read_csv(stem / f"insilico_size100_{network}_goldstandard.tsv", sep="\t", header=None, names=["source", "target", "is_true"])
    genes = knockouts.columns.tolist()
    obs = pd.DataFrame({"perturbation": genes, "kind": "knockout", "dose": np.nan, "cell_line": "all", "plate": "all", "num_cells": 1})
    table = ConditionTable(value_CG=knockouts.to_numpy(), error_CG=None, obs=obs, genes=genes)
    targets = build_targets(labels_of_table(table, kind=""), NO_DRUGS, None)
    effects = aggregate(responses_of_table(table, targets, values="expression", kind="", pseudocount=0.05))
    edges = gold.rename(columns={"source": "regulator"})
    fit = fit_latent(effects, edges, Config().latent)
    assert average_precision_score(edges["is_true"], fit.edges["score"]) > least
    sure = fit.edges["probability"] > 0.9
    assert sure.sum() > 50
    assert edges.loc[sure.to_numpy(), "is_true"].mean() > 0.75
