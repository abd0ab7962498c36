"""Tables of conditions: formats, scales, references, errors, and what is refused."""

import anndata
import numpy as np
import pandas as pd
import pytest

from causcade.condition_table import (
    NO_DRUGS,
    ConditionTable,
    check_table,
    labels_of_table,
    load_table,
    measure_table,
    read_condition_table,
    responses_of_table,
    store_of_responses,
)
from causcade.config import ConditionTableConfig, PerturbationConfig
from causcade.errors import InputError
from causcade.files import write_anndata
from causcade.resources.identifiers import Resolver
from causcade.responses import ScreenFiles, aggregate, as_effects

VALUES = np.array([[1.0, 2.0, 3.0], [2.0, 2.0, 3.0], [1.0, 5.0, 4.0]])


def flat(perturbation=("control", "A", "B"), values=VALUES, **columns):
    table = pd.DataFrame(values, columns=["A", "B", "C"])
    table.insert(0, "perturbation", perturbation)
    return table.assign(**columns)


def given(values, perturbation, *, error=None, plate="all", line="all", kind=""):
    genes = [f"G{i}" for i in range(values.shape[1])]
    obs = pd.DataFrame({"perturbation": perturbation, "kind": kind, "dose": np.nan, "cell_line": line, "plate": plate, "num_cells": 1})
    return ConditionTable(value_CG=np.asarray(values, float), error_CG=error, obs=obs, genes=genes)


@pytest.mark.parametrize("ending", ["tsv", "csv", "parquet", "h5ad"])
def test_formats_give_the_same(tmp_path, ending):
    path = tmp_path / f"table.{ending}"
    table = flat(plate="7", dose=0.5)
    if ending == "parquet":
        table.to_parquet(path)
    elif ending == "h5ad":
        obs = table[["perturbation", "plate", "dose"]].set_axis([str(i) for i in range(3)])
        data = anndata.AnnData(VALUES, obs=obs, var=pd.DataFrame(index=["A", "B", "C"]), layers={"se": np.full(VALUES.shape, 0.1)})
        data.write_h5ad(path)
    else:
        table.to_csv(path, sep="\t" if ending == "tsv" else ",", index=False)
    found = read_condition_table(path)
    np.testing.assert_array_equal(found.value_CG, VALUES)
    assert found.genes == ["A", "B", "C"]
    assert found.obs["perturbation"].tolist() == ["control", "A", "B"]
    assert found.obs["plate"].tolist() == ["7"] * 3
    assert found.obs["dose"].tolist() == [0.5] * 3
    assert found.obs["cell_line"].tolist() == ["all"] * 3
    assert (found.error_CG is None) == (ending != "h5ad")


def test_errors_from_a_second_table(tmp_path):
    flat().to_csv(tmp_path / "t.tsv", sep="\t", index=False)
    pd.DataFrame(VALUES / 10, columns=["A", "B", "C"]).to_csv(tmp_path / "se.tsv", sep="\t", index=False)
    np.testing.assert_allclose(read_condition_table(tmp_path / "t.tsv", errors=tmp_path / "se.tsv").error_CG, VALUES / 10)
    pd.DataFrame(VALUES / 10, columns=["A", "C", "B"]).to_csv(tmp_path / "se.tsv", sep="\t", index=False)
    with pytest.raises(InputError, match=r"se\.tsv: expected errors of the same 3 genes and 3 conditions"):
        read_condition_table(tmp_path / "t.tsv", errors=tmp_path / "se.tsv")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (flat().drop(columns="perturbation"), r"expected a column perturbation that names each condition, found A, B, C\. Add it"),
        (flat(values=np.where(VALUES == 5, np.nan, VALUES)), r"expected a finite number for each gene of each condition, found 1 others"),
        (flat(note="text"), r"expected numbers in the columns of genes, found text in 'note'\. Remove"),
        (flat()[["perturbation", "A"]], r"expected at least two genes, each once, found 1\. Correct"),
    ],
)
def test_damaged_tables_are_refused(tmp_path, table, words):
    table.to_csv(tmp_path / "t.tsv", sep="\t", index=False)
    with pytest.raises(InputError, match=words):
        read_condition_table(tmp_path / "t.tsv")


def test_absent_and_unknown_files(tmp_path):
    with pytest.raises(InputError, match="expected a table of conditions, found no file"):
        read_condition_table(tmp_path / "t.tsv")
    (tmp_path / "t.xlsx").write_text("")
    with pytest.raises(InputError, match=r"ending in \.h5ad, \.parquet, \.tsv or \.csv, found \.xlsx"):
        read_condition_table(tmp_path / "t.xlsx")


