import builtins

import numpy as np
import pytest

from causcade.errors import InputError
from causcade.tx1.fingerprints import drug_table, morgan_bits

SMILES = {"DMSO_TF": "CS(C)=O", "Aspirin": "CC(=O)OC1=CC=CC=C1C(=O)O", "Ethanol": "CCO"}


def test_fingerprints_are_morgan_bits_in_the_order_of_the_drugs():
    pytest.importorskip("rdkit")
    from rdkit import Chem
    from rdkit.Chem import rdFingerprintGenerator

    found = morgan_bits(SMILES)
    assert found.shape == (3, 2048)
    assert found.dtype == np.float32
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    for row, smiles in enumerate(SMILES.values()):
        np.testing.assert_array_equal(np.flatnonzero(found[row]), sorted(generator.GetFingerprint(Chem.MolFromSmiles(smiles)).GetOnBits()))
    assert morgan_bits({"Ethanol": "OCC"}, num_bits=64).tolist() == morgan_bits({"x": "CCO"}, num_bits=64).tolist()


def test_structures_that_cannot_be_read_are_named():
    pytest.importorskip("rdkit")
    with pytest.raises(
        InputError, match=r"expected SMILES that RDKit can read, found 2 others \(Bad: 'C1CC'; Empty: ''\)\. Correct or remove them\."
    ):
        morgan_bits(SMILES | {"Bad": "C1CC", "Empty": ""})


def test_without_rdkit_the_message_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def refusing(name, *arguments, **options):
        if name.startswith("rdkit"):
            raise ImportError("No module named 'rdkit'")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refusing)
    with pytest.raises(InputError, match=r"expected RDKit, which reads structures, found it not installed\. Install `causcade\[tx1\]`"):
        morgan_bits(SMILES)


def test_a_new_table_has_an_empty_row_first():
    drug_ids, bits = drug_table(None, {"b": np.array([1.0, 0.0]), "a": np.array([1.0, 1.0])})
    assert drug_ids == {"<pad>": 0, "a": 1, "b": 2}
    assert bits.tolist() == [[0, 0], [1, 1], [1, 0]]


def test_new_drugs_come_after_those_that_are_known_and_known_ones_stay():
    drug_ids, bits = drug_table({"<pad>": 0, "b": 2, "c": 1}, {"d": np.ones(2), "b": np.ones(2), "a": np.zeros(2)})
    assert drug_ids == {"<pad>": 0, "b": 2, "c": 1, "a": 3, "d": 4}
    assert bits.tolist() == [[0, 0], [1, 1]]
    assert drug_table({"<pad>": 0}, {})[1].shape == (0, 0)
