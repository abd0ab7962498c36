"""Simple predictions of held-out responses."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from causcade.evaluation import held_out_baselines as baselines
from causcade.evaluation.rankings import Responses

DRUGS, GENES = [f"d{i}" for i in range(8)], [f"g{i}" for i in range(12)]
LINKS = pd.DataFrame(
    [("d0", "g0", -1), ("d1", "g0", -1), ("d1", "g1", 1), ("d2", "g1", 0), ("d3", "g2", -1), ("d4", "g0", 1), ("d5", "g9", -1)],
    columns=["perturbation", "gene", "sign"],
)  # fmt: skip


def draw(seed=0, names=DRUGS, **change):
    rng = np.random.default_rng(seed)
    values = {"effect_DG": rng.normal(size=(len(names), 12)), "error_DG": np.ones((len(names), 12))} | change
    return Responses(perturbations=list(names), genes=GENES, **values)


def table_of(names, genes=GENES):
    return pd.DataFrame({"perturbation": np.repeat(names, len(genes)), "gene": np.tile(genes, len(names)), "predicted": 0.0})


def test_the_mean_of_perturbations_that_share_a_target():
    training = draw(names=DRUGS[1:])
    found = baselines.same_target_mean(training, LINKS, ["d0", "d5", "d7"])
    np.testing.assert_allclose(found[0], training.effect_DG[[0, 3]].mean(axis=0))  # d1 and d4 hit g0 as well
    np.testing.assert_allclose(found[1], training.effect_DG[4])  # only d5 itself hits g9: it is in this training set
    assert np.isnan(found[2]).all()  # no known target


def test_what_was_not_measured_does_not_count():
    error = np.ones((8, 12))
    error[1, 3] = np.inf
    found = baselines.same_target_mean(draw(error_DG=error), LINKS, ["d0"])
    effect = draw().effect_DG
    assert found[0, 3] == pytest.approx(effect[[0, 4], 3].mean())
    assert found[0, 4] == pytest.approx(effect[[0, 1, 4], 4].mean())


def test_the_ridge_equals_scikit_learn():
    training = draw(1, names=DRUGS[1:])
    genes = ["g0", "g1", "g2", "g9"]
    design = np.zeros((8, 4))
    for perturbation, gene, sign in LINKS.itertuples(index=False):
        design[DRUGS.index(perturbation), genes.index(gene)] = sign or 1
    expected = Ridge(alpha=1.0).fit(design[1:], training.effect_DG).predict(design[:1])
    np.testing.assert_allclose(baselines.target_ridge(training, LINKS, ["d0"]), expected)
    assert np.isnan(baselines.target_ridge(training, LINKS, ["d7"])).all()
    assert np.isnan(baselines.target_ridge(training, LINKS.iloc[:0], ["d0"])).all()


def test_held_out_perturbations_are_not_in_their_own_baselines():
    responses = draw(2)
    tables = {"drugs0": table_of(["d0", "d3"], GENES[2:])}
    found = baselines.add_baselines(tables, responses, LINKS, {})["drugs0"]
    keep = [1, 2, 4, 5, 6, 7]
    training = draw(names=[DRUGS[i] for i in keep], effect_DG=responses.effect_DG[keep], error_DG=np.ones((6, 12)))
    for name, predict in (("same_target_mean", baselines.same_target_mean), ("target_ridge", baselines.target_ridge)):
        np.testing.assert_allclose(found[name], predict(training, LINKS, ["d0", "d3"])[:, 2:].ravel())
    assert found.loc[found["perturbation"] == "d3", "same_target_mean"].isna().all()
    assert "other_lines" not in found


def test_held_out_lines_take_the_other_lines():
    others = draw(3, names=["d0", "d1"])
    tables = {"line_A": table_of(["d0", "d2"])}
    found = baselines.add_baselines(tables, draw(2), LINKS, {"line_A": others})["line_A"]
    np.testing.assert_allclose(found["other_lines"][:12], others.effect_DG[0])
    assert found["other_lines"][12:].isna().all()
    assert "same_target_mean" not in found


def test_without_responses_or_rows_there_is_nothing_to_add():
    tables = {"drugs0": table_of(["d0"]), "drugs1": table_of([])}
    assert list(baselines.add_baselines(tables, None, LINKS, {})["drugs0"]) == ["perturbation", "gene", "predicted"]
    assert not baselines.add_baselines(tables, draw(), LINKS, {})["drugs1"].size
