from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from tx1_cases import TINY, TINY_DRUGS, tiny_batch, tiny_model

from causcade.errors import InputError
from causcade.tx1.model import Tx1
from causcade.tx1.shape import PRESETS, CollatorSettings, DrugShape, ModelShape, forward_flops, num_parameters

VARIANTS = [TINY, TINY_DRUGS, replace(TINY, glu=True, decoder_layers=2, num_outputs=3, norm_scheme="post", gene_norm=False, expression_norm=False)]
VARIANTS.append(replace(TINY, pooling="mean"))


def test_published_sizes():
    assert {name: num_parameters(shape) for name, shape in PRESETS.items()} == {"70m": 70_996_993, "1.3b": 1_353_854_977, "3b": 2_717_048_321}


@pytest.mark.parametrize("shape", VARIANTS)
def test_number_of_parameters_is_the_models(shape):
    assert num_parameters(shape) == sum(parameter.numel() for parameter in Tx1(shape).parameters())


@pytest.mark.parametrize("shape", VARIANTS)
@pytest.mark.parametrize("options", [{}, {"decode": True}, {"only_cells": True}])
def test_operations_are_those_that_torch_counts(shape, options):
    lengths = [5, 9, 9, 13]
    # With this kernel attention is made of matrix products, which are counted one by one.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        tiny_model(shape)(tiny_batch(lengths, shape=shape, width=20), **options)
    assert forward_flops(shape, lengths, **options) == counter.get_total_flops()


def test_derived_sizes():
    shape = ModelShape(vocab_size=10, d_model=12, num_layers=1, num_heads=3, expansion=2)
    assert (shape.head_size, shape.ffn_size) == (4, 24)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_heads": 3}, "multiple of the number of heads, found 16 and 3"),
        ({"norm_scheme": "sandwich"}, "pre or post, found 'sandwich'"),
        ({"ffn_activation": "relu7"}, "found 'relu7'"),
        ({"drugs": DrugShape(num_drugs=2, activation="step")}, "found 'step'"),
    ],
)
def test_impossible_shapes(change, message):
    with pytest.raises(InputError, match=message):
        replace(TINY, **change)


def test_impossible_collation():
    with pytest.raises(InputError, match="num_bins of 3 or more, found 2"):
        CollatorSettings(num_bins=2)
    with pytest.raises(InputError, match=r"max_length above keep_first \(2\), found 2"):
        CollatorSettings(keep_first=2, max_length=2)
