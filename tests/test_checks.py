"""Checks that read the data."""

import importlib.util

import numpy as np
import pytest
import scipy.sparse as sp
from count_files import write_tenx_mtx
from screen_files import GENES, HGNC, make_plate, write_screen

from causcade.checks import check_plate, check_screen, check_settings, price_of_lines, read_resolver, survey
from causcade.config import PerturbationConfig, parse_config
from causcade.errors import InputError, ScreenError
from causcade.plates import Plate, list_plates
from causcade.resources.identifiers import Resolver
from causcade.validation import load_config, read_yaml

ONE_KIND = "Write `perturbation: {kind_in_name: true}`, which tells them apart, or exclude the label."


@pytest.fixture(scope="module")
def resolver(tmp_path_factory):
    path = tmp_path_factory.mktemp("hgnc") / "hgnc.tsv"
    path.write_text(HGNC)
    return Resolver.from_hgnc(path)


def look(data, folder, resolver=None, name="P1", **keys):
    config = load_config(read_yaml(write_screen(folder, {name: data}, **keys)), check_files=True)
    return check_plate(list_plates(config)[0], config, resolver)


def message(*arguments, **keys):
    with pytest.raises(InputError) as error:
        look(*arguments, **keys)
    return str(error.value)


def test_a_look_at_a_plate(tmp_path, resolver):
    found = look(make_plate(), tmp_path, resolver, perturbation={"exclude": ["DrugB"]})
    assert found == {
        "plate": "P1",
        "counts": str(tmp_path / "P1.h5ad"),
        "num_cells": 24,
        "num_genes": 5,
        "num_resolved": 5,
        "labels": {"DrugA": 8, "control": 8},
        "kinds": {"DrugA": "drug"},
        "lines": {"A": 8, "B": 8},
        "control_lines": {"A": 4, "B": 4},
        "columns": ["drug", "drugname_drugconc", "sample"],
        "obsm": {},
    }


def test_log_normalised_data_are_refused(tmp_path):
    data = make_plate()
    data.layers["counts"] = data.X.copy()
    data.X = np.log1p(data.X)
    text = message(data, tmp_path)
    assert text.startswith(f"{tmp_path / 'P1.h5ad'}: expected raw counts (whole numbers from 0), found ")
    assert text.endswith("Set `input: {layer: NAME}` to the layer that holds counts, or give the file before normalisation.")
    assert look(data, tmp_path, input={"layer": "counts"})["num_cells"] == 24


@pytest.mark.parametrize("cell", [0, 500, 999])
def test_the_first_the_middle_and_the_last_cells_are_looked_at(tmp_path, cell):
    data = make_plate(labels=["DMSO_TF", "x"], cells=250)
    data.X[cell, 1] = 0.5
    assert "found 0.5 in gene 'MYC'" in message(data, tmp_path, input={"block_cells": 10})


def test_no_gene_id_that_matches(tmp_path, resolver):
    data = make_plate(genes=["AT1G01010", "AT1G01020", "AT1G01030", "AT1G01040"])
    assert message(data, tmp_path, resolver) == (
        f"{tmp_path / 'P1.h5ad'}: expected human gene ids or symbols, found none that HGNC knows among 4 (such as AT1G01010, AT1G01020, AT1G01030). "
        "Set `input: {gene_id: COLUMN}` to the var column that holds Ensembl ids or symbols."
    )
    assert look(data, tmp_path)["num_resolved"] is None
    data.var["ensembl"] = ["ENSG00000000001.7", "x", "y", "z"]
    assert look(data, tmp_path, resolver, input={"gene_id": "ensembl"})["num_resolved"] == 1
    data.var["symbol"] = ["MYC", "TP53", "y", "z"]
    assert look(data, tmp_path, resolver, input={"gene_symbol": "symbol"})["num_resolved"] == 2


def test_a_plate_without_cells(tmp_path):
    expected = f"{tmp_path / 'P1.h5ad'}: expected cells of plate 'P1', found none. Remove the plate from the table, or correct its file."
    assert message(make_plate()[:0].copy(), tmp_path) == expected


