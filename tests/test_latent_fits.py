import numpy as np
import pytest
from screens import LINES, make_screen

from causcade.config import CausalConfig
from causcade.config_latent import LatentConfig
from causcade.latent import run_latent
from causcade.responses import build_responses

SETTINGS = LatentConfig(num_rounds=2)
FITS = CausalConfig(drug_folds=2)


@pytest.fixture(scope="module")
def screen():
    return make_screen()


@pytest.fixture(scope="module")
def run(screen):
    responses = build_responses(screen.conditions, screen.baselines, screen.targets, recentre=False)
    return lambda name, **options: run_latent(name, responses, screen.edges, SETTINGS, FITS, seed=1, **options)


@pytest.fixture(scope="module")
def main(run):
    return run("main")


def truth(screen, fit):
    place = {gene: i for i, gene in enumerate(screen.genes)}
    return np.array([screen.weight_GG[place[t], place[r]] != 0 for r, t in zip(fit.edges["regulator"], fit.edges["target"], strict=True)])


def test_main_finds_the_network_and_the_edge_null_does_not(screen, run, main):
    true_C = truth(screen, main)
    sure = main.edges["probability"].to_numpy() > 0.9
    null = run("edgenull0").edges["probability"].to_numpy() > 0.9
    assert true_C[sure].mean() > 0.8
    assert (true_C & sure).sum() > 3 * (true_C & null).sum()
    assert null.sum() < 0.3 * sure.sum()


def test_label_null_and_bootstrap_are_other_fits(run, main):
    for name in ("labelnull0", "boot0"):
        fit = run(name)
        assert len(fit.edges) == len(main.edges)
        assert not np.allclose(fit.edges["score"], main.edges["score"])
        assert fit.held_out.empty


def test_an_edge_null_permutes_the_partial_correlations(run):
    partial = np.linspace(-0.1, 0.1, len(run("edgenull0").edges))
    given, again, plain = (run("edgenull0", **options).edges["score"] for options in ({"partial_C": partial}, {"partial_C": partial}, {}))
    np.testing.assert_array_equal(given, again)
    added = given - plain  # twice the rank, less a constant
    assert abs(np.corrcoef(added, np.abs(partial))[0, 1]) < 0.3


def test_held_out_perturbations_are_predicted(screen, run):
    tables = [run(f"drugs{fold}").held_out for fold in range(2)]
    names = [set(table["perturbation"]) for table in tables]
    assert not names[0] & names[1]
    assert names[0] | names[1] == set(screen.drugs)
    for table in tables:
        assert np.corrcoef(table["predicted"], table["observed"])[0, 1] > 0.5
        hit = set(zip(screen.targets["perturbation"], screen.targets["target"], strict=True))
        assert not hit & set(zip(table["perturbation"], table["gene"], strict=True))


def test_a_held_out_line_is_predicted(run):
    table = run(f"line_{LINES[0]}").held_out
    assert np.corrcoef(table["predicted"], table["observed"])[0, 1] > 0.8


def test_noprior_is_main(run, main):
    np.testing.assert_array_equal(run("noprior").edges["score"], main.edges["score"])
