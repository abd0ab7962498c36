"""Any network against the references, controls and baselines of the evaluation."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import zarr
from evaluation_cases import draw_case, value_of
from screens import make_screen
from sklearn.metrics import average_precision_score, roc_auc_score

from causcade.cli import main
from causcade.config import Config, EvaluationConfig
from causcade.errors import InputError
from causcade.evaluation import evaluate
from causcade.files import read_json, read_parquet, write_anndata, write_json, write_parquet
from causcade.score import format_score, gather, judge, write_score

SETTINGS = EvaluationConfig(bootstrap=20)


def write_edges(path, **columns):
    pd.DataFrame(columns).to_csv(path, sep="\t", index=False)
    return path


def write_run(folder, case, *, with_curated=True):
    """Artifacts of a run up to its candidate edges; the configuration that names it."""
    run = folder / "simulated"
    panel = case.panel.assign(gene_id=[f"ENSG{number:011d}" for number in range(len(case.panel))])
    write_parquet(run / "candidate_edges.parquet", case.candidate_edges)
    write_parquet(run / "panel.parquet", panel)
    write_parquet(run / "targets.parquet", case.drug_links.rename(columns={"gene": "target"}))
    is_curated = (case.candidate_edges["prior_confidence"] > 0) & with_curated
    priors = case.candidate_edges.loc[is_curated, ["regulator", "target"]].assign(sign=0, sources="collectri", confidence=0.8)
    tables = {
        "prior_edges": priors, "reference_pairs": case.reference_pairs, "reference_universe": case.reference_universe,
        "gene_sets": pd.DataFrame(columns=["collection", "gene_set", "gene"]),
        "drug_targets": pd.DataFrame(columns=["perturbation", "target", "sign"]),
        "identifiers": pd.DataFrame(columns=["identifier", "namespace", "gene", "gene_id"]),
    }  # fmt: skip
    for name, table in tables.items():
        write_parquet(run / "resources" / f"{name}.parquet", table)
    write_json(run / "resources" / "manifest.json", {"string": {"sha256": "0" * 64}})
    num = len(case.panel)
    zarr.open_group(run / "coexpression.zarr", mode="w").create_array("raw_correlation", data=np.zeros((num, num), dtype=np.float32))
    if case.truth_edges is not None:
        write_parquet(run / "simulation" / "truth" / "edges.parquet", case.truth_edges)
    return Config(results=str(folder))


def network_of(case, path, score, names=None):
    source, target = case.candidate_edges["regulator"], case.candidate_edges["target"]
    return write_edges(path, source=source if names is None else source.map(names), target=target, weight=score)


def test_a_network_scores_what_the_model_of_the_stage_would_score(tmp_path):
    """The same numbers as the stage, whatever ids and order of rows the network comes in."""
    case = draw_case()
    config = write_run(tmp_path, case)
    names = {gene: f"ENSG{number:011d}" for number, gene in enumerate(case.panel["gene"])}
    path = network_of(case, tmp_path / "net.tsv", case.scores["causal"], names)
    shuffled = pd.read_csv(path, sep="\t").sample(frac=1, random_state=0)
    shuffled.to_csv(path, sep="\t", index=False)
    inputs = gather(path, config)
    score = judge(inputs, SETTINGS, 0)
    alone = replace(case, scores={"causal": case.scores["causal"]}, raw_correlation=None, responses=None, held_out={})
    expected = evaluate(alone, settings=SETTINGS, seed=0)
    found = score.tables["metrics"]
    wanted = expected.metrics.assign(ranking=expected.metrics["ranking"].replace({"causal": "network"}))
    pd.testing.assert_frame_equal(found, wanted)
    assert inputs.run_metrics is None
    assert inputs.account["pairs"]["num_listed"] == len(case.candidate_edges) == inputs.account["pairs"]["num_pairs"]
    leading = score.leading.set_index(["reference", "subset", "ranking"]).loc[("string", "no_prior", "network")]
    key = {"reference": "string", "ranking": "network", "subset": "no_prior"}
    assert leading["auprc"] == value_of(found, **key, metric="auprc") == score.summary["scores"]["string"]["no_prior"]["network"]["auprc"]
    assert leading["auprc_low"] <= leading["auprc"] <= leading["auprc_high"]
    assert score.leading["reference"].unique().tolist() == ["truth", "string"]


def test_pairs_that_are_not_listed_have_the_score_0_and_edges_outside_are_counted(tmp_path):
    case = draw_case()
    config = write_run(tmp_path, case)
    part = np.where(np.arange(len(case.candidate_edges)) % 3 == 0, case.scores["causal"], 0.0)
    rows = np.flatnonzero(part)
    edges = case.candidate_edges.iloc[rows]
    path = write_edges(
        tmp_path / "net.tsv",
        source=[*edges["regulator"], "GENE00", "odd"],
        target=[*edges["target"], "GENE00", "GENE01"],
        weight=[*part[rows], 9.0, 9.0],
    )
    inputs = gather(path, config)
    np.testing.assert_allclose(inputs.evaluation.scores["causal"], part)
    assert inputs.account["pairs"] | {"from": ""} == {
        "from": "", "num_pairs": 1500, "num_genes": 60, "num_listed": len(rows), "num_outside": 1, "num_scored": len(rows),
    }  # fmt: skip
    assert inputs.messages[1:] == [
        "network: 1 of 61 gene names are not known and were left as they are (odd)",
        "network: 1 edges of a gene to itself were left out",
        f"network: {len(rows)} of {len(rows) + 1} edges are among the 1,500 judged pairs; pairs that it does not list have the score 0",
    ]


def test_rows_of_the_runs_own_evaluation_stand_beside_the_network(tmp_path):
    case = draw_case()
    config = write_run(tmp_path, case)
    own = evaluate(case, settings=SETTINGS, seed=0)
    write_parquet(tmp_path / "simulated" / "evaluation" / "metrics.parquet", own.metrics)
    score = judge(gather(network_of(case, tmp_path / "net.tsv", -case.scores["edge_null0"]), config), SETTINGS, 0)
    rankings = set(score.tables["metrics"]["ranking"])
    assert {"network", "causal", "edge_null0", "mean_shift"} <= rankings
    key = {"reference": "truth", "subset": "no_prior", "metric": "auprc"}
    assert value_of(score.tables["metrics"], ranking="network", **key) == value_of(own.metrics, ranking="edge_null0", **key)
    assert value_of(score.tables["metrics"], ranking="causal", **key) == value_of(own.metrics, ranking="causal", **key)
    assert "\n  edge_null0 " in format_score(score)
    truth = write_edges(tmp_path / "truth.tsv", source=["GENE00"], target=["GENE01"])
    assert gather(tmp_path / "net.tsv", config, truth=truth).run_metrics is None, "they were judged by another truth"


def test_a_run_with_conditions_brings_the_baselines_from_the_responses(tmp_path):
    screen = make_screen(num_genes=20, num_drugs=12, num_sources=6, num_candidates=8)
    panel = pd.DataFrame({"gene": screen.genes, "is_tf": False, "is_drug_target": False})
    case = replace(
        draw_case(with_truth=False), candidate_edges=screen.edges.assign(coexpression=0.1, rank=1), panel=panel, drug_links=screen.targets,
        reference_pairs=pd.DataFrame({"reference": ["string"], "gene_a": ["G000"], "gene_b": ["G001"], "score": [0.9]}),
        reference_universe=pd.DataFrame({"reference": "string", "gene": screen.genes}),
    )  # fmt: skip
    config = write_run(tmp_path, case)
    config = config.model_copy(update={"simulation": config.simulation.model_copy(update={"plates": ["p0", "p1"]})})
    for number, parts in enumerate(zip(screen.conditions[:2], screen.baselines[:2], strict=True)):
        for kind, part in zip(("conditions", "basal/baseline"), parts, strict=True):
            write_anndata(tmp_path / "simulated" / kind / f"p{number}.zarr", part)
    inputs = gather(network_of(case, tmp_path / "net.tsv", 1.0), config)
    assert inputs.evaluation.responses is not None
    assert "mean_shift" not in inputs.absent
    assert "mean_shift" in set(judge(inputs, SETTINGS, 0).tables["metrics"]["ranking"])


@pytest.fixture
def directed(tmp_path):
    """A network of 12 genes, and its truth: all ordered pairs, half of the pairs of the network listed."""
    rng = np.random.default_rng(0)
    genes = [f"g{number:02d}" for number in range(12)]
    pairs = [(a, b) for a in genes for b in genes if a != b]
    weight = np.where(rng.random(len(pairs)) < 0.5, rng.integers(-5, 6, len(pairs)), 0)
    truth = {pair: sign for pair, sign in zip(pairs, rng.choice([-1, 1], len(pairs)), strict=True) if rng.random() < 0.2}
    listed = weight != 0
    network = write_edges(
        tmp_path / "net.tsv", source=[a for a, _ in np.array(pairs)[listed]], target=[b for _, b in np.array(pairs)[listed]], weight=weight[listed]
    )
    columns = {"source": [a for a, _ in truth], "target": [b for _, b in truth]}
    return network, columns, list(truth.values()), np.array([pair in truth for pair in pairs]), weight


@pytest.mark.parametrize("with_sign", [False, True])
def test_a_truth_alone_on_the_pairs_of_the_network(tmp_path, directed, with_sign):
    network, columns, signs, is_true, weight = directed
    truth = write_edges(tmp_path / "truth.tsv", **columns, **({"sign": signs} if with_sign else {}), evidence="x")
    score = judge(gather(network, truth=truth), SETTINGS, 0)
    table = score.tables["metrics"]
    key = {"reference": "truth", "ranking": "network", "subset": "all"}
    assert value_of(table, **key, metric="auprc") == pytest.approx(average_precision_score(is_true, np.abs(weight)))
    assert value_of(table, **key, metric="auroc") == pytest.approx(roc_auc_score(is_true, np.abs(weight)))
    assert ("sign_accuracy" in set(table["metric"])) == with_sign
    assert set(table["ranking"]) == {"network"}, "no baseline has data"
    assert score.summary["edges"]["truth"]["all"]["num_edges"] == 132
    assert score.summary["edges"]["truth"]["all"]["random_order"]["auprc"] == pytest.approx(is_true.mean())
    text = format_score(score)
    assert text.splitlines()[-1].split()[:3] == ["(random", "order)", f"{is_true.mean():.3f}"]
    assert text.count("truth, all (none is curated): 132 pairs,") == 1


def test_signs_of_the_truth(tmp_path, directed):
    network, columns, signs, *_ = directed
    lookup = pd.read_csv(network, sep="\t").set_index(["source", "target"])["weight"]
    found = [
        np.sign(lookup.get(pair, 0)) == sign for pair, sign in zip(zip(*columns.values(), strict=True), signs, strict=True) if lookup.get(pair, 0)
    ]
    score = judge(gather(network, truth=write_edges(tmp_path / "truth.tsv", **columns, sign=signs)), SETTINGS, 0)
    assert value_of(score.tables["metrics"], ranking="network", subset="all", metric="sign_accuracy") == pytest.approx(np.mean(found))


def test_pairs_to_judge_are_given(tmp_path, directed):
    network, columns, *_ = directed
    truth = write_edges(tmp_path / "truth.tsv", **columns)
    pairs = pd.read_csv(network, sep="\t")[["source", "target"]]
    candidates = write_edges(tmp_path / "pairs.tsv", regulator=[*pairs["source"], "g00", "new"], target=[*pairs["target"], "new", "g00"])
    inputs = gather(network, truth=truth, candidates=candidates)
    assert inputs.account["pairs"]["num_pairs"] == len(pairs) + 2
    assert inputs.account["pairs"]["num_genes"] == 13
    assert inputs.account["candidates"]["num_rows"] == len(pairs) + 2
    assert "mask" not in inputs.absent


def test_local_references_translate_and_judge(tmp_path, capsys):
    """No run: references from local files, names in any form, curated edges marked, lists of TFs taken."""
    genes = [f"GEN{letter}" for letter in "ABCDEF"]
    head = "symbol\tstatus\tprev_symbol\talias_symbol\tensembl_gene_id\tuniprot_ids\tentrez_id\n"
    (tmp_path / "hgnc.tsv").write_text(head + "".join(f"{gene}\tApproved\tOLD{gene}\t\t\t\t{i}\n" for i, gene in enumerate(genes)))
    (tmp_path / "pathways.gmt").write_text("One\tR-HSA-1\tGENA\tGENB\tGENC\nTwo\tR-HSA-2\tGEND\tGENE\n")
    (tmp_path / "collectri.csv").write_text("source,target,weight,PMID\nGENA,GENB,1,1\n")
    (tmp_path / "tfs.txt").write_text("GENA\n")
    files = {"hgnc": "hgnc.tsv", "reactome": "pathways.gmt", "collectri": "collectri.csv", "tfs": "tfs.txt"}
    config = {
        "run": "mine", "results": str(tmp_path / "results"),
        "resources": {name: None for name, value in Config().resources.model_dump().items() if isinstance(value, dict)},
    }  # fmt: skip
    config["resources"] |= {name: {"path": str(tmp_path / file)} for name, file in files.items()}
    config["resources"]["trrust"] = {"url": "https://example.org/trrust"}
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    sources, targets = ["OLDGENA", "GENA", "GEND", "GENF"], ["GENB", "GENC", "GENE", "GENA"]
    network = write_edges(tmp_path / "net.tsv", source=sources, target=targets, weight=[4, 3, 2, 1])
    status = main(["score", str(network), "--config", str(tmp_path / "config.yaml"), "--output", str(tmp_path / "out")])
    out = capsys.readouterr().out
    assert status == 0
    assert "note: resources: without a local path, and so not used: trrust; the workflow fetches them" in out
    assert "note: network: 1 of 7 gene names were translated (OLDGENA to GENA)" in out
    # GENF is in no pathway, so 20 of the 30 pairs can be judged; A-B is curated, and its reverse cannot be told from it
    assert "reactome, all: 20 pairs, 8 positive, base rate 0.4000" in out
    assert "reactome, without curated edges: 18 pairs, 6 positive" in out
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"scores.tsv", "score.json", "metrics.parquet", "leak.parquet", "hubs.parquet"}
    metrics = read_parquet(tmp_path / "out" / "metrics.parquet")
    assert set(metrics["ranking"]) == {"network", "prior"}
    score_E, positive_E = np.zeros(20), np.zeros(20, dtype=bool)
    judged = [(a, b) for a in genes[:5] for b in genes[:5] if a != b]
    for place, (a, b) in enumerate(judged):
        score_E[place] = {("GENA", "GENB"): 4, ("GENA", "GENC"): 3, ("GEND", "GENE"): 2}.get((a, b), 0)
        positive_E[place] = {a, b} <= set(genes[:3]) or {a, b} <= set(genes[3:5])
    expected = average_precision_score(positive_E, score_E)
    assert value_of(metrics, reference="reactome", ranking="network", subset="all", metric="auprc") == pytest.approx(expected)
    summary = read_json(tmp_path / "out" / "score.json")
    assert summary["scores"]["reactome"]["all"]["network"]["auprc"] == pytest.approx(expected)
    assert set(summary["resources"]) == set(files)
    assert pd.read_csv(tmp_path / "out" / "scores.tsv", sep="\t")["ranking"].tolist() == ["network", "prior"] * 2


@pytest.mark.parametrize(
    ("weight", "true", "note"),
    [
        ([1, 1, 1, 1, 1, 1], [("a", "b")], "all scores are equal"),
        ([1, 2, 3, 4, 5, 6], [("x", "y")], "no positive edge"),
        ([1, 2, 3, 4, 5, 6], [(s, t) for s in "abc" for t in "abc" if s != t], "no negative edge"),
    ],
)
def test_what_cannot_be_judged_says_why(tmp_path, weight, true, note):
    pairs = [(s, t) for s in "abc" for t in "abc" if s != t]
    network = write_edges(tmp_path / "net.tsv", source=[s for s, _ in pairs], target=[t for _, t in pairs], weight=weight)
    truth = write_edges(tmp_path / "truth.tsv", source=[s for s, _ in true], target=[t for _, t in true])
    score = judge(gather(network, truth=truth), SETTINGS, 0)
    assert any(message.startswith("truth, all: the network has no auprc") and note in message for message in score.summary["messages"])
    assert score.summary["scores"]["truth"]["all"]["network"]["auprc"] is None
    write_score(score, tmp_path / "out")
    assert "NaN" not in (tmp_path / "out" / "score.json").read_text()
    assert "no metric is defined" in format_score(score)


def test_one_positive_only(tmp_path):
    pairs = [(s, t) for s in "abcd" for t in "abcd" if s != t]
    network = write_edges(tmp_path / "net.tsv", source=[s for s, _ in pairs], target=[t for _, t in pairs], weight=range(12))
    score = judge(gather(network, truth=write_edges(tmp_path / "truth.tsv", source=["d"], target=["c"])), SETTINGS, 0)
    row = score.tables["metrics"].query("metric == 'auprc' and subset == 'all'").iloc[0]
    assert (row["value"], row["num_positive"]) == (1.0, 1)
    assert pd.isna(row["low"])
    assert "no interval" in row["note"]


def test_what_is_wrong_is_told_in_one_line_with_status_2(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_edges("net.tsv", source=["a", "b"], target=["b", "a"], weight=[1, 2])
    write_edges("truth.tsv", source=["a"], target=["b"])
    write_edges("zero.tsv", source=["a", "b"], target=["b", "a"], sign=[1, 0])
    write_edges("pairs.tsv", source=["x"], target=["y"])
    write_edges("self.tsv", source=["a"], target=["a"], weight=[1])
    genes = [f"g{number}" for number in range(2002)]
    write_edges("large.tsv", source=genes[:-1], target=genes[1:], weight=1)
    (tmp_path / "empty.yaml").write_text("run: other\nplates: p.tsv\nperturbation: {control: [DMSO]}\nresults: nowhere\n")
    (tmp_path / "simulated.yaml").write_text("results: nowhere\n")
    neither = "found neither references nor a truth. Give --truth TABLE"
    cases = {
        "net.tsv": neither,
        "net.tsv --config empty.yaml": neither,
        "net.tsv --config simulated.yaml": "expected a run, or resources with a local path in the configuration, found neither",
        "none.tsv --truth truth.tsv": "none.tsv: expected a table of edges, found no file",
        "truth.tsv --truth truth.tsv": "truth.tsv: expected the columns source, target, weight, each once, found source, target",
        "net.tsv --truth zero.tsv": "zero.tsv: expected signs -1 or 1, found 0",
        "net.tsv --truth truth.tsv --candidates pairs.tsv": "found none of 2 (such as a to b)",
        "net.tsv --truth truth.tsv --candidates self.tsv": "self.tsv: expected edges between two genes",
        "self.tsv --truth truth.tsv": "self.tsv: expected edges between two genes, found only edges of a gene to itself",
        "large.tsv --truth truth.tsv": "expected at most 2,000 genes, of which all ordered pairs are judged, found 2,002. Give the pairs to judge by",
    }
    for command, expected in cases.items():
        assert main(["score", *command.split()]) == 2, command
        captured = capsys.readouterr()
        assert captured.out == ""
        assert expected in captured.err
        assert captured.err.count("\n") == 1
    with pytest.raises(SystemExit) as stop:
        main(["score", "net.tsv", "--all-pairs", "--candidates", "pairs.tsv"])
    assert stop.value.code == 2


def test_a_run_that_lacks_artifacts_is_told(tmp_path):
    case = draw_case()
    config = write_run(tmp_path, case)
    network = network_of(case, tmp_path / "net.tsv", case.scores["causal"])
    (tmp_path / "simulated" / "panel.parquet").unlink()
    with pytest.raises(InputError, match=r"expected a run with candidate edges, found no panel.parquet. Rerun `snakemake`, or give --candidates"):
        gather(network, config)
    assert gather(network, config, all_pairs=True).account["pairs"]["num_pairs"] == 60 * 59, "the run's pairs are not asked for"


@pytest.mark.shared_data
def test_known_baselines_of_dream4(tmp_path, shared_data):
    """Average precision of |correlation| and of the knockout z-score on network 1 of size 100, over all 9,900 ordered pairs."""
    stem = shared_data / "networks" / "dream4"
    knockouts = pd.read_csv(stem / "insilico_size100_1_knockouts.tsv", sep="\t")
    gold = pd.read_csv(stem / "insilico_size100_1_goldstandard.tsv", sep="\t", header=None, names=["source", "target", "is_true"])
    truth = write_edges(tmp_path / "truth.tsv", **gold.loc[gold["is_true"] == 1, ["source", "target"]].to_dict("list"))
    x_KG = knockouts.to_numpy()  # row k: gene k knocked out
    values = {"correlation": np.corrcoef(x_KG.T), "z": (x_KG - x_KG.mean(axis=0)) / x_KG.std(axis=0)}
    rows, columns = np.nonzero(~np.eye(100, dtype=bool))
    genes = knockouts.columns.to_numpy()
    found = {}
    for name, value_GG in values.items():
        network = write_edges(tmp_path / f"{name}.tsv", source=genes[rows], target=genes[columns], weight=value_GG[rows, columns])
        table = judge(gather(network, truth=truth), EvaluationConfig(bootstrap=0), 0).tables["metrics"]
        found[name] = value_of(table, reference="truth", ranking="network", subset="all", metric="auprc")
    assert found["correlation"] == pytest.approx(0.086, abs=0.002)
    assert found["z"] == pytest.approx(0.494, abs=0.002)
