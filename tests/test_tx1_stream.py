import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from tx1_training_cases import COLLATION, VOCABULARY, make_sources

from causcade.errors import InputError
from causcade.tx1.seeds import hashed
from causcade.tx1.shape import CollatorSettings
from causcade.tx1.stream import Order, StepBatch, TrainingStream, cut_batch, prefetched


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    return make_sources(tmp_path_factory.mktemp("plates"), {"p1": 60, "p2": 25, "p3": 40})


def all_keys(sources, epoch):
    return np.concatenate([hashed(source.read(0, source.num_cells).key_B, epoch) for source in sources])


def keys_of(stream, first, last):
    """Keys of each step, in their order."""
    return [[] if cells is None else cells.key_B.tolist() for cells in stream.cells(first, last)]


@pytest.mark.parametrize("block_cells", [None, 1, 7, 1000])
@pytest.mark.parametrize("batch_cells", [1, 6, 16, 200])
def test_every_cell_is_taken_once_in_each_epoch(plates, batch_cells, block_cells):
    stream = TrainingStream(plates, COLLATION, batch_cells=batch_cells, seed=0, block_cells=block_cells)
    num_steps = -(-3 * 125 // batch_cells) + 40 // batch_cells + 2
    drawn = [key for step in keys_of(stream, 0, num_steps) for key in step]
    assert len(drawn) == num_steps * batch_cells
    assert len(set(drawn)) == len(drawn)
    assert set(all_keys(plates, 0).tolist()) <= set(drawn)  # lanes may be ahead by a little, never behind by an epoch
    assert set(all_keys(plates, 1).tolist()) <= set(drawn)


@pytest.mark.parametrize("num_processes", [2, 3, 5, 20])
def test_a_step_takes_the_same_cells_on_any_number_of_processes(plates, num_processes):
    alone = keys_of(TrainingStream(plates, COLLATION, batch_cells=12, seed=1), 0, 15)
    parts = [
        keys_of(TrainingStream(plates, COLLATION, batch_cells=12, seed=1, rank=rank, num_processes=num_processes), 0, 15)
        for rank in range(num_processes)
    ]
    for step, expected in enumerate(alone):
        assert [key for part in parts for key in part[step]] == expected


def test_beginning_at_a_step_gives_what_follows_there(plates):
    stream = TrainingStream(plates, COLLATION, batch_cells=10, seed=0, block_cells=4)
    whole = list(stream.steps(0, 30))
    for first in (1, 13, 29):
        for resumed, expected in zip(stream.steps(first, 30), whole[first:], strict=True):
            assert resumed.step == expected.step
            for ours, theirs in zip(resumed.micros, expected.micros, strict=True):
                assert all(torch.equal(a, b) for a, b in zip(ours.batch[:4], theirs.batch[:4], strict=True))
                assert torch.equal(ours.target_BL, theirs.target_BL)


def test_the_order_depends_on_the_seed_and_the_epoch_and_not_on_the_order_of_the_sources(plates):
    first = keys_of(TrainingStream(plates, COLLATION, batch_cells=25, seed=0), 0, 5)
    assert keys_of(TrainingStream(plates[::-1], COLLATION, batch_cells=25, seed=0), 0, 5) == first
    assert keys_of(TrainingStream(plates, COLLATION, batch_cells=25, seed=1), 0, 5) != first


def test_a_step_mixes_all_sources_in_proportion(plates):
    stream = TrainingStream(plates, COLLATION, batch_cells=25, seed=0)
    of_plate = [set(hashed(source.read(0, source.num_cells).key_B, 0).tolist()) for source in plates]
    shares = np.array([[len(keys & set(step)) for keys in of_plate] for step in keys_of(stream, 0, 4)])
    np.testing.assert_allclose(shares.sum(axis=0) / 100, np.array([60, 25, 40]) / 125, atol=0.12)
    assert (shares > 0).all()


def test_micro_batches_keep_to_their_limits_and_hold_all_cells(plates):
    cells = plates[0].read(0, 60)
    for limits in ({"micro_cells": 7}, {"micro_tokens": 100}, {"micro_tokens": 1}, {}):
        micros = cut_batch(cells, cells.key_B, replace(COLLATION, **limits))
        assert sum(len(micro.batch.gene_BL) for micro in micros) == 60
        for micro in micros:
            num, length = micro.batch.gene_BL.shape
            assert num <= limits.get("micro_cells", 60)
            assert num == 1 or num * length <= limits.get("micro_tokens", 10**9)
            assert micro.batch.lengths == tuple(micro.batch.is_real_BL.sum(dim=1).tolist())
            assert micro.num_masked == int(micro.batch.is_masked_BL.sum()) > 0
    assert len(cut_batch(cells, cells.key_B, replace(COLLATION, micro_tokens=1))) == 60


def test_the_mask_and_targets_of_a_cell_do_not_depend_on_the_micro_batches(plates):
    cells = plates[0].read(0, 20)

    def told(collation):
        found = {}
        for micro in cut_batch(cells, cells.key_B, collation):
            batch = micro.batch
            for row in range(len(batch.gene_BL)):
                real = batch.is_real_BL[row]
                parts = (batch.gene_BL[row], batch.is_masked_BL[row], micro.target_BL[row], batch.value_BL[row])
                found[tuple(zip(*(part[real].tolist() for part in parts), strict=True))] = True
        return found

    assert told(COLLATION).keys() == told(replace(COLLATION, micro_cells=3)).keys()


def test_masked_values_are_replaced_and_targets_are_not(plates):
    cells = plates[0].read(0, 10)
    (micro,) = cut_batch(cells, cells.key_B, COLLATION)
    masked = micro.batch.is_masked_BL
    assert (micro.batch.value_BL[masked] == COLLATION.settings.mask_value).all()
    assert (micro.target_BL[masked] >= 1).all()
    assert torch.equal(micro.batch.value_BL[~masked], micro.target_BL[~masked])


def test_other_epochs_have_other_masks(plates):
    cells = plates[0].read(0, 10)
    masks = [cut_batch(cells, hashed(cells.key_B, epoch), COLLATION)[0].batch.is_masked_BL for epoch in (0, 1)]
    assert not torch.equal(*masks)


def test_drugs_come_along(tmp_path):
    (source,) = make_sources(tmp_path, {"p1": 16}, vocabulary=VOCABULARY.with_drug(), drug_ids={"DrugA": 2})
    collation = replace(COLLATION, settings=CollatorSettings(use_drug_token=True, keep_first=2), drug_id=VOCABULARY.size, micro_cells=5)
    for batch in TrainingStream([source], collation, batch_cells=16, seed=0).steps(0, 2):
        drug_B = torch.cat([micro.batch.drug_B for micro in batch.micros])
        assert sorted(drug_B.tolist()) == [0] * 4 + [2] * 12
        assert all((micro.batch.gene_BL[:, 1] == VOCABULARY.size).all() for micro in batch.micros)
        assert not any(micro.batch.is_masked_BL[:, :2].any() for micro in batch.micros)


def test_cells_without_a_gene_are_left_out(tmp_path):
    from cell_cases import make_store

    from causcade.tx1.sources import StoreCells

    counts = np.zeros((6, 3), dtype=int)
    counts[[0, 2, 5]] = 4
    store = make_store(tmp_path / "p1.zarr", counts, [*VOCABULARY.gene_ids[:3]])
    stream = TrainingStream([StoreCells(store, VOCABULARY, np.arange(6))], COLLATION, batch_cells=6, seed=0)
    (batch,) = stream.steps(0, 1)
    assert batch.num_cells == 3
    empty = TrainingStream([StoreCells(store, VOCABULARY, np.array([1, 3]))], COLLATION, batch_cells=2, seed=0)
    assert list(empty.steps(0, 1)) == [StepBatch(0, [], 0, 0, 0, ())]


def test_no_cells_is_an_error():
    with pytest.raises(InputError, match=r"TX1: expected cells to train on, found none\. Check"):
        Order([0, 0], seed=0, batch_cells=4)


def make_batches(num):
    return [StepBatch(step, [], 0, 0, 0, ()) for step in range(num)]


def test_prefetching_changes_nothing_and_hands_on_errors():
    assert list(prefetched(iter(make_batches(7)))) == make_batches(7)

    def failing():
        yield make_batches(1)[0]
        raise InputError("a shard is damaged")

    found = prefetched(failing())
    assert next(found).step == 0
    with pytest.raises(InputError, match="a shard is damaged"):
        next(found)


def test_prefetching_ends_its_thread_when_closed():
    def endless():
        while True:
            yield make_batches(1)[0]

    found = prefetched(endless())
    next(found)
    found.close()
    assert not any(thread.name == "training-stream" for thread in threading.enumerate())