def test_one_perturbation_with_two_kinds_on_a_plate(tmp_path):
    data = make_plate(lines=["A"], cells=2, kind=["", "", "drug", "crispri", "drug", "drug"])
    expected = f"{tmp_path / 'P1.h5ad'}: expected one kind for each perturbation, found crispri and drug for 'DrugA'. {ONE_KIND}"
    assert message(data, tmp_path, perturbation={"kind": {"column": "kind"}}) == expected


@pytest.mark.filterwarnings("ignore:Variable names are not unique", "ignore:Observation names are not unique")
def test_duplicated_cells_and_genes_are_no_mistake(tmp_path, resolver):
    data = make_plate(genes=["TP53", "TP53", "MYC", "KLF1", "GATA1"])
    data.obs_names = ["c"] * data.n_obs
    found = look(data, tmp_path, resolver)
    assert (found["num_cells"], found["num_genes"]) == (24, 4)


def test_plates_of_one_file(tmp_path):
    data = make_plate(plate=np.repeat(["P1", "P2", "P1"], 8))
    data.write_h5ad(tmp_path / "all.h5ad")
    config = parse_config({"run": "r", "plates": "unused"})
    sizes = [check_plate(Plate(name=name, counts=str(tmp_path / "all.h5ad"), num_sharing=2), config, None)["num_cells"] for name in ("P1", "P2")]
    assert sizes == [16, 8]


@pytest.mark.parametrize("kind", ["mtx", "csc"])
def test_a_plate_that_is_not_stored_cell_by_cell_is_not_turned_round(tmp_path, resolver, monkeypatch, kind):
    """A look at some of its entries is enough; obs columns of an mtx folder come from a table."""
    data = make_plate()
    if kind == "csc":
        data.X = sp.csc_matrix(data.X)
        data.write_h5ad(tmp_path / "x.h5ad")
        path, tables = tmp_path / "x.h5ad", []
    else:
        path = write_tenx_mtx(tmp_path / "x", data.X)
        data.obs.to_csv(tmp_path / "P1.csv")
        (path / "features.tsv").write_text("".join(f"{gene}\t{gene}\tGene Expression\n" for gene in GENES))
        tables = [{"path": str(tmp_path / "{plate}.csv")}]
    monkeypatch.setattr("causcade.readers.matrices.Transposition", None)
    config = parse_config({"run": "r", "plates": "unused", "input": {"tables": tables}})
    found = check_plate(Plate(name="P1", counts=str(path)), config, resolver)
    assert (found["num_cells"], found["num_resolved"], found["labels"]) == (24, 5, {"DrugA": 8, "DrugB": 8, "control": 8})


def test_a_resolver_from_the_artifact(tmp_path, resolver):
    from causcade.resources.identifiers import read_hgnc

    (tmp_path / "hgnc.tsv").write_text(HGNC)
    table = read_hgnc(tmp_path / "hgnc.tsv")
    table.to_parquet(tmp_path / "identifiers.parquet")
    assert read_resolver(tmp_path / "identifiers.parquet").resolve(GENES)["gene"].tolist() == GENES
    table.iloc[:0].to_parquet(tmp_path / "none.parquet")
    assert read_resolver(tmp_path / "none.parquet") is None


# ---- the screen as a whole


def seen(plate="P1", labels=None, lines=("A",), control_lines=None, kinds=None):
    labels = {"control": 5, "DrugA": 5} if labels is None else labels
    control_lines = lines if control_lines is None else control_lines
    return {
        "plate": plate,
        "counts": f"{plate}.h5ad",
        "num_cells": sum(labels.values()),
        "labels": labels,
        "kinds": kinds or {label: "drug" for label in labels if label != "control"},
        "lines": dict.fromkeys(lines, 5),
        "control_lines": dict.fromkeys(control_lines, 5),
        "columns": ["batch"],
        "obsm": {"X_emb": 8},
    }


def judge(*looks, **keys):
    return check_screen(list(looks), PerturbationConfig.model_validate(keys))


