import numpy as np
import pytest
import torch

from causcade.latent.activities import ActivityData, Evidence, first_activities, first_variances, solve_activities


def data_of(rng, num_drugs=5, num_listed=3):
    tensor = lambda array: torch.as_tensor(np.asarray(array))  # noqa: E731
    listed = rng.random((num_drugs, num_listed)) < 0.4
    sign = np.where(listed, rng.choice([-1.0, 0.0, 1.0], listed.shape), 0.0)
    return ActivityData(
        tensor(rng.normal(0, 1, listed.shape)), tensor(rng.uniform(0.01, 0.1, listed.shape)), tensor(listed), tensor(np.zeros(listed.shape, bool)),
        tensor(sign),
        tensor(rng.random(listed.shape) < 0.7), tensor(np.ones(listed.shape, bool)), tensor(np.zeros(listed.shape, bool)), 0.8, 0.56, 0.4,
    )  # fmt: skip


def test_only_listed_targets_start_with_an_activity():
    tensor = lambda array: torch.tensor(array, dtype=torch.float64)  # noqa: E731
    listed = torch.tensor([[True, True, False, False]])
    seen = torch.tensor([[True, False, True, True]])
    data = ActivityData(
        tensor([[-1.0, -0.1, 1.0, 0.1]]), tensor([[0.01] * 4]), listed, listed & False, tensor([[-1.0, -1.0, 0, 0]]), seen,
        torch.ones_like(seen), listed & ~seen, 0.8, 0.5, 0.4,
    )  # fmt: skip
    np.testing.assert_allclose(first_variances(data), [[0, 0.16, 0, 0]])
    np.testing.assert_allclose(first_activities(data), [[-1.0, -0.8, 0.0, 0.0]])


def test_posterior_is_that_of_the_normal_model_written_out():
    rng = np.random.default_rng(0)
    data = data_of(rng)
    edge = rng.normal(0, 0.3, (3, 3)) * (1 - np.eye(3))
    tau2, shared = rng.uniform(0.01, 0.05, 3), rng.normal(0, 0.1, (5, 3))
    lower = rng.normal(0, 1, (5, 3, 3))
    footprint, moment = lower @ lower.transpose(0, 2, 1), rng.normal(0, 1, (5, 3))
    known = Evidence(*(torch.as_tensor(a) for a in (edge, tau2, shared[1:4], footprint[1:4], moment[1:4])))
    mean, variance, seen, listed = solve_activities(data, slice(1, 4), known, torch.zeros(3, dtype=torch.bool))
    np.testing.assert_array_equal(seen, data.seen_DJ[1:4])
    np.testing.assert_array_equal(listed, data.listed_DJ[1:4])
    for place, d in enumerate(range(1, 4)):
        # a = (I - W)^-1 u: a prior of a, times measurements, times the footprint
        mean_u = data.sign_DJ[d].numpy() * 0.8
        var_u = np.where(data.listed_DJ[d], 0.56**2 + (data.sign_DJ[d].numpy() == 0) * 0.8**2, tau2)
        inverse = np.linalg.inv(np.eye(3) - edge)
        prior_precision = np.linalg.inv(inverse @ np.diag(var_u) @ inverse.T)
        # what is not hit has an error of half its change beside that of its mRNA
        error = data.variance_DJ[d].numpy() + (0.5 * data.effect_DJ[d].numpy() * ~data.listed_DJ[d].numpy()) ** 2
        measured = data.seen_DJ[d].numpy() / error
        precision = prior_precision + np.diag(measured) + footprint[d]
        right = prior_precision @ inverse @ mean_u + measured * (data.effect_DJ[d].numpy() - shared[d]) + moment[d]
        covariance = np.linalg.inv(precision)
        np.testing.assert_allclose(mean[place], covariance @ right, rtol=1e-8)
        np.testing.assert_allclose(variance[place], np.diag(covariance), rtol=1e-8)


def two_genes(mrna, *, footprint=0.0, moment=0.0, edge=0.0):
    """One perturbation of the first of two listed genes, undecided; the second is measured and regulated by the first with `edge`."""
    tensor = lambda array: torch.tensor(array, dtype=torch.float64)  # noqa: E731
    is_first, both = torch.tensor([[True, False]]), torch.tensor([[True, True]])
    data = ActivityData(tensor([mrna]), tensor([[0.01, 0.01]]), is_first, ~both, tensor([[-1.0, 0.0]]), both, both, ~both, 0.8, 0.5, 0.4)
    known = Evidence(
        tensor([[0.0, 0.0], [edge, 0.0]]),
        tensor([0.01, 0.01]),
        tensor([[0.0, 0.0]]),
        tensor([[[footprint, 0.0], [0.0, 0.0]]]),
        tensor([[moment, 0.0]]),
    )
    return solve_activities(data, slice(0, 1), known, torch.tensor([True]))


def test_a_perturbation_whose_target_moves_acts_on_mrna():
    found = two_genes([-1.0, -0.6], edge=0.6)
    assert found.seen_dJ.tolist() == [[True, True]]
    assert found.mean_dJ[0, 0] == pytest.approx(-1.0, abs=0.05)


