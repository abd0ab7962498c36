import torch
from tx1_cases import TINY_DRUGS, tiny_batch


def test_moving_keeps_everything_and_counts_lengths():
    batch = tiny_batch([4, 7, 2], shape=TINY_DRUGS, masked=0.5)
    assert batch.lengths is None
    moved = batch.to("cpu")
    assert moved.lengths == (4, 7, 2)
    for before, after in zip(batch[:5], moved[:5], strict=True):
        assert torch.equal(before, after)


def test_moving_keeps_absent_parts_and_given_lengths():
    batch = tiny_batch([3, 5])._replace(lengths=(3, 5))
    moved = batch.to("meta")  # no lengths could be counted there
    assert moved.gene_BL.is_meta
    assert moved.is_masked_BL is None
    assert moved.drug_B is None
    assert moved.lengths == (3, 5)
