"""What `--cache` shares between runs: by the bytes and the code that made it, whatever the run is called and wherever its data are."""

import os
import re

import pytest

from workflow.conftest import Checkout, make_checkout

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


def stored(checkout: Checkout, monkeypatch, run: str = "small") -> tuple[set[str], set[str]]:
    """Rules whose results were put into the cache, and those whose results came from it, when the cells of a plate are asked for."""
    done = checkout.snakemake("--cache", "--", f"results/{run}/cells/plate1.zarr")
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-4000:]
    moved = {path.split("/")[2] for path in re.findall(r"Moving output file (\S+) to cache", said)}
    fetched = {path.split("/")[2] for path in re.findall(r"Symlinking output file (\S+) from cache", said)}
    return moved, fetched - moved


def test_results_are_shared_by_bytes_and_code(tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("SNAKEMAKE_OUTPUT_CACHE", str(tmp_path / "cache"))
    first = make_checkout(tmp_path / "first", ["plate1"])
    assert stored(first, monkeypatch) == ({"resources", "cells", "quality"}, set())
    assert (first.folder / "results/small/cells/plate1.zarr").is_symlink()
    assert not (first.folder / "results/small/benchmarks/quality").exists(), "a result from the cache has no time to tell"

    other = make_checkout(tmp_path / "other", ["plate1"])
    (other.folder / "elsewhere").mkdir()
    (other.folder / "data/plate1.h5ad").rename(other.folder / "elsewhere/plate1.h5ad")
    table, screen = other.folder / "plates.tsv", other.folder / "screen.yaml"
    table.write_text(table.read_text().replace("data/", "elsewhere/"))
    screen.write_text(screen.read_text().replace("run: small", "run: other"))
    assert stored(other, monkeypatch, "other") == (set(), {"resources", "cells", "quality"})

    module = other.folder / "src/causcade/quality/judging.py"
    module.write_text(module.read_text() + "\nANOTHER = 1\n")
    assert stored(other, monkeypatch, "other") == ({"cells", "quality"}, set()), "other code makes another entry"

    with (other.folder / "elsewhere/plate1.h5ad").open("ab") as file:
        file.write(os.urandom(8))  # after the end of what is read
    assert stored(other, monkeypatch, "other") == ({"cells", "quality"}, set()), "other bytes make another entry"
