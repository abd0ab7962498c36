"""Structures of drugs as bits: Morgan fingerprints, from which the model's table of drugs starts.

Published models hold Morgan fingerprints of radius 2 and 2048 bits, row 0 for no drug (doi:10.1021/ci100050t; RDKit, the extra `causcade[tx1]`).

Axes: N drugs, P bits.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from causcade.errors import InputError

__all__ = ["NO_DRUG", "drug_table", "morgan_bits"]

NO_DRUG = "<pad>"
RADIUS = 2
NUM_BITS = 2048


def morgan_bits(smiles: Mapping[str, str], *, num_bits: int = NUM_BITS, radius: int = RADIUS) -> np.ndarray:
    """Morgan fingerprints of some drugs, float32 [N, P] of zeros and ones, in their order.

    Parameters
    ----------
    smiles
        Structure of each drug, by its name.
    num_bits, radius
        Of the fingerprints.

    Raises
    ------
    InputError
        If RDKit is not installed, or a structure cannot be read.
    """
    try:
        from rdkit import Chem, RDLogger
        from rdkit.Chem import rdFingerprintGenerator
    except ImportError:
        raise InputError(
            "pretraining.smiles: expected RDKit, which reads structures, found it not installed. Install `causcade[tx1]`, "
            "or give fingerprints as an array."
        ) from None
    RDLogger.DisableLog("rdApp.*")  # what cannot be read is told below
    molecules = {name: Chem.MolFromSmiles(text) if text else None for name, text in smiles.items()}
    unread = [f"{name}: {smiles[name]!r}" for name, molecule in molecules.items() if molecule is None]
    if unread:
        raise InputError(
            f"pretraining.smiles: expected SMILES that RDKit can read, found {len(unread)} others ({'; '.join(unread[:3])}). Correct or remove them."
        )
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=num_bits)
    bits_NP = np.zeros((len(molecules), num_bits), dtype=np.float32)
    for row, molecule in enumerate(molecules.values()):
        bits_NP[row] = generator.GetFingerprintAsNumPy(molecule)
    return bits_NP


def drug_table(known: Mapping[str, int] | None, new: Mapping[str, np.ndarray]) -> tuple[dict[str, int], np.ndarray]:
    """Give new drugs rows after those that a model knows.

    Parameters
    ----------
    known
        Row of each drug of the model; None: a new table, whose row 0 is no drug.
    new
        Fingerprint of each drug, [P]; those that the model knows already keep what it has learned of them.

    Returns
    -------
    drug_ids : dict
        Row of each drug, the new ones after the others in the order of their names.
    bits_NP : numpy.ndarray
        Fingerprints of the new rows, float32, with row 0 (zeros) where the table is new.
    """
    drug_ids = {NO_DRUG: 0} if known is None else dict(known)
    first = max(drug_ids.values(), default=-1) + 1
    added = sorted(name for name in new if name not in drug_ids)
    drug_ids |= {name: first + number for number, name in enumerate(added)}
    num_bits = len(next(iter(new.values()))) if new else 0
    rows = [np.zeros(num_bits)] if known is None else []
    rows += [new[name] for name in added]
    return drug_ids, np.array(rows, dtype=np.float32).reshape(len(rows), num_bits)
