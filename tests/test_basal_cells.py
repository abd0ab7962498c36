"""Control cells in files: what is copied, samples, and when a copy is taken again."""

import anndata
import numpy as np
import pandas as pd
import pytest
from basal_cases import GENES, dense, write_embedding, write_plate
from cell_cases import dense_x

import causcade.basal.cells as cells_module
from causcade.basal.cells import Embedding, gather_controls, open_controls
from causcade.cells import CellStore
from causcade.errors import InputError


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plates")
    return {"p1": write_plate(folder), "p2": write_plate(folder, "p2", seed=5)}


def gather(plates, folder, max_cells=1000, seed=0, block_cells=9):
    return gather_controls(plates, pd.Index(GENES), folder, max_cells=max_cells, seed=seed, block_cells=block_cells)


def test_embedding_and_expression_are_those_of_the_same_cell(plates, tmp_path, monkeypatch):
    monkeypatch.setattr(cells_module, "READ_CELLS", 7)
    cells = gather(plates, tmp_path / "cells")
    z, x, well, group = [], [], [], []
    for name, paths in plates.items():
        embedding = anndata.read_zarr(paths["embedding"])
        control = embedding[embedding.obs["is_control"].to_numpy()]
        z.append(control.X)
        x.append(dense_x(CellStore(paths["cells"]), GENES)[control.obs["row"].to_numpy()])
        well += (name + control.obs["well"].astype(str)).tolist()
        group += (name + control.obs["cell_line"].astype(str)).tolist()
    np.testing.assert_array_equal(cells.z_ND, np.concatenate(z))
    np.testing.assert_array_equal(dense(cells), np.concatenate(x).astype(np.float32))
    for numbers, names in ((cells.well_N, well), (cells.group_N, group)):
        assert len(set(zip(numbers, names, strict=True))) == len(set(names)) == len(set(numbers))
    some = np.array([3, 17, 4])
    np.testing.assert_array_equal(cells.expression(some).toarray(), dense(cells)[some])
    np.testing.assert_array_equal(cells.embeddings(some), cells.z_ND[some])


def test_the_size_of_blocks_changes_no_byte(plates, tmp_path):
    for size in (1, 9, 500):
        gather(plates, tmp_path / str(size), block_cells=size)
    for name in ("z", "data", "columns", "indptr", "wells", "groups"):
        assert len({(tmp_path / str(size) / name).read_bytes() for size in (1, 9, 500)}) == 1


@pytest.mark.parametrize("max_cells", [1, 7, 30])
def test_a_sample_has_the_size_that_was_asked_for(plates, tmp_path, max_cells):
    cells, other = (gather(plates, tmp_path / str(seed), max_cells, seed=seed) for seed in (0, 1))
    assert len(cells.z_ND) == dense(cells).shape[0] == cells.num_cells == max_cells
    assert not np.array_equal(cells.z_ND, other.z_ND)
    everything = np.asarray(gather(plates, tmp_path / "all").z_ND)
    assert all((everything == row).all(axis=1).any() for row in cells.z_ND)


def test_a_copy_is_taken_again_unless_something_changed(tmp_path, monkeypatch):
    plates = {"p1": write_plate(tmp_path)}
    first = gather(plates, tmp_path / "cells")
    copies = []
    monkeypatch.setattr(cells_module, "_copy", lambda *_, **options: copies.append(options))
    again = gather(plates, tmp_path / "cells", block_cells=50)
    assert copies == []
    np.testing.assert_array_equal(again.z_ND, first.z_ND)
    monkeypatch.undo()
    write_plate(tmp_path, seed=7)
    changed = gather(plates, tmp_path / "cells")
    assert changed.num_cells != first.num_cells or not np.array_equal(changed.z_ND, first.z_ND)
    np.testing.assert_array_equal(open_controls(tmp_path / "cells").z_ND, changed.z_ND)


def test_no_control_cells_is_an_error(plates, tmp_path):
    embedding = anndata.read_zarr(plates["p1"]["embedding"])
    treated = embedding[~embedding.obs["is_control"].to_numpy()]
    write_embedding(tmp_path / "treated.zarr", treated.X, treated.obs)
    with pytest.raises(InputError, match=r"basal: expected control cells, found none on any plate\. Check `perturbation\.control`"):
        gather({"p1": {**plates["p1"], "embedding": str(tmp_path / "treated.zarr")}}, tmp_path / "cells")
    both = {"p1": plates["p1"], "p2": {**plates["p1"], "embedding": str(tmp_path / "treated.zarr")}}
    assert gather(both, tmp_path / "cells").num_cells == gather({"p1": plates["p1"]}, tmp_path / "one").num_cells


def test_plates_embedded_in_other_ways_are_an_error(plates, tmp_path):
    embedding = anndata.read_zarr(plates["p2"]["embedding"])
    write_embedding(tmp_path / "wide.zarr", np.zeros((embedding.n_obs, 5)), embedding.obs)
    with pytest.raises(InputError, match=r"expected as many dimensions on every plate, found \{'p1': 3, 'p2': 5\}"):
        gather({**plates, "p2": {**plates["p2"], "embedding": str(tmp_path / "wide.zarr")}}, tmp_path / "cells")


def test_nan_in_the_embedding_of_a_control_cell_is_told(plates, tmp_path):
    embedding = anndata.read_zarr(plates["p1"]["embedding"])
    first = int(np.flatnonzero(embedding.obs["is_control"].to_numpy())[3])
    z = embedding.X.copy()
    z[~embedding.obs["is_control"].to_numpy()] = np.nan
    write_embedding(tmp_path / "treated.zarr", z, embedding.obs)
    plate = {"cells": plates["p1"]["cells"], "embedding": str(tmp_path / "treated.zarr")}
    assert np.isfinite(gather({"p1": plate}, tmp_path / "cells").z_ND).all(), "treated cells are not read"
    z[first, 1] = np.inf
    write_embedding(tmp_path / "broken.zarr", z, embedding.obs)
    with pytest.raises(InputError, match=rf"broken\.zarr: expected finite values, found NaN or infinity in cell {embedding.obs_names[first]}\."):
        gather({"p1": {**plate, "embedding": str(tmp_path / "broken.zarr")}}, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    assert Embedding(tmp_path / "broken.zarr").num_dimensions == 3
