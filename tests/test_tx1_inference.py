"""Embedding: the published pipeline, one cell at a time as reference, whatever the batch, and what is said of wrong counts."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from tx1_cases import load_arrays, parity_folder
from tx1_embedding_cases import GENES, UNKNOWN, small_cells, small_checkpoint

from causcade.errors import InputError
from causcade.tx1.checkpoint import read_checkpoint
from causcade.tx1.embedded import CellBlock, EmbedSettings, canonical, drug_rows
from causcade.tx1.inference import CellEmbedder, embed_blocks, embed_counts
from causcade.tx1.tokens import collate

TOLERANCE = 1e-5


def embed(checkpoint, counts, gene_ids, keys=None, drugs=None, **options):
    return embed_counts(checkpoint, counts, gene_ids, settings=EmbedSettings(**options), keys=keys, drugs=drugs)


# published pipeline ---------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("case", "name", "drugs"), [("base", "outputs_pipeline", None), ("chem", "outputs_pipeline", True), ("chem", "outputs_pipeline_nochem", False)]
)
def test_compatible_mode_equals_the_published_pipeline(shared_data, case, name, drugs):
    folder = parity_folder(shared_data, case)
    data, expected = load_arrays(folder / "counts.npz"), load_arrays(folder / f"{name}.npz")
    counts = sp.csr_matrix((data["data"], data["indices"], data["indptr"]), shape=tuple(data["shape"]))
    if name.endswith("nochem"):
        counts = counts[load_arrays(folder / "infer_nochem_cells.npz")["cell_index"]]
    checkpoint = read_checkpoint(folder, drugs=drugs)
    found = embed(
        checkpoint, counts, data["gene_ids"], mode="compatible", max_length=int(expected["max_length"]), batch_cells=int(expected["batch_size"]),
        gene_embeddings=True,
    )  # fmt: skip
    np.testing.assert_allclose(found.z_ND, expected["cell_emb_l2"], atol=TOLERANCE)
    place = {token: row for row, token in enumerate(expected["vocab_tokens"])}
    rows = [place[gene] for gene in found.gene_ids]
    np.testing.assert_allclose(found.gene_mean_GD, expected["gene_emb_mean"][rows], atol=1e-4)
    # what the reference has seen beside these are special tokens
    seen = [token for token, mean in zip(expected["vocab_tokens"], expected["gene_emb_mean"], strict=True) if not np.isnan(mean).any()]
    assert {token for token in seen if not token.startswith("<")} == set(found.gene_ids[found.gene_cells_G > 0])


@pytest.mark.shared_data
def test_compatible_mode_depends_on_the_batch_as_published(shared_data):
    folder = parity_folder(shared_data, "chem")
    data, expected = load_arrays(folder / "counts.npz"), load_arrays(folder / "outputs_pipeline.npz")
    counts = sp.csr_matrix((data["data"], data["indices"], data["indptr"]), shape=tuple(data["shape"]))
    checkpoint = read_checkpoint(folder, drugs=True)
    alone = embed(checkpoint, counts, data["gene_ids"], mode="compatible", max_length=64, batch_cells=1)
    assert np.abs(alone.z_ND - expected["cell_emb_l2"]).max() > 1e-3


# against one cell at a time -------------------------------------------------------------------------------------------------------------------------


def one_by_one(checkpoint, counts, gene_ids, keys, drugs=None, max_length=2048):
    """Embeddings, and the hidden states of every gene, by a loop over cells through collation and the model in plain calls."""
    tokens = checkpoint.vocabulary.columns(gene_ids)
    settings = checkpoint.collator.__class__(max_length=max_length, use_drug_token=checkpoint.shape.drugs is not None)
    cells, hidden = [], {}
    for cell in range(counts.shape[0]):
        drug = None if drugs is None else np.array([checkpoint.drug_ids.get(drugs[cell], 0)])
        found = collate(counts[cell], tokens, settings, keys_B=keys[cell : cell + 1], drug_B=drug, drug_id=checkpoint.vocabulary.drug)
        if not len(found.rows):
            cells.append(np.zeros(checkpoint.shape.d_model))
            continue
        with torch.no_grad():
            output = checkpoint.model(found.batch)
        cells.append((output.cell_BD[0] / output.cell_BD[0].norm()).numpy())
        for token, state in zip(found.batch.gene_BL[0].tolist(), output.hidden_BLD[0].numpy(), strict=True):
            hidden.setdefault(token, []).append(state)
    return np.stack(cells), hidden


@pytest.mark.parametrize("drugs", [False, True])
@pytest.mark.parametrize("max_length", [2048, 12])
def test_embeddings_equal_those_of_single_cells(drugs, max_length):
    checkpoint = small_checkpoint(drugs=drugs)
    counts, gene_ids = small_cells(empty=(3, 17))
    keys = np.random.default_rng(1).integers(0, 1 << 62, 40).astype(np.uint64)
    names = np.random.default_rng(2).choice(["a", "b", "d"], 40) if drugs else None
    cells, hidden = one_by_one(checkpoint, counts, gene_ids, keys, names, max_length)
    found = embed(checkpoint, counts, gene_ids, keys, names, max_length=max_length, gene_embeddings=True, batch_tokens=150)
    assert found.z_ND.dtype == np.float32
    np.testing.assert_allclose(found.z_ND, cells, atol=TOLERANCE)
    assert found.empty.tolist() == [3, 17]
    assert set(found.gene_ids) == set(GENES)
    for gene, mean, number in zip(found.gene_ids, found.gene_mean_GD, found.gene_cells_G, strict=True):
        states = hidden.get(checkpoint.vocabulary.tokens[gene], [])
        assert number == len(states)
        if states:
            np.testing.assert_allclose(mean, np.mean(states, axis=0), atol=TOLERANCE)
        else:
            assert np.isnan(mean).all()


@pytest.mark.parametrize("options", [{"batch_tokens": 1}, {"batch_tokens": 97}, {"batch_tokens": 10**6}, {"block_cells": 1}, {"block_cells": 7}])
def test_batches_change_nothing(options):
    checkpoint = small_checkpoint()
    counts, gene_ids = small_cells(empty=(0,))
    expected = embed(checkpoint, counts, gene_ids, max_length=30, gene_embeddings=True)
    found = embed(checkpoint, counts, gene_ids, max_length=30, gene_embeddings=True, **options)
    if "block_cells" in options:  # the default key of a cell is its row in the whole matrix
        assert found.covered == expected.covered
    for one, other in zip(found, expected, strict=True):
        if isinstance(one, np.ndarray) and one.dtype.kind == "f":
            np.testing.assert_allclose(one, other, atol=TOLERANCE)
        else:
            np.testing.assert_array_equal(one, other)


def test_order_and_company_change_nothing():
    checkpoint = small_checkpoint()
    counts, gene_ids = small_cells()
    keys = np.arange(40, dtype=np.uint64)
    expected = embed(checkpoint, counts, gene_ids, keys, max_length=30).z_ND
    order = np.random.default_rng(3).permutation(40)
    np.testing.assert_allclose(embed(checkpoint, counts[order], gene_ids, keys[order], max_length=30).z_ND, expected[order], atol=TOLERANCE)
    columns = np.random.default_rng(4).permutation(len(gene_ids))
    shuffled = embed(checkpoint, counts[:, columns], [gene_ids[column] for column in columns], keys, max_length=30)
    np.testing.assert_allclose(shuffled.z_ND, expected, atol=TOLERANCE)
    for cell in (0, 21):
        alone = embed(checkpoint, counts[cell], gene_ids, keys[[cell]], max_length=30).z_ND[0]
        np.testing.assert_allclose(alone, expected[cell], atol=TOLERANCE)


def test_sampling_is_seeded_and_by_cell():
    checkpoint = small_checkpoint()
    counts, gene_ids = small_cells()
    first, again, other = (embed(checkpoint, counts, gene_ids, max_length=8, seed=seed).z_ND for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    is_long = (counts[:, checkpoint.vocabulary.columns(gene_ids) >= 0] > 0).sum(axis=1).A1 > 7
    changed = np.abs(first - other).max(axis=1) > 1e-3
    assert not changed[~is_long].any()
    assert changed[is_long].mean() > 0.9


@pytest.mark.parametrize(
    "matrix", [sp.csc_matrix, sp.csr_array, sp.coo_matrix, lambda counts: counts.toarray(), lambda counts: counts.astype(np.uint16)]
)
def test_counts_of_any_form(matrix):
    checkpoint = small_checkpoint()
    counts, gene_ids = small_cells(8)
    expected = embed(checkpoint, counts, gene_ids).z_ND
    np.testing.assert_array_equal(embed(checkpoint, matrix(counts), gene_ids).z_ND, expected)


def test_unsorted_and_repeated_entries_are_put_right_without_changing_the_input():
    counts = sp.csr_matrix((np.array([2.0, 1.0, 1.0]), np.array([1, 0, 1]), np.array([0, 3])), shape=(1, 2))
    found = canonical(counts)
    assert found.toarray().tolist() == [[1, 3]]
    assert found.indices.tolist() == [0, 1]
    assert counts.indices.tolist() == [1, 0, 1]


def test_columns_of_one_gene_are_summed_and_told(caplog):
    checkpoint = small_checkpoint()
    counts, gene_ids = small_cells(12)
    repeated = sp.hstack([counts, counts[:, :3], counts[:, :1]], format="csr")
    summed = counts.toarray()
    summed[:, :3] *= 2
    summed[:, 0] *= 1.5
    names = [*gene_ids, *(gene.split(".")[0] for gene in gene_ids[:3]), gene_ids[0] + "7"]
    num_known = int((checkpoint.vocabulary.columns(names[70:]) >= 0).sum())
    assert num_known > 1
    with caplog.at_level("INFO", logger="causcade"):
        found = embed(checkpoint, repeated, names)
    assert caplog.text.count(f"{num_known} columns are of genes that other columns hold too (versions are ignored): their counts are summed") == 1
    np.testing.assert_allclose(found.z_ND, embed(checkpoint, summed, gene_ids).z_ND, atol=TOLERANCE)


def test_length_is_one_unless_switched_off():
    checkpoint = small_checkpoint()
    counts, gene_ids = small_cells(10)
    scaled, plain = (embed(checkpoint, counts, gene_ids, normalise=normalise).z_ND for normalise in (True, False))
    np.testing.assert_allclose(np.linalg.norm(scaled, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(plain / np.linalg.norm(plain, axis=1, keepdims=True), scaled, atol=1e-6)
    assert np.linalg.norm(plain, axis=1).min() > 1.5


def test_the_mean_over_tokens_may_be_taken():
    checkpoint = small_checkpoint()
    counts, gene_ids = small_cells(10)
    settings = {"pooling": "mean", "normalise": False}
    z = embed(checkpoint, counts, gene_ids, **settings).z_ND
    np.testing.assert_allclose(embed(checkpoint, counts, gene_ids, gene_embeddings=True, **settings).z_ND, z, atol=TOLERANCE)
    alone = embed(checkpoint, counts[[3]], gene_ids, keys=np.array([3], dtype=np.uint64), gene_embeddings=True, normalise=False)
    total_D = np.nansum(alone.gene_mean_GD, axis=0) + alone.z_ND[0]  # of its genes, and of <cls>
    np.testing.assert_allclose(z[3], total_D / (alone.gene_cells_G.sum() + 1), atol=TOLERANCE)


def test_bfloat16_is_close_and_auto_is_float32_on_a_cpu():
    checkpoint = small_checkpoint()
    counts, gene_ids = small_cells(10)
    exact, auto, half = (embed(checkpoint, counts, gene_ids, precision=precision).z_ND for precision in ("float32", "auto", "bfloat16"))
    np.testing.assert_array_equal(exact, auto)
    assert half.dtype == np.float32
    assert 0 < np.abs(half - exact).max() < 0.03
    assert ((half * exact).sum(axis=1) > 0.999).all()


def test_no_cells_and_only_empty_cells():
    checkpoint = small_checkpoint()
    counts, gene_ids = small_cells(4, empty=(0, 1, 2, 3))
    none = embed(checkpoint, counts[:0], gene_ids, gene_embeddings=True)
    assert none.z_ND.shape == (0, 16)
    assert np.isnan(none.gene_mean_GD).all()
    empty = embed(checkpoint, counts, gene_ids, min_covered=0.0)
    assert empty.empty.tolist() == [0, 1, 2, 3]
    assert not empty.z_ND.any()


def test_blocks_stream(caplog):
    checkpoint = small_checkpoint()
    counts, gene_ids = small_cells(empty=(5,))
    expected = embed(checkpoint, counts, gene_ids, gene_embeddings=True)
    parts = np.split(np.arange(40), [3, 4, 25])
    blocks = (CellBlock(counts[part], part.astype(np.uint64)) for part in parts)
    with caplog.at_level("INFO", logger="causcade"):
        found = embed_blocks(checkpoint, blocks, gene_ids, settings=EmbedSettings(gene_embeddings=True), num_cells=40, where="plate.zarr")
    assert "plate.zarr: 1 of 40 cells have no gene of the model's vocabulary; their embeddings are zeros" in caplog.text
    assert "40 of 40 cells" in caplog.text
    np.testing.assert_allclose(found.z_ND, expected.z_ND, atol=TOLERANCE)
    np.testing.assert_allclose(found.gene_mean_GD, expected.gene_mean_GD, atol=TOLERANCE)


def test_compile_is_asked_of_the_model(monkeypatch):
    checkpoint = small_checkpoint()
    counts, gene_ids = small_cells(3)
    asked = []
    monkeypatch.setattr(type(checkpoint.model), "compile_layers", lambda self: asked.append(self))
    embed(checkpoint, counts, gene_ids)
    assert not asked
    embed(checkpoint, counts, gene_ids, compile=True)
    assert asked == [checkpoint.model]


# out of memory --------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")]
)
@pytest.mark.parametrize("mode", ["exact", "compatible"])
def test_out_of_memory_halves_the_batch_and_goes_on(monkeypatch, caplog, error, mode):
    checkpoint = small_checkpoint()
    counts, gene_ids = small_cells(200)
    expected = embed(checkpoint, counts, gene_ids, gene_embeddings=True, mode=mode)
    forward, tried = checkpoint.model.forward, []

    def limited(batch, **options):
        tried.append(batch.gene_BL.numel())
        if tried[-1] > 200:
            raise error
        return forward(batch, **options)

    monkeypatch.setattr(checkpoint.model, "forward", limited)
    with caplog.at_level("WARNING", logger="causcade"):
        found = embed(checkpoint, counts, gene_ids, gene_embeddings=True, batch_tokens=1000, mode=mode)
    np.testing.assert_allclose(found.z_ND, expected.z_ND, atol=TOLERANCE)
    np.testing.assert_allclose(found.gene_mean_GD, expected.gene_mean_GD, atol=TOLERANCE)
    np.testing.assert_array_equal(found.gene_cells_G, expected.gene_cells_G)
    assert "out of memory with" in caplog.text
    assert "going on with half as many" in caplog.text
    if mode == "exact":  # batches after it are smaller from the start (one was made already)
        failed = [number for number, size in enumerate(tried) if size > 200]
        assert failed[-1] < 0.4 * len(tried)


def test_no_memory_for_one_cell_is_told(monkeypatch):
    checkpoint = small_checkpoint()
    counts, gene_ids = small_cells(3)

    def fail(batch, **options):
        raise torch.OutOfMemoryError("no")

    monkeypatch.setattr(checkpoint.model, "forward", fail)
    with pytest.raises(InputError, match=r"expected memory for one cell of \d+ tokens on cpu, found too little\. Lower `max_length`"):
        embed(checkpoint, counts, gene_ids)


def test_other_errors_of_the_model_come_through(monkeypatch):
    checkpoint = small_checkpoint()
    counts, gene_ids = small_cells(3)

    def fail(batch, **options):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(checkpoint.model, "forward", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        embed(checkpoint, counts, gene_ids)


# wrong input ----------------------------------------------------------------------------------------------------------------------------------------


def test_share_of_known_counts_is_returned_and_too_low_is_an_error():
    checkpoint = small_checkpoint()
    counts, gene_ids = small_cells()
    is_known = checkpoint.vocabulary.columns(gene_ids) >= 0
    share = counts[:, is_known].sum() / counts.sum()
    assert embed(checkpoint, counts, gene_ids).covered == pytest.approx(share)
    with pytest.raises(
        InputError,
        match=rf"the counts: expected at least 99% of the counts in genes of the model's vocabulary \(such as {GENES[0]}, {GENES[1]}, {GENES[2]}\), "
        rf"found {share:.1%}; genes of the input are such as {gene_ids[0]}, {gene_ids[1]}, {gene_ids[2]}\. Name genes by Ensembl ids",
    ):
        embed(checkpoint, counts, gene_ids, min_covered=0.99)
    with pytest.raises(InputError, match=r"found 0\.0%; genes of the input are such as GENE0, GENE1, GENE2\."):
        embed(checkpoint, counts, [f"GENE{number}" for number in range(len(gene_ids))])


def test_share_is_checked_early_and_over_all_cells():
    checkpoint = small_checkpoint()
    genes = [GENES[0], UNKNOWN[0]]
    blocks = [CellBlock(sp.csr_matrix(np.tile(row, (300, 1)).astype(np.float32)), np.arange(300)) for row in ([5, 0], [0, 95])]
    with pytest.raises(InputError, match=r"plate\.zarr: .* found 5\.0%"):
        embed_blocks(checkpoint, blocks, genes, settings=EmbedSettings(), where="plate.zarr")
    left = iter(blocks[::-1])
    with pytest.raises(InputError, match=r"found 0\.0%"):
        embed_blocks(checkpoint, left, genes, settings=EmbedSettings())
    assert len(list(left)) == 1  # nobody waited for it


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_counts_that_are_none_are_told(value):
    counts, gene_ids = small_cells(5)
    counts.data[7] = value
    gene = gene_ids[counts.indices[7]]
    with pytest.raises(InputError, match=rf"the counts: expected counts from 0, found {value} in gene '{gene}'\. Give raw counts"):
        embed(small_checkpoint(), counts, gene_ids)


def test_embeddings_that_are_not_finite_are_told():
    checkpoint = small_checkpoint()
    with torch.no_grad():
        checkpoint.model.model.gene_encoder.embedding.weight[5] = np.nan
    counts, gene_ids = small_cells(9)
    with pytest.raises(
        InputError, match=r"expected a finite embedding for each cell, found \d of 9 cells with NaN or infinity\. Write `precision: float32`"
    ):
        embed(checkpoint, counts, gene_ids)


def test_numbers_that_do_not_fit_are_told():
    checkpoint = small_checkpoint()
    counts, gene_ids = small_cells(5)
    with pytest.raises(InputError, match=r"expected an id for each of 70 columns, found 69\."):
        embed(checkpoint, counts, gene_ids[1:])
    with pytest.raises(InputError, match=r"expected a key for each of 5 cells, found 3\."):
        embed(checkpoint, counts, gene_ids, keys=np.arange(3))
    with pytest.raises(InputError, match=r"expected a drug for each of 5 cells, found 2\."):
        embed(small_checkpoint(drugs=True), counts, gene_ids, drugs=["a", "b"])
    for name in ("batch_cells", "block_cells", "shard_cells", "batch_tokens"):
        with pytest.raises(InputError, match=rf"expected {name} of 1 or more, found 0\."):
            EmbedSettings(**{name: 0})


def test_unknown_drugs_are_no_drug_and_told(caplog):
    with caplog.at_level("WARNING", logger="causcade"):
        rows = drug_rows(["b", "x", "a", "x", "control"], {"<pad>": 0, "a": 1, "b": 2})
    assert rows.tolist() == [2, 0, 1, 0, 0]
    assert "2 of 4 drugs are not in the model's table (such as x, control): their cells are embedded without a drug" in caplog.text
    checkpoint = small_checkpoint(drugs=True)
    counts, gene_ids = small_cells(3)
    known, unknown, absent = (embed(checkpoint, counts, gene_ids, drugs=drugs).z_ND for drugs in (["a"] * 3, ["x"] * 3, None))
    np.testing.assert_array_equal(unknown, absent)
    assert np.abs(known - absent).max() > 1e-3


def test_whole_batches_of_compatible_mode_are_not_cut():
    settings = EmbedSettings(mode="compatible", batch_cells=8)
    assert [settings.aligned(number) for number in (1, 8, 9, 100)] == [8, 8, 16, 104]
    assert EmbedSettings(batch_cells=8).aligned(9) == 9
    checkpoint = small_checkpoint(drugs=True)
    counts, gene_ids = small_cells()
    expected = embed(checkpoint, counts, gene_ids, mode="compatible", batch_cells=8).z_ND
    np.testing.assert_array_equal(embed(checkpoint, counts, gene_ids, mode="compatible", batch_cells=8, block_cells=9).z_ND, expected)
    assert np.abs(embed(checkpoint, counts, gene_ids, mode="compatible", batch_cells=3).z_ND - expected).max() > 1e-4


def test_sums_are_of_the_cells_since_the_last_reset():
    checkpoint = small_checkpoint()
    counts, gene_ids = small_cells(6)
    embedder = CellEmbedder(checkpoint, gene_ids, EmbedSettings(gene_embeddings=True))
    block = CellBlock(counts, np.arange(6, dtype=np.uint64))
    embedder.measure(counts)
    embedder.embed(block)
    once, total = embedder.gene_sum_GD.copy(), embedder.total_sum
    embedder.embed(block)
    np.testing.assert_allclose(embedder.gene_sum_GD, 2 * once)
    embedder.reset()
    assert not embedder.gene_sum_GD.any()
    assert not embedder.gene_cells_G.any()
    assert embedder.covered == 1.0
    embedder.embed(block)
    np.testing.assert_allclose(embedder.gene_sum_GD, once)
    embedder.measure(counts)
    assert embedder.total_sum == total == counts.sum()
