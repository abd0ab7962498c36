"""A table of conditions through the workflow, from responses to the report: the graph without cells, and the same numbers as `causcade infer`."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from latent_cases import make_case

from causcade.cli import main
from causcade.files import read_json
from workflow.conftest import Checkout, copy_workflow

pytestmark = pytest.mark.workflow

HIDDEN = ("G000", "G001")  # hit by perturbations and not measured: one with a curated edge, one without
SETTINGS = """
run: table
backend: cpu
condition_table: {path: table.tsv, values: change}
perturbation: {kind: crispri, control: [], targets: targets.tsv}
causal: {num_steps: 20, edge_nulls: 0, label_nulls: 0, bootstraps: 0, drug_folds: 0}
latent: {num_rounds: 2, first_sweeps: 8, sweeps: 5}
evaluation: {bootstrap: 20}
resources: {hgnc: null, dorothea: null, trrust: null, string: null, string_info: null, complexportal: null, humap: null, reactome: null, tfs: null,
  rbps: null, hallmarks: null, drug_targets: null, collectri: {path: collectri.csv}}
"""
GRAPH = {
    "resources": 1, "condition_table": 1, "condition_table_genes": 1, "targets": 1, "mask": 1, "unmeasured": 1, "causal": 2, "latent": 1,
    "evidence": 1, "network": 1, "evaluation": 1, "cascades": 1, "manifest": 1, "report": 1,
}  # fmt: skip
SAME = ["latent", "deconvolution", "mean_shift", "ridge", "probability", "latent_weight", "coexpression", "num_perturbations"]


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Checkout:
    """A checkout with a table of changes under knock-downs of eight genes, two of which are not measured."""
    folder = tmp_path_factory.mktemp("table") / "work"
    copy_workflow(folder)
    case = make_case(num_genes=30, num_drugs=24, num_sources=8)
    effects = case.effects
    genes, names = effects.genes["gene"].to_numpy(), effects.table["perturbation"].to_numpy()
    measured = ~np.isin(genes, HIDDEN)
    table = pd.DataFrame(effects.effect_DG[:, measured], columns=genes[measured])
    table.insert(0, "perturbation", names)
    table.to_csv(folder / "table.tsv", sep="\t", index=False)
    drug, gene = np.nonzero(effects.is_target_DG)
    pd.DataFrame({"perturbation": names[drug], "target": genes[gene], "sign": -1}).to_csv(folder / "targets.tsv", sep="\t", index=False)
    target, source = np.nonzero(case.weight_GG)
    pd.DataFrame({"source": genes[source], "target": genes[target]}).to_csv(folder / "truth.tsv", sep="\t", index=False)
    rows = {"source": ["G000", "G000", "G002"], "target": ["G010", "G011", "G012"], "weight": [1, -1, 1]}
    pd.DataFrame(rows).assign(PMID="1").to_csv(folder / "collectri.csv", index=False)
    (folder / "screen.yaml").write_text(SETTINGS)
    return Checkout(folder)


def test_no_rule_that_reads_cells_is_planned(planted):
    assert planted.jobs() == GRAPH


def test_the_chain_runs_from_the_table_to_the_report(planted, monkeypatch, capsys):
    done = planted.snakemake()
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    run = planted.folder / "results" / "table"
    edges = pd.read_parquet(run / "network" / "edges.parquet")
    assert edges["weight"].notna().any()  # W needs conditions only
    assert not {"partial_correlation", "partial_within"} & set(edges.columns)
    assert {"partial_correlation", "partial_within", "embedding"} <= set(read_json(run / "network" / "score_choice.json")["left_out"])
    page = (run / "report" / "index.html").read_text()
    for words in (
        "no single cells were read", "What a run on cells has and this one has not", "1 of 8 listed targets is not measured and enters",
        "1 of 8 listed targets stays out of the network", "Pearson r between perturbations",
    ):  # fmt: skip
        assert words in page, words
    monkeypatch.chdir(planted.folder)
    given = [
        "table.tsv",
        "--values",
        "change",
        "--kind",
        "crispri",
        "--targets",
        "targets.tsv",
        "--priors",
        str(run / "resources/prior_edges.parquet"),
    ]
    assert main(["infer", *given, "--config", "screen.yaml", "--output", "inferred"]) == 0
    other = pd.read_parquet("inferred/edges.parquet")
    pd.testing.assert_frame_equal(edges[["regulator", "target", *SAME]], other[["regulator", "target", *SAME]])
    assert main(["predict", "d05", "--config", "screen.yaml"]) == 0
    assert "change in the unit of the responses" in capsys.readouterr().out
    assert main(["score", "results/table/network/edges.tsv", "--config", "screen.yaml", "--truth", "truth.tsv"]) == 0
    assert "mean_shift" in capsys.readouterr().out  # the baselines from the responses are there
    assert planted.jobs() == {}
