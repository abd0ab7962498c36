"""Small TX1 models, batches and the parity data, shared by the tests of causcade.tx1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from causcade.tx1.batch import TokenBatch
from causcade.tx1.model import Tx1
from causcade.tx1.shape import DrugShape, ModelShape

TINY = ModelShape(vocab_size=40, d_model=16, num_layers=2, num_heads=2)
TINY_DRUGS = ModelShape(vocab_size=41, d_model=16, num_layers=2, num_heads=2, drugs=DrugShape(num_drugs=5, num_bits=8))


def tiny_model(shape: ModelShape = TINY, seed: int = 0) -> Tx1:
    """A model in eval mode whose every parameter is random, norms and biases too."""
    model = Tx1(shape, seed=seed).eval()
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model


def tiny_batch(lengths, *, shape: ModelShape = TINY, masked: float | None = None, seed: int = 0, width: int | None = None) -> TokenBatch:
    """Cells of given lengths (special tokens included), padded to `width`; a share of the genes masked."""
    rng = np.random.default_rng(seed)
    num_cells, width = len(lengths), width or max(lengths)
    special = 1 if shape.drugs is None else 2
    gene, value = np.zeros((num_cells, width), dtype=np.int64), np.full((num_cells, width), -2, dtype=np.float32)
    is_real, is_masked = np.zeros((num_cells, width), dtype=bool), np.zeros((num_cells, width), dtype=bool)
    for cell, length in enumerate(lengths):
        gene[cell, 0] = 1
        if special == 2:
            gene[cell, 1] = shape.vocab_size - 1
        num_genes = length - special
        gene[cell, special:length] = rng.choice(np.arange(3, shape.vocab_size - 1), num_genes, replace=num_genes > shape.vocab_size - 4)
        value[cell, special:length] = rng.integers(1, 51, num_genes)
        is_real[cell, :length] = True
        is_masked[cell, special:length] = rng.random(num_genes) < (masked or 0)
    drug = None if shape.drugs is None else torch.from_numpy(rng.integers(0, shape.drugs.num_drugs, num_cells))
    return TokenBatch(
        torch.from_numpy(gene),
        torch.from_numpy(value),
        torch.from_numpy(is_real),
        None if masked is None else torch.from_numpy(is_masked),
        drug,
    )


def parity_folder(shared_data: Path, case: str) -> Path:
    """Folder of a case (`base`, `chem`) of the parity data."""
    return shared_data / "tx1_parity" / case


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an npz file."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def parity_batch(folder: Path, name: str) -> TokenBatch:
    """A collated batch of the parity data as it was given to the reference."""
    arrays = load_arrays(folder / f"{name}.npz")
    return TokenBatch(
        torch.from_numpy(arrays["gene"]),
        torch.from_numpy(arrays["expr"]),
        torch.from_numpy(arrays["key_padding_mask"]),
        torch.from_numpy(arrays["gen_mask"]),
        torch.from_numpy(arrays["drug_ids"]).long() if "drug_ids" in arrays else None,
    )
