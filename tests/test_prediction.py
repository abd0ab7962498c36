"""Predictions against dense algebra, the tables of the fit, and planted chains; what is said of names, doses and genes that are not known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from screens import make_screen, network_of

from causcade.cascades import build_cascades
from causcade.causal import CausalFit, fit_causal, write_fit
from causcade.causal.fit import empty_fit
from causcade.cli import main
from causcade.config import CascadesConfig, CausalConfig
from causcade.errors import InputError
from causcade.files import write_anndata
from causcade.prediction import (
    Controls,
    Dosed,
    Intervention,
    format_prediction,
    parse_dosed,
    parse_intervention,
    predict,
    write_prediction,
)
from causcade.responses import build_responses

SCREEN = make_screen()
SETTINGS = CausalConfig(num_steps=60, l1_start=20)
NUM_HOPS = SETTINGS.num_hops
HOPS = [f"hop_{k}" for k in range(1, NUM_HOPS + 1)]


@pytest.fixture(scope="module")
def responses():
    return build_responses(SCREEN.conditions, SCREEN.baselines, SCREEN.targets)


@pytest.fixture(scope="module")
def fit(responses):
    return fit_causal(responses, SCREEN.edges, SETTINGS, seed=0)


def chain(edges, num_genes=5, num_hops=4) -> CausalFit:
    """Make a fit of one drug, `hit`, that acts on gene A with -1; `edges` are (source, target, weight)."""
    genes = list("ABCDE")[:num_genes]
    place = {gene: i for i, gene in enumerate(genes)}
    target_C, source_C = (np.array([place[edge[i]] for edge in edges], dtype=np.int64) for i in (1, 0))
    bare = empty_fit(genes, target_C, source_C, num_hops)
    one = np.zeros(1, np.int64)
    return replace(
        bare, perturbations=["hit"], weight_C=np.array([edge[2] for edge in edges], np.float32), direct_gene_S=one, direct_drug_S=one,
        direct_S=np.array([-1], np.float32), direct_is_target_S=np.array([True]), direct_is_seen_S=np.array([True]),
        strength_DF=np.array([[1]], np.float32), loading_FG=np.full((1, num_genes), 0.125, np.float32), dose_D3=np.array([[0.5, 1.0, 4.0]]),
    )  # fmt: skip


def by_gene(prediction):
    return prediction.table.set_index("gene")


def dense_operator(fit):
    dense = np.zeros((len(fit.genes),) * 2)
    dense[fit.target_C, fit.source_C] = fit.weight_C
    dense[fit.nuisance_target_N, fit.nuisance_source_N] = fit.nuisance_weight_N
    return dense


def gain(dose, half, top):
    return dose * (top + half) / (top * (dose + half))


def test_equals_the_sum_of_powers_by_dense_algebra(fit):
    asked = [Dosed("drug03", 0.5), Dosed("drug07"), Dosed("drug11", 0.05)]
    found = by_gene(predict(fit, asked)).loc[fit.genes]
    dense = dense_operator(fit)
    direct_G = np.zeros(len(fit.genes))
    shared_G = np.zeros(len(fit.genes))
    for name, dose in asked:
        row = fit.perturbations.index(name)
        factor = 1.0 if dose is None else gain(dose, *fit.dose_D3[row, 1:])
        direct_G += factor * fit.direct_DG[row]
        shared = fit.strength_DF[row] @ fit.loading_FG
        shared[fit.direct_gene_S[(fit.direct_drug_S == row) & fit.direct_is_target_S]] = 0
        shared_G += factor * shared
    powers = [np.linalg.matrix_power(dense, k) @ direct_G for k in range(NUM_HOPS + 1)]
    np.testing.assert_allclose(found[["direct", *HOPS]].T, powers, atol=1e-5)
    np.testing.assert_allclose(found["shared"], shared_G, atol=1e-6)
    np.testing.assert_allclose(found["change"], np.sum(powers, axis=0) + shared_G, atol=1e-5)
    np.testing.assert_allclose(found["change_log2"], found["change"] / np.log(2))
    assert found["log2_fold_change"].isna().all(), "without controls"


def test_a_trained_perturbation_is_predicted_as_in_the_fit_and_its_cascades(fit, responses):
    network = network_of(fit, responses, SCREEN.edges)
    tables = build_cascades(fit, network, responses, pd.DataFrame(columns=["collection", "gene_set", "gene"]), CascadesConfig(num_genes=10))
    response = fit.predict()
    for row, name in ((0, "drug00"), (17, "drug17")):
        found = by_gene(predict(fit, [Dosed(name)]))
        np.testing.assert_allclose(found.loc[fit.genes, "change"], response.total[row], rtol=1e-5, atol=1e-6)
        hops = tables.hops[tables.hops["perturbation"] == name]
        assert len(hops) == 10 * NUM_HOPS
        for hop, part in hops.groupby("hop"):
            np.testing.assert_allclose(found.loc[part["gene"], f"hop_{hop}"], part["effect"], rtol=1e-5, atol=1e-7)
        direct = tables.direct[tables.direct["perturbation"] == name]
        np.testing.assert_array_equal(found.loc[direct["gene"], "direct"], direct["direct_effect"])
        assert found.index[found["is_target"]].tolist() == direct.loc[direct["is_target"], "gene"].tolist()
        assert predict(fit, [Dosed(name, 5.0)]).table.equals(predict(fit, [Dosed(name)]).table), "the top dose has the gain 1"


def test_combinations_add_up(fit):
    parts = [Dosed("drug01", 0.5), Dosed("drug02"), Dosed("drug13", 2.0)]
    numbers = ["change", "direct", *HOPS, "shared"]
    together = by_gene(predict(fit, parts)).loc[fit.genes, numbers]
    alone = sum(by_gene(predict(fit, [one])).loc[fit.genes, numbers] for one in parts)
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert by_gene(predict(fit, parts))["is_target"].sum() == 3 - 1, "drug01 and drug13 have the same target"


def test_parts_add_up_and_the_largest_changes_come_first(fit):
    table = predict(fit, [Dosed("drug05")]).table
    np.testing.assert_allclose(table[["direct", *HOPS, "shared"]].sum(axis=1), table["change"], atol=1e-12)
    assert (table["change"].abs().diff().dropna() <= 0).all()
    assert sorted(table["gene"]) == SCREEN.genes


def test_do_follows_a_planted_chain():
    fit = chain([("A", "B", 0.5), ("B", "C", -2.0), ("C", "D", 0.25), ("E", "B", 3.0)])
    found = by_gene(predict(fit, interventions=[Intervention("A", "shift", -2.0)]))
    assert found.loc[list("ABCDE"), "change"].tolist() == [-2.0, -1.0, 2.0, 0.5, 0.0]
    assert found.loc["C", ["direct", "hop_1", "hop_2", "hop_3", "shared"]].tolist() == [0.0, 0.0, 2.0, 0.0, 0.0]
    assert found.index[found["is_set"]].tolist() == ["A"]
    assert not found["is_target"].any()
    short = by_gene(predict(replace(fit, num_hops=1), interventions=[Intervention("A", "shift", -2.0)]))
    assert short.loc[["B", "C"], "change"].tolist() == [-1.0, 0.0], "as many hops as were trained"


def test_a_gene_that_is_set_keeps_its_level_in_a_feedback_loop():
    fit = chain([("A", "B", 0.5), ("B", "A", 0.5), ("B", "C", 1.0)], num_hops=30)
    free = by_gene(predict(fit, [Dosed("hit")]))
    assert free.loc["A", ["direct", "shared"]].sum() == -1.0
    assert free.loc["A", "change"] == pytest.approx(-1 / (1 - 0.25), rel=1e-6), "a perturbation is amplified by the loop"
    fixed = by_gene(predict(fit, interventions=[Intervention("A", "shift", -1.0)]))
    assert fixed.loc[list("ABC"), "change"].tolist() == [-1.0, -0.5, -0.5], "a gene that is set is not"


def test_do_blocks_the_path_of_a_perturbation_through_the_gene():
    fit = chain([("A", "B", 0.5), ("B", "C", 2.0), ("A", "D", 1.0)])
    found = by_gene(predict(fit, [Dosed("hit")], [Intervention("B", "shift", 0.0)]))
    assert found.loc["B", ["change", "shared"]].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(found.loc[["A", "C", "D"], "change"], [-1.0, 0.125, -1.0 + 0.125])
    moved = by_gene(predict(fit, [Dosed("hit")], [Intervention("A", "shift", 0.0)]))
    np.testing.assert_allclose(moved.loc[list("ABCD"), "change"], [0.0, 0.125, 0.125, 0.125]), "the hit itself is overruled"


def test_equals_dense_algebra_with_rows_cut(fit):
    asked = [Intervention("G003", "shift", -1.0), Intervention("G010", "shift", 0.5)]
    found = by_gene(predict(fit, [Dosed("drug04", 0.5)], asked)).loc[fit.genes]
    dense, places = dense_operator(fit), [3, 10]
    dense[places] = 0
    direct_G = gain(0.5, *fit.dose_D3[4, 1:]) * fit.direct_DG[4]
    direct_G[places] = [-1.0, 0.5]
    powers = [np.linalg.matrix_power(dense, k) @ direct_G for k in range(NUM_HOPS + 1)]
    np.testing.assert_allclose(found[["direct", *HOPS]].T, powers, atol=1e-5)
    assert found["change"].to_numpy()[places].tolist() == [-1.0, 0.5]


def controls_of(x_LG, lines=("A549", "A549", "HepG2")):
    return Controls(mean_LG=np.asarray(x_LG, dtype=float), lines=list(lines))


def test_levels_come_from_the_controls_of_the_line():
    cp10k = np.array([[4.0, 1, 1, 0.001, 1], [4.0, 1, 1, 0.001, 1], [9.0, 1, 1, 0.001, 1]])
    fit, controls = chain([("A", "B", 0.5)]), controls_of(np.log1p(cp10k))
    for line, level in (("A549", 4.0), ("HepG2", 9.0)):
        for action, amount, after in (("knockout", 0.0, 0.0), ("knockdown", 0.25, level / 4), ("activation", 3.0, level * 3)):
            found = by_gene(predict(fit, interventions=[Intervention("A", action, amount)], controls=controls, cell_line=line))
            change = np.log1p(after) - np.log1p(level)
            np.testing.assert_allclose(found.loc[["A", "B"], "change"], [change, change / 2], rtol=1e-6)
            np.testing.assert_allclose(found.loc["A", "log2_fold_change"], np.log2(max(after, 0.01) / level), rtol=1e-5)
            assert found.loc["A", "control"] == pytest.approx(np.log1p(level))
            after_b = np.expm1(max(np.log1p(1.0) + change / 2, 0))
            np.testing.assert_allclose(found.loc["B", "log2_fold_change"], np.log2(max(after_b, 0.01)), rtol=1e-4)
            assert np.isnan(found.loc["D", "log2_fold_change"]), "hardly expressed in controls"
    everywhere = by_gene(predict(fit, [Dosed("hit")], controls=controls))
    np.testing.assert_allclose(everywhere.loc["A", "control"], (2 * np.log1p(4) + np.log1p(9)) / 3)


def test_doses_beyond_the_range_and_without_a_meaning_are_told():
    fit = chain([("A", "B", 0.5)])
    inside = predict(fit, [Dosed("hit", 2.0)])
    assert inside.messages == []
    assert by_gene(inside).loc["A", "direct"] == pytest.approx(-gain(2.0, 1.0, 4.0))
    for dose in (0.1, 40.0):
        (message,) = predict(fit, [Dosed("hit", dose)]).messages
        assert f"dose {dose:g} lies outside of the screen's 0.5 to 4; its gain of {gain(dose, 1.0, 4.0):.3g} is extrapolated" in message
    without = predict(replace(fit, dose_D3=np.full((1, 3), np.nan)), [Dosed("hit", 2.0)])
    assert "has no doses in the screen; the dose 2 is ignored" in without.messages[0]
    assert by_gene(without).loc["A", "direct"] == -1
    assert "screened at one dose" in predict(replace(fit, dose_D3=np.array([[4.0, 4.0, 4.0]])), [Dosed("hit", 4.0)]).messages[0]
    with pytest.raises(InputError, match=r"hit@2: expected a fit with doses, found one of an older version. Rerun the stage `causal`"):
        predict(replace(fit, dose_D3=np.zeros((0, 3))), [Dosed("hit", 2.0)])


def test_names_that_are_not_known_are_answered_with_close_ones(fit):
    with pytest.raises(InputError, match=r"expected a perturbation of the fit .*, found 'Drug1'. Did you mean drug10 or drug11 or drug12\?"):
        predict(fit, [Dosed("Drug1")])
    with pytest.raises(InputError, match=r"found 'aspirin'. None of the 30 names is close"):
        predict(fit, [Dosed("aspirin")])
    with pytest.raises(InputError, match=r"expected a gene of the panel .* predict only itself\), found 'g0000'. Did you mean G000"):
        predict(fit, interventions=[Intervention("g0000", "shift", 1.0)])
    controls = controls_of(np.ones((3, 60)))
    with pytest.raises(InputError, match=r"expected a cell line with controls, found 'a549'. Did you mean A549\?"):
        predict(fit, [Dosed("drug01")], controls=controls, cell_line="a549")
    with pytest.raises(InputError, match=r"found 'MCF-7'. There are A549, HepG2\."):
        predict(fit, [Dosed("drug01")], controls=controls, cell_line="MCF-7")
    salts = replace(fit, perturbations=["Trametinib (DMSO_TF solvate)", *fit.perturbations[1:]])
    with pytest.raises(InputError, match=r"found 'trametinib'. Did you mean Trametinib \(DMSO_TF solvate\)\?"):
        predict(salts, [Dosed("trametinib")])


def test_what_cannot_be_asked_for_is_told(fit):
    with pytest.raises(InputError, match="expected at least one perturbation or gene to set, each once, found none"):
        predict(fit)
    with pytest.raises(InputError, match="each once, found drug01 twice"):
        predict(fit, [Dosed("drug01"), Dosed("drug01", 0.5)])
    with pytest.raises(InputError, match="found --do G001 twice"):
        predict(fit, interventions=[Intervention("G001", "knockout"), Intervention("G001", "shift", 1.0)])
    with pytest.raises(InputError, match=r"--do G001=knockout: expected baselines of the run .*such as G001=-1.5"):
        predict(fit, interventions=[Intervention("G001", "knockout")])
    with pytest.raises(InputError, match=r"--line: expected baselines of the run \(basal/baseline\), found none"):
        predict(fit, [Dosed("drug01")], cell_line="A549")


def test_genes_that_act_on_none_predict_only_themselves_and_that_is_said():
    fit = chain([("A", "B", 0.5), ("C", "D", 0.0), ("D", "E", 1.0)])
    for gene, message in (
        ("B", "no candidate edge leaves B, so that setting it predicts only itself"),
        ("C", "every edge that leaves C has the weight 0, so that setting it predicts only itself"),
    ):
        found = predict(fit, interventions=[Intervention(gene, "shift", -1.0)])
        assert found.messages == [message]
        assert found.table["change"].ne(0).sum() == 1
        assert found.table.loc[0, "gene"] == gene
    assert predict(fit, interventions=[Intervention("A", "shift", -1.0)]).messages == [], "a perturbation hits it"
    assert "no perturbation of the fit hits D" in predict(fit, interventions=[Intervention("D", "shift", -1.0)]).messages[0]
    (message,) = predict(fit, interventions=[Intervention("A", "knockout")], controls=controls_of(np.zeros((3, 5)))).messages
    assert message == "A is hardly expressed in the controls (log1p CP10k 0): knockout changes next to nothing"


def test_perturbations_and_interventions_are_read():
    assert parse_dosed("Trametinib (DMSO_TF solvate)") == Dosed("Trametinib (DMSO_TF solvate)")
    assert parse_dosed("drug@0.05") == Dosed("drug", 0.05)
    assert parse_dosed("a@b", ["a@b"]) == Dosed("a@b"), "a name that is known"
    assert parse_dosed("a@b@5", ["a@b"]) == Dosed("a@b", 5.0)
    assert parse_intervention("TP53=knockout") == Intervention("TP53", "knockout")
    assert parse_intervention("TP53=knockdown") == Intervention("TP53", "knockdown", 0.25)
    assert parse_intervention("TP53=knockdown:0.1") == Intervention("TP53", "knockdown", 0.1)
    assert parse_intervention("HLA-A = activation:2") == Intervention("HLA-A", "activation", 2.0)
    assert parse_intervention("TP53=-1.5") == Intervention("TP53", "shift", -1.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [("drug@high", "found the dose 'high'. Give a number, such as drug@0.5"), ("drug@0", "expected a dose above 0"), ("drug@nan", "above 0")],
)
def test_doses_that_are_none(text, message):
    with pytest.raises(InputError, match=message):
        parse_dosed(text)


@pytest.mark.parametrize(
    "text",
    ["TP53", "TP53=", "=knockout", "TP53=delete", "TP53=knockout:0.5", "TP53=knockdown:1", "TP53=knockdown:-1", "TP53=activation:0.5", "TP53=inf",
     "TP53=activation:nan", "TP53=shift"],
)  # fmt: skip
def test_interventions_that_are_none(text):
    with pytest.raises(InputError, match=r"expected GENE=knockout, GENE=knockdown:0.25 .*found another form"):
        parse_intervention(text)


def test_a_fit_without_perturbations_predicts_genes_that_are_set():
    bare = empty_fit(list("ABC"), np.array([1]), np.array([0]), 3)
    with pytest.raises(InputError, match=r"expected a perturbation of the fit .*, found 'drug'. It has none"):
        predict(bare, [Dosed("drug")])
    found = predict(bare, interventions=[Intervention("A", "shift", 1.0)])
    assert found.table["change"].tolist() == [1.0, 0.0, 0.0]


def test_a_fit_that_learnt_nothing_says_so():
    nothing = replace(chain([("A", "B", 0.5)]), direct_S=np.zeros(1, np.float32), loading_FG=np.zeros((1, 5), np.float32))
    found = predict(nothing, [Dosed("hit")])
    assert found.messages == ["the fit has no direct effect of what was asked for, so that only shared responses are predicted"]
    assert format_prediction(found, 5).endswith("no gene changes")


def test_files_hold_the_whole_table(fit, tmp_path):
    found = predict(fit, [Dosed("drug05")], controls=controls_of(np.ones((3, 60))))
    for name, read in (("a.parquet", pd.read_parquet), ("a.tsv", lambda path: pd.read_csv(path, sep="\t")), ("a.csv", pd.read_csv)):
        write_prediction(found, tmp_path / name)
        pd.testing.assert_frame_equal(read(tmp_path / name), found.table)
    with pytest.raises(InputError, match=r"a.xlsx: expected a name that ends in .parquet, .tsv, .csv, found '.xlsx'"):
        write_prediction(found, tmp_path / "a.xlsx")


def test_text_shows_the_largest_changes(fit):
    text = format_prediction(
        predict(
            fit,
            [Dosed("drug05", 50.0)],
            controls=controls_of(np.ones((3, 60))),
        ),
        4,
    )
    lines = text.split("\n")
    assert lines[0].startswith("note: drug05: dose 50 lies outside")
    assert lines[1].startswith("4 of 60 genes that change; change of log1p CP10k (natural log); log2 fold change of CP10k")
    assert lines[2].split() == ["gene", "change", "log2_fold_change", "direct", "propagated", "shared", "note"]
    assert len(lines) == 7
    assert any(line.endswith("target") for line in lines[3:])


@pytest.fixture
def run(tmp_path, fit):
    """Write a run with two fits and two plates; give its configuration."""
    folder = tmp_path / "results" / "screen"
    for name in ("main", "noprior"):
        write_fit(fit, folder / "causal" / name)
    for plate, baseline in zip(("p1", "p2"), SCREEN.baselines, strict=True):
        write_anndata(folder / "basal" / "baseline" / f"{plate}.zarr", baseline)
        (tmp_path / f"{plate}.h5ad").touch()
    rows = "".join(f"{plate}\t{tmp_path / plate}.h5ad\n" for plate in ("p1", "p2"))
    (tmp_path / "plates.tsv").write_text(f"plate\tcounts\n{rows}")
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"run": "screen", "results": str(tmp_path / "results"), "plates": str(tmp_path / "plates.tsv")}))
    return path


def command(capsys, *arguments):
    status = main(["predict", *(str(argument) for argument in arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_command_predicts_from_a_run(run, fit, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "out" / "p.parquet"
    status, out, err = command(
        capsys, "drug05@0.5", "drug06", "--do", "G001=knockout", "--line", "A549", "--config", run, "--best", 3, "--output", output
    )
    assert (status, err) == (0, "")
    assert "3 of 60 genes that change" in out
    assert f"wrote {output}: 60 genes" in out
    control_G = np.mean([np.asarray(store.X)[0] for store in SCREEN.baselines], axis=0)
    expected = predict(
        fit, [Dosed("drug05", 0.5), Dosed("drug06")], [Intervention("G001", "knockout")],
        controls=controls_of(control_G[None], ["A549"]), cell_line="A549",
    )  # fmt: skip
    pd.testing.assert_frame_equal(pd.read_parquet(output), expected.table)


def test_the_command_tells_what_is_missing(run, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = command(capsys, "drug05", "--config", run, "--fit", "mian")
    assert status == 2
    assert "causal: expected a fit, found none named 'mian'. There are main, noprior." in err
    status, _, err = command(capsys, "drug05", "--config", run, "--line", "A54")
    assert (status, "Did you mean A549?" in err) == (2, True)
    status, _, err = command(capsys, "drug99", "--config", run)
    assert status == 2
    run.write_text(run.read_text().replace("screen", "other"))
    status, _, err = command(capsys, "drug05", "--config", run)
    assert (status, "expected a fit, found none. Run `snakemake` first." in err) == (2, True)


def test_baselines_of_other_genes_are_refused(run, fit, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_fit(replace(fit, genes=[*fit.genes[1:], "other"]), tmp_path / "results" / "screen" / "causal" / "main")
    status, _, err = command(capsys, "drug05", "--config", run)
    assert status == 2
    assert "expected baselines of the genes of the fit, found others" in err


def test_setting_a_regulator_does_what_the_planted_network_does(fit):
    """Planted at the level of pseudobulk, and every source is hit: the other genes move as they should."""
    correlations = []
    for source in np.flatnonzero((SCREEN.weight_GG != 0).any(axis=0)):
        cut_GG, direct_G = SCREEN.weight_GG.copy(), np.zeros(len(fit.genes))
        cut_GG[source], direct_G[source] = 0, -1.0
        truth_G = np.linalg.solve(np.eye(len(fit.genes)) - cut_GG, direct_G)
        found = by_gene(predict(fit, interventions=[Intervention(fit.genes[source], "shift", -1.0)])).loc[fit.genes, "change"].to_numpy()
        others = np.arange(len(fit.genes)) != source
        correlations.append(np.corrcoef(truth_G[others], found[others])[0, 1])
    assert np.median(correlations) > 0.8
