from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from causcade.tx1.batch import TokenBatch
from causcade.tx1.checkpoint import read_checkpoint
from causcade.tx1.objective import loss_factor, squared_errors
from causcade.tx1.optimiser import BETAS, EPSILON, DecoupledAdamW, rate_factor


def read_training_batch(folder):
    """Collated training cells of the reference implementation, and their targets."""
    found = np.load(folder / "collated_train.npz")
    drug_B = torch.from_numpy(found["drug_ids"].astype(np.int64)) if "drug_ids" in found else None
    tensors = [torch.from_numpy(found[name]) for name in ("gene", "expr", "key_padding_mask", "gen_mask")]
    return TokenBatch(*tensors, drug_B), torch.from_numpy(found["expr_target"])


@pytest.mark.shared_data
@pytest.mark.parametrize("case", ["base", "chem"])
def test_three_steps_equal_those_of_the_reference(shared_data, case):
    folder = shared_data / "tx1_parity" / case
    expected = np.load(folder / "train3steps.npz")
    model = read_checkpoint(folder).model.eval()
    batch, target_BL = read_training_batch(folder)
    optimiser = DecoupledAdamW(model.parameters(), learning_rate=float(expected["lr"][0]), weight_decay=float(expected["weight_decay"]))
    assert tuple(expected["betas"]) == BETAS
    assert float(expected["eps"]) == EPSILON
    losses, norms = [], []
    for step in range(4):
        errors = squared_errors(model(batch, decode=True), target_BL, batch.is_masked_BL)
        num = int(batch.is_masked_BL.sum())
        loss = (errors.expression + errors.product) * loss_factor(num, total=num, num_micro=1, num_processes=1, mode="compatible")
        losses.append(float(loss.detach()))
        if step == 3:
            break
        optimiser.zero_grad()
        loss.backward()
        norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), float(expected["clip_norm"]))))
        optimiser.set_rate(float(expected["lr"][step] / expected["lr"][0]))
        optimiser.step()
    np.testing.assert_allclose(losses, expected["loss_before_each_step_and_final"], rtol=1e-5)
    np.testing.assert_allclose(norms, expected["grad_norm_preclip"], rtol=1e-4)
    state = model.state_dict()
    for key in [name for name in expected.files if name.startswith("param::")]:
        np.testing.assert_allclose(state[key.removeprefix("param::")].numpy(), expected[key], atol=1e-5, rtol=0, err_msg=key)
    for key, norm in zip(expected["param_norm_keys"], expected["param_norms"], strict=True):
        if not key.endswith("Wqkv.bias"):  # the gradient of the keys' part is 0 but for rounding, which Adam makes large
            np.testing.assert_allclose(float(state[key].norm()), norm, rtol=1e-5, err_msg=key)


def slow_steps(value, gradients, rates, *, learning_rate, decay):
    """Adam written out, in float64, one number at a time."""
    first = second = 0.0
    for number, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        value *= 1 - rate * decay
        first = BETAS[0] * first + (1 - BETAS[0]) * gradient
        second = BETAS[1] * second + (1 - BETAS[1]) * gradient**2
        value -= learning_rate * rate * (first / (1 - BETAS[0] ** number)) / ((second / (1 - BETAS[1] ** number)) ** 0.5 + EPSILON)
    return value


def test_steps_equal_adam_written_out_with_a_decay_that_is_not_multiplied_by_the_rate():
    parameter = nn.Parameter(torch.tensor([2.0, -1.0], dtype=torch.float64))
    unused = nn.Parameter(torch.ones(1))
    optimiser = DecoupledAdamW([parameter, unused], learning_rate=0.01, weight_decay=0.1)
    gradients, rates = [[1.0, -2.0], [0.5, 3.0], [-1.0, 0.1]], [0.5, 1.0, 0.3]
    for gradient, rate in zip(gradients, rates, strict=True):
        parameter.grad = torch.tensor(gradient, dtype=torch.float64)
        optimiser.set_rate(rate)
        optimiser.step()
    expected = [
        slow_steps(start, list(column), rates, learning_rate=0.01, decay=0.1)
        for start, column in zip([2.0, -1.0], zip(*gradients, strict=True), strict=True)
    ]
    np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=1e-12)
    assert float(unused.detach()) == 1.0  # a parameter without a gradient is left alone


def test_without_decay_it_is_adam():
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.arange(5.0)) for _ in range(2))
    pair = DecoupledAdamW([ours], learning_rate=0.1, weight_decay=0.0), torch.optim.Adam([theirs], lr=0.1, betas=BETAS, eps=EPSILON)
    for _ in range(4):
        ours.grad = torch.randn(5)
        theirs.grad = ours.grad.clone()
        for optimiser in pair:
            optimiser.step()
    assert torch.equal(ours, theirs)


def test_the_rate_rises_from_zero_and_falls_to_a_tenth_on_a_cosine():
    factors = [rate_factor(step, 100, 10) for step in range(101)]
    assert factors[0] == 0.0
    assert factors[5] == 0.5
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.55)
    assert factors[100] == pytest.approx(0.1)
    assert all(before >= after for before, after in pairwise(factors[10:]))
    assert rate_factor(120, 100, 10) == pytest.approx(0.1)


def test_the_rate_falls_to_zero_on_a_line():
    assert [rate_factor(step, 100, 10, "linear") for step in (5, 10, 55, 100)] == pytest.approx([0.5, 1.0, 0.5, 0.0])


def test_a_constant_rate_and_no_warmup():
    assert [rate_factor(step, 10, 0, "constant") for step in (0, 5, 9)] == [1.0, 1.0, 1.0]
    assert rate_factor(0, 10, 0) == 1.0
    assert rate_factor(0, 1, 1) == 0.0
