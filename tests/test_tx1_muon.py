import math

import pytest
import torch
from torch import nn
from tx1_training_cases import make_model

from causcade.tx1.muon import MOMENTUM, SCALE, Muon, inner_matrices, orthogonal


@pytest.mark.parametrize("shape", [(8, 8), (24, 6), (5, 40)])
def test_singular_values_come_to_about_one_and_directions_stay(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 1e-3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    found = torch.linalg.svdvals(orthogonal(matrix))
    assert float(found.min()) > 0.6
    assert float(found.max()) < 1.3
    rotated = left.T @ orthogonal(matrix) @ right.T  # diagonal in the same directions
    torch.testing.assert_close(rotated, torch.diag(rotated.diag()), atol=1e-4, rtol=0)
    assert not orthogonal(torch.zeros(shape)).any()


def test_steps_equal_those_written_out():
    random = torch.Generator().manual_seed(0)
    parameter = nn.Parameter(torch.randn(12, 4, generator=random))  # three fused matrices
    expected, momentum = parameter.detach().clone(), torch.zeros(12, 4)
    optimiser = Muon([parameter], learning_rate=0.02, weight_decay=0.1)
    for factor in (0.0, 1.0, 0.5):
        gradient = torch.randn(12, 4, generator=random)
        momentum = MOMENTUM * momentum + (1 - MOMENTUM) * gradient
        ahead = MOMENTUM * momentum + (1 - MOMENTUM) * gradient
        step = torch.cat([orthogonal(ahead[start : start + 4]) for start in (0, 4, 8)]) * SCALE * math.sqrt(4)
        expected = expected * (1 - 0.1 * factor) - 0.02 * factor * step
        parameter.grad = gradient.clone()
        optimiser.set_rate(factor)
        optimiser.step()
        torch.testing.assert_close(parameter.detach(), expected)
    parameter.grad = None
    optimiser.step()
    torch.testing.assert_close(parameter.detach(), expected)  # without a gradient it is left alone


def test_matrices_of_one_shape_go_together_and_each_comes_out_as_alone(monkeypatch):
    random = torch.Generator().manual_seed(1)
    shapes = [(4, 4), (6, 4), (12, 4), (4, 6), (4, 4), (4, 6), (3, 9)]
    drawn = [(torch.randn(shape, generator=random), torch.randn(shape, generator=random)) for shape in shapes]

    def stepped(groups, most=2**22):
        monkeypatch.setattr("causcade.tx1.muon.MOST_TOGETHER", most)
        parameters = [nn.Parameter(weight.clone()) for weight, _ in drawn]
        for parameter, (_, gradient) in zip(parameters, drawn, strict=True):
            parameter.grad = gradient
        for group in groups(parameters):
            Muon(group, learning_rate=0.02, weight_decay=0.1).step()
        return parameters

    alone = stepped(lambda parameters: [[parameter] for parameter in parameters])
    for most in (1, 40, 2**22):
        for one, other in zip(stepped(lambda parameters: [parameters], most), alone, strict=True):
            torch.testing.assert_close(one, other)


def test_tables_vectors_and_the_first_and_last_maps_are_not_taken():
    model = make_model()
    names = {id(value): name for name, value in model.named_parameters()}
    taken = {names[id(matrix)].removeprefix("model.") for matrix in inner_matrices(model)}
    layer = ("self_attn.Wqkv", "self_attn.out_proj", "up_proj", "down_proj")
    assert taken == {f"transformer_encoder.layers.{number}.{part}.weight" for number in (0, 1) for part in layer} | {
        "expression_encoder.linear2.weight", "expression_decoder.linear_layers.0.weight", "mvc_decoder.gene2query.weight", "mvc_decoder.W.weight",
    }  # fmt: skip
