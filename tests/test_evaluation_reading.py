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
from causcade.files import write_anndata, write_parquet
from causcade.responses import aggregate, build_responses, hold_out_line

SETTINGS = CausalConfig(num_steps=5, edge_nulls=1, label_nulls=0, bootstraps=1, drug_folds=2)
FITS = ["main", "noprior", "edgenull0", "boot0", "drugs0", "line_A549"]


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
    return folder, screen, paths, plates, raw_GG, fits, responses


def read(run, paths):
    folder, plates = run[0], run[3]
    models = {name: str(folder / "causal" / name / "model.safetensors") for name in FITS}
    held_out = {name: str(folder / "causal" / name / "held_out.parquet") for name in FITS}
    return read_inputs(paths, models, held_out, plates)


def test_everything_is_where_it_belongs(run):
    _, screen, paths, _, raw_GG, fits, responses = run
    effects = aggregate(responses)
    inputs = read(run, paths)
    assert sorted(inputs.scores) == ["causal", "causal_boot0", "causal_prior", "edge_null0"]
    np.testing.assert_array_equal(inputs.scores["causal"], fits["noprior"].score_C)
    np.testing.assert_array_equal(inputs.scores["causal_prior"], fits["main"].score_C)
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


def test_an_absent_fit_is_told(run):
    with pytest.raises(InputError, match="Run the stage `causal` first"):
        read_inputs(run[2], {"noprior": "nowhere/model.safetensors"}, {}, run[3])
