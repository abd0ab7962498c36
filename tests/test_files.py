"""Writing in one step: what a reader sees when a writer fails or is killed."""

import hashlib
import json
import signal
import subprocess
import sys
import time

import anndata
import numpy as np
import pandas as pd
import pytest
import torch

from causcade import files


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "table.tsv"
    with files.replacing(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".tsv"
        temporary.write_text("x")
        assert not path.exists()
    assert path.read_text() == "x"
    assert names(path.parent) == ["table.tsv"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failing_writer_leaves_the_old_file_alone(tmp_path, error):
    path = tmp_path / "table.tsv"
    path.write_text("old")

    def fail():
        with files.replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["table.tsv"]


def test_a_failing_writer_of_a_folder_leaves_nothing(tmp_path):
    def fail():
        with files.replacing(tmp_path / "store.zarr") as temporary:
            temporary.mkdir()
            (temporary / "chunk").write_text("half")
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert names(tmp_path) == []


def test_a_folder_replaces_a_folder_and_a_file_and_the_leftovers_of_a_killed_job(tmp_path):
    path = tmp_path / "store.zarr"
    for leftover in (".writing-store.zarr", ".replaced-store.zarr"):
        (tmp_path / leftover).mkdir()
        (tmp_path / leftover / "rubbish").write_text("x")
    path.write_text("a file of that name")
    for content in ("first", "second"):
        with files.replacing(path) as temporary:
            assert not temporary.exists()
            temporary.mkdir()
            (temporary / content).write_text(content)
        assert names(path) == [content]
    assert names(tmp_path) == ["store.zarr"]


def test_a_file_replaces_a_link_to_a_folder_and_not_what_it_points_to(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").write_text("x")
    (tmp_path / "name").symlink_to(tmp_path / "elsewhere")
    files.write_text(tmp_path / "name", "text")
    assert (tmp_path / "name").read_text() == "text"
    assert not (tmp_path / "name").is_symlink()
    assert (tmp_path / "elsewhere" / "kept").exists()


WRITER = """
import sys, time
from pathlib import Path
from causcade.files import replacing
with replacing(sys.argv[1]) as temporary:
    temporary.mkdir()
    (temporary / "half").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("exists", [False, True])
def test_a_killed_writer_leaves_no_final_name_or_the_old_one(tmp_path, exists):
    path = tmp_path / "store.zarr"
    if exists:
        path.mkdir()
        (path / "old").write_text("old")
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert path.exists() == exists
    if exists:
        assert names(path) == ["old"]
    with files.replacing(path) as temporary:
        temporary.mkdir()
        (temporary / "whole").write_text("whole")
    assert names(path) == ["whole"]
    assert names(tmp_path) == ["store.zarr"]


def test_a_folder_killed_while_the_old_one_is_removed_is_never_half(tmp_path, monkeypatch):
    """Removing the old folder fails half way, as a kill would: the final name holds the new one already."""
    path = tmp_path / "store.zarr"
    path.mkdir()
    (path / "old").write_text("old")
    monkeypatch.setattr(files.shutil, "rmtree", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))

    def replace():
        with files.replacing(path) as temporary:
            temporary.mkdir()
            (temporary / "new").write_text("new")

    with pytest.raises(KeyboardInterrupt):
        replace()
    assert names(path) == ["new"]


def test_json_has_sorted_keys_and_refuses_nan(tmp_path):
    files.write_json(tmp_path / "a.json", {"b": 1, "a": [1.5, None, "µ"]})
    files.write_json(tmp_path / "b.json", {"a": [1.5, None, "µ"], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert files.read_json(tmp_path / "a.json") == json.loads((tmp_path / "a.json").read_text()) == {"a": [1.5, None, "µ"], "b": 1}
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert files.read_json(tmp_path / "a.json")["b"] == 1


def test_a_table_has_equal_bytes_and_no_index(tmp_path):
    table = pd.DataFrame({"gene": ["A", "B"], "score": [1.0, np.nan]}, index=[5, 7])
    files.write_parquet(tmp_path / "a.parquet", table)
    time.sleep(0.01)
    files.write_parquet(tmp_path / "b.parquet", table)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.parquet"), table.reset_index(drop=True))


def test_a_table_comes_back_whole_or_in_part(tmp_path):
    table = pd.DataFrame({"gene": ["A", None], "rank": np.array([1, 2], dtype="int32"), "is_tf": [True, False]})
    files.write_parquet(tmp_path / "a.parquet", table)
    pd.testing.assert_frame_equal(files.read_parquet(tmp_path / "a.parquet"), table)
    pd.testing.assert_frame_equal(files.read_parquet(str(tmp_path / "a.parquet"), columns=["rank"]), table[["rank"]])
    pd.testing.assert_frame_equal(files.read_parquet(tmp_path / "a.parquet"), pd.read_parquet(tmp_path / "a.parquet"))
    with pytest.raises(FileNotFoundError):
        files.read_parquet(tmp_path / "none.parquet")


def test_a_table_is_read_by_its_path(tmp_path, monkeypatch):
    """Arrow must not hold an open file of Python: it may let go of it while Python ends, which aborts a finished job now and then."""
    import pyarrow.parquet

    files.write_parquet(tmp_path / "a.parquet", pd.DataFrame({"a": [1]}))
    sources = []
    original = pyarrow.parquet.read_table
    monkeypatch.setattr(pyarrow.parquet, "read_table", lambda source, **keys: sources.append(source) or original(source, **keys))
    files.read_parquet(tmp_path / "a.parquet")
    assert sources == [str(tmp_path / "a.parquet")]


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_tensors_come_back_and_others_may_read_them(tmp_path, kind):
    from safetensors import safe_open

    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    files.write_tensors(tmp_path / "model.safetensors", {"a": values if kind == "numpy" else torch.from_numpy(values)}, {"fact": "1"})
    with safe_open(tmp_path / "model.safetensors", framework="numpy") as file:
        np.testing.assert_array_equal(file.get_tensor("a"), values)
        assert file.metadata() == {"fact": "1"}
    (tmp_path / "plain").touch()
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_anndata_is_zarr_v3_and_comes_back(tmp_path, recwarn):
    data = anndata.AnnData(np.arange(6, dtype=np.float32).reshape(2, 3), obs=pd.DataFrame({"x": ["a", "b"]}, index=["c1", "c2"]))
    for name in ("a.zarr", "b.zarr"):
        files.write_anndata(tmp_path / name, data)
    back = files.read_anndata(tmp_path / "a.zarr")
    np.testing.assert_array_equal(back.X, data.X)
    assert back.obs["x"].tolist() == ["a", "b"]
    meta = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())
    assert meta["zarr_format"] == 3
    assert "consolidated_metadata" in meta
    first, second = ({p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*") if p.is_file()} for n in ("a.zarr", "b.zarr"))
    assert first == second
    assert not [warning for warning in recwarn if "onsolidated" in str(warning.message)]


@pytest.mark.parametrize("size", [0, 1, files.HASH_BLOCK_BYTES, files.HASH_BLOCK_BYTES + 1])
def test_sha256_equals_that_of_the_whole(tmp_path, size):
    content = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "x").write_bytes(content[:size])
    assert files.sha256_of(tmp_path / "x") == hashlib.sha256(content[:size]).hexdigest()
