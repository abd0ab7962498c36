"""Genes of a table of conditions: roles, correlation between perturbations, partners, and the store."""

import numpy as np
import pandas as pd
import pytest
import zarr
from latent_cases import make_effects

from causcade.condition_table_genes import correlate_conditions, correlation_partners, genes_of_table, write_correlation
from causcade.errors import InputError

NO_PRIORS = pd.DataFrame(columns=["regulator", "target", "sign", "sources", "confidence"])


def effects_of(num_drugs=9):
    rng = np.random.default_rng(0)
    effect_DG = rng.normal(0, 1, (num_drugs, 5))
    effect_DG[:, 4] = 0.25
    return make_effects(effect_DG, 0.1, [(0, 1, -1)])


def test_correlation_leaves_own_targets_out_and_raw_does_not():
    effects = effects_of()
    masked = effects.effect_DG.copy()
    masked[0, 1] = 0
    for with_targets, values in ((False, masked), (True, effects.effect_DG)):
        found = correlate_conditions(effects, with_targets=with_targets)
        np.testing.assert_allclose(found[:4, :4], np.corrcoef(values[:, :4].T), atol=1e-5)
        assert (found[4] == 0).all()  # a constant gene


def test_partners_are_the_best_by_correlation():
    correlation_GG, partners = correlation_partners(effects_of(), NO_PRIORS, 2)
    first = partners[(partners["gene"] == "G000") & (partners["rank"] == 1)]["partner"].item()
    strength_G = np.abs(correlation_GG[0])
    strength_G[0] = 0
    assert first == f"G00{int(strength_G.argmax())}"
    assert "G004" not in set(partners["gene"]) | set(partners["partner"])


def test_two_perturbations_need_a_curated_edge():
    with pytest.raises(InputError, match="expected at least 3 perturbations, from whose correlation candidate edges come, found 2"):
        correlation_partners(effects_of(2), NO_PRIORS, 2)
    row = pd.DataFrame([["G000", "G001", 1, "x", 1.0]], columns=NO_PRIORS.columns)
    assert len(correlation_partners(effects_of(2), row, 2)[1])


def test_roles_of_genes():
    found = genes_of_table(effects_of(), {"tfs": {"G001"}, "drug_targets": {"G002", "elsewhere"}})
    assert found.columns.tolist() == ["gene_id", "gene", "is_tf", "is_rbp", "is_hallmark", "is_drug_target"]
    assert found["is_tf"].tolist() == [False, True, False, False, False]
    assert found["is_drug_target"].sum() == 1
    assert not found[["is_rbp", "is_hallmark"]].any(axis=None)


def test_the_store_is_read_as_that_of_cells(tmp_path):
    correlation_GG = correlate_conditions(effects_of())
    write_correlation(tmp_path / "c.zarr", correlation_GG, 2 * correlation_GG)
    group = zarr.open_group(tmp_path / "c.zarr", mode="r")
    np.testing.assert_array_equal(group["correlation"][:], correlation_GG)
    np.testing.assert_array_equal(group["raw_correlation"][:], 2 * correlation_GG)
    assert group.attrs["over"] == "perturbations"
