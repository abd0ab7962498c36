"""Cells of an input, from headers."""

import subprocess
import sys

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from count_files import (
    FORMATS,
    NUM_CELLS,
    draw_counts,
    make_anndata,
    write_all,
    write_annotated,
    write_parse,
    write_tenx_mtx,
    write_tenx_v2,
)

from causcade.cell_count import count_cells
from causcade.config import InputConfig
from causcade.readers import CountsFile


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("stored"), draw_counts())


@pytest.mark.parametrize("name", FORMATS)
def test_cells_of_every_format(stored, name):
    assert count_cells(stored[name][0], InputConfig()) == NUM_CELLS
    assert count_cells(str(stored[name][0]), InputConfig()) == NUM_CELLS


@pytest.mark.parametrize("size", [0, 1])
def test_none_and_one_cell(tmp_path, size):
    for name, (path, _) in write_all(tmp_path, draw_counts()[:size]).items():
        assert count_cells(path, InputConfig()) == size, name


def test_neither_counts_nor_tables_are_needed(tmp_path):
    """A matrix whose entries are missing still has its header."""
    path = write_tenx_mtx(tmp_path / "x", draw_counts())
    lines = (path / "matrix.mtx").read_text().splitlines()
    (path / "matrix.mtx").write_text("\n".join(lines[:3]))
    assert count_cells(path, InputConfig()) == NUM_CELLS
    data = make_anndata(draw_counts(), raw=draw_counts())
    data.X = None
    assert count_cells(write_annotated(tmp_path / "x.h5ad", data), InputConfig(layer="no")) == NUM_CELLS


def test_sizes_of_parse_without_metadata(tmp_path):
    assert count_cells(write_parse(tmp_path / "x", draw_counts(), metadata=False), InputConfig()) == NUM_CELLS


def test_a_genome_of_several(tmp_path):
    path = write_tenx_v2(tmp_path / "x.h5", {"hg19": draw_counts(), "mm10": draw_counts(1, 5, 4)})
    assert count_cells(path, InputConfig()) is None
    assert count_cells(path, InputConfig(genome="mm10")) == 5
    assert count_cells(path, InputConfig(genome="no")) is None


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_names_that_may_be_missing(tmp_path, suffix):
    """Anndata writes such an index as a group of values and a mask."""
    data = make_anndata(draw_counts())
    data.obs.index = pd.Index(data.obs_names, dtype="string")
    with anndata.settings.override(allow_write_nullable_strings=True):
        path = write_annotated(tmp_path / f"x{suffix}", data)
    assert count_cells(path, InputConfig()) == NUM_CELLS


@pytest.mark.filterwarnings("ignore:Writing zarr v2")
def test_zarr_v2(tmp_path):
    make_anndata(draw_counts()).write_zarr(tmp_path / "x.zarr")
    assert (tmp_path / "x.zarr" / ".zgroup").exists()
    assert count_cells(tmp_path / "x.zarr", InputConfig()) == NUM_CELLS


def test_files_before_anndata_07(tmp_path):
    with h5py.File(tmp_path / "x.h5ad", "w") as file:
        file["obs"] = file["var"] = np.array([(b"a",), (b"b",)], dtype=[("index", "S1")])
    assert count_cells(tmp_path / "x.h5ad", InputConfig()) == 2


def test_what_cannot_be_told(stored, tmp_path):
    assert count_cells(tmp_path / "none.h5ad", InputConfig()) is None
    assert count_cells(tmp_path, InputConfig()) is None
    for name in ("csr.h5ad", "tenx_v3", "tahoe_file"):
        whole = stored[name][0].read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        assert count_cells(tmp_path / name, InputConfig()) is None
    for asked in ("anndata", "tenx_h5", "mtx"):
        assert count_cells(stored["tahoe_file"][0], InputConfig(format=asked)) is None


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_heavy_is_imported(stored, name):
    code = f"""
import sys
from causcade.cell_count import count_cells
from causcade.config import InputConfig
assert count_cells({str(stored[name][0])!r}, InputConfig()) == {NUM_CELLS}
print(sorted({{"anndata", "scanpy", "torch", "zarr", "scipy"}} & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.shared_data
@pytest.mark.filterwarnings("ignore::anndata.OldFormatWarning")
def test_real_files(shared_data):
    cells = shared_data / "cells"
    files = [*cells.glob("*.h5ad"), *cells.glob("tenx/*/*.h5"), *cells.glob("tenx/*.h5"), cells / "parse", cells / "tenx" / "int-ids"]
    files += [cells / "tenx/1.2.0/filtered_gene_bc_matrices/hg19_chr21", cells / "tenx/3.0.0/filtered_feature_bc_matrix"]
    assert len(files) >= 14
    for path in files:
        settings = InputConfig(genome="hg19_chr21" if path.name == "multiple_genomes.h5" else None)
        with CountsFile(path, settings) as file:
            assert count_cells(path, settings) == len(file.obs)
