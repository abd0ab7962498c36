"""Embedding of a cell store: equal to that of its counts, whatever the shards, workers and interruptions."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from cell_cases import make_store
from tx1_embedding_cases import UNKNOWN, small_cells, small_checkpoint

from causcade.errors import InputError
from causcade.files import write_json
from causcade.tx1 import inference, sharding, worker
from causcade.tx1.checkpoint import write_checkpoint
from causcade.tx1.embedded import EmbedSettings
from causcade.tx1.inference import embed_counts
from causcade.tx1.sharding import embed_store

TOLERANCE = 1e-5
ROWS = np.array([0, 2, 3, 5, *range(8, 38)])


@pytest.fixture(scope="module")
def cells():
    return small_cells(empty=(5,))


@pytest.fixture(scope="module")
def store(tmp_path_factory, cells):
    counts, gene_ids = cells
    return make_store(tmp_path_factory.mktemp("plate") / "p1.zarr", counts.toarray().astype(int), gene_ids)


@pytest.fixture(scope="module")
def checkpoint():
    return small_checkpoint()


@pytest.fixture(scope="module")
def expected(cells, checkpoint):
    counts, gene_ids = cells
    keys = pd.util.hash_array(np.array([f"c{row}" for row in ROWS], dtype=object))
    return embed_counts(checkpoint, counts[ROWS], gene_ids, settings=EmbedSettings(max_length=20, gene_embeddings=True), keys=keys)


def settings(**options):
    return EmbedSettings(**{"max_length": 20, "gene_embeddings": True, "shard_cells": 10, "block_cells": 4} | options)


def check_equal(found, expected):
    np.testing.assert_allclose(found.z_ND, expected.z_ND, atol=TOLERANCE)
    np.testing.assert_allclose(found.gene_mean_GD, expected.gene_mean_GD, atol=TOLERANCE)
    for name in ("empty", "gene_ids", "gene_cells_G"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert found.covered == pytest.approx(expected.covered)


@pytest.mark.parametrize("options", [{}, {"shard_cells": 1}, {"shard_cells": 1000, "block_cells": 1000}, {"batch_tokens": 30}])
def test_shards_change_nothing(store, checkpoint, expected, options, monkeypatch):
    monkeypatch.setattr(sharding, "READ_CELLS", 7)
    found = embed_store(store, ROWS, checkpoint, settings(**options))
    check_equal(found, expected)
    assert found.empty.tolist() == [3]


def test_whole_plate_by_default_settings(store, checkpoint, cells):
    found = embed_store(store, np.arange(store.num_cells), checkpoint, EmbedSettings())
    np.testing.assert_allclose(found.z_ND, embed_counts(checkpoint, *cells, settings=EmbedSettings()).z_ND, atol=TOLERANCE)
    assert found.gene_ids.shape == (0,)
    assert found.gene_mean_GD.shape == (0, 16)


def test_two_workers_equal_one(store, checkpoint, expected, tmp_path):
    found = embed_store(store, ROWS, checkpoint, settings(), scratch=tmp_path / "scratch", workers=2, devices=["cpu"])
    check_equal(found, expected)
    assert (tmp_path / "scratch" / "worker-1.json").exists()


def test_finished_shards_are_not_computed_again(store, checkpoint, expected, tmp_path, monkeypatch, caplog):
    folder, embedded = tmp_path / "scratch", []
    embed = inference.CellEmbedder.embed

    def stopping(self, block, where=""):
        if len(embedded) == 5:  # within the second shard
            raise KeyboardInterrupt
        embedded.append(block.counts_BF.shape[0])
        return embed(self, block, where)

    monkeypatch.setattr(inference.CellEmbedder, "embed", stopping)
    with pytest.raises(KeyboardInterrupt):
        embed_store(store, ROWS, checkpoint, settings(), scratch=folder)
    assert sorted(path.name for path in folder.glob("shard-*")) == ["shard-00000.npz"]
    embedded[:] = []
    monkeypatch.setattr(inference.CellEmbedder, "embed", lambda self, block, where="": embedded.append(len(block.key_B)) or embed(self, block, where))
    with caplog.at_level("INFO", logger="causcade"):
        check_equal(embed_store(store, ROWS, checkpoint, settings(), scratch=folder), expected)
    assert "1 of 4 shards are embedded already" in caplog.text
    assert sum(embedded) == len(ROWS) - 10
    embedded[:] = []
    # other batches are as good; nothing is left to do
    check_equal(embed_store(store, ROWS, checkpoint, settings(batch_tokens=50, block_cells=9), scratch=folder), expected)
    assert not embedded


@pytest.mark.parametrize("change", ["model", "settings", "rows", "file"])
def test_what_belongs_to_something_else_is_removed(store, checkpoint, tmp_path, change):
    folder = tmp_path / "scratch"
    embed_store(store, ROWS, checkpoint, settings(), scratch=folder)
    (folder / "left_over").touch()
    model, rows, chosen = checkpoint, ROWS, settings()
    if change == "model":
        model = small_checkpoint(seed=1)
    elif change == "rows":
        rows = ROWS + 1
    elif change == "file":
        (folder / "z.npy").unlink()
    else:
        chosen = settings(max_length=19)
    found = embed_store(store, rows, model, chosen, scratch=folder)
    assert not (folder / "left_over").exists()
    check_equal(found, embed_store(store, rows, model, chosen))


def test_cells_keep_their_sample_in_another_selection(store, checkpoint):
    whole = embed_store(store, np.arange(40), checkpoint, settings(max_length=8)).z_ND
    part = embed_store(store, ROWS, checkpoint, settings(max_length=8)).z_ND
    np.testing.assert_allclose(part, whole[ROWS], atol=TOLERANCE)


def test_drugs_go_with_their_cells(store, cells):
    checkpoint = small_checkpoint(drugs=True)
    drugs = np.random.default_rng(0).choice(["a", "b", "unknown"], len(ROWS))
    found = embed_store(store, ROWS, checkpoint, settings(max_length=100), drugs=drugs)
    counts, gene_ids = cells
    np.testing.assert_allclose(
        found.z_ND, embed_counts(checkpoint, counts[ROWS], gene_ids, settings=EmbedSettings(), drugs=drugs).z_ND, atol=TOLERANCE
    )


def test_compatible_batches_are_not_cut_by_shards(store, cells, monkeypatch):
    monkeypatch.setattr(sharding, "READ_CELLS", 7)
    checkpoint = small_checkpoint(drugs=True)
    counts, gene_ids = cells
    keys = pd.util.hash_array(np.array([f"c{row}" for row in ROWS], dtype=object))
    expected = embed_counts(checkpoint, counts[ROWS], gene_ids, settings=EmbedSettings(mode="compatible", batch_cells=6), keys=keys)
    found = embed_store(store, ROWS, checkpoint, EmbedSettings(mode="compatible", batch_cells=6, shard_cells=10, block_cells=4))
    np.testing.assert_allclose(found.z_ND, expected.z_ND, atol=1e-6)


def test_a_model_by_its_folder_and_no_cells(store, checkpoint, expected, tmp_path):
    write_checkpoint(tmp_path / "model", checkpoint)
    check_equal(embed_store(store, ROWS, tmp_path / "model", settings()), expected)
    none = embed_store(store, np.zeros(0, dtype=int), tmp_path / "model", settings(), scratch=tmp_path / "scratch")
    assert none.z_ND.shape == (0, 16)
    assert np.isnan(none.gene_mean_GD).all()


def test_embeddings_of_a_scratch_folder_are_not_loaded(store, checkpoint, tmp_path):
    assert isinstance(embed_store(store, ROWS, checkpoint, settings(), scratch=tmp_path / "s").z_ND, np.memmap)
    assert not isinstance(embed_store(store, ROWS, checkpoint, settings()).z_ND, np.memmap)


def test_rows_have_to_ascend(store, checkpoint):
    with pytest.raises(InputError, match=r"p1\.zarr: expected rows in ascending order, found others\. Sort them"):
        embed_store(store, np.array([2, 1]), checkpoint, settings())


def test_genes_that_the_model_does_not_know_are_told_before_anything_is_computed(tmp_path, checkpoint, monkeypatch):
    store = make_store(tmp_path / "p2.zarr", np.ones((300, 10), dtype=int), UNKNOWN)
    monkeypatch.setattr(inference.CellEmbedder, "embed", lambda *arguments: pytest.fail("computed"))
    with pytest.raises(
        InputError, match=r"p2\.zarr: expected at least 50% of the counts .* found 0\.0%; genes of the input are such as ENSG00000000900"
    ):
        embed_store(store, np.arange(300), checkpoint, settings())


def replace_workers(monkeypatch, program):
    """Let workers run another program, which gets the path of the job."""
    started = []

    def start(command, **options):
        started.append(subprocess.Popen([sys.executable, "-c", program, command[-1]], **options))
        return started[-1]

    class Replaced:
        Popen, STDOUT = staticmethod(start), subprocess.STDOUT

    monkeypatch.setattr(sharding, "subprocess", Replaced)
    return started


def test_what_a_worker_has_to_say_comes_through(store, checkpoint, tmp_path, monkeypatch):
    job = {"model": str(tmp_path / "nowhere"), "drugs": False, "device": "cpu", "threads": 1, "settings": {}, "shards": [], "store": ""}
    write_json(tmp_path / "worker-0.json", job)
    monkeypatch.setattr(sys, "argv", ["worker", str(tmp_path / "worker-0.json")])
    with pytest.raises(SystemExit) as ended:
        worker.main()
    assert ended.value.code == 2
    text = (tmp_path / "worker-0.error").read_text()
    assert "nowhere" in text
    program = f"import sys, pathlib; pathlib.Path(sys.argv[1]).with_suffix('.error').write_text({text!r}); sys.exit(2)"
    replace_workers(monkeypatch, program)
    with pytest.raises(InputError, match="nowhere"):
        embed_store(store, ROWS, checkpoint, settings(), scratch=tmp_path / "s", workers=2)


def test_a_worker_that_dies_ends_the_others_and_is_told(store, checkpoint, tmp_path, monkeypatch):
    program = "import sys, time; print('last words', flush=True); sys.exit(9) if '0.json' in sys.argv[1] else time.sleep(60)"
    started = replace_workers(monkeypatch, program)
    with pytest.raises(RuntimeError, match=r"a worker of the embedding ended with status 9; its last lines:\nlast words"):
        embed_store(store, ROWS, checkpoint, settings(), scratch=tmp_path / "s", workers=2)
    assert [process.poll() for process in started] == [9, -15]


def test_workers_that_leave_shards_are_told(store, checkpoint, tmp_path, monkeypatch):
    replace_workers(monkeypatch, "pass")
    with pytest.raises(RuntimeError, match="all workers of the embedding ended, but 4 shards are not finished"):
        embed_store(store, ROWS, checkpoint, settings(), scratch=tmp_path / "s", workers=2)


def test_a_worker_whose_parent_is_gone_stops(store, checkpoint, tmp_path):
    embed_store(store, ROWS, checkpoint, settings(), scratch=tmp_path / "s")
    shard = sharding._Shard(9, 0, 10)
    with pytest.raises(SystemExit, match="gone"):
        sharding._embed_shards(store, tmp_path / "s", [shard], checkpoint, settings(), parent=os.getppid() + 1)
