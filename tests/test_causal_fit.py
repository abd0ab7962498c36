import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from screens import make_screen

from causcade.causal import fit_causal, read_fit, read_weights, run_fit, write_fit
from causcade.config import CausalConfig
from causcade.errors import InputError
from causcade.responses import aggregate, build_responses

SCREEN = make_screen()
SETTINGS = CausalConfig(learning_rate=0.02, num_steps=60, l1_start=20)


@pytest.fixture(scope="module")
def responses():
    return build_responses(SCREEN.conditions, SCREEN.baselines, SCREEN.targets)


@pytest.fixture(scope="module")
def fit(responses):
    return fit_causal(responses, SCREEN.edges, SETTINGS, seed=0)


def test_prediction_is_the_truncated_series_by_dense_algebra(fit):
    dense = np.zeros((60, 60))
    dense[fit.target_C, fit.source_C] = fit.weight_C
    dense[fit.nuisance_target_N, fit.nuisance_source_N] = fit.nuisance_weight_N
    expected = sum(np.linalg.matrix_power(dense, k) for k in range(SETTINGS.num_hops + 1)) @ fit.direct_DG.T
    response = fit.predict()
    np.testing.assert_allclose(response.network.T, expected, atol=1e-4)
    np.testing.assert_allclose(response.hops[1].T, dense @ fit.direct_DG.T, atol=1e-5)
    assert len(response.hops) == SETTINGS.num_hops + 1
    np.testing.assert_allclose(response.total, response.network + response.shared)


def test_the_shared_response_leaves_listed_targets_alone(fit):
    assert not fit.predict().shared[fit.direct_drug_S, fit.direct_gene_S].any()


def test_nothing_reaches_fixed_genes(fit):
    dense = fit.operator.toarray()
    fixed = [0, 5]
    dense[fixed] = 0
    hops = fit.propagate(fit.direct_DG, fixed=fixed)
    for k, hop in enumerate(hops):
        np.testing.assert_allclose(hop.T, np.linalg.matrix_power(dense, k) @ fit.direct_DG.T, atol=1e-5)
    assert not any(hop[:, fixed].any() for hop in hops[1:])


def test_a_fit_keeps_the_doses_of_its_perturbations(fit, responses):
    table = aggregate(responses).table.set_index("perturbation").loc[fit.perturbations]
    np.testing.assert_array_equal(fit.dose_D3, table[["lowest_dose", "half_dose", "top_dose"]])
    assert (fit.dose_D3[:, [0, 2]] == [0.05, 5.0]).all()


def test_written_and_read_fits_are_equal(fit, tmp_path):
    write_fit(fit, tmp_path)
    again = read_fit(tmp_path)
    for name in (
        "weight_C",
        "information_C",
        "target_C",
        "nuisance_weight_N",
        "direct_S",
        "direct_is_seen_S",
        "strength_DF",
        "loading_FG",
        "tau_G",
        "dose_D3",
    ):
        np.testing.assert_array_equal(getattr(again, name), getattr(fit, name), err_msg=name)
    assert (again.genes, again.perturbations, again.num_hops, again.metrics) == (fit.genes, fit.perturbations, fit.num_hops, fit.metrics)
    weights = read_weights(tmp_path)
    np.testing.assert_array_equal(weights.weight, fit.weight_C)
    np.testing.assert_allclose(weights.score, fit.weight_C * np.sqrt(fit.information_C), rtol=1e-6)
    assert weights.weight.dtype == np.float32
    assert not (tmp_path / "held_out.parquet").exists()


def test_tables_of_a_fit(fit, tmp_path):
    write_fit(fit, tmp_path)
    direct = pd.read_parquet(tmp_path / "direct_effects.parquet")
    assert list(direct.columns) == ["perturbation", "gene", "direct_effect", "is_target", "is_seen"]
    assert direct["perturbation"].tolist() == SCREEN.drugs
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == list(range(60))
    assert set(records[0]) == {"step", "loss", "data_loss", "penalty", "spectral_radius", "projected", "off_target_mass"}
    assert records[-1]["data_loss"] < records[0]["data_loss"]


def test_held_out_table_is_written(responses, tmp_path):
    write_fit(run_fit("drugs0", responses, SCREEN.edges, SETTINGS, seed=0), tmp_path)
    table = pd.read_parquet(tmp_path / "held_out.parquet")
    assert list(table.columns) == ["perturbation", "gene", "predicted", "observed", "training_mean"]


def test_equal_seeds_write_equal_bytes(responses, tmp_path):
    for name in ("a", "b"):
        write_fit(fit_causal(responses, SCREEN.edges, SETTINGS, seed=3), tmp_path / name)
    for file in ("model.safetensors", "direct_effects.parquet", "metrics.jsonl"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_a_missing_fit_is_told():
    with pytest.raises(InputError, match=r"expected the values of a fit, found no such file\. Run the stage `causal` first"):
        read_weights(Path("nowhere"))
