from dataclasses import replace

import numpy as np
import pytest
import torch
from latent_cases import make_case, slow_sweep

from causcade.config_latent import LatentConfig
from causcade.latent import block as block_module
from causcade.latent.block import BlockData, Prior, TargetBlock
from causcade.latent.problem import make_latent_problem


def block_of(problem, part=slice(None)):
    allowed = np.ones((problem.num_genes, len(problem.source_J)), bool)
    allowed[problem.source_J, np.arange(len(problem.source_J))] = False
    as_tensor = lambda array: torch.as_tensor(np.ascontiguousarray(array))  # noqa: E731
    return TargetBlock(
        BlockData(
            effect_TD=as_tensor(problem.effect_DG[:, part].T), variance_TD=as_tensor(problem.variance_DG[:, part].T),
            weight_TD=as_tensor(problem.weight_DG[:, part].T), strength_DF=as_tensor(problem.strength_DF), allowed_TJ=as_tensor(allowed[part]),
            is_listed_T=as_tensor(problem.column_G[part] >= 0), min_tau=problem.min_tau,
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def problem():
    return make_latent_problem(make_case(num_genes=20, num_drugs=24, num_sources=6).effects, LatentConfig())


@pytest.fixture(scope="module")
def activities(problem):
    rng = np.random.default_rng(1)
    mean = problem.effect_DG[:, problem.source_J] + rng.normal(0, 0.02, (24, 6))
    return torch.as_tensor(mean), torch.as_tensor(rng.uniform(0, 0.01, (24, 6)))


def prior(num):
    return Prior(torch.full((num,), 0.03, dtype=torch.float64), torch.full((5,), 0.2, dtype=torch.float64))


def test_sweeps_against_the_specification_gene_by_gene(problem, activities):
    block = block_of(problem)
    state = {"edge": np.zeros((20, 6)), "inclusion": np.zeros((20, 6)), "tau2": np.full(20, 0.06**2)}
    state["loading"] = np.zeros((20, problem.strength_DF.shape[1]))
    for _ in range(3):
        sums = block.sweep(*activities, prior(6), renew_tau=False)
        slow_sweep(problem, state, activities[0].numpy(), activities[1].numpy(), np.full(6, 0.03))
    np.testing.assert_allclose(block.edge_TJ, state["edge"], rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(block.inclusion_TJ, state["inclusion"], rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(block.loading_TF, state["loading"], rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(sums.edges_J, state["inclusion"].sum(axis=0), rtol=1e-8)
    assert float(sums.slab_Q.sum()) == pytest.approx(state["inclusion"].sum())


@pytest.mark.parametrize("num_genes", [1, 9, 20])
def test_loop_for_gpus_finds_the_same(problem, activities, monkeypatch, num_genes):
    blocks = [block_of(problem, slice(0, num_genes)) for _ in range(2)]
    for sweep in range(3):
        sums = [blocks[0].sweep(*activities, prior(6), renew_tau=sweep > 0)]
        with monkeypatch.context() as patched:
            patched.setattr(block_module, "_by_target", block_module._by_source)
            sums.append(blocks[1].sweep(*activities, prior(6), renew_tau=sweep > 0))
        torch.testing.assert_close(sums[0], sums[1], rtol=1e-9, atol=1e-12)
    for name in TargetBlock.STATE:
        torch.testing.assert_close(getattr(blocks[0], name), getattr(blocks[1], name), rtol=1e-9, atol=1e-12)


def test_no_sources(problem, activities):
    block = TargetBlock(replace(block_of(problem).data, allowed_TJ=torch.zeros((20, 0), dtype=torch.bool)))
    sums = block.sweep(activities[0][:, :0], activities[1][:, :0], prior(0), renew_tau=True)
    assert block.edge_TJ.shape == (20, 0)
    assert not sums.slab_Q.any()


def test_a_gene_is_no_source_of_itself(problem, activities):
    block = block_of(problem)
    block.sweep(*activities, prior(6), renew_tau=True)
    own = (problem.source_J, np.arange(6))
    assert (block.inclusion_TJ.numpy()[own] == 0).all()
    assert (block.edge_TJ.numpy()[own] == 0).all()
    assert np.isneginf(block.log_odds_TJ.numpy()[own]).all()


def test_targets_do_not_know_of_each_other(problem, activities):
    whole, part = block_of(problem), block_of(problem, slice(5, 9))
    for block in (whole, part):
        for _ in range(3):
            block.sweep(*activities, prior(6), renew_tau=True)
    np.testing.assert_allclose(part.edge_TJ, whole.edge_TJ[5:9], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(part.tau2_T, whole.tau2_T[5:9], rtol=1e-10)


def test_unexplained_variance_is_the_excess_over_the_errors(problem, activities):
    block = block_of(problem)
    block.sweep(*activities, prior(6), renew_tau=False)
    before, left = block.tau2_T.clone(), block.residual(activities[0])
    block._renew_tau(activities[0])
    for t in (0, 7, 19):
        open_D = problem.weight_DG[:, t] > 0
        excess = np.mean(left[t].numpy()[open_D] ** 2 - problem.variance_DG[open_D, t])
        assert float(block.tau2_T[t]) == pytest.approx(np.clip(0.5 * float(before[t]) + 0.5 * excess, problem.min_tau**2, 1))


def test_footprint_against_a_loop(problem, activities):
    block = block_of(problem)
    block.sweep(*activities, prior(6), renew_tau=True)
    precision, moment = block.footprint(2, 5)
    edge, tau2 = block.edge_TJ.numpy(), block.tau2_T.numpy()
    for place, d in enumerate(range(2, 5)):
        expected_jj, expected_j = np.zeros((6, 6)), np.zeros(6)
        for t in range(20):
            if t in problem.source_J or problem.weight_DG[d, t] == 0:
                continue
            weight = 1 / (problem.variance_DG[d, t] + tau2[t])
            expected_jj += weight * np.outer(edge[t], edge[t])
            expected_j += weight * edge[t] * (problem.effect_DG[d, t] - problem.strength_DF[d] @ block.loading_TF[t].numpy())
        np.testing.assert_allclose(precision[place], expected_jj, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(moment[place], expected_j, rtol=1e-10, atol=1e-12)


def test_without_shared_factors(activities):
    problem = make_latent_problem(make_case(num_genes=20, num_drugs=6, num_sources=6).effects, LatentConfig())
    assert problem.strength_DF.shape == (6, 0)
    block = block_of(problem)
    block.sweep(activities[0][:6], activities[1][:6], prior(6), renew_tau=True)
    assert block.loading_TF.shape == (20, 0)
    assert torch.isfinite(block.edge_TJ).all()


def test_perturbations_that_do_not_take_part_are_as_if_absent(problem, activities):
    block = block_of(problem)
    block.takes_part_D = torch.arange(24) >= 4
    weightless = block_of(problem)
    weightless.data.weight_TD[:, :4] = 0
    for one in (block, weightless):
        one.sweep(*activities, prior(6), renew_tau=True)
    np.testing.assert_allclose(block.edge_TJ, weightless.edge_TJ, rtol=1e-12)
    np.testing.assert_allclose(block.tau2_T, weightless.tau2_T, rtol=1e-12)
