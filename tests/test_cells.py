"""The cell store: written in one step, read by plain anndata, the same counts whatever their size."""

import importlib.util
import itertools
import json
import shutil
import signal
import subprocess
import sys

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from causcade import cells
from causcade.cells import CellStore, log_normalise, write_store
from causcade.errors import InputError

NUM_GENES = 9


def draw_counts(num_cells=23, seed=0):
    return sp.csr_matrix(np.random.default_rng(seed).poisson(0.6, (num_cells, NUM_GENES)).astype(np.float32))


def write(path, counts, block=5, largest=None):
    num_cells, num_genes = counts.shape
    total = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    obs = pd.DataFrame(
        {"total_counts": total, "well": [f"w{i % 3}" for i in range(num_cells)], "line": pd.Categorical(["A"] * num_cells)},
        index=pd.Index([f"c{i}" for i in range(num_cells)], name="cell"),
    )
    var = pd.DataFrame({"gene": [f"S{i}" for i in range(num_genes)]}, index=pd.Index([f"G{i}" for i in range(num_genes)], name="gene_id"))
    blocks = (counts[start : start + block] for start in range(0, num_cells, block))
    write_store(path, obs, var, blocks, num_nonzero=counts.nnz, largest=int(counts.data.max(initial=0)) if largest is None else largest)
    return path


def read(path, num_cells=7, rows=None):
    with CellStore(path) as store:
        blocks = list(store.iter_counts(num_cells, rows))
    counts = sp.vstack([block for _, block in blocks], format="csr") if blocks else sp.csr_matrix((0, NUM_GENES))
    return np.concatenate([part for part, _ in blocks]) if blocks else np.zeros(0, dtype=int), counts


def test_texts_that_repeat_are_stored_once_and_come_back_as_texts(tmp_path):
    counts = draw_counts()
    path = write(tmp_path / "p.zarr", counts)
    stored, obs = anndata.read_zarr(path).obs, CellStore(path).obs
    assert isinstance(stored["well"].dtype, pd.CategoricalDtype)
    assert obs["well"].dtype == obs["line"].dtype == object
    assert obs["well"].tolist() == [f"w{i % 3}" for i in range(counts.shape[0])]
    assert len({id(text) for text in obs["well"]}) == 3


def test_log_normalise_equals_the_formula():
    counts = draw_counts().toarray()
    total = counts.sum(axis=1) + 3  # some counts are in genes that are not shown
    found = log_normalise(sp.csr_matrix(counts), total)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.toarray(), np.log1p(1e4 * counts / total[:, None]), rtol=1e-6)
    assert found.nnz == np.count_nonzero(counts)


def test_a_cell_without_counts_is_a_row_of_zeros():
    counts = sp.csr_matrix(np.array([[0, 0], [1, 3]], dtype=np.uint16))
    found = log_normalise(counts, np.array([0.0, 4.0])).toarray()
    np.testing.assert_allclose(found, [[0, 0], np.log1p([2500, 7500])], rtol=1e-6)


@given(seed=st.integers(0, 999), kind=st.sampled_from([np.uint16, np.int64, np.float64]), num_cells=st.integers(0, 8))
@settings(max_examples=40, deadline=None)
def test_log_normalise_does_not_depend_on_type_or_company(seed, kind, num_cells):
    counts = draw_counts(num_cells, seed)
    total = np.asarray(counts.sum(axis=1)).ravel()
    whole = log_normalise(counts.astype(kind), total).toarray()
    for cell in range(num_cells):
        np.testing.assert_array_equal(log_normalise(counts[[cell]], total[[cell]]).toarray()[0], whole[cell])


@given(num_cells=st.integers(0, 12), seed=st.integers(0, 99), chunk=st.integers(1, 40), shard=st.integers(1, 4), block=st.integers(1, 5))
@settings(max_examples=15, deadline=None)
def test_counts_come_back_whatever_the_chunks(tmp_path_factory, num_cells, seed, chunk, shard, block):
    counts = draw_counts(num_cells, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "CHUNK_ELEMENTS", chunk)
        patch.setattr(cells, "CHUNKS_PER_SHARD", shard)
        path = write(tmp_path_factory.mktemp("store") / "p.zarr", counts, block=block)
    rows, found = read(path, num_cells=4)
    assert rows.tolist() == list(range(num_cells))
    assert (found != counts).nnz == 0


