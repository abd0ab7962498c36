"""Doublets by Scrublet, well by well: known doublets are found, implausible calls are not made, the file is read few times."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.metrics import roc_auc_score

from causcade.backend import uses_rapids
from causcade.config import InputConfig, PerturbationConfig, QualityConfig
from causcade.plates import Plate
from causcade.quality import doublets, find_doublets, judge_cells, measure_cells, open_plate
from causcade.readers import CountsFile

OPEN = QualityConfig(min_counts=0, min_genes=0, max_mito=1.0, mad=None)


def find(plate, candidates=None, seed=0):
    metrics, _ = measure_cells(plate)
    everything = np.ones(len(metrics), dtype=bool) if candidates is None else candidates
    return find_doublets(plate, everything, seed, num_genes=metrics["num_genes"].to_numpy())


@pytest.fixture
def mixed_wells(plate_of):
    """Well w1: four cell types of 60 cells and 20 sums of two types; well w2: 20 cells."""
    rng = np.random.default_rng(0)
    means = np.exp(rng.normal(0.0, 1.5, size=(4, 150)))
    singlets = [rng.poisson(means[kind], (60, 150)) for kind in range(4)]
    doublets = rng.poisson([means[rng.choice(4, 2, replace=False)].sum(axis=0) for _ in range(20)])
    counts = np.concatenate([*singlets, doublets, rng.poisson(means[0], (20, 150))])
    order = rng.permutation(280)
    is_doublet, is_large = np.repeat([False, True, False], [240, 20, 20])[order], (np.arange(280) < 260)[order]
    return plate_of(counts[order], columns={"sample": np.where(is_large, "w1", "w2")}), is_doublet, is_large


@pytest.mark.filterwarnings("ignore")
def test_scrublet_finds_doublets_well_by_well(mixed_wells):
    plate, is_doublet, is_large = mixed_wells
    calls = find(plate)
    assert np.isfinite(calls.score[is_large]).all()
    assert np.isnan(calls.score[~is_large]).all()
    assert set(calls.problem[~is_large]) == {"fewer than 50 cells"}
    assert set(calls.problem[is_large]) == {""}
    assert not calls.is_doublet[~is_large].any()
    assert np.median(calls.score[is_doublet]) > np.quantile(calls.score[is_large & ~is_doublet], 0.95)
    assert calls.is_doublet[is_doublet].mean() > 0.8
    assert calls.is_doublet[~is_doublet].mean() < 0.05
    np.testing.assert_array_equal(find(plate).score, calls.score)
    # Cells that are no candidates are not looked at, and doublets get their reason.
    metrics, _ = measure_cells(plate)
    settings = OPEN.model_copy(update={"doublets": "scrublet", "min_counts": int(metrics["total_counts"].quantile(0.02))})
    table = judge_cells(plate, metrics, settings, seed=0)
    low = table["reason"].str.contains("low_counts")
    assert low.any()
    assert table.loc[low, "doublet_score"].isna().all()
    assert (table["reason"] == "doublet").to_numpy()[is_doublet].mean() > 0.8


@pytest.mark.skipif(not uses_rapids("auto"), reason="needs a GPU and rapids-singlecell (docs/gpu.md)")
@pytest.mark.filterwarnings("ignore")
def test_a_gpu_finds_the_same_doublets(mixed_wells):
    plate, is_doublet, is_large = mixed_wells
    metrics, _ = measure_cells(plate)
    calls = find_doublets(plate, np.ones(280, dtype=bool), 0, num_genes=metrics["num_genes"].to_numpy(), backend="gpu")
    assert np.isfinite(calls.score[is_large]).all()
    assert calls.is_doublet[is_doublet].mean() > 0.8
    assert calls.is_doublet[~is_doublet].mean() < 0.05


@pytest.fixture
def four_wells(plate_of):
    """Four wells of 60 cells of two types each, the wells mixed in the file."""
    rng = np.random.default_rng(5)
    means = np.exp(rng.normal(0.0, 1.5, size=(2, 80)))
    cells = rng.permutation(240)
    return plate_of(rng.poisson(means[cells % 2]), columns={"sample": [f"w{cell // 2 % 4}" for cell in cells]}, block_cells=50)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("wells_in_memory", "num_passes"), [(4, 1), (2, 2), (1, 4), (0.1, 4)])
def test_wells_share_passes_over_the_file_within_a_bound_of_memory(four_wells, monkeypatch, wells_in_memory, num_passes):
    expected = find(four_wells)
    metrics, _ = measure_cells(four_wells)
    monkeypatch.setattr(doublets, "PASS_ENTRIES", 1.2 * wells_in_memory * metrics["num_genes"].sum() / 4)
    passes = []
    read = four_wells.iter_blocks
    monkeypatch.setattr(four_wells, "iter_blocks", lambda keep=None: passes.append(keep.sum()) or read(keep))
    num_genes = metrics["num_genes"].to_numpy()
    found = find_doublets(four_wells, np.ones(240, dtype=bool), 0, num_genes=num_genes)
    assert len(passes) == num_passes
    assert sum(passes) == 240
    np.testing.assert_array_equal(found.score, expected.score)
    np.testing.assert_array_equal(found.is_doublet, expected.is_doublet)


def test_wells_equal_scanpy_on_their_own_cells(four_wells):
    import scanpy as sc

    calls = find(four_wells)
    counts = np.concatenate([block.toarray() for _, block in four_wells.iter_blocks()]).astype(np.float32)
    for well in range(4):
        member = (four_wells.obs["well"] == f"w{well}").to_numpy()
        data = anndata.AnnData(sp.csr_matrix(counts[member]))
        trial = data.copy()
        sc.pp.filter_genes(trial, min_cells=3)
        sc.pp.normalize_total(trial)
        sc.pp.log1p(trial)
        sc.pp.highly_variable_genes(trial)
        sc.pp.scrublet(data, random_state=0, verbose=False, n_prin_comps=min(30, int(trial.var["highly_variable"].sum()) - 1))
        np.testing.assert_array_equal(calls.score[member], data.obs["doublet_score"])


@pytest.mark.filterwarnings("ignore")
def test_a_well_of_alike_cells_calls_none(plate_of):
    import scanpy as sc

    plate = plate_of(np.random.default_rng(0).poisson(np.exp(np.linspace(-2, 3, 150)), (300, 150)))
    counts = sp.vstack([block for _, block in plate.iter_blocks()], format="csr").astype(np.float32)
    _, called, _ = doublets._scrublet(counts, 0, sc)
    assert called.mean() > 0.25  # Scrublet by itself
    calls = find(plate)
    assert not calls.is_doublet.any()
    assert np.isfinite(calls.score).all()
    assert all("of the cells would be called" in problem for problem in calls.problem)


def test_calls_that_are_not_plausible_are_not_made(four_wells, monkeypatch, caplog):
    def exactly(share):
        return lambda counts, seed, module: (np.arange(60.0), np.arange(60) < share * 60, "")

    monkeypatch.setattr(doublets, "_scrublet", exactly(0.25))
    assert find(four_wells).is_doublet.sum() == 60  # at the bound: believed
    monkeypatch.setattr(doublets, "_scrublet", exactly(0.5))
    with caplog.at_level("WARNING", logger="causcade"):
        calls = find(four_wells)
    assert not calls.is_doublet.any()
    assert np.isfinite(calls.score).all()
    assert set(calls.problem) == {"50% of the cells would be called, more than the 25% that is plausible"}
    why = "50% of the cells would be called, more than the 25% that is plausible"
    assert f"no doublet is called in 4 of 4 wells (w0: {why}; w1: {why}; w2: {why}; and 1 more)" in caplog.text
    # the table and the summary say so
    from causcade.quality import summarise_plate

    metrics, _ = measure_cells(four_wells)
    table = judge_cells(four_wells, metrics, OPEN.model_copy(update={"doublets": "scrublet"}), seed=0)
    assert (table["reason"] == "").all()
    assert table["doublet_score"].notna().all()
    assert list(summarise_plate(table)["wells_without_doublet_call"]) == ["w0", "w1", "w2", "w3"]


@pytest.mark.filterwarnings("ignore")
def test_wells_that_scrublet_cannot_judge_call_none_and_say_so(plate_of, caplog):
    counts = np.random.default_rng(1).poisson(3, (60, 8))
    with caplog.at_level("WARNING", logger="causcade"):
        calls = find(plate_of(counts))  # fewer variable genes than components
        none = find(plate_of(counts[:, :2]))
    assert calls.is_doublet.dtype == bool
    assert np.isnan(none.score).all()
    assert not none.is_doublet.any()
    assert set(none.problem) == {"too few genes"}
    assert "no doublet is called in 1 of 1 wells (w1: too few genes)" in caplog.text


@pytest.mark.shared_data
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["p1", "p2"])
def test_scores_separate_the_known_doublets_of_sc_mixology(shared_data, tmp_path, name):
    folder = shared_data / "cells" / "sc_mixology"
    counts = pd.read_csv(folder / f"sc_celseq2_5cl_{name}.count.csv.gz", index_col=0)
    cells = pd.read_csv(folder / f"sc_celseq2_5cl_{name}.metadata.csv.gz", index_col=0)
    counts = counts[~counts.index.str.startswith("ERCC")]
    path = tmp_path / "mix.h5ad"
    matrix = sp.csr_matrix(counts.to_numpy(dtype=np.float32).T)
    anndata.AnnData(matrix, obs=cells.loc[counts.columns], var=pd.DataFrame(index=counts.index)).write_h5ad(path)
    columns = {"perturbation": {"constant": "x"}, "dose": None, "cell_line": {"constant": "mix"}, "plate": None, "well": None}
    settings = InputConfig(columns=columns)
    with CountsFile(path, settings) as file:
        plate = open_plate(file, Plate(name=name, counts=str(path)), settings, PerturbationConfig(control=["x"]), None)
        calls = find(plate)
    auroc = roc_auc_score(cells["cell_number"] == 2, calls.score)
    print(f"AUROC {auroc:.3f}, called {calls.is_doublet.sum()}")  # noqa: T201
    assert auroc > 0.7
