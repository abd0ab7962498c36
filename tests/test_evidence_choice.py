import numpy as np
import pandas as pd
import pytest

from causcade.errors import InputError
from causcade.evidence.choice import ELIGIBLE, choose_score, overlap_of_best

GENES, EDGES, DRUGS = 10, 200, 40
RNG = np.random.default_rng(0)
ORDER = RNG.permutation(EDGES).astype(float) + 1
NAMES = ("latent", "weight", "weight_no_prior", "deconvolution", "partial_correlation")


def evidence(changes=None, **columns):
    """Equal columns but for those given."""
    return pd.DataFrame(dict.fromkeys(NAMES, ORDER) | (changes or {}) | columns)


def held_out(**means):
    """Each column's correlations around a mean, the same perturbations in all."""
    noise = np.random.default_rng(1).normal(0, 0.2, DRUGS)
    own = np.random.default_rng(2)
    parts = []
    for name, mean in means.items():
        values = mean + noise + own.normal(0, 0.02, DRUGS)
        values += mean + noise.mean() - values.mean()
        names = [f"d{i}" for i in range(DRUGS)]
        parts.append(pd.DataFrame({"fit": "drugs0", "column": name, "num_edges": 10, "perturbation": names, "pearson": values}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["fit", "column", "num_edges", "perturbation", "pearson"])


def choose(asked="auto", main=None, boots=(), predicted=None):
    return choose_score(asked, evidence() if main is None else main, boots, held_out() if predicted is None else predicted, num_genes=GENES)


def test_the_best_on_held_out_perturbations_wins():
    found = choose(predicted=held_out(latent=0.2, weight=0.1, deconvolution=0.4))
    assert found["score"] == "deconvolution"
    assert "predicts held-out perturbations best (mean Pearson 0.4" in found["reason"]
    latent = found["columns"]["latent"]
    assert latent["behind_best"] == pytest.approx(0.2)
    assert latent["standard_error"] == pytest.approx(0.02 * 2**0.5 / DRUGS**0.5, rel=0.4)
    assert latent["num_perturbations"] == DRUGS
    assert found["columns"]["weight_no_prior"]["held_out"] == found["columns"]["weight"]["held_out"]


def test_of_equal_ones_the_first_that_is_stable_enough_wins():
    predicted = held_out(latent=0.4, weight=0.4, deconvolution=0.4)
    boots = [evidence(latent=ORDER[::-1], weight_no_prior=ORDER[::-1])] * 2
    found = choose(boots=boots, predicted=predicted)
    assert found["score"] == "deconvolution"
    assert found["columns"]["deconvolution"]["stability"] == 1
    assert found["columns"]["latent"]["stability"] < 0.4
    assert "the most stable has 1.00" in found["reason"]
    assert choose(boots=[evidence()], predicted=held_out(latent=0.4, weight=0.4, deconvolution=0.4005))["score"] == "latent"


def test_a_perturbation_in_two_fits_counts_once_and_pairs_are_of_one_fit():
    """`weight` is in the folds only: it is compared with the best column there, and not with that column's bootstraps."""
    first = held_out(latent=0.4, weight=0.3, deconvolution=0.35)
    boot = held_out(latent=0.2, deconvolution=0.15).assign(fit="boot0")
    found = choose(predicted=pd.concat([first, boot]))["columns"]
    assert found["weight"]["behind_best"] == pytest.approx(0.1, abs=1e-3)
    assert found["deconvolution"]["behind_best"] == pytest.approx(0.05, abs=1e-3)
    assert found["deconvolution"]["num_perturbations"] == DRUGS
    assert found["latent"]["held_out"] == pytest.approx(0.3, abs=1e-2)


def test_columns_without_perturbations_or_with_the_prior_are_shown_and_not_chosen():
    found = choose(predicted=held_out(latent=0.2, partial_correlation=0.9, weight=0.1))
    assert found["score"] == "latent"
    assert found["columns"]["partial_correlation"]["why_not"] == "no perturbation enters it"
    assert found["columns"]["partial_correlation"]["behind_best"] == pytest.approx(-0.7)
    assert not found["columns"]["weight"]["is_eligible"]


def test_a_column_that_says_nothing_is_not_chosen():
    found = choose(main=evidence(latent=0 * ORDER), predicted=held_out(latent=0.9, weight=0.1))
    assert found["score"] == "weight_no_prior"
    assert found["columns"]["latent"]["why_not"] == "it says nothing of any edge"
    nothing = choose(main=pd.DataFrame(dict.fromkeys(NAMES, 0 * ORDER)))
    assert nothing["score"] == "weight_no_prior"


def test_without_listed_targets_no_network_is_made_of_associations():
    nothing = dict.fromkeys(("latent", "weight", "weight_no_prior", "deconvolution", "mean_shift"), 0 * ORDER)
    main = pd.DataFrame({**nothing, "ridge": ORDER, "aggregate": ORDER})
    found = choose(main=main)
    assert found["score"] == "weight_no_prior"
    assert found["columns"]["ridge"]["why_not"] == "no perturbation has a listed target"
    assert choose(main=main.assign(deconvolution=ORDER, mean_shift=ORDER))["score"] == "aggregate"


def test_without_folds_stability_decides_and_without_either_the_order():
    boots = [evidence(latent=ORDER[::-1])]
    assert choose(boots=boots)["score"] == "weight_no_prior"
    found = choose()
    assert found["score"] == "latent"
    assert "no perturbation was held out" in found["reason"]
    assert found["columns"]["latent"]["stability"] is None


def test_what_is_asked_for_is_taken():
    found = choose("partial_correlation", predicted=held_out(latent=0.9))
    assert found["score"] == "partial_correlation"
    assert found["asked"] == "partial_correlation"
    with pytest.raises(InputError, match=r"expected auto or one of latent, weight, .* found ridge"):
        choose("ridge")


def test_eligible_columns_are_those_of_perturbations_without_a_prior():
    assert set(ELIGIBLE) == {"latent", "aggregate", "weight_no_prior", "deconvolution", "mean_shift", "ridge"}


def test_overlap_counts_the_best_edges_with_the_same_sign():
    own = np.array([5.0, -4, 3, 2, 1])
    assert overlap_of_best(own, own, 3) == 1
    assert overlap_of_best(own, np.array([5.0, 4, 0, 2, 3]), 3) == pytest.approx(1 / 3)
    assert overlap_of_best(own, 0 * own, 3) == 0