@pytest.mark.parametrize(("largest", "kind"), [(1, "uint16"), (65_535, "uint16"), (65_536, "uint32"), (2**32 - 1, "uint32"), (2**32, "uint64")])
def test_large_counts_are_stored_wider_with_no_loss(tmp_path, largest, kind):
    counts = sp.csr_matrix(np.array([[1, 0, largest], [0, 1, 0]], dtype=np.int64))
    path = write(tmp_path / "p.zarr", counts)
    _, found = read(path)
    assert found.dtype == np.dtype(kind)
    assert found.toarray().astype(np.int64).tolist() == counts.toarray().tolist()
    assert anndata.read_zarr(path).X.toarray().astype(np.int64).tolist() == counts.toarray().tolist()


@pytest.mark.parametrize(("num_genes", "kind"), [(65_535, "uint16"), (65_536, "uint32"), (65_537, "uint32")])
def test_more_genes_than_16_bits_number(tmp_path, num_genes, kind):
    counts = sp.csr_matrix(([1, 2], ([0, 1], [num_genes - 1, 3])), shape=(2, num_genes))
    path = write(tmp_path / "p.zarr", counts)
    _, found = read(path)
    assert (found != counts).nnz == 0
    assert zarr.open_group(path, mode="r")["X/indices"].dtype == np.dtype(kind)
    assert (counts != anndata.read_zarr(path).X).nnz == 0


def test_plain_anndata_reads_the_store(tmp_path):
    counts = draw_counts()
    data = anndata.read_zarr(write(tmp_path / "p.zarr", counts))
    assert (counts != data.X).nnz == 0
    assert data.obs_names.tolist() == [f"c{i}" for i in range(23)]
    assert data.var["gene"].tolist() == [f"S{i}" for i in range(NUM_GENES)]
    assert data.obs.index.name == "cell"
    assert data.var.index.name == "gene_id"
    meta = json.loads((tmp_path / "p.zarr" / "zarr.json").read_text())
    assert meta["zarr_format"] == 3
    assert "X/data" in meta["consolidated_metadata"]["metadata"]


def test_plain_anndata_computes_with_the_narrow_columns_of_the_store(tmp_path):
    counts = draw_counts().toarray()
    matrix = anndata.read_zarr(write(tmp_path / "p.zarr", draw_counts())).X
    np.testing.assert_array_equal(matrix[[4, 1]][:, [8, 0]].toarray(), counts[[4, 1]][:, [8, 0]])
    np.testing.assert_array_equal(np.asarray(matrix.sum(axis=0)).ravel(), counts.sum(axis=0))
    np.testing.assert_array_equal((matrix.T.astype(float) @ matrix.astype(float)).toarray(), counts.T @ counts)


def test_equal_counts_give_equal_bytes_whatever_the_blocks(tmp_path):
    first, second = (write(tmp_path / name, draw_counts(), block=block) for name, block in (("a.zarr", 3), ("b.zarr", 20)))
    content = [{str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()} for path in (first, second)]
    assert content[0] == content[1]


@pytest.mark.parametrize("num_cells", [0, 1])
def test_none_and_one_cell(tmp_path, num_cells):
    path = write(tmp_path / "p.zarr", draw_counts(num_cells))
    with CellStore(path) as store:
        assert store.num_cells == num_cells
        assert len(list(store.iter_expression(pd.Index(["G1"]), 10))) == num_cells
    assert anndata.read_zarr(path).shape == (num_cells, NUM_GENES)


def test_cells_without_any_count(tmp_path):
    counts = sp.csr_matrix((3, NUM_GENES), dtype=np.float32)
    _, found = read(write(tmp_path / "p.zarr", counts))
    assert found.shape == (3, NUM_GENES)
    assert found.nnz == 0


@pytest.mark.parametrize("num_cells", [1, 4, 100])
@pytest.mark.parametrize("rows", [None, [], [0], [22], [3, 4, 5], [0, 6, 7, 21]])
def test_some_rows_in_any_block_size(tmp_path, num_cells, rows):
    counts = draw_counts()
    wanted = list(range(23)) if rows is None else rows
    part, found = read(write(tmp_path / "p.zarr", counts), num_cells, None if rows is None else np.array(rows, dtype=int))
    assert part.tolist() == wanted
    np.testing.assert_array_equal(found.toarray(), counts.toarray()[wanted])


def test_expression_is_normalised_over_all_genes_of_the_store(tmp_path):
    counts = draw_counts().toarray()
    total = counts.sum(axis=1, keepdims=True)
    expected = np.log1p(np.divide(1e4 * counts, total, out=np.zeros_like(counts), where=total > 0))
    genes = pd.Index(["G5", "absent", "G0"])
    for num_cells in (2, 100):
        with CellStore(write(tmp_path / "p.zarr", draw_counts())) as store:
            blocks = list(store.iter_expression(genes, num_cells, np.array([1, 2, 8])))
        found = np.concatenate([block.x_BG for block in blocks])
        assert np.concatenate([block.rows for block in blocks]).tolist() == [1, 2, 8]
        assert found.dtype == np.float32
        np.testing.assert_allclose(found[:, [0, 2]], expected[[1, 2, 8]][:, [5, 0]], rtol=1e-6)
        assert not found[:, 1].any()