def test_scales():
    error = np.full((2, 2), 0.1)
    values = np.array([[10.0, 30.0], [20.0, 30.0]])
    of = lambda values, scale, **more: responses_of_table(  # noqa: E731
        given(values, ["control", "A"], error=error), NO_DRUGS, values=scale, kind="knockout", **more
    )
    np.testing.assert_allclose(of(values, "log").delta_CG, [[10, 0]])
    np.testing.assert_allclose(of(values, "expression", pseudocount=5.0).delta_CG, [[np.log(25 / 15), 0]], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(of(values, "change").delta_CG, [[20, 30]])
    counts = of(values, "counts")
    np.testing.assert_allclose(counts.delta_CG, np.log1p([[4000, 6000]]) - np.log1p([[2500, 7500]]), rtol=1e-5)
    np.testing.assert_allclose(counts.control_mean_G, np.log1p([2500, 7500]))
    assert np.isinf(of(values, "log").control_mean_G).all()
    with pytest.raises(InputError, match="table of conditions, values counts: expected values of 0 or more, found -30"):
        of(-values, "counts")
    with pytest.raises(InputError, match="expected a pseudocount above 0, since the table has zeros"):
        of(values * [[1, 0], [1, 1]], "expression")


def test_reference_is_the_control_of_plate_and_line_or_the_median():
    rng = np.random.default_rng(0)
    names = [f"p{i}" for i in range(9)]
    values = rng.normal(0, 1, (9, 4))
    found = responses_of_table(given(values, names), NO_DRUGS, values="log", kind="knockout")
    np.testing.assert_allclose(found.delta_CG, values - np.median(values, axis=0), rtol=1e-5, atol=1e-6)
    spread = 1.4826 * np.median(np.abs(values - np.median(values, axis=0)), axis=0)
    np.testing.assert_allclose(found.se_CG[3], np.maximum(spread, 0.3 * np.median(spread)), rtol=1e-5)
    plates = ["x"] * 4 + ["y"] * 5
    controls = ["control", *names[1:4], "control", *names[5:]]
    found = responses_of_table(given(values, controls, plate=plates), NO_DRUGS, values="log", kind="knockout")
    np.testing.assert_allclose(found.delta_CG, np.r_[values[1:4] - values[0], values[5:] - values[4]], rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="plate y, line all: expected controls, or a table without any and at least 8"):
        responses_of_table(given(values, ["control", *names[1:]], plate=plates), NO_DRUGS, values="log", kind="knockout")


def test_errors_come_from_many_controls():
    rng = np.random.default_rng(1)
    values = np.r_[rng.normal(0, 0.2, (40, 6)), rng.normal(0, 3, (2, 6))]
    found = responses_of_table(given(values, ["control"] * 40 + ["A", "B"]), NO_DRUGS, values="log", kind="knockout")
    np.testing.assert_allclose(found.se_CG[0], values[:40].std(axis=0, ddof=1), rtol=1e-5)
    with pytest.raises(InputError, match="expected values that vary, found more than half of the genes constant"):
        responses_of_table(given(np.ones((9, 4)), [f"p{i}" for i in range(9)]), NO_DRUGS, values="log", kind="knockout")


def test_targets_and_labels():
    table = given(VALUES, ["control", "G0", "G1+X"], error=np.full(VALUES.shape, 0.1), kind=["", "CRISPRi", ""])
    labels = labels_of_table(table, kind="crispra")
    assert labels.to_numpy().tolist() == [["G0", "crispri"], ["G1+X", "crispra"]]
    targets = pd.DataFrame({"perturbation": ["G0", "G1+X", "G1+X"], "target": ["G0", "G1", "X"], "sign": [-1, 1, 1]})
    found = responses_of_table(table, targets, values="log", kind="crispra")
    assert found.links.to_numpy().tolist() == [["G0", 0, -1], ["G1+X", 1, 1]]
    assert found.unmeasured["target"].tolist() == ["X"]
    assert found.obs["kind"].tolist() == ["crispri", "crispra"]
    with pytest.raises(InputError, match="expected kinds drug, knockout, crispri, crispra, found ''"):
        labels_of_table(table, kind="")
    with pytest.raises(InputError, match="expected perturbed conditions beside 'control', found none"):
        labels_of_table(given(VALUES, ["control"] * 3), kind="drug")
    with pytest.raises(InputError, match="expected one kind for each perturbation, found two for 'A'"):
        labels_of_table(given(VALUES, ["control", "A", "A"], kind=["", "crispri", "crispra"]), kind="")


def settings_of(path, **more):
    perturbation = {name: more.pop(name) for name in ("control", "exclude") if name in more}
    return ConditionTableConfig(path=str(path), **({"values": "log"} | more)), PerturbationConfig(
        **({"kind": "knockout", "control": []} | perturbation)
    )


def test_a_configured_table_is_read_without_what_is_excluded(tmp_path):
    path = tmp_path / "t.tsv"
    flat(("DMSO", "A", "B")).to_csv(path, sep="\t", index=False)
    (VALUES_ERROR := pd.DataFrame(VALUES / 10, columns=["A", "B", "C"])).to_csv(tmp_path / "se.tsv", sep="\t", index=False)
    table = load_table(*settings_of(path, control=["DMSO"], exclude=["B"], errors=str(tmp_path / "se.tsv")))
    assert table.obs["perturbation"].tolist() == ["DMSO", "A"]
    np.testing.assert_allclose(table.error_CG, VALUES_ERROR.iloc[:2])
    with pytest.raises(InputError, match=r"expected conditions labelled 'vehicle' \(perturbation\.control\), found none among 'A', 'B', 'DMSO'\."):
        load_table(*settings_of(path, control=["vehicle"]))


def test_what_stands_in_for_controls_and_errors_is_said(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"p{i}" for i in range(9)]
    path = tmp_path / "t.tsv"
    flat(names, rng.normal(0, 1, (9, 3))).to_csv(path, sep="\t", index=False)
    _, check = measure_table(*settings_of(path))
    assert check["kinds"] == dict.fromkeys(names, "knockout")
    assert (check["num_conditions"], check["num_controls"], check["num_genes"]) == (9, 0, 3)
    assert check["warnings"] == [
        "The table has no controls: the median over the conditions of a plate and line stands in for them.",
        "Standard errors are estimated, the same in all conditions of a gene: from the median absolute deviation over conditions.",
    ]
    _, check = measure_table(*settings_of(path, control=names[:8]))
    assert check["warnings"] == ["Standard errors are estimated, the same in all conditions of a gene: from 8 controls."]
    table = given(VALUES, ["a", "b", "c"], error=np.ones(VALUES.shape))
    assert check_table(table, labels_of_table(table, kind="drug"), "change", [])["warnings"] == []


def test_effects_from_the_store_are_those_of_the_table(tmp_path):
    rng = np.random.default_rng(0)
    names = ["control", "control", *(f"G{i % 4}" for i in range(14))]
    table = given(rng.normal(0, 1, (16, 6)), names, plate=["x", "y"] * 8, line=["u"] * 4 + ["v"] * 4 + ["u"] * 8)
    table.obs.loc[table.obs["perturbation"] == "control", "cell_line"] = "u"
    table.obs["cell_line"] = np.where(np.arange(16) < 2, "u", table.obs["cell_line"])
    links = pd.DataFrame({"perturbation": ["G0", "G1"], "target": ["G0", "G5"], "sign": [-1, -1]})
    responses = responses_of_table(table, links, values="change", kind="knockout")
    write_anndata(tmp_path / "table.zarr", store_of_responses(responses, None))
    screen = ScreenFiles([str(tmp_path / "table.zarr")], [], links)
    found, expected = screen.effects(), aggregate(responses)
    for name in ("effect_DG", "se_DG", "sign_DG", "is_target_DG", "control_mean_G"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    pd.testing.assert_frame_equal(found.table, expected.table)
    others, held_out = screen.without_line("v")
    keep_C = (responses.obs["cell_line"] == "u").to_numpy()
    np.testing.assert_array_equal(others.effect_DG, as_effects(responses.take(keep_C)).effect_DG)
    np.testing.assert_array_equal(held_out.effect_DG, as_effects(responses.take(~keep_C)).effect_DG)
    with pytest.raises(InputError, match="expected the responses of a table of conditions alone, found 1 other stores"):
        ScreenFiles([str(tmp_path / "table.zarr")] * 2, [], links)


def test_genes_get_approved_symbols_where_a_resolver_knows_them():
    identifiers = pd.DataFrame(
        {
            "identifier": ["MYC", "c-Myc", "ENSG00000136997"], "namespace": ["approved", "alias", "ensembl"], "gene": "MYC",
            "gene_id": "ENSG00000136997",
        }
    )  # fmt: skip
    resolver = Resolver.from_table(identifiers)
    table = given(VALUES, ["a", "b", "c"], error=np.ones(VALUES.shape))
    table.genes[:] = ["c-Myc", "mystery", "other"]
    responses = responses_of_table(table, NO_DRUGS, values="change", kind="drug")
    assert store_of_responses(responses, resolver).var["gene"].tolist() == ["MYC", "mystery", "other"]
    table.genes[:] = ["x", "y", "z"]
    responses = responses_of_table(table, NO_DRUGS, values="change", kind="drug")
    with pytest.raises(InputError, match=r"found none that HGNC knows among 3 \(such as x, y, z\)\."):
        store_of_responses(responses, resolver)
