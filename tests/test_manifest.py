"""What a run was made with."""

import hashlib
import os
import subprocess

import pytest

from causcade import manifest
from causcade.config import Config


def test_a_small_file_is_told_by_its_checksum(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"counts")
    assert manifest.identity(path) == {"bytes": 6, "sha256": hashlib.sha256(b"counts").hexdigest()}


def test_a_large_file_is_told_by_size_and_time(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "MAX_HASHED_BYTES", 3)
    path = tmp_path / "a.txt"
    path.write_bytes(b"counts")
    os.utime(path, (1000, 2000))
    assert manifest.identity(path) == {"bytes": 6, "changed": 2000}


def test_a_folder_is_told_by_its_files(tmp_path):
    (tmp_path / "store" / "inner").mkdir(parents=True)
    (tmp_path / "store" / "a").write_bytes(b"12")
    (tmp_path / "store" / "inner" / "b").write_bytes(b"345")
    assert manifest.identity(tmp_path / "store") == {"num_files": 2, "bytes": 5}


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_the_commit_and_whether_files_differ_from_it(tmp_path):
    assert manifest.commit_of(tmp_path / "nowhere") is None
    git(tmp_path, "init")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-m", "first")
    head = manifest.commit_of(tmp_path)
    assert head is not None
    assert len(head) == 40
    (tmp_path / "a").write_text("2")
    assert manifest.commit_of(tmp_path) == head + "+changes"


def test_the_manifest_holds_everything(tmp_path):
    path = tmp_path / "plate.h5ad"
    path.write_bytes(b"x")
    made = manifest.build_manifest(Config(seed=7, backend="cpu"), [str(path), str(path)], tmp_path)
    assert made["seeds"] == {"seed": 7}
    assert made["config"]["causal"]["num_hops"] == Config().causal.num_hops
    assert list(made["inputs"]) == [str(path)]
    assert {"causcade", "python", "numpy", "torch", "snakemake"} <= set(made["versions"])
    assert made["device"]["kind"] == "cpu"


def test_a_missing_input_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        manifest.build_manifest(Config(backend="cpu"), [str(tmp_path / "gone")], tmp_path)
