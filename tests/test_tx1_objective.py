import numpy as np
import pytest
import torch

from causcade.errors import InputError
from causcade.tx1.batch import TokenBatch, Tx1Output
from causcade.tx1.objective import loss_factor, mask_positions, scale_targets, squared_errors
from causcade.tx1.shape import CollatorSettings

SETTINGS = CollatorSettings(mlm_probability=0.5)


def make_batch(num_genes, *, length=None, with_drug=False, seed=0):
    """Cells of so many genes, in random order of genes."""
    rng = np.random.default_rng(seed)
    special = 2 if with_drug else 1
    length = length or max(num_genes) + special
    gene_BL = np.zeros((len(num_genes), length), dtype=np.int64)
    value_BL = np.full(gene_BL.shape, -2.0, dtype=np.float32)
    real_BL = np.arange(length) < np.array(num_genes)[:, None] + special
    for row, num in enumerate(num_genes):
        gene_BL[row, :special] = [1, 99][:special]
        gene_BL[row, special : special + num] = 3 + rng.permutation(60)[:num]
        value_BL[row, special : special + num] = rng.integers(1, 51, num)
    drug_B = torch.ones(len(num_genes), dtype=torch.int64) if with_drug else None
    return TokenBatch(torch.from_numpy(gene_BL), torch.from_numpy(value_BL), torch.from_numpy(real_BL), None, drug_B)


def keys(*numbers):
    return np.array(numbers, dtype=np.uint64)


@pytest.mark.parametrize("with_drug", [False, True])
def test_exact_masks_the_share_of_the_genes_and_nothing_else(with_drug):
    num_genes = [1, 2, 3, 10, 11, 40]
    batch = make_batch(num_genes, with_drug=with_drug)
    mask = mask_positions(batch, SETTINGS, keys_B=keys(*range(6)), seed=0, mode="exact")
    assert mask.sum(dim=1).tolist() == [0, 1, 1, 5, 5, 20]
    assert not (mask & ~batch.is_real_BL).any()
    assert not mask[:, : 2 if with_drug else 1].any()


def test_exact_does_not_depend_on_the_batch_or_on_the_order_of_genes():
    batch = make_batch([30, 12, 20])
    whole = mask_positions(batch, SETTINGS, keys_B=keys(7, 8, 9), seed=3, mode="exact")
    order = [1, *(1 + np.random.default_rng(1).permutation(12)).tolist()]
    order[0] = 0
    alone = TokenBatch(*(tensor[1:2, order] for tensor in batch[:3]))
    mask = mask_positions(alone, SETTINGS, keys_B=keys(8), seed=3, mode="exact")
    assert set(alone.gene_BL[mask].tolist()) == set(batch.gene_BL[1][whole[1]].tolist())


def test_other_seeds_and_other_keys_give_other_masks():
    batch = make_batch([40])
    masks = [mask_positions(batch, SETTINGS, keys_B=keys(key), seed=seed, mode="exact") for key, seed in [(1, 0), (2, 0), (1, 1)]]
    assert not torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


@pytest.mark.parametrize("mode", ["exact", "compatible"])
def test_every_position_that_can_be_masked_is_masked_as_often(mode):
    batch = make_batch([21])
    masks = torch.cat([mask_positions(batch, SETTINGS, keys_B=keys(key), seed=0, mode=mode) for key in range(2000)]).float().mean(dim=0)
    can = slice(1, 22) if mode == "exact" else slice(1, 21)
    expected = 0.5 * 21 // 1 / 21 if mode == "exact" else 0.5
    np.testing.assert_allclose(masks[can].numpy(), expected, atol=5 * 0.5 / 2000**0.5)


