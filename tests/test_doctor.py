"""What `causcade doctor` counts and says."""

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

from causcade.config import Config
from causcade.doctor import examine, needs, plate_shape
from causcade.errors import InputError
from causcade.plates import Plate


def make(path, matrix):
    data = anndata.AnnData(matrix)
    if path.suffix == ".zarr":
        data.write_zarr(path)
    else:
        data.write_h5ad(path)
    return Plate(name="p", counts=str(path))


COUNTS = sp.csr_matrix(np.array([[1, 0, 2], [0, 3, 0]], dtype=np.float32))


@pytest.mark.parametrize("name", ["a.h5ad", "a.zarr"])
def test_shape_of_a_sparse_plate(tmp_path, name):
    assert plate_shape(make(tmp_path / name, COUNTS)) == (2, 3, 3.0)


def test_shape_of_a_dense_plate(tmp_path):
    assert plate_shape(make(tmp_path / "a.h5ad", COUNTS.toarray())) == (2, 3, 6.0)


def test_a_plate_that_is_not_there_yet_has_no_shape(tmp_path):
    assert plate_shape(Plate(name="p", counts=str(tmp_path / "gone.h5ad"))) is None


def test_a_damaged_plate_is_an_error(tmp_path):
    path = tmp_path / "a.h5ad"
    path.write_bytes(b"not an hdf5 file")
    with pytest.raises(InputError, match="expected an h5ad file"):
        plate_shape(Plate(name="p", counts=str(path)))


def test_the_needs_grow_as_the_arrays_do():
    one = needs(Config(), [(1000, 2000, 1e6)])
    two = needs(Config(), [(1000, 2000, 1e6)] * 2)
    assert one["num_genes"] == 2000
    assert one["moments"] == 2000**2 / 2 * 8
    assert one["coexpression"] == two["coexpression"] == 2 * 2000**2 * 4
    assert two["cells"] == 2 * one["cells"]
    assert two["moments_memory"] == one["moments_memory"]


def test_the_panel_bounds_the_genes():
    assert needs(Config(), [(10, 62_710, 1e4)])["num_genes"] < 20_000


def test_it_speaks_of_the_machine_and_of_the_run(tmp_path):
    make(tmp_path / "a.h5ad", COUNTS)
    (tmp_path / "plates.tsv").write_text(f"plate\tcounts\np1\t{tmp_path / 'a.h5ad'}\np2\t{tmp_path / 'gone.h5ad'}\n")
    text = examine(Config(run="mine", results=str(tmp_path), plates=str(tmp_path / "plates.tsv")))
    for part in ["processors:", "GPUs:", "disk:", "run mine: 2 plates (1 not there), 2 cells", "GiB of memory"]:
        assert part in text


def test_the_simulated_screen_needs_nothing_yet(tmp_path):
    assert "not drawn yet" in examine(Config(results=str(tmp_path)))
