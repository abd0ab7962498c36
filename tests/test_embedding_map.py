"""The map of embedded cells."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from causcade.embedding.map import map_cells, sample_cells
from causcade.embedding.plate import OBS, SCORES
from causcade.files import write_anndata


@pytest.fixture(scope="module")
def plates() -> list[anndata.AnnData]:
    rng = np.random.default_rng(0)
    made = []
    for plate in ("p1", "p2"):
        obs = pd.DataFrame(dict.fromkeys(OBS, "a") | {"plate": plate, "is_control": True}, index=[f"c{n}" for n in range(70)])
        obs = obs.assign(log_counts=rng.normal(size=70), **dict.fromkeys(SCORES, np.nan))
        made.append(anndata.AnnData(rng.normal(size=(70, 6)).astype(np.float16 if plate == "p2" else np.float32), obs=obs))
    return made


@pytest.fixture(scope="module")
def paths(plates: list[anndata.AnnData], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder: Path = tmp_path_factory.mktemp("embedding")
    for plate in plates:
        write_anndata(folder / f"{plate.obs['plate'].iloc[0]}.zarr", plate.copy())
    return sorted(map(str, folder.glob("*.zarr")))


def test_map_of_few_cells_is_left_out(paths, caplog):
    obs, z_ND = sample_cells(paths, seed=0)
    with caplog.at_level("WARNING", logger="causcade"):
        table = map_cells(obs.iloc[:9], z_ND[:9], seed=0, backend="cpu")
    assert "the embedding map needs at least 10 cells, found 9: it is left out" in caplog.text
    assert len(table) == 0
    assert table.columns.tolist()[:4] == ["x", "y", "perturbation", "cell_line"]


def test_the_sample_is_that_of_all_cells_together(plates, paths, monkeypatch):
    pooled = pd.concat([plate.obs for plate in plates], ignore_index=True)
    every_ND = np.concatenate([np.asarray(plate.X, np.float32) for plate in plates])
    obs, z_ND = sample_cells(paths, seed=0)
    pd.testing.assert_frame_equal(obs, pooled[obs.columns], check_dtype=False)
    np.testing.assert_array_equal(z_ND, every_ND)
    monkeypatch.setattr("causcade.embedding.map.MAP_CELLS", 30)
    chosen = np.sort(np.random.default_rng(3).choice(140, 30, replace=False))
    obs, z_ND = sample_cells(paths, seed=3)
    np.testing.assert_array_equal(z_ND, every_ND[chosen])
    assert obs["log_counts"].tolist() == pooled["log_counts"].iloc[chosen].tolist()


def test_map_is_seeded(paths):
    obs, z_ND = sample_cells(paths, seed=0)
    first, second = (map_cells(obs.iloc[:30], z_ND[:30], seed=0, backend="cpu") for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    assert np.isfinite(first[["x", "y"]].to_numpy()).all()
    assert first["log_counts"].tolist() == obs["log_counts"].tolist()[:30]