def test_a_perturbation_whose_target_does_not_move_but_what_follows_does_acts_on_activity():
    found = two_genes([0.0, -0.6], edge=0.6)
    assert found.seen_dJ.tolist() == [[False, True]]
    assert found.mean_dJ[0, 0] == pytest.approx(-1.0, abs=0.15)
    # the same told by the genes that are not listed
    told = two_genes([0.0, 0.0], footprint=400.0, moment=-400.0)
    assert told.seen_dJ.tolist() == [[False, True]]
    assert told.mean_dJ[0, 0] == pytest.approx(-1.0, abs=0.05)


def test_marginal_likelihoods_of_the_two_ways_differ_by_that_of_the_data():
    # against the density of all measurements: moment = precision x (a measurement of the activity with that precision)
    for mrna in (-0.5, -0.2):
        values = np.array([mrna, -0.9])
        rows = np.array([[1.0], [1.0]])
        densities = []
        for first_row, first_variance in ((1.0, 0.01), (0.0, 0.01 + 0.01)):  # the mRNA measures the activity, or follows its (no) regulators
            rows[0, 0] = first_row
            covariance = np.diag([first_variance, 1 / 50]) + 0.25 * rows @ rows.T
            rest = values + 0.8 * rows[:, 0]
            densities.append(-0.5 * rest @ np.linalg.solve(covariance, rest) - 0.5 * np.linalg.slogdet(covariance)[1])
        found = two_genes([mrna, 0.0], footprint=50.0, moment=-0.9 * 50)
        assert bool(found.seen_dJ[0, 0]) == (densities[0] >= densities[1])


def test_a_hidden_target_without_a_footprint_keeps_its_prior():
    tensor = lambda array: torch.tensor(array, dtype=torch.float64)  # noqa: E731
    data = ActivityData(
        tensor([[5.0]]), tensor([[0.01]]), torch.tensor([[True]]), torch.tensor([[False]]), tensor([[-1.0]]),
        torch.tensor([[False]]), torch.tensor([[True]]),
        torch.tensor([[False]]), 0.8, 0.5, 0.4,
    )  # fmt: skip
    zero = torch.zeros(1, 1, dtype=torch.float64)
    mean, variance, seen, _ = solve_activities(data, slice(0, 1), Evidence(zero, tensor([0.01]), zero, zero[None], zero), torch.tensor([False]))
    np.testing.assert_allclose(mean, [[-0.8]])
    np.testing.assert_allclose(variance, [[0.25]])
    assert seen.tolist() == [[False]]


def test_a_knockout_has_the_typical_effect_whatever_its_targets_do():
    """Its target follows it, and is an equation of the others; nothing that regulates the gene that is knocked out matters."""
    tensor = lambda array: torch.tensor(array, dtype=torch.float64)  # noqa: E731
    is_first, none = torch.tensor([[True, False]]), torch.tensor([[False, False]])
    data = ActivityData(
        tensor([[9.0, -0.2]]), tensor([[0.01, 0.01]]), is_first, none, tensor([[-1.0, 0.0]]), ~is_first, ~none, is_first, 0.8, 0.56, 0.4
    )
    zero = torch.zeros(1, 2, dtype=torch.float64)
    edges = tensor([[0.0, 0.7], [0.5, 0.0]])
    known = Evidence(edges, tensor([0.01, 0.01]), zero, torch.zeros(1, 2, 2, dtype=torch.float64), tensor([[30.0, 0.0]]))
    mean, variance, *_ = solve_activities(data, slice(0, 1), known, torch.tensor([False]))
    np.testing.assert_allclose(mean, [[-0.8, (-0.2 * 50 + 0.5 * -0.8 * 100) / 150]], rtol=1e-3)
    np.testing.assert_allclose(variance, [[0.16, 1 / 150]], rtol=1e-3)


@pytest.mark.parametrize("edge", [0.5, 0.0])
def test_what_moves_beside_a_quiet_target_may_follow_it(edge):
    """The drug lists both genes, only the second moves, and what both regulate has moved."""
    tensor = lambda array: torch.tensor(array, dtype=torch.float64)  # noqa: E731
    first, second, none = torch.tensor([[True, False]]), torch.tensor([[False, True]]), torch.tensor([[False, False]])
    data = ActivityData(tensor([[0.0, -0.4]]), tensor([[0.001, 0.001]]), second, first, tensor([[-1.0, -1.0]]), ~none, ~none, none, 0.8, 0.5, 0.4)
    zero = torch.zeros(1, 2, dtype=torch.float64)
    precision, moment = tensor([[[edge * 400, 0.0], [0.0, 400.0]]]), tensor([[edge * -320.0, -160.0]])
    known = Evidence(tensor([[0.0, 0.0], [edge, 0.0]]), tensor([0.001, 0.001]), zero, precision, moment)
    found = solve_activities(data, slice(0, 1), known, torch.tensor([True]))
    assert found.listed_dJ[0, 0] == bool(edge)
    assert found.seen_dJ[0, 0] != bool(edge)
    np.testing.assert_allclose(found.mean_dJ, [[-0.8, -0.4]] if edge else [[0.0, -0.4]], atol=0.02)
