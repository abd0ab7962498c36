"""Sizes of plates from the headers of their files."""

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse as sp

from causcade.config import InputConfig
from causcade.doctor import PlateShape, plate_shape, plate_shapes
from causcade.errors import InputError
from causcade.plates import Plate

COUNTS = sp.csr_matrix(np.array([[1, 0, 2], [0, 3, 0]], dtype=np.float32))
SHAPE = PlateShape(2, 3, 3.0)


def shape_of(path, **keys):
    return plate_shape(Plate(name="p", counts=str(path)), InputConfig(**keys))


@pytest.mark.parametrize("name", ["a.h5ad", "a.zarr"])
@pytest.mark.parametrize("layer", [None, "counts"])
def test_shape_of_anndata(tmp_path, name, layer):
    data = anndata.AnnData(COUNTS, layers={"counts": COUNTS.toarray()})
    (data.write_zarr if name == "a.zarr" else data.write_h5ad)(tmp_path / name)
    assert shape_of(tmp_path / name, layer=layer) == (SHAPE if layer is None else PlateShape(2, 3, 6.0))


def test_shape_of_a_10x_file(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in ("GRCh38", "mm10"):
            group = file.create_group(name)
            group["shape"], group["data"], group["barcodes"] = [3, 2], [1, 2, 3], [b"c1", b"c2"]
    assert shape_of(tmp_path / "a.h5", genome="mm10") == SHAPE


def test_shape_of_an_mtx_folder(tmp_path):
    scipy.io.mmwrite(tmp_path / "matrix.mtx", COUNTS.T.astype(int), field="integer", symmetry="general")
    (tmp_path / "barcodes.tsv").write_text("c1\nc2\n")
    (tmp_path / "features.tsv").write_text("g1\tg1\ng2\tg2\ng3\tg3\n")
    assert shape_of(tmp_path) == SHAPE


def test_shape_of_parquet_shards(tmp_path):
    for number, (genes, expressions) in enumerate([([1, 3, 5], [-2.0, 1.0, 2.0]), ([1, 4], [-2.0, 3.0])]):
        pd.DataFrame({"genes": [genes], "expressions": [expressions], "plate": "p1"}).to_parquet(tmp_path / f"train-{number}.parquet")
    (tmp_path / "metadata").mkdir()
    table = tmp_path / "metadata/genes.parquet"
    pd.DataFrame({"token_id": [3, 4, 5], "ensembl_id": list("abc"), "gene_symbol": list("abc")}).to_parquet(table)
    assert shape_of(tmp_path, gene_table=str(table)) == SHAPE
    assert shape_of(tmp_path) == PlateShape(2, 0, 3.0)


def test_a_plate_that_is_not_there_yet(tmp_path):
    gone = str(tmp_path / "gone.h5ad")
    assert plate_shape(Plate(name="p", counts=gone), InputConfig()) is None
    assert plate_shape(Plate(name="p", counts=gone, num_cells=10), InputConfig()) == PlateShape(10, 0, 15_000.0)


@pytest.mark.parametrize("content", [b"not an hdf5 file", b"PAR1 but no more"])
def test_a_damaged_plate_is_an_error(tmp_path, content):
    path = tmp_path / "a.h5ad"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.h5ad: expected counts \(.*, found a file that cannot be (opened|read).* Copy it again"):
        shape_of(path)


def test_plates_of_one_file_share_it(tmp_path):
    anndata.AnnData(COUNTS).write_h5ad(tmp_path / "a.h5ad")
    plates = [Plate(name=name, counts=str(tmp_path / "a.h5ad"), num_sharing=2) for name in ("p", "q")]
    plates += [Plate(name="r", counts=str(tmp_path / "gone"), num_cells=4), Plate(name="s", counts=str(tmp_path / "gone"))]
    assert plate_shapes(plates, InputConfig()) == {"p": (1, 3, 1.5), "q": (1, 3, 1.5), "r": (4, 0, 6000.0)}
