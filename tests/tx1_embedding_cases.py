"""A small random model with its vocabulary, and cells for it; shared by the tests of embedding."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from tx1_cases import tiny_model

from causcade.tx1.checkpoint import Checkpoint
from causcade.tx1.shape import CollatorSettings, DrugShape, ModelShape
from causcade.tx1.vocabulary import Vocabulary

GENES = [f"ENSG{number:011d}" for number in range(100, 160)]
UNKNOWN = [f"ENSG{number:011d}" for number in range(900, 910)]


def small_checkpoint(*, drugs: bool = False, seed: int = 0) -> Checkpoint:
    vocabulary = Vocabulary.from_genes(GENES, drug=drugs)
    table = DrugShape(num_drugs=5, num_bits=8) if drugs else None
    shape = ModelShape(vocab_size=vocabulary.size, d_model=16, num_layers=2, num_heads=2, drugs=table)
    collator = CollatorSettings(use_drug_token=drugs, keep_first=2 if drugs else 1)
    names = {"<pad>": 0, "a": 1, "b": 2, "c": 3, "d": 4} if drugs else None
    model = tiny_model(shape, seed=seed)
    return Checkpoint(model=model, shape=shape, collator=collator, vocabulary=vocabulary, drug_ids=names, name="small")


def small_cells(num_cells: int = 40, seed: int = 0, *, empty: tuple[int, ...] = ()) -> tuple[sp.csr_matrix, list[str]]:
    """Counts of cells of very different lengths, in genes that the model knows and some that it does not."""
    rng = np.random.default_rng(seed)
    gene_ids = [f"{gene}.{number}" for number, gene in enumerate(rng.permutation(GENES + UNKNOWN))]
    counts = rng.poisson(4, (num_cells, len(gene_ids))) * (rng.random((num_cells, len(gene_ids))) < rng.uniform(0.02, 0.9, (num_cells, 1)))
    is_known = np.array([gene.split(".")[0] in GENES for gene in gene_ids])
    counts[:, np.flatnonzero(is_known)[0]] = 1
    for cell in empty:
        counts[cell, is_known] = 0
    return sp.csr_matrix(counts.astype(np.float32)), gene_ids