def mistakes_of(*looks, **keys):
    with pytest.raises(ScreenError) as error:
        judge(*looks, **keys)
    return error.value.mistakes


def test_a_screen_without_mistakes_whatever_the_order_of_its_plates():
    first, second = seen("P1"), seen("P2", labels={"control": 3, "DrugB": 4})
    found = judge(second, first)
    assert found == judge(first, second)
    assert list(found["plates"]) == ["P1", "P2"]
    assert found["kinds"] == {"DrugA": "drug", "DrugB": "drug"}
    assert found["warnings"] == []


def test_a_control_label_that_occurs_nowhere():
    looks = [seen("P1", labels={"DMSO": 9, "DrugA": 5}), seen("P2", labels={"DMSO": 3, "DrugB": 10})]
    assert mistakes_of(*looks) == [
        "perturbation.control: expected control cells ('DMSO_TF') on some plate, found none. The most frequent labels are DMSO, DrugB, DrugA. "
        "Set `perturbation: {control: [LABEL]}`, or control_where."
    ]
    assert "expected control cells ('a' or 'b')" in mistakes_of(*looks, control=["a", "b"])[0]
    assert "expected control cells (vehicle == True)" in mistakes_of(*looks, control_where={"column": "vehicle", "equals": True})[0]


def test_nothing_but_controls():
    assert mistakes_of(seen(labels={"control": 5})) == [
        "perturbation: expected perturbed cells beside the controls, found none. "
        "Correct `input: {columns: {perturbation: NAME}}`, or perturbation.exclude."
    ]


def test_a_plate_without_controls_is_supplied_by_the_lines_other_plates():
    found = judge(seen("P1"), seen("P2", labels={"DrugA": 5}, control_lines=()), seen("P3", labels={"DrugA": 5}, control_lines=()))
    assert found["warnings"] == ["plates P2, P3: no control cells of line 'A'; controls of the line's other plates supply the baseline"]


def test_a_line_without_controls_anywhere():
    looks = [seen("P1"), seen("P2", labels={"DrugA": 5}, lines=("A", "B"), control_lines=())]
    assert mistakes_of(*looks) == [
        "plate P2: expected control cells of line 'B' there or on another plate, found none anywhere. "
        "Add controls of that line, or leave its cells out of the input."
    ]


def test_every_mistake_of_a_screen_at_once():
    looks = [
        seen("P1", lines=("A", "B"), control_lines=("A",), kinds={"DrugA": "drug"}),
        seen("P2", lines=("C",), control_lines=(), kinds={"DrugA": "crispri"}),
    ]
    assert [sentence.split(":")[0] for sentence in mistakes_of(*looks)] == ["perturbation 'DrugA'", "plate P1", "plate P2"]
    assert mistakes_of(*looks)[0] == f"perturbation 'DrugA': expected one kind, found drug and crispri. {ONE_KIND}"


# ---- what later stages want of it


def unmet(*looks, columns=(), obsm=None, held_out_lines=()):
    with pytest.raises(ScreenError) as error:
        check_settings(list(looks), columns=list(columns), obsm=obsm, held_out_lines=list(held_out_lines))
    return error.value.mistakes


def test_settings_that_the_screen_meets():
    looks = [seen("P1", lines=("A", "B")), seen("P2")]
    check_settings(looks, columns=["batch", "well", "total_counts"], obsm="X_emb", held_out_lines=["B"])
    check_settings(looks, columns=[], obsm=None, held_out_lines=[])


def test_a_flavour_needs_its_package_before_any_long_job(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "skmisc" else found(name, *rest))
    with pytest.raises(ScreenError, match="expected the package scikit-misc for `seurat_v3`"):
        check_settings([], columns=[], obsm=None, held_out_lines=[], flavor="seurat_v3")
    check_settings([], columns=[], obsm=None, held_out_lines=[], flavor="cell_ranger")


