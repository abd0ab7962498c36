"""Intervals: weighted metrics for all resamplings at once, against scikit-learn for each."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from causcade.evaluation import resampling


def draw(seed, num_levels, num_edges=500, num_targets=30):
    rng = np.random.default_rng(seed)
    level = np.sort(rng.integers(0, num_levels, num_edges))
    return level, rng.random(num_edges) < 0.15, rng.integers(0, num_targets, num_edges), resampling.resample_targets(num_targets, 12, rng)


@pytest.mark.parametrize("num_levels", [1, 2, 6, 100_000])
@pytest.mark.parametrize("seed", range(3))
def test_weighted_areas_equal_scikit_learn(seed, num_levels):
    level, positive, target, weight_TB = draw(seed, num_levels)
    auroc_B, auprc_B = resampling.weighted_auroc_auprc(level, positive, target, weight_TB)
    for column, (auroc, auprc) in enumerate(zip(auroc_B, auprc_B, strict=True)):
        weight = weight_TB[target, column]
        assert auroc == pytest.approx(roc_auc_score(positive, -level, sample_weight=weight), abs=1e-12)
        assert auprc == pytest.approx(average_precision_score(positive, -level, sample_weight=weight), abs=1e-12)


def test_weighted_areas_equal_repeated_edges():
    level, positive, target, weight_TB = draw(7, 50)
    auroc_B, auprc_B = resampling.weighted_auroc_auprc(level, positive, target, weight_TB)
    row = np.repeat(np.arange(level.size), weight_TB[target, 0].astype(int))
    assert auroc_B[0] == pytest.approx(roc_auc_score(positive[row], -level[row]), abs=1e-12)
    assert auprc_B[0] == pytest.approx(average_precision_score(positive[row], -level[row]), abs=1e-12)


@pytest.mark.parametrize("num_levels", [1, 6, 100_000])
def test_edges_may_count_more_than_once(num_levels):
    level, positive, target, weight_TB = draw(11, num_levels)
    often = np.random.default_rng(4).choice([0.5, 1.0, 3.0], level.size)
    auroc_B, auprc_B = resampling.weighted_auroc_auprc(level, positive, target, weight_TB, often)
    for column, (auroc, auprc) in enumerate(zip(auroc_B, auprc_B, strict=True)):
        weight = weight_TB[target, column] * often
        assert auroc == pytest.approx(roc_auc_score(positive, -level, sample_weight=weight), abs=1e-12)
        assert auprc == pytest.approx(average_precision_score(positive, -level, sample_weight=weight), abs=1e-12)


@pytest.mark.parametrize("num_levels", [1, 6, 100_000])
@pytest.mark.parametrize("num_groups", [1, 9, 300])
def test_grouped_areas_are_means_over_groups_weighted_by_their_pairs(num_groups, num_levels):
    level, positive, target, weight_TB = draw(12, num_levels)
    group = np.random.default_rng(5).integers(0, num_groups, level.size)
    order = np.lexsort((level, group))
    level, positive, target, group = level[order], positive[order], target[order], group[order]
    found_B = resampling.weighted_grouped_auroc(group, level, positive, target, weight_TB)
    for column, found in enumerate(found_B):
        weight, won, pairs = weight_TB[target, column].astype(float), 0.0, 0.0
        for one in np.unique(group):
            here = group == one
            num = (weight * here * positive).sum() * (weight * here * ~positive).sum()
            if num > 0:
                pairs += num
                won += num * roc_auc_score(positive[here], -level[here], sample_weight=weight[here])
        assert found == pytest.approx(won / pairs if pairs else np.nan, nan_ok=True)


def test_no_group_with_both_classes_has_no_value():
    weight_TB = np.ones((3, 4), dtype=np.uint8)
    place = np.arange(3)
    assert np.isnan(resampling.weighted_grouped_auroc(place, place, place > 0, place, weight_TB)).all()
    none = np.zeros(0, dtype=np.int64)
    assert np.isnan(resampling.weighted_grouped_auroc(none, none, none.astype(bool), none, weight_TB)).all()


def test_a_resampling_without_positives_has_no_value():
    # The only positive is at target 0, which the second column does not draw.
    auroc_B, auprc_B = resampling.weighted_auroc_auprc(
        np.array([0, 1]), np.array([True, False]), np.array([0, 1]), np.array([[1, 0, 2], [1, 2, 0]], dtype=np.uint8)
    )
    np.testing.assert_array_equal(auroc_B, [1, np.nan, np.nan])
    np.testing.assert_array_equal(auprc_B, [1, np.nan, np.nan])
    assert resampling.interval(auroc_B) is None


def test_no_edges_have_no_value():
    empty = np.zeros(0, dtype=np.int64)
    auroc_B, auprc_B = resampling.weighted_auroc_auprc(empty, empty.astype(bool), empty, np.ones((3, 4), dtype=np.uint8))
    assert np.isnan(auroc_B).all()
    assert np.isnan(auprc_B).all()


def test_each_resampling_draws_as_many_targets_as_there_are():
    weight_TB = resampling.resample_targets(40, 500, np.random.default_rng(0))
    assert weight_TB.shape == (40, 500)
    np.testing.assert_array_equal(weight_TB.sum(axis=0), 40)
    assert abs(weight_TB.var(axis=1).mean() - (1 - 1 / 40)) < 0.05  # binomial(T, 1/T)
    assert resampling.resample_targets(0, 5, np.random.default_rng(0)).shape == (0, 5)


def test_interval_is_the_central_95_percent():
    assert resampling.interval(np.arange(1001.0)) == (25.0, 975.0)
    assert resampling.interval(np.zeros(0)) is None
    almost = np.concatenate([np.arange(90.0), np.full(10, np.nan)])
    assert resampling.interval(almost) is not None
    assert resampling.interval(np.append(almost, np.nan)) is None


def test_interval_widens_when_targets_are_alike_within():
    # Positives sit in few targets, all good or all bad together: edges are not independent, and the interval has to say so.
    rng = np.random.default_rng(1)
    target = np.repeat(np.arange(20), 50)
    score = np.where(target % 2 == 0, 1.0, -1.0) * 2 + rng.normal(size=1000)
    positive = rng.random(1000) < 0.2
    shifted = np.where(positive, score, rng.normal(size=1000))
    order = np.argsort(-shifted)
    level = np.arange(1000)
    width = []
    for group in (target, np.arange(1000)):
        weight_TB = resampling.resample_targets(int(group.max()) + 1, 400, rng)
        low, high = resampling.interval(resampling.weighted_auroc_auprc(level, positive[order], group[order], weight_TB)[0])
        width.append(high - low)
    assert width[0] > 1.2 * width[1]
