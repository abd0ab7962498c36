import itertools
import math

import numpy as np
import pytest
import torch
from tx1_cases import tiny_batch

from causcade.errors import InputError
from causcade.tx1 import attention
from causcade.tx1.attention import attend, lay_out

LENGTHS = [5, 3, 9, 3, 1, 9]


def slow_attention(q, k, v, bounds, is_hidden=None):
    """One query after another."""
    out = torch.zeros_like(q)
    is_whole = len(q) == len(k)
    for cell, (start, stop) in enumerate(itertools.pairwise(bounds)):
        for token in range(start, stop) if is_whole else [start]:
            place = token if is_whole else cell
            keys = [j for j in range(start, stop) if is_hidden is None or not is_hidden[j] or j == token]
            for head in range(q.shape[1]):
                score = torch.stack([q[place, head] @ k[j, head] for j in keys]) / math.sqrt(q.shape[2])
                out[place, head] = torch.softmax(score, 0) @ torch.stack([v[j, head] for j in keys])
    return out


def by_bounds(q, k, v, bounds_q, bounds_k, max_q, max_k):
    """What torch's kernel computes, from the bounds it is given."""
    out = torch.zeros_like(q)
    for a, b, c, d in zip(bounds_q[:-1], bounds_q[1:], bounds_k[:-1], bounds_k[1:], strict=True):
        assert b - a <= max_q
        assert d - c <= max_k
        one = (part.transpose(0, 1)[None] for part in (q[a:b], k[c:d], v[c:d]))
        out[a:b] = torch.nn.functional.scaled_dot_product_attention(*one)[0].transpose(0, 1)
    return out


def random_tokens(layout, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, layout.num_tokens, 2, 8, generator=generator, dtype=torch.float64)


def test_cells_are_packed_shortest_first():
    batch = tiny_batch(LENGTHS, width=12)
    layout = lay_out(batch)
    assert layout.bounds.tolist() == [0, 1, 4, 7, 12, 21, 30]
    assert layout.groups == [(0, 1, 1), (1, 2, 3), (7, 1, 5), (12, 2, 9)]
    assert (layout.max_length, layout.num_cells, layout.num_tokens, layout.is_even) == (9, 6, 30, False)
    order = np.argsort(LENGTHS, kind="stable")
    expected = torch.cat([batch.gene_BL[cell, : LENGTHS[cell]] for cell in order])
    assert torch.equal(layout.pack(batch.gene_BL), expected)
    assert torch.equal(batch.gene_BL[order][:, 0], layout.pack(batch.gene_BL)[layout.first_B])
    assert layout.rank_B[order].tolist() == list(range(6))
    assert torch.equal(layout.unpack(expected), batch.gene_BL * batch.is_real_BL)
    assert torch.equal(layout.unpack(expected[:, None].float())[..., 0], (batch.gene_BL * batch.is_real_BL).float())


def test_given_lengths_are_the_counted_ones():
    batch = tiny_batch(LENGTHS)
    counted, given = lay_out(batch), lay_out(batch.to("cpu"))
    assert counted.groups == given.groups
    assert torch.equal(counted.row_T, given.row_T)
    assert torch.equal(counted.column_T, given.column_T)


@pytest.mark.parametrize("lengths", [LENGTHS, [4, 4, 4], [7], [1, 1]])
@pytest.mark.parametrize("only_first", [False, True])
@pytest.mark.parametrize("kernel", ["groups", "bounds"])
def test_equals_slow_attention(monkeypatch, lengths, only_first, kernel):
    layout = lay_out(tiny_batch(lengths))
    if kernel == "bounds":
        monkeypatch.setattr(attention, "_takes_bounds", lambda *_: True)
        layout.varlen_attn = by_bounds
    q, k, v = random_tokens(layout)
    q = q[layout.first_B] if only_first else q
    torch.testing.assert_close(attend(q, k, v, layout), slow_attention(q, k, v, layout.bounds.tolist()))


@pytest.mark.parametrize("only_first", [False, True])
def test_hidden_tokens_are_keys_to_themselves_only(only_first):
    layout = lay_out(tiny_batch(LENGTHS))
    layout.is_hidden_T = torch.rand(layout.num_tokens, generator=torch.Generator().manual_seed(1)) < 0.5
    layout.is_hidden_T[:1] = True  # a cell of one hidden token sees itself
    q, k, v = random_tokens(layout)
    q = q[layout.first_B] if only_first else q
    torch.testing.assert_close(attend(q, k, v, layout), slow_attention(q, k, v, layout.bounds.tolist(), layout.is_hidden_T.tolist()))


def test_no_cells():
    batch = tiny_batch([3])
    layout = lay_out(batch._replace(gene_BL=batch.gene_BL[:0], is_real_BL=batch.is_real_BL[:0]))
    q, k, v = torch.zeros(3, 0, 2, 8)
    assert attend(q, k, v, layout).shape == (0, 2, 8)


def test_cpu_and_single_precision_have_no_kernel_with_bounds():
    layout = lay_out(tiny_batch(LENGTHS))
    assert layout.varlen_attn is None
    assert not attention._takes_bounds(torch.zeros(1, dtype=torch.bfloat16), layout)


def test_pads_before_real_positions():
    batch = tiny_batch([3, 5])
    with pytest.raises(InputError, match="pads at the end of each cell"):
        lay_out(batch._replace(is_real_BL=batch.is_real_BL.flip(1)))


@pytest.mark.parametrize(
    ("lengths", "least", "message"), [((3,), 1, "each of 2 cells, found 1"), ((3, 6), 1, "found 3 to 6"), ((1, 5), 2, "found 1 to 5")]
)
def test_impossible_lengths(lengths, least, message):
    with pytest.raises(InputError, match=message):
        lay_out(tiny_batch([3, 5])._replace(lengths=lengths), least=least)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("lengths", [[500, 37, 1024, 500, 2], [64, 64, 64]])
@pytest.mark.parametrize("head_size", [64, 128])
@pytest.mark.parametrize("only_first", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_on_a_gpu_outputs_and_gradients_are_those_of_a_cpu(lengths, head_size, only_first, dtype):
    batch, results = tiny_batch(lengths), []
    generator = torch.Generator().manual_seed(0)
    parts = torch.randn(3, sum(lengths), 4, head_size, generator=generator).to(dtype)
    for device in ("cpu", "cuda"):
        layout = lay_out(batch.to(device))
        leaf = (parts.to(device) if device == "cuda" else parts.double()).requires_grad_()
        q, k, v = leaf
        out = attend(q[layout.first_B] if only_first else q, k, v, layout)
        out.square().sum().backward()
        results.append((out.detach().cpu().double(), leaf.grad.cpu().double()))
    tolerance = 2e-2 if dtype == torch.bfloat16 else 1e-4
    for cpu, gpu in zip(*results, strict=True):
        assert (cpu - gpu).abs().max() < tolerance * cpu.abs().max()
