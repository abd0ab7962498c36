"""The map of embedded cells."""

import anndata
import numpy as np
import pandas as pd
import pytest

from causcade.embedding.map import map_cells
from causcade.embedding.plate import OBS, SCORES


@pytest.fixture(scope="module")
def plates() -> list[anndata.AnnData]:
    rng = np.random.default_rng(0)
    made = []
    for plate in ("p1", "p2"):
        obs = pd.DataFrame(dict.fromkeys(OBS, "a") | {"plate": plate, "is_control": True}, index=[f"c{n}" for n in range(70)])
        obs = obs.assign(log_counts=rng.normal(size=70), **dict.fromkeys(SCORES, np.nan))
        made.append(anndata.AnnData(rng.normal(size=(70, 6)).astype(np.float16 if plate == "p2" else np.float32), obs=obs))
    return made


def test_map_of_few_cells_is_left_out(plates, caplog):
    with caplog.at_level("WARNING", logger="causcade"):
        table = map_cells([plates[0][:9]], seed=0, backend="cpu")
    assert "the embedding map needs at least 10 cells, found 9: it is left out" in caplog.text
    assert len(table) == 0
    assert table.columns.tolist()[:4] == ["x", "y", "perturbation", "cell_line"]


def test_map_is_a_seeded_sample_of_all_plates(plates, monkeypatch):
    monkeypatch.setattr("causcade.embedding.map.MAP_CELLS", 30)
    first, second, other = (map_cells(plates, seed=seed, backend="cpu") for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first, second)
    assert len(first) == 30
    assert set(first["plate"]) == {"p1", "p2"}
    assert np.isfinite(first[["x", "y"]].to_numpy()).all()
    assert first["log_counts"].tolist() != other["log_counts"].tolist()
    pooled = {(row.plate, row.log_counts) for part in plates for row in part.obs.itertuples()}
    assert {(row.plate, row.log_counts) for row in first.itertuples()} <= pooled
