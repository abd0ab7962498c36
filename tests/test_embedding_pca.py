"""Principal axes as an embedding, against scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from cell_cases import NO_ROLES, dense_x, gene_names, make_store, random_counts

from causcade.cells import CellStore
from causcade.coexpression import add_moments, measure_moments, residual_correlation
from causcade.config import EmbeddingConfig
from causcade.covariates import cell_cycle_scores
from causcade.embedding.pca import Basis, embed_plate, pca_basis, read_basis, write_basis

GENES = gene_names(25)
ROLES = pd.DataFrame({"gene_id": ["g008", "g009", "g003"], "role": ["g2m", "g2m", "g2m_control"]})


@pytest.fixture(scope="module")
def plates(tmp_path_factory) -> list[CellStore]:
    folder = tmp_path_factory.mktemp("plates")
    rng = np.random.default_rng(0)
    return [
        make_store(
            folder / f"{n}.zarr", random_counts(rng, 70, 25), plate=f"p{n}", is_control=rng.random(70) < 0.4, cell_line=rng.choice(["A", "B"], 70)
        )
        for n in (1, 2)
    ]


@pytest.fixture(scope="module")
def basis(plates) -> Basis:
    moments = add_moments(measure_moments(store, pd.Index(GENES), ["plate"], NO_ROLES, block_cells=16, backend="cpu") for store in plates)
    result = residual_correlation(moments)
    return pca_basis(result.raw_correlation_GG, result.mean_G, result.sd_G, GENES, 6)


def embed(store, basis, cells="all", block_cells=16, roles=ROLES, **settings):
    return embed_plate(store, EmbeddingConfig(source="pca", cells=cells, **settings), basis, roles=roles, block_cells=block_cells)


def test_axes_equal_a_pca_of_the_pooled_cells(plates, basis):
    from sklearn.decomposition import PCA

    x = np.concatenate([dense_x(store, GENES) for store in plates])
    expected = PCA(6).fit(x)
    signs = np.sign((expected.components_.T * basis.components_GD).sum(axis=0))
    np.testing.assert_allclose(basis.components_GD * signs, expected.components_.T, atol=1e-4)
    np.testing.assert_allclose(basis.explained_D, expected.explained_variance_ratio_, rtol=1e-5)
    np.testing.assert_allclose(basis.mean_G, expected.mean_, rtol=1e-6)
    z = np.concatenate([embed(store, basis).X for store in plates])
    np.testing.assert_allclose(z * signs, expected.transform(x), atol=1e-3)


def test_signs_do_not_depend_on_the_solver(basis, monkeypatch):
    import scipy.linalg

    largest = np.abs(basis.components_GD).argmax(axis=0)
    assert (basis.components_GD[largest, np.arange(6)] > 0).all()
    correlation, sd = np.corrcoef(np.random.default_rng(1).normal(size=(50, 8)), rowvar=False), np.linspace(1, 3, 8)
    plain = pca_basis(correlation, np.zeros(8), sd, gene_names(8), 5)
    eigh = scipy.linalg.eigh

    def flipped(*args, **options):
        values, vectors = eigh(*args, **options)
        return values, vectors * np.array([1, -1, -1, 1, -1])

    monkeypatch.setattr(scipy.linalg, "eigh", flipped)
    np.testing.assert_array_equal(pca_basis(correlation, np.zeros(8), sd, gene_names(8), 5).components_GD, plain.components_GD)


def test_no_more_axes_than_genes_and_constant_genes():
    basis = pca_basis(np.diag([1.0, 0.0, 1.0]).astype(np.float32), np.ones(3), np.array([2.0, 0.0, 1.0]), ["a", "b", "c"], 32)
    assert basis.components_GD.shape == (3, 3)
    np.testing.assert_allclose(basis.components_GD, np.eye(3)[:, [0, 2, 1]], atol=1e-7)
    np.testing.assert_allclose(basis.explained_D, [0.8, 0.2, 0.0], atol=1e-12)
    assert pca_basis(np.zeros((2, 2), np.float32), np.zeros(2), np.zeros(2), ["a", "b"], 2).explained_D.tolist() == [0.0, 0.0]


def test_basis_round_trip(basis, tmp_path):
    write_basis(tmp_path / "basis.npz", basis)
    back = read_basis(tmp_path / "basis.npz")
    for name, value in basis._asdict().items():
        np.testing.assert_array_equal(getattr(back, name), value)


def test_projection_is_independent_of_blocks_and_of_other_cells(plates, basis):
    store = plates[0]
    whole = embed(store, basis)
    assert whole.X.dtype == np.float32
    for block_cells in (1, 1000):
        np.testing.assert_allclose(embed(store, basis, block_cells=block_cells).X, whole.X, atol=1e-5)
    controls = embed(store, basis, "controls")
    rows = np.flatnonzero(store.obs["is_control"].to_numpy())
    assert controls.obs["row"].tolist() == rows.tolist()
    assert controls.obs_names.tolist() == store.obs.index[rows].tolist()
    np.testing.assert_allclose(controls.X, whole.X[rows], atol=1e-5)
    assert controls.obs["is_control"].all()


def test_genes_that_a_plate_lacks_are_zero(plates, basis, tmp_path):
    counts = next(iter(plates[0].iter_counts(1000)))[1].toarray()
    totals = plates[0].obs["total_counts"].to_numpy()
    absent = make_store(tmp_path / "absent.zarr", counts[:, :20], total_counts=totals)
    counts[:, 20:] = 0
    zero = make_store(tmp_path / "zero.zarr", counts, total_counts=totals)
    np.testing.assert_allclose(embed(absent, basis).X, embed(zero, basis).X, atol=1e-5)


def test_columns_for_the_map(plates, basis):
    result = embed(plates[0], basis)
    store = plates[0]
    assert result.obs.columns.tolist() == [
        "perturbation", "cell_line", "plate", "well", "is_control", "row", "log_counts", "s_score", "g2m_score",
    ]  # fmt: skip
    np.testing.assert_allclose(result.obs["log_counts"], np.log1p(store.obs["total_counts"]))
    expected = cell_cycle_scores(dense_x(store, store.var.index), store.var.index, ROLES)["g2m_score"]
    np.testing.assert_allclose(result.obs["g2m_score"], expected, atol=1e-6)
    assert result.obs["s_score"].isna().all()  # no S gene is listed


def test_a_plate_without_controls_embeds_no_cell(basis, tmp_path):
    store = make_store(tmp_path / "treated.zarr", random_counts(np.random.default_rng(3), 5, 25), is_control=False)
    result = embed(store, basis, "controls")
    assert result.shape == (0, 6)
    assert len(result.obs.columns) == 9
