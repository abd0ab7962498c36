"""TX1 from Python: a folder is loaded, an AnnData embedded, and nothing changed unless asked."""

import subprocess
import sys

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from tx1_embedding_cases import small_cells, small_checkpoint

import causcade.tx1
from causcade.errors import InputError
from causcade.resources.identifiers import Resolver
from causcade.tx1.api import Tx1Embedder, load
from causcade.tx1.embedded import EmbedSettings
from causcade.tx1.inference import embed_counts

TOLERANCE = 1e-5


@pytest.fixture
def adata():
    counts, gene_ids = small_cells(20, empty=(4,))
    obs = pd.DataFrame({"drug": np.tile(["a", "x"], 10)}, index=[f"c{number}" for number in range(20)])
    return anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=gene_ids))


@pytest.fixture(scope="module")
def embedder():
    return Tx1Embedder(small_checkpoint())


@pytest.fixture
def expected(embedder, adata):
    keys = pd.util.hash_array(adata.obs_names.to_numpy(dtype=object))
    return embed_counts(embedder.checkpoint, adata.X, list(adata.var_names), settings=EmbedSettings(gene_embeddings=True), keys=keys)


def test_a_folder_is_loaded_and_used(tmp_path, adata, embedder, expected):
    causcade.tx1.write_checkpoint(tmp_path / "model", embedder.checkpoint)
    model = causcade.tx1.load(tmp_path / "model", device="cpu")
    assert repr(model) == "Tx1Embedder(model, 2 layers, 16 dimensions, Vocabulary(60 genes, 64 tokens))"
    np.testing.assert_allclose(model.embed(adata), expected.z_ND, atol=TOLERANCE)
    half = load(tmp_path / "model", device="auto", dtype="bfloat16")
    assert next(half.checkpoint.model.parameters()).dtype == torch.bfloat16
    assert (half.embed(adata) * expected.z_ND).sum() > 18.9


def test_an_embedding_is_returned_and_nothing_is_changed(adata, embedder, expected):
    before = adata.copy()
    z = embedder.embed(adata, batch_tokens=40)
    assert z.dtype == np.float32
    np.testing.assert_allclose(z, expected.z_ND, atol=TOLERANCE)
    assert not z[4].any()
    assert not adata.obsm
    assert not adata.varm
    assert (adata.X != before.X).nnz == 0
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    pd.testing.assert_frame_equal(adata.var, before.var)


def test_an_embedding_is_written_where_asked(adata, embedder, expected):
    found = embedder.embed(adata, key="X_tx1", return_genes=True)
    np.testing.assert_array_equal(adata.obsm["X_tx1"], found.z_ND)
    table = dict(zip(found.gene_ids, found.gene_mean_GD, strict=True))
    for name, row in zip(adata.var_names, adata.varm["X_tx1"], strict=True):
        np.testing.assert_array_equal(row, table.get(name.split(".")[0], np.full(16, np.nan)))
    np.testing.assert_allclose(found.gene_mean_GD, expected.gene_mean_GD, atol=TOLERANCE)
    other = adata.copy()
    embedder.embed(other, key="z")
    assert "z" not in other.varm


@pytest.mark.parametrize("form", ["csc", "dense", "layer", "backed", "dask"])
def test_counts_of_any_form(adata, embedder, expected, form, tmp_path):
    layer = None
    if form == "csc":
        adata.X = sp.csc_matrix(adata.X)
    elif form == "dense":
        adata.X = adata.X.toarray()
    elif form == "layer":
        adata.layers["counts"], adata.X, layer = adata.X, None, "counts"
    elif form == "backed":
        adata.write_h5ad(tmp_path / "cells.h5ad")
        adata = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    else:
        dask = pytest.importorskip("dask.array")
        adata.X = dask.from_array(adata.X.toarray(), chunks=(7, 70))
    z = embedder.embed(adata, layer=layer, settings=EmbedSettings(block_cells=6))
    np.testing.assert_allclose(z, expected.z_ND, atol=TOLERANCE)
    if form == "backed":
        adata.file.close()


def test_a_subset_of_the_cells_gets_the_same_embeddings(adata, embedder):
    settings = EmbedSettings(max_length=8)
    whole = embedder.embed(adata, settings=settings)
    order = np.random.default_rng(0).permutation(20)[:11]
    np.testing.assert_allclose(embedder.embed(adata[order], settings=settings), whole[order], atol=TOLERANCE)


def test_ids_may_be_in_a_column_or_come_from_symbols(adata, embedder, expected):
    symbols = [f"SYM{number}" for number in range(adata.n_vars)]
    ids = [name.split(".")[0] for name in adata.var_names]
    adata.var["ensembl"] = ids
    adata.var_names = symbols
    np.testing.assert_allclose(embedder.embed(adata, gene_ids="ensembl"), expected.z_ND, atol=TOLERANCE)
    rows = [{"identifier": symbol, "namespace": "approved", "gene": symbol, "gene_id": gene} for symbol, gene in zip(symbols, ids, strict=True)]
    table = pd.DataFrame(rows[1:])
    kept = embedder.embed(adata[:, 1:], resolver=Resolver.from_table(table))
    np.testing.assert_allclose(kept, embedder.embed(adata[:, 1:], gene_ids="ensembl"), atol=TOLERANCE)
    with pytest.raises(InputError, match=r"expected Ensembl ids as gene names, found names such as SYM0, SYM1, SYM2\. Write gene_ids='ensembl'"):
        embedder.embed(adata)
    del adata.var["ensembl"]
    with pytest.raises(
        InputError, match=r"adata: expected at least 50% of the counts .* found 0\.0%; genes of the input are such as SYM0, SYM1, SYM2\."
    ):
        embedder.embed(adata)


def test_drugs_are_named_by_a_column(adata, embedder):
    model = Tx1Embedder(small_checkpoint(drugs=True))
    keys = pd.util.hash_array(adata.obs_names.to_numpy(dtype=object))
    for drugs, names in (("drug", adata.obs["drug"].tolist()), (None, None)):
        expected = embed_counts(model.checkpoint, adata.X, list(adata.var_names), settings=EmbedSettings(), keys=keys, drugs=names)
        np.testing.assert_allclose(model.embed(adata, drugs=drugs), expected.z_ND, atol=TOLERANCE)
    with pytest.raises(InputError, match=r"expected obs column 'compound' \(drugs\), found drug\."):
        model.embed(adata, drugs="compound")
    with pytest.raises(InputError, match=r"expected a model with drugs for obs column 'drug', found one without\."):
        embedder.embed(adata, drugs="drug")


def test_what_is_not_there_is_told(adata, embedder):
    with pytest.raises(InputError, match=r"adata: expected layer 'raw', found no layer\. Name one that is there, or None for X\."):
        embedder.embed(adata, layer="raw")
    with pytest.raises(InputError, match=r"adata: expected var column 'ids' \(gene_ids\), found no column\."):
        embedder.embed(adata, gene_ids="ids")
    adata.X = None
    with pytest.raises(InputError, match=r"adata: expected counts in X, found nothing there\."):
        embedder.embed(adata)


def test_the_package_exports_what_it_says():
    for name in causcade.tx1.__all__:
        assert getattr(causcade.tx1, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        causcade.tx1.nothing  # noqa: B018


def test_the_package_is_light_until_it_is_used():
    program = "import sys, causcade.tx1, causcade.tx1.shape; sys.exit('torch' in sys.modules or 'numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