def test_none_of_the_genes(tmp_path):
    with CellStore(write(tmp_path / "p.zarr", draw_counts())) as store, pytest.raises(InputError) as error:
        next(store.iter_expression(pd.Index(["ENSG1", "ENSG2"]), 5))
    assert str(error.value) == (
        f"{tmp_path / 'p.zarr'}: expected some of the 2 genes of the panel (such as ENSG1), found none among its own (such as G0, G1, G2). "
        "Use one kind of id on all plates."
    )


def test_a_wrong_announcement_is_a_defect_and_leaves_nothing(tmp_path):
    counts = draw_counts()
    with pytest.raises(AssertionError, match="announced counts up to 1, found"):
        write(tmp_path / "p.zarr", counts, largest=1)
    obs, var = pd.DataFrame(index=["c"]), pd.DataFrame(index=["g"])
    with pytest.raises(AssertionError, match="announced 5 non-zero counts, wrote 1"):
        write_store(tmp_path / "p.zarr", obs, var, iter([sp.csr_matrix(np.ones((1, 1)))]), num_nonzero=5, largest=1)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(params=["zarrs", "zarr"])
def pipeline(request, monkeypatch):
    """Both ways to decode a chunk."""
    if request.param == "zarr":
        monkeypatch.setattr(cells.importlib.util, "find_spec", lambda name: None)
    elif importlib.util.find_spec("zarrs") is None:
        pytest.skip("zarrs is not installed")
    return request.param


def large_store(path, monkeypatch, num_cells=200):
    """A store of many chunks in several shards."""
    monkeypatch.setattr(cells, "CHUNK_ELEMENTS", 64)
    monkeypatch.setattr(cells, "CHUNKS_PER_SHARD", 4)
    return write(path, draw_counts(num_cells))


def test_chunks_are_decoded_by_zarrs_where_it_is_installed_and_mean_the_same(tmp_path, monkeypatch):
    zarrs = pytest.importorskip("zarrs")
    path = large_store(tmp_path / "p.zarr", monkeypatch)
    with CellStore(path) as store:
        assert isinstance(store._arrays[0][0]._async_array.codec_pipeline, zarrs.ZarrsCodecPipeline)
        assert store._arrays[0][0]._async_array.codec_pipeline.impl is not None
    _, fast = read(path)
    with monkeypatch.context() as patch:
        patch.setattr(cells.importlib.util, "find_spec", lambda name: None)
        with CellStore(path) as store:
            assert not isinstance(store._arrays[0][0]._async_array.codec_pipeline, zarrs.ZarrsCodecPipeline)
        _, plain = read(path)
        other = large_store(tmp_path / "other.zarr", patch)
    for found in (plain, read(other)[1]):  # written and read either way
        assert found.dtype == fast.dtype
        for part in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(found, part), getattr(fast, part))
    assert zarr.config.get("codec_pipeline.path") != "zarrs.ZarrsCodecPipeline"  # only our own arrays are touched


def test_zarrs_gets_the_threads_of_the_job(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with cells.chunk_codecs():
        assert zarr.config.get("threading.max_workers") == 3


@pytest.mark.parametrize(
    "name", ["X/data", "X/indices", "X/indptr", "obs/total_counts", "obs/cell", "obs/line/codes", "obs/well/codes", "var/gene", "var/num_cells"]
)
def test_a_missing_file_is_an_error_not_zeros(tmp_path, monkeypatch, name):
    path = large_store(tmp_path / "p.zarr", monkeypatch)
    victim = sorted(file for file in (path / name / "c").rglob("*") if file.is_file())[-1]
    victim.unlink()
    with pytest.raises(InputError) as error:
        CellStore(path)
    assert str(error.value) == (
        f"{path}: expected a whole cell store, found no file for a part of {name}. Delete the folder and run again: the plate is stored anew."
    )


@pytest.mark.parametrize("name", ["data", "indices"])
def test_a_file_that_vanishes_while_it_is_read_is_an_error_not_zeros(tmp_path, monkeypatch, pipeline, name):
    path = large_store(tmp_path / "p.zarr", monkeypatch)
    with CellStore(path) as store:
        (path / "X" / name / "c" / "1").unlink()
        with pytest.raises(InputError, match=r"found no counts for some of cells \d+ to \d+ \(a missing chunk\)\. Delete the folder and run again"):
            list(store.iter_counts(7))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["X/data", "X/indices", "X/indptr", "obs/total_counts", "obs/line/codes", "obs/well", "var/num_cells"])
