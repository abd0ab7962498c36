"""What `causcade doctor` counts and says."""

from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse as sp

from causcade.config import Config, InputConfig
from causcade.doctor import PlateShape, examine, needs, plate_shape, plate_shapes
from causcade.errors import InputError
from causcade.files import write_json
from causcade.plates import Plate

CONFIG = Path(__file__).parents[1] / "config"
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


def test_the_needs_grow_as_the_arrays_do():
    one = needs(Config(), [PlateShape(1000, 2000, 1e6)])
    two = needs(Config(), [PlateShape(1000, 2000, 1e6)] * 2)
    assert one["num_genes"] == 2000
    assert one["moments"] == 8 * 2000 * 2001 / 2
    assert one["coexpression"] == two["coexpression"] == 2 * 2000**2 * 4
    assert two["cells"] == 2 * one["cells"]
    assert two["moments"] == 2 * one["moments"]
    assert two["moments_memory"] == one["moments_memory"]
    assert one["shards"] == one["lines"] == 0


def test_the_panel_bounds_the_genes():
    def num_genes(**panel):
        return needs(Config(panel=panel), [PlateShape(10, 62_710, 1e4)])["num_genes"]

    assert num_genes() == 14_142
    assert num_genes(num_genes=2000) == 2000
    assert num_genes(num_genes=None, num_hvg=1000) == 8200
    assert needs(Config(), [PlateShape(10, 0, 1e4)])["num_genes"] == 14_142  # the genes of a plate that is not there are not known
    assert needs(Config(), [])["num_genes"] == 0


def test_large_plates_need_room_for_their_shards():
    shapes = [PlateShape(5_000_001, 100, 1.0), PlateShape(2_000_000, 100, 1.0)]
    assert needs(Config(), shapes)["shards"] == 3 * 8 * 100 * 101 / 2
    assert needs(Config(coexpression={"shard_cells": 1_000_000}), shapes)["shards"] == (6 + 2) * 8 * 100 * 101 / 2


def test_matrices_of_cell_lines_have_their_price():
    config = Config(coexpression={"per_line": True})
    one = needs(config, [PlateShape(10, 100, 1.0)] * 3)["lines"]
    assert one == 3 * 8 * 100 * 101 / 2 + 2 * 4 * 100**2
    assert needs(config, [PlateShape(10, 100, 1.0)] * 3, 50)["lines"] == 50 * one


def write_run(folder, **keys):
    anndata.AnnData(COUNTS).write_h5ad(folder / "a.h5ad")
    (folder / "plates.tsv").write_text(
        f"plate\tcounts\tcells\np1\t{folder / 'a.h5ad'}\t\np2\t{folder / 'b.h5ad'}\t\np3\t{folder / 'c.h5ad'}\t9000000\n"
    )
    return Config(run="mine", results=str(folder), plates=str(folder / "plates.tsv"), **keys)


def test_it_speaks_of_the_machine_and_of_the_run(tmp_path):
    text = examine(write_run(tmp_path))
    for part in [
        "processors:", "GPUs:", "disk:", "run mine: 3 plates (2 not there, the plate table tells the cells of 1), 9,000,002 cells, up to 3 genes",
        "warning: the size of 1 plate(s) is not known", "until the shards of plates above 2,000,000 cells are added up", "GiB of memory",
    ]:  # fmt: skip
        assert part in text, part
    assert "per_line" not in text


def test_it_tells_the_price_of_cell_lines(tmp_path):
    config = write_run(tmp_path, coexpression={"per_line": True})
    assert "GiB for each cell line, since coexpression.per_line is on" in examine(config)
    (tmp_path / "mine").mkdir()
    write_json(tmp_path / "mine/check.json", {"plates": {"p1": {"lines": {"A": 1, "B": 2}}, "p2": {"lines": {"B": 2, "C": 1}}}})
    assert "GiB for 3 cell lines, since coexpression.per_line is on" in examine(config)


def test_the_atlas_is_priced_before_it_is_there(tmp_path):
    text = examine(Config(run="atlas", results=str(tmp_path), plates=str(CONFIG / "plates/tahoe100m.tsv")))
    assert "100,648,790 cells, up to 14142 genes in the panel" in text
    assert "moments 10.4, coexpression 1.5" in text


def test_the_simulated_screen_needs_nothing_yet(tmp_path):
    assert "not drawn yet" in examine(Config(results=str(tmp_path)))
