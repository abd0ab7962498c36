"""The model that a training begins with: a new one, or a published one with room for new drugs.

Axes: V tokens of the vocabulary, N rows of the table of drugs (or cells), P bits of a fingerprint, D dimensions.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import scipy.sparse as sp
import torch

from causcade.errors import InputError
from causcade.tx1.baselines import fit_low_rank
from causcade.tx1.checkpoint import DRUG_TABLE, Checkpoint
from causcade.tx1.fingerprints import NUM_BITS, drug_table
from causcade.tx1.model import Tx1
from causcade.tx1.shape import CollatorSettings, DrugShape, ModelShape
from causcade.tx1.vocabulary import Vocabulary

__all__ = ["further_model", "inform", "new_model"]

logger = logging.getLogger(__name__)

KEEP_FIRST_WITH_DRUG = 2
START_RANK, START_ROUNDS = 16, 3
RANDOM_PART = 0.3
VALUE_SLOPE = 0.1


def new_model(
    shape: ModelShape,
    vocabulary: Vocabulary,
    collator: CollatorSettings,
    *,
    name: str,
    seed: int,
    fingerprints: Mapping[str, np.ndarray] | None = None,
) -> Checkpoint:
    """Make a model with random weights.

    Parameters
    ----------
    shape
        Its sizes; those of vocabulary and drugs are set here.
    vocabulary
        Its genes; a token of drugs is added where it has drugs and the vocabulary has none.
    collator
        How its cells are collated; whether there is a drug token is set here.
    name
        Its name.
    seed
        Of the weights.
    fingerprints
        Of its drugs, [P] each; None: cells carry no drug.
    """
    if fingerprints is None:
        shape = replace(shape, vocab_size=vocabulary.size, drugs=None)
        model = Tx1(shape, seed=seed)
        return Checkpoint(model=model, shape=shape, collator=replace(collator, use_drug_token=False), vocabulary=vocabulary, drug_ids=None, name=name)
    vocabulary = vocabulary.with_drug()
    drug_ids, bits_NP = drug_table(None, fingerprints)
    drugs = replace(shape.drugs or DrugShape(num_drugs=0), num_drugs=len(bits_NP), num_bits=bits_NP.shape[1] or NUM_BITS)
    shape = replace(shape, vocab_size=vocabulary.size, drugs=drugs)
    model = Tx1(shape, seed=seed)
    model.set_drug_table(torch.from_numpy(bits_NP.reshape(drugs.num_drugs, drugs.num_bits)))
    collator = replace(collator, use_drug_token=True, keep_first=KEEP_FIRST_WITH_DRUG)
    return Checkpoint(model=model, shape=shape, collator=collator, vocabulary=vocabulary, drug_ids=drug_ids, name=name)


def further_model(initial: Checkpoint, *, name: str, seed: int, fingerprints: Mapping[str, np.ndarray] | None = None) -> Checkpoint:
    """Take a model to train further, with rows for drugs that it does not know.

    Parameters
    ----------
    initial
        The model; it stays as it is. Read without drugs, it is trained without them.
    name
        Name of the new model.
    seed
        Of weights that are new: the whole encoder of drugs where the model has none.
    fingerprints
        Of the drugs, [P] each; None: no drug beyond those of the model.

    Raises
    ------
    InputError
        If the fingerprints have another number of bits than those of the model.
    """
    shape, vocabulary, collator = initial.shape, initial.vocabulary, initial.collator
    drug_ids = initial.drug_ids
    bits_NP = np.zeros((0, 0), dtype=np.float32)
    if fingerprints is not None:
        drug_ids, bits_NP = drug_table(drug_ids if shape.drugs is not None else None, fingerprints)
        vocabulary = vocabulary.with_drug()
        num_bits = bits_NP.shape[1] if len(bits_NP) and bits_NP.shape[1] else shape.drugs.num_bits if shape.drugs else NUM_BITS
        if shape.drugs is not None and num_bits != shape.drugs.num_bits:
            raise InputError(
                f"pretraining.smiles: expected fingerprints of {shape.drugs.num_bits} bits as those of {initial.name}, found {num_bits}. "
                "Compute them so."
            )
        num_known = shape.drugs.num_drugs if shape.drugs is not None else 0
        drugs = replace(shape.drugs or DrugShape(num_drugs=0), num_drugs=num_known + len(bits_NP), num_bits=num_bits)
        shape = replace(shape, drugs=drugs, vocab_size=vocabulary.size)
        collator = replace(collator, use_drug_token=True, keep_first=KEEP_FIRST_WITH_DRUG)
        logger.info("drugs: %d of %s, %d new", num_known, initial.name, len(bits_NP) - (num_known == 0))
    model = Tx1(shape, seed=seed)
    _copy(initial.model, model)
    if len(bits_NP):
        with torch.no_grad():
            model.state_dict()[DRUG_TABLE][-len(bits_NP) :] = torch.from_numpy(bits_NP)
    return Checkpoint(model=model, shape=shape, collator=collator, vocabulary=vocabulary, drug_ids=drug_ids, name=name)


@torch.no_grad()
def inform(model: Tx1, bins_NV: sp.csr_matrix, num_bins: int, *, seed: int) -> None:
    """Begin with what a low-rank model of some training cells knows of the genes, instead of with numbers drawn at random.

    A small model that is trained for a minute would otherwise spend it on finding out which genes go together. Only first values change, no name or
    shape of a parameter. (1) Rows of the table of genes: loadings and mean bin of each gene, each standardised over the genes,
    turned at random, with a part of the random values. (2) The first layer of the encoder of values: its units bend at places spread over the bins.
    With the published start (no biases) all of them bend at 0, and since a norm follows, all values look the same until biases have grown.

    Parameters
    ----------
    model
        A new model; changed in place.
    bins_NV
        Bins of whole training cells, 0 where a gene is not expressed.
    num_bins
        Bins plus one.
    seed
        Of the low-rank fit, of the turn, and of the places.
    """
    random = torch.Generator().manual_seed(seed)
    first = model.model.expression_encoder.linear1
    sign_D = torch.where(torch.rand(len(first.bias), generator=random) < 0.5, -1.0, 1.0)
    first.weight.copy_(VALUE_SLOPE * sign_D[:, None])
    first.bias.copy_(-VALUE_SLOPE * sign_D * torch.rand(len(first.bias), generator=random) * (num_bins - 1))
    seen = torch.from_numpy(np.unique(bins_NV.indices).astype(np.int64))
    rank = min(START_RANK, model.shape.d_model // 2, len(seen) - 1, bins_NV.shape[0])
    if rank < 1:
        return
    low_rank = fit_low_rank(bins_NV, rank, seed=seed, iterations=START_ROUNDS)
    turned, sizes, _ = torch.linalg.svd(low_rank.loading_VD[seen], full_matrices=False)  # uncorrelated, in a fixed order
    known = torch.cat([turned * sizes, low_rank.mean_V[seen, None]], dim=1)
    known = (known - known.mean(dim=0)) / known.std(dim=0).clamp_min(torch.finfo(known.dtype).eps)
    turn = torch.linalg.qr(torch.randn(model.shape.d_model, known.shape[1], generator=random))[0].T
    table = model.model.gene_encoder.embedding.weight
    table[seen] = RANDOM_PART * table[seen] + known @ turn * math.sqrt(2 / model.shape.d_model)


@torch.no_grad()
def _copy(source: Tx1, target: Tx1) -> None:
    """Copy weights; tables may have more rows in the target, the last of which stay as they are."""
    known = source.state_dict()
    for key, tensor in target.state_dict().items():
        if key in known:
            tensor[: len(known[key])] = known[key].to(tensor.dtype)
