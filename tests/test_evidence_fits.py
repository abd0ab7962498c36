import zlib

import numpy as np
import pytest
from evidence_cases import make_latent, write_screen
from screens import make_screen

from causcade.causal import run_fit, write_fit
from causcade.config import CausalConfig
from causcade.errors import InputError
from causcade.evidence.fits import AGGREGATED, aggregate_ranks, measure_evidence, read_fit_weights, read_scores
from causcade.evidence.perturbations import deconvolve_targets, prepare_effects, ridge_between_perturbations, shift_of_target
from causcade.responses import gene_positions, responses_for_fit

SCREEN = make_screen()
EDGES = SCREEN.edges
FITS = CausalConfig(drug_folds=2)
RNG = np.random.default_rng(0)
W = RNG.normal(size=len(EDGES))
PARTIAL = {"partial_correlation": RNG.normal(size=len(EDGES)), "partial_within": RNG.normal(size=len(EDGES))}
TRUE = SCREEN.weight_GG[[SCREEN.genes.index(g) for g in EDGES["target"]], [SCREEN.genes.index(g) for g in EDGES["regulator"]]]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_screen(SCREEN, tmp_path_factory.mktemp("screen"))


def measure(files, fit, *, edges=EDGES, with_latent=True, **weights):
    given = weights or {"weight" if fit.startswith("drugs") else "weight_no_prior": W}
    return measure_evidence(fit, files, edges, FITS, seed=0, weights=given, partial=PARTIAL, latent=make_latent(edges) if with_latent else None)


def test_columns_are_those_of_their_functions_on_the_data_of_the_fit(files):
    for fit in ("main", "labelnull0", "boot1"):
        table, held_out = measure(files, fit)
        effects, _ = responses_for_fit(fit, files, FITS, seed=0)
        data, places = prepare_effects(effects), gene_positions(EDGES, effects.genes)
        assert table[["regulator", "target"]].equals(EDGES[["regulator", "target"]])
        for name, column in (("deconvolution", deconvolve_targets), ("mean_shift", shift_of_target), ("ridge", ridge_between_perturbations)):
            np.testing.assert_allclose(table[name], column(data, *places), rtol=1e-5, atol=1e-6)
        for name, value in (PARTIAL | {"weight_no_prior": W}).items():
            np.testing.assert_array_equal(table[name], value.astype(np.float32))
        aggregate = aggregate_ranks({name: table[name].to_numpy(float) for name in AGGREGATED})
        np.testing.assert_allclose(table["aggregate"], aggregate, atol=1e-5)
        assert list(held_out.columns) == ["fit", "column", "num_edges", "perturbation", "pearson"]
        every = set(responses_for_fit("main", files, FITS, seed=0)[0].table["perturbation"])
        assert set(held_out["perturbation"]) == (every - set(effects.table["perturbation"]) if fit == "boot1" else set())
        assert set(held_out["fit"]) <= {fit}


def test_the_latent_column_has_its_sign_and_its_probability_stays_missing_where_nothing_hits(files):
    table, _ = measure(files, "main")
    latent = make_latent(EDGES)
    np.testing.assert_allclose(table["latent"], latent["score"] * latent["sign"], rtol=1e-6)
    np.testing.assert_array_equal(table["probability"].isna(), latent["probability"].isna())
    np.testing.assert_allclose(table["latent_weight"], latent["effect"], rtol=1e-6)
    without, _ = measure(files, "main", with_latent=False)
    assert not {"latent", "probability", "latent_weight"} & set(without.columns)


def test_an_edge_null_permutes_what_comes_from_cells_and_finds_no_edge(files):
    main, null = measure(files, "main")[0], measure(files, "edgenull0")[0]
    for name in PARTIAL:
        assert not np.array_equal(main[name], null[name])
        np.testing.assert_array_equal(np.sort(main[name]), np.sort(null[name]))
    # The latent fit of that name has the same permutation.
    order = np.random.default_rng([0, zlib.crc32(b"edgenull0 partial correlation")])
    np.testing.assert_array_equal(null["partial_within"], order.permutation(PARTIAL["partial_within"]).astype(np.float32))
    for name in ("deconvolution", "mean_shift", "ridge"):
        best = {fit: np.argsort(-np.abs(table[name]))[:60] for fit, table in (("main", main), ("null", null))}
        assert (TRUE[best["main"]] != 0).mean() > (TRUE[best["null"]] != 0).mean() + 0.3


def test_held_out_perturbations_are_predicted_by_every_column(files):
    table, held_out = measure(files, "drugs0")
    assert set(held_out["column"]) == {
        "latent", "weight", "deconvolution", "mean_shift", "ridge", "partial_correlation", "partial_within", "aggregate"
    }  # fmt: skip
    _, other = responses_for_fit("drugs0", files, FITS, seed=0)
    assert set(held_out["perturbation"]) == set(other.table["perturbation"])
    means = held_out.groupby("column")["pearson"].mean()
    assert means["deconvolution"] > means["weight"] + 0.2  # W is drawn at random here
    assert "weight_no_prior" not in table


def test_the_order_of_edges_does_not_matter(files):
    order = np.random.default_rng(1).permutation(len(EDGES))
    turned = EDGES.iloc[order].reset_index(drop=True)
    first = measure(files, "main", with_latent=False)[0]
    second = measure(files, "main", edges=turned, with_latent=False)[0]
    for name in ("deconvolution", "mean_shift", "ridge"):
        np.testing.assert_allclose(second[name], first[name].to_numpy()[order], rtol=1e-4, atol=1e-5)


def test_inputs_of_another_length_are_told(files):
    with pytest.raises(InputError, match=rf"main, weight: expected {len(EDGES)} edges, found 3"):
        measure(files, "main", weight=np.ones(3))
    with pytest.raises(InputError, match="expected main, noprior"):
        measure(files, "nonsense")


def test_ranks_are_averaged_and_signs_voted_for():
    columns = {"a": np.array([0.1, -5.0, 2.0, 0.0]), "b": np.array([30.0, -10.0, -20.0, 0.0]), "c": np.array([1.0, -2.0, 3.0, 0.0])}
    found = aggregate_ranks(columns)
    np.testing.assert_allclose(np.abs(found), [(0.5 + 1 + 0.5) / 3, (1 + 0.5 + 0.75) / 3, (0.75 + 0.75 + 1) / 3, 0.0], atol=1e-12)
    assert np.sign(found).tolist() == [1, -1, 1, 0]
    assert np.sign(aggregate_ranks({"a": np.array([1.0, 2.0]), "b": np.array([-1.0, -2.0])})).tolist() == [1, 1]
    assert aggregate_ranks({"a": np.zeros(0)}).shape == (0,)


def test_weights_of_a_fit_are_read_without_torch(tmp_path):
    fit = run_fit("noprior", write_screen(SCREEN, tmp_path), EDGES, CausalConfig(num_steps=3), seed=0)
    write_fit(fit, tmp_path / "noprior")
    np.testing.assert_array_equal(read_scores(tmp_path / "noprior/model.safetensors"), fit.score_C.astype(np.float64))
    np.testing.assert_array_equal(read_fit_weights(tmp_path / "noprior/model.safetensors"), fit.weight_C)