@pytest.mark.parametrize("harm", ["flip", "truncate", "empty"])
def test_a_damaged_file_is_an_error_not_other_counts(tmp_path, monkeypatch, pipeline, name, harm):
    path = large_store(tmp_path / "p.zarr", monkeypatch)
    for victim in [file for file in (path / name / "c").rglob("*") if file.is_file()]:
        whole = victim.read_bytes()
        content = bytearray(whole)
        content[len(content) // 3] ^= 0x10
        victim.write_bytes({"flip": content, "truncate": whole[: len(whole) // 3], "empty": b""}[harm])
        with pytest.raises(InputError, match=r"p\.zarr: expected a whole cell store, found "), CellStore(path) as store:
            list(store.iter_counts(7))
        victim.write_bytes(whole)
    assert (read(path)[1] != draw_counts(200)).nnz == 0


def test_row_pointers_of_another_store(tmp_path, monkeypatch):
    path, other = large_store(tmp_path / "p.zarr", monkeypatch), write(tmp_path / "other.zarr", draw_counts(200, seed=1))
    shutil.copytree(other / "X" / "indptr", path / "X" / "indptr", dirs_exist_ok=True)
    with pytest.raises(InputError, match="found row pointers that do not fit the cells or the counts"):
        CellStore(path)


def test_no_store_at_all(tmp_path):
    with pytest.raises(InputError, match="expected a whole cell store"):
        CellStore(tmp_path / "absent.zarr")


def test_cells_that_express_a_gene_are_counted(tmp_path):
    counts = draw_counts()
    path = write(tmp_path / "p.zarr", counts)
    with CellStore(path) as store:
        assert store.var["num_cells"].dtype == np.int64
        assert store.var["num_cells"].tolist() == np.count_nonzero(counts.toarray(), axis=0).tolist()
    assert write(tmp_path / "none.zarr", draw_counts(0)).is_dir()
    assert CellStore(tmp_path / "none.zarr").var["num_cells"].tolist() == [0] * NUM_GENES


@given(seed=st.integers(0, 99), chunk=st.integers(1, 30), block=st.integers(1, 9), data=st.data())
@settings(max_examples=10, deadline=None)
def test_any_two_readers_of_one_store_do_not_disturb_each_other(tmp_path_factory, seed, chunk, block, data):
    counts = draw_counts(20, seed)
    rows = np.flatnonzero(data.draw(st.lists(st.booleans(), min_size=20, max_size=20)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "CHUNK_ELEMENTS", chunk)
        store = CellStore(write(tmp_path_factory.mktemp("store") / "p.zarr", counts))
    found = list(itertools.zip_longest(store.iter_counts(block), store.iter_counts(block, rows)))
    for side, wanted in ((0, np.arange(20)), (1, rows)):
        pairs = [pair[side] for pair in found if pair[side] is not None]
        assert [int(row) for part, _ in pairs for row in part] == wanted.tolist()
        for part, values in pairs:
            np.testing.assert_array_equal(values.toarray(), counts.toarray()[part])
            assert values.has_sorted_indices
            assert values.indices.dtype == np.int32


def test_a_zero_among_the_entries_is_a_defect(tmp_path):
    counts = sp.csr_matrix((np.array([1, 0]), np.array([0, 1]), np.array([0, 2])), shape=(1, 2))
    with pytest.raises(AssertionError, match="expected counts from 1 among the stored entries, found 0"):
        write(tmp_path / "p.zarr", counts)


WRITER = """
import sys, time
import numpy as np, pandas as pd, scipy.sparse as sp
from causcade.cells import write_store
def blocks():
    yield sp.csr_matrix(np.ones((2, 3), dtype=np.uint16))
    print("half", flush=True)
    time.sleep(60)
write_store(sys.argv[1], pd.DataFrame(index=["a", "b", "c", "d"]), pd.DataFrame(index=["x", "y", "z"]), blocks(), num_nonzero=12, largest=1)
"""


def test_a_killed_writer_leaves_no_store(tmp_path):
    path = tmp_path / "p.zarr"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not path.exists()
    write(path, draw_counts())
    assert [found.name for found in tmp_path.iterdir()] == ["p.zarr"]
    assert (read(path)[1] != draw_counts()).nnz == 0