def test_every_setting_that_the_screen_does_not_meet():
    looks = [seen("P1"), seen("P2") | {"columns": [], "obsm": {}}]
    assert unmet(*looks, columns=["batch", "donor"], obsm="X_emb", held_out_lines=["C", "A"]) == [
        "covariates.terms: expected obs column 'batch' in P2.h5ad, found no further column. Leave the term out, or correct its name.",
        "covariates.terms: expected obs column 'donor' in P1.h5ad, P2.h5ad, found batch. Leave the term out, or correct its name.",
        "embedding.obsm: expected obsm['X_emb'] in P2.h5ad, found no obsm. Name one that is there, or write `embedding: {source: pca}`.",
        "causal.held_out_lines: expected one of several cell lines, found 'C' among A. Correct the name, or remove it.",
        "causal.held_out_lines: expected one of several cell lines, found 'A' among A. Correct the name, or remove it.",
    ]


def test_an_embedding_of_several_widths():
    assert unmet(seen("P1"), seen("P2") | {"obsm": {"X_emb": 16}}, obsm="X_emb") == [
        "embedding.obsm: expected obsm['X_emb'] of one width on all plates, found 8 (plate P1) and 16 (plate P2). Embed all plates alike."
    ]


def surveyed(folder, plates, *, is_whole=True, **keys):
    config = load_config(read_yaml(write_screen(folder, plates, **keys)), check_files=True)
    return survey(list_plates(config), config, None, is_whole=is_whole)


def test_a_survey_without_mistakes(tmp_path):
    screen, mistakes = surveyed(tmp_path, {"P1": make_plate(), "P2": make_plate()})
    assert mistakes == []
    assert list(screen["plates"]) == ["P1", "P2"]


def test_a_mistake_that_plates_share_is_told_once(tmp_path):
    plates = {f"P{number}": make_plate() for number in range(5)}
    screen, (mistake,) = surveyed(tmp_path, plates, input={"columns": {"cell_line": "line"}})
    assert screen is None
    files = ", ".join(f"{tmp_path}/P{number}.h5ad" for number in range(3))
    assert mistake.startswith(f"{files} and 2 more: expected obs column 'line' (input.columns.cell_line), found ")


def test_of_a_part_of_a_screen_only_what_must_hold_is_judged(tmp_path):
    part = {"P1": make_plate(lines=["A"]), "P2": make_plate(labels=["DrugA"], lines=["B"])}
    assert surveyed(tmp_path, part, is_whole=False, causal={"held_out_lines": ["C"]}) == (None, [])
    (mistake,) = surveyed(tmp_path, part, is_whole=False, perturbation={"control": ["DMSO"]})[1]
    assert "on some plate, found none on those that can be read. The most frequent labels are " in mistake


# ---- real data

KANG = {
    "input": {
        "columns": {
            "perturbation": "group_id", "dose": None, "cell_line": "cluster_id", "well": "sample_id",
            "plate": {"column": "sample_id", "pattern": r"(\d+)$"},
        }
    },
    "perturbation": {"control": ["ctrl"]},
}  # fmt: skip


def test_the_price_of_matrices_per_line():
    looks = [{"num_genes": 20_000, "lines": {"A": 5, "B": 7}}, {"num_genes": 100, "lines": {"A": 2}}]
    assert price_of_lines(looks, 10_000) == (
        "coexpression.per_line: at 10,000 genes, sums of 2 cell lines on 2 plates take 1.2 GB of disk, and their matrices up to 1.6 GB"
    )
    assert "at 20,000 genes, sums of 2 cell lines on 2 plates take 4.8 GB" in price_of_lines(looks, None)


def test_the_price_of_matrices_per_line_is_a_warning_of_the_survey(tmp_path, resolver):
    for per_line in (False, True):
        config = load_config(read_yaml(write_screen(tmp_path, {"P1": make_plate()}, coexpression={"per_line": per_line})), check_files=True)
        screen, mistakes = survey(list_plates(config), config, resolver)
        assert mistakes == []
        assert any("coexpression.per_line" in warning for warning in screen["warnings"]) == per_line


@pytest.fixture(scope="module")
def hgnc(shared_data):
    return Resolver.from_hgnc(shared_data / "references" / "idmap" / "hgnc_complete_set.txt.gz")


