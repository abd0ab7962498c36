"""Expected sizes of plates, and how they are cut."""

import math

import anndata
import numpy as np
import pytest

from causcade import cell_count
from causcade.config import Config, SimulationConfig
from causcade.plates import Plate, list_plates
from causcade.shards import expected_cells, num_shards, num_threads, num_threads_of_pairs
from causcade.simulation import simulate_plan

MINE = Config(run="mine", plates="plates.tsv")


@pytest.fixture
def headers(monkeypatch):
    """Let the headers of files say what a test wants; returns the sizes by file, and the files that were looked at."""
    sizes, asked = {}, []

    def count(path, settings):
        asked.append(path)
        return sizes[path]

    monkeypatch.setattr(cell_count, "count_cells", count)
    return sizes, asked


def test_the_table_wins_over_the_file(headers):
    sizes, asked = headers
    sizes["b.h5ad"] = 70
    assert expected_cells([Plate(name="A", counts="a.h5ad", num_cells=5), Plate(name="B", counts="b.h5ad")], MINE) == {"A": 5, "B": 70}
    assert asked == ["b.h5ad"]


def test_plates_of_one_file_share_its_cells_and_it_is_looked_at_once(headers, tmp_path):
    sizes, asked = headers
    files = [f"{tmp_path}/all.h5ad", f"{tmp_path}/./all.h5ad", f"{tmp_path}/all.h5ad"]
    sizes[files[0]] = 100
    plates = [Plate(name=str(number), counts=file, num_sharing=3) for number, file in enumerate(files)]
    assert expected_cells(plates, MINE) == {"0": 34, "1": 34, "2": 34}
    assert asked == files[:1]


def test_headers_of_a_file_tell_its_size(tmp_path):
    anndata.AnnData(np.ones((7, 3), dtype=np.float32)).write_h5ad(tmp_path / "a.h5ad")
    assert expected_cells([Plate(name="A", counts=f"{tmp_path}/a.h5ad"), Plate(name="B", counts=f"{tmp_path}/b.h5ad")], MINE) == {"A": 7, "B": None}


def test_a_size_that_nothing_tells_is_unknown(headers):
    sizes, _ = headers
    sizes["a.h5ad"] = None
    assert expected_cells([Plate(name="A", counts="a.h5ad", num_sharing=2)], MINE) == {"A": None}
    assert expected_cells([], MINE) == {}


@pytest.mark.parametrize("num_drugs", [2, 7, 72])
def test_a_simulated_plate_is_expected_to_have_what_is_drawn_and_is_not_looked_at(headers, num_drugs):
    settings = SimulationConfig(num_drugs=num_drugs, cells_per_well=200, num_genes=120, num_tfs=12)
    config = Config(simulation=settings)
    found = expected_cells(list_plates(config), config)
    plan = simulate_plan(settings, seed=0)
    drawn = {name: int(plan.wells(name)["num_cells"].sum()) for name in settings.plates}
    np.testing.assert_allclose([found[name] for name in drawn], list(drawn.values()), rtol=0.1)
    assert headers[1] == []


@pytest.mark.parametrize("num_cells", [0, 1, 99, 100, 101, 1000, 1001])
def test_shards_are_the_fewest_that_are_small_enough(num_cells):
    number = num_shards(num_cells, 100)
    assert math.ceil(num_cells / number) <= 100
    assert number == 1 or num_cells / (number - 1) > 100


def test_a_plate_of_unknown_size_is_one_shard():
    assert num_shards(None, 1) == 1


def test_threads_follow_the_size_of_a_job():
    assert [num_threads(cells, 1) for cells in (0, 24_999, 25_000, 10**7, None)] == [1, 1, 2, 8, 8]
    assert num_threads(100_000, 2) == num_threads(50_000, 1) == 3


def test_matrices_of_a_small_panel_take_one_thread():
    assert [num_threads_of_pairs(genes) for genes in (100, 3_999, 4_000, None)] == [1, 1, 2, 2]
