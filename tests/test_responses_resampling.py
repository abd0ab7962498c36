from dataclasses import replace

import numpy as np
import pytest
from screens import make_screen

from causcade.errors import InputError
from causcade.responses import aggregate, bootstrap, build_responses, drug_folds, edge_null, hold_out_drugs, hold_out_line, label_null


@pytest.fixture(scope="module")
def responses():
    screen = make_screen()
    return build_responses(screen.conditions, screen.baselines, screen.targets)


@pytest.fixture(scope="module")
def effects(responses):
    return aggregate(responses)


def rng():
    return np.random.default_rng(5)


def test_edge_null_permutes_each_gene_with_its_errors_on_its_own(effects):
    null = edge_null(effects, rng())
    pairs = lambda e, g: sorted(zip(e.effect_DG[:, g].tolist(), e.se_DG[:, g].tolist(), strict=True))  # noqa: E731
    assert all(pairs(null, g) == pairs(effects, g) for g in range(len(effects.genes)))
    places = [np.argmax(null.effect_DG[:, g] == effects.effect_DG[0, g]) for g in range(len(effects.genes))]
    assert len(set(places)) > 10, "genes must move independently"
    before, after = np.corrcoef(effects.effect_DG.T), np.corrcoef(null.effect_DG.T)
    off = ~np.eye(len(before), dtype=bool)
    assert np.abs(after[off]).mean() < 0.75 * np.abs(before[off]).mean()
    np.testing.assert_array_equal(null.is_target_DG, effects.is_target_DG)


def test_edge_null_leaves_what_a_perturbation_does_to_its_own_targets(effects):
    null = edge_null(effects, rng())
    listed = effects.is_target_DG
    assert listed.any()
    np.testing.assert_array_equal(null.effect_DG[listed], effects.effect_DG[listed])
    np.testing.assert_array_equal(null.se_DG[listed], effects.se_DG[listed])
    assert (null.effect_DG[~listed] != effects.effect_DG[~listed]).mean() > 0.8


def test_label_null_moves_target_sets_and_keeps_responses(effects):
    null = label_null(effects, rng())
    np.testing.assert_array_equal(null.effect_DG, effects.effect_DG)
    sets = lambda e: sorted(map(tuple, e.sign_DG.tolist()))  # noqa: E731
    assert sets(null) == sets(effects)
    assert (null.is_target_DG != effects.is_target_DG).any()


def test_label_null_leaves_perturbations_without_target_alone(effects):
    known = (np.arange(len(effects.table)) != 3)[:, None]
    partly = replace(effects, is_target_DG=effects.is_target_DG & known, sign_DG=effects.sign_DG * known)
    assert not label_null(partly, rng()).is_target_DG[3].any()


def test_bootstrap_draws_whole_perturbations(effects):
    boot = bootstrap(effects, rng())
    assert boot.table["weight"].sum() == len(effects.table)
    assert boot.table["weight"].min() >= 1
    assert len(boot.table) < len(effects.table)
    row = effects.table["perturbation"].tolist().index(boot.table["perturbation"].iloc[0])
    np.testing.assert_array_equal(boot.effect_DG[0], effects.effect_DG[row])


def test_equal_seeds_equal_draws(effects):
    np.testing.assert_array_equal(edge_null(effects, rng()).effect_DG, edge_null(effects, rng()).effect_DG)
    assert bootstrap(effects, rng()).table.equals(bootstrap(effects, rng()).table)


def test_folds_partition_the_perturbations_with_a_target(effects):
    folds = drug_folds(effects, 3, rng())
    listed = effects.table.loc[effects.num_targets_D > 0, "perturbation"].tolist()
    assert sorted(name for fold in folds for name in fold) == listed
    assert max(map(len, folds)) - min(map(len, folds)) <= 1
    with pytest.raises(InputError, match="expected at least 99 perturbations with a known target"):
        drug_folds(effects, 99, rng())


def test_held_out_drugs_leave_the_training_set(effects):
    training, held_out = hold_out_drugs(effects, ["drug00", "drug05"])
    assert held_out.table["perturbation"].tolist() == ["drug00", "drug05"]
    assert not training.table["perturbation"].isin(["drug00", "drug05"]).any()
    assert len(training.table) == len(effects.table) - 2


def test_held_out_line_and_its_messages(responses):
    training, held_out = hold_out_line(responses, "A549")
    assert set(held_out.obs["cell_line"]) == {"A549"}
    assert "A549" not in set(training.obs["cell_line"])
    with pytest.raises(InputError, match="expected one of several cell lines, found 'NONE'"):
        hold_out_line(responses, "NONE")
    with pytest.raises(InputError, match="expected one of several cell lines"):
        hold_out_line(training, "HepG2")