@pytest.mark.shared_data
def test_kang(shared_data, hgnc):
    config = parse_config(KANG | {"run": "kang", "plates": "unused"})
    path = str(shared_data / "cells" / "kang_muscat_counts.h5ad")
    donors = ["101", "107", "1015", "1016", "1039", "1244", "1256", "1488"]
    present = [donor for donor in donors if donor in set(_kang_donors(path))]
    looks = [check_plate(Plate(name=donor, counts=path, num_sharing=len(present)), config, hgnc) for donor in present]
    assert sum(found["num_cells"] for found in looks) == 1556
    assert all(set(found["labels"]) == {"control", "stim"} for found in looks)
    assert all(found["num_resolved"] > 1100 for found in looks)
    screen = check_screen(looks, config.perturbation)
    assert screen["kinds"] == {"stim": "drug"}


def _kang_donors(path):
    import anndata

    return anndata.read_h5ad(path, backed="r").obs["sample_id"].astype(str).str.extract(r"(\d+)$", expand=False)


@pytest.mark.shared_data
def test_a549_with_a_vehicle_column_and_ensembl_versions(shared_data, hgnc):
    config = parse_config({
        "run": "a549", "plates": "unused",
        "input": {
            "gene_symbol": "gene_short_name",
            "columns": {"perturbation": "treatment", "dose": "dose", "cell_line": "cell_type", "plate": "culture_plate", "well": "replicate"},
        },
        "perturbation": {"control_where": {"column": "vehicle", "equals": 1}},
    })  # fmt: skip
    path = str(shared_data / "cells" / "a549_dex_counts.h5ad")
    found = check_plate(Plate(name="A", counts=path), config, hgnc)
    other = parse_config(config.model_dump() | {"perturbation": {"control_where": {"column": "dose", "equals": 0}}})
    assert found == check_plate(Plate(name="A", counts=path), other, hgnc)
    assert set(found["labels"]) == {"control", "Dex"}
    assert found["labels"]["control"] > 0
    assert found["num_resolved"] > 150


@pytest.mark.shared_data
def test_schraivogel_targets_and_mixed_guides(shared_data, hgnc):
    config = parse_config({
        "run": "tap", "plates": "unused",
        "input": {"columns": {"perturbation": "target", "dose": None, "cell_line": {"constant": "K562"}, "plate": "batch", "well": None}},
        "perturbation": {"kind": "crispri", "control": ["non-targeting"], "exclude": ["none/multi"]},
    })  # fmt: skip
    path = str(shared_data / "cells" / "schraivogel_tapseq_counts.h5ad")
    found = check_plate(Plate(name="1", counts=path, num_sharing=2), config, hgnc)
    assert "none/multi" not in found["labels"]
    assert found["lines"].keys() == {"K562"}
    assert set(found["kinds"].values()) == {"crispri"}


@pytest.mark.shared_data
def test_log_normalised_perturbench_is_refused(shared_data, hgnc):
    columns = {"perturbation": "perturbation", "dose": None, "cell_line": "cell_type", "plate": None, "well": None}
    config = parse_config({
        "run": "r", "plates": "unused", "input": {"columns": columns},
        "perturbation": {"kind": {"column": "perturbation_type"}, "control": ["control"]},
    })  # fmt: skip
    cells = shared_data / "cells"
    with pytest.raises(InputError, match=r"perturbench_lognormalised.h5ad: expected raw counts .* which looks like log-normalised or scaled data"):
        check_plate(Plate(name="P", counts=str(cells / "perturbench_lognormalised.h5ad")), config, hgnc)
    with pytest.raises(InputError, match="found crispra and crispri for 'MAP2K3'"):  # two screens in one file: counts are fine, labels are not
        check_plate(Plate(name="P", counts=str(cells / "perturbench_counts.h5ad")), config, hgnc)


def test_looks_do_not_depend_on_the_order_of_cells(tmp_path):
    data = make_plate()
    order = np.random.default_rng(0).permutation(data.n_obs)
    assert look(data[order].copy(), tmp_path) == look(data, tmp_path)