@pytest.mark.parametrize(("with_drug", "keep_first"), [(False, 1), (True, 2), (False, 2)])
def test_compatible_subtracts_markers_twice(with_drug, keep_first):
    num_genes = [1, 2, 3, 10, 24]
    batch = make_batch(num_genes, with_drug=with_drug)
    settings = CollatorSettings(keep_first=keep_first)
    hits = torch.zeros(batch.gene_BL.shape)
    for seed in range(300):
        mask = mask_positions(batch, settings, keys_B=keys(*range(5)), seed=seed, mode="compatible")
        hits += mask
        for row in range(5):
            # the reference, written out
            num_pads = int((batch.value_BL[row] == -2).sum())
            num = max(batch.gene_BL.shape[1] - num_pads - keep_first, 0)
            assert int(mask[row].sum()) == int(0.5 * num)
            assert not mask[row, :keep_first].any()
            assert not mask[row, keep_first + num :].any()
    special = 2 if with_drug else 1
    assert not hits[4, special + 24 - keep_first + (keep_first - special) :].any()  # the last genes never are
    assert hits[4, keep_first : keep_first + 3].min() > 0


def test_a_share_out_of_several_is_drawn_for_each_cell_or_for_the_batch():
    batch = make_batch([40] * 60)
    settings = CollatorSettings(mlm_probability=(0.25, 0.75))
    exact = mask_positions(batch, settings, keys_B=keys(*range(60)), seed=0, mode="exact").sum(dim=1)
    assert set(exact.tolist()) == {10, 30}
    assert len(set(mask_positions(batch, settings, keys_B=keys(*range(60)), seed=0, mode="compatible").sum(dim=1).tolist())) == 1


def make_output(seed=0, shape=(3, 5)):
    torch.manual_seed(seed)
    return Tx1Output(torch.zeros(shape[0], 2), None, torch.randn(shape), torch.randn(shape))


def test_errors_are_summed_over_masked_positions_alone():
    output, target = make_output(), torch.randn(3, 5)
    mask = torch.rand(3, 5) < 0.4
    output.expression_BL[~mask] = float("inf")  # what stands elsewhere plays no part
    target[~mask] = float("nan")
    errors = squared_errors(output, target, mask)
    expected = sum(float((output.expression_BL[place] - target[place]) ** 2) for place in map(tuple, mask.nonzero().tolist()))
    assert float(errors.expression) == pytest.approx(expected, rel=1e-6)
    expected = sum(float((output.product_BL[place] - target[place]) ** 2) for place in map(tuple, mask.nonzero().tolist()))
    assert float(errors.product) == pytest.approx(expected, rel=1e-6)


def test_an_empty_mask_gives_zero_and_zero_gradients():
    told = torch.randn(2, 3, requires_grad=True)
    errors = squared_errors(Tx1Output(torch.zeros(2, 1), None, told, told), torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool))
    factors = [loss_factor(0, total=0, num_micro=2, num_processes=1, mode=mode) for mode in ("exact", "compatible")]
    ((errors.expression + errors.product) * sum(factors)).backward()
    assert float(errors.expression.detach()) == 0.0
    assert torch.equal(told.grad, torch.zeros(2, 3))


def test_more_than_one_output_is_refused():
    output = Tx1Output(torch.zeros(1, 2), None, torch.zeros(1, 3, 4), torch.zeros(1, 3))
    with pytest.raises(InputError, match=r"Expected one output of the decoder of expression, found 4\. Set `n_outputs: 1`"):
        squared_errors(output, torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool))


def test_exact_factors_make_one_mean_over_all_processes_and_compatible_ones_a_mean_of_means():
    sums, nums = [30.0, 8.0, 2.0], [10, 4, 2]  # three micro-batches on two processes
    exact = [value * loss_factor(num, total=16, num_micro=2, num_processes=2, mode="exact") for value, num in zip(sums, nums, strict=True)]
    assert sum(exact) / 2 == pytest.approx(40.0 / 16 / 2)
    alone = [value * loss_factor(num, total=16, num_micro=3, num_processes=1, mode="compatible") for value, num in zip(sums, nums, strict=True)]
    assert sum(alone) == pytest.approx((3.0 + 2.0 + 1.0) / 3 / 2)


def test_scaled_targets_are_from_minus_one_to_one():
    np.testing.assert_allclose(scale_targets(torch.tensor([1.0, 25.5, 50.0]), 51).numpy(), [-1.0, 0.0, 1.0], atol=1e-6)
