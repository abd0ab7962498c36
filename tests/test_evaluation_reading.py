"""Inputs of the evaluation from the artifacts of a run."""

import numpy as np
import pandas as pd
import pytest
import zarr
from screens import make_screen

from causcade.causal import run_fit, write_fit
from causcade.config import CausalConfig
from causcade.errors import InputError
from causcade.evaluation import read_inputs
from causcade.evidence import measure_evidence
from causcade.files import write_anndata, write_parquet
from causcade.responses import ScreenFiles, aggregate, build_responses, hold_out_line

SETTINGS = CausalConfig(num_steps=5, edge_nulls=1, label_nulls=0, bootstraps=1, drug_folds=2)
FITS = ["main", "noprior", "edgenull0", "boot0", "drugs0", "line_A549"]
JUDGED = ["main", "edgenull0", "boot0"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Artifacts of a small screen, and the screen."""
    folder = tmp_path_factory.mktemp("run")
    screen = make_screen(num_genes=20, num_drugs=12, num_sources=6, num_candidates=8)
    plates = ([], [])
    for number, parts in enumerate(zip(screen.conditions, screen.baselines, strict=True)):
        for paths, kind, part in zip(plates, ("conditions", "baseline"), parts, strict=True):
            write_anndata(folder / kind / f"p{number}.zarr", part)
            paths.append(str(folder / kind / f"p{number}.zarr"))
    genes = pd.DataFrame({"gene": screen.genes, "is_tf": False, "is_drug_target": False})
    tables = {
        "edges": screen.edges,
        "panel": genes,
        "targets": screen.targets,
        "prior_edges": pd.DataFrame({"regulator": ["G000"], "target": ["G001"], "sign": [1], "confidence": [0.5]}),
        "pairs": pd.DataFrame({"reference": ["string"], "gene_a": ["G000"], "gene_b": ["G001"], "score": [0.9]}),
        "universe": pd.DataFrame({"reference": "string", "gene": screen.genes}),
        "truth": pd.DataFrame({"regulator": ["G000"], "target": ["G001"], "weight": [0.5]}),
    }
    for name, table in tables.items():
        write_parquet(folder / f"{name}.parquet", table)
    paths = {name: str(folder / f"{name}.parquet") for name in tables} | {"coexpression": str(folder / "coexpression.zarr")}
    raw_GG = np.random.default_rng(0).uniform(-1, 1, (20, 20)).astype(np.float32)
    zarr.open_group(paths["coexpression"], mode="w").create_array("raw_correlation", data=raw_GG)
    responses = build_responses(screen.conditions, screen.baselines, screen.targets)
    fits = {}
    for name in FITS:
        fits[name] = run_fit(name, responses, screen.edges, SETTINGS, seed=0)
        write_fit(fits[name], folder / "causal" / name)
        write_parquet(folder / "causal" / name / "held_out.parquet", fits[name].held_out)
    files = ScreenFiles(*plates, screen.targets)
    partial = {"partial_within": np.random.default_rng(1).uniform(-1, 1, len(screen.edges))}
    for name in JUDGED:
        weights = {"weight_no_prior": fits["noprior" if name == "main" else name].score_C}
        weights |= {"weight": fits["main"].score_C} if name == "main" else {}
        table, _ = measure_evidence(name, files, screen.edges, SETTINGS, seed=0, weights=weights, partial=partial)
        write_parquet(folder / "evidence" / f"{name}.parquet", table)
    return folder, screen, paths, plates, raw_GG, fits, responses


def read(run, paths, score="weight_no_prior"):
    folder, plates = run[0], run[3]
    evidence = {name: str(folder / "evidence" / f"{name}.parquet") for name in JUDGED}
    held_out = {name: str(folder / "causal" / name / "held_out.parquet") for name in FITS}
    return read_inputs(paths, evidence, held_out, plates, score)


def test_everything_is_where_it_belongs(run):
    _, screen, paths, _, raw_GG, fits, responses = run
    effects = aggregate(responses)
    inputs = read(run, paths)
    assert sorted(inputs.scores) == ["causal", "causal_boot0", "causal_prior", "edge_null0"]
    np.testing.assert_array_equal(inputs.scores["causal"], fits["noprior"].score_C)
    np.testing.assert_array_equal(inputs.scores["causal_prior"], fits["main"].score_C)
    assert inputs.score == "weight_no_prior"
    assert list(inputs.evidence) == ["deconvolution", "mean_shift", "ridge", "partial_within", "aggregate"]
    nulls = {f"{name}_edge_null0" for name in ("deconvolution", "mean_shift", "ridge", "partial_within", "aggregate")}
    assert set(inputs.evidence_nulls) == nulls
    for number, edge in enumerate(screen.edges.itertuples()):
        assert inputs.raw_correlation[number] == raw_GG[screen.genes.index(edge.target), screen.genes.index(edge.regulator)]
    assert inputs.responses.perturbations == effects.table["perturbation"].tolist()
    np.testing.assert_array_equal(inputs.responses.effect_DG, effects.effect_DG)
    assert len(inputs.held_out["drugs0"]) == len(fits["drugs0"].held_out) > 0
    assert len(inputs.held_out["noprior"]) == 0
    assert inputs.truth_edges["weight"].tolist() == [0.5]
    others = aggregate(hold_out_line(responses, "A549")[0])
    assert list(inputs.other_lines) == ["line_A549"]
    np.testing.assert_allclose(inputs.other_lines["line_A549"].effect_DG, others.effect_DG, rtol=1e-6)


def test_without_truth(run):
    paths = {name: path for name, path in run[2].items() if name != "truth"}
    assert read(run, paths).truth_edges is None


def test_another_column_may_rank_the_network(run):
    first, second = read(run, run[2]), read(run, run[2], "ridge")
    for name in ("causal", "edge_null0", "causal_boot0"):
        assert not np.array_equal(first.scores[name], second.scores[name])
    np.testing.assert_array_equal(second.scores["causal"], first.evidence["ridge"])
    np.testing.assert_array_equal(second.scores["edge_null0"], first.evidence_nulls["ridge_edge_null0"])
    np.testing.assert_array_equal(second.evidence["weight_no_prior"], first.scores["causal"])
    np.testing.assert_array_equal(second.scores["causal_prior"], first.scores["causal_prior"])
    weight = read(run, run[2], "weight")
    np.testing.assert_array_equal(weight.scores["causal"], first.scores["causal"])
    assert weight.score == "weight_no_prior"


def test_an_absent_column_is_told(run):
    with pytest.raises(InputError, match="expected the column latent that ranks the network"):
        read(run, run[2], "latent")


def test_a_network_of_another_origin_has_no_evidence(run):
    inputs = read_inputs(run[2], {}, {}, run[3])
    assert inputs.scores == inputs.evidence == inputs.evidence_nulls == {}
