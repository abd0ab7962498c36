"""Prediction of held-out perturbations."""

import numpy as np
import pandas as pd
import pytest

from causcade.errors import InputError
from causcade.evaluation.held_out import PREDICTORS, held_out_table, pearson_by_group


def draw_table(seed=0, num_perturbations=4, num_genes=25):
    rng = np.random.default_rng(seed)
    count = num_perturbations * num_genes
    return pd.DataFrame({
        "perturbation": np.repeat([f"drug{i}" for i in range(num_perturbations)], num_genes),
        "gene": np.tile([f"g{i}" for i in range(num_genes)], num_perturbations),
        "predicted": rng.normal(size=count), "observed": rng.normal(size=count),
        "training_mean": np.tile(rng.normal(size=num_genes), num_perturbations),
    })  # fmt: skip


def test_correlations_equal_numpy_in_a_loop():
    table = draw_table()
    found = held_out_table({"drugs0": table}).set_index(["perturbation", "predictor"])
    for perturbation, part in table.groupby("perturbation"):
        mean, observed, predicted = (part[column].to_numpy() for column in ("training_mean", "observed", "predicted"))
        guesses = {"causal": predicted, "training_mean": mean, "causal_plus_training_mean": predicted + mean}
        for name, guess in guesses.items():
            row = found.loc[(perturbation, name)]
            assert row["pearson"] == pytest.approx(np.corrcoef(guess, observed)[0, 1])
            if name != "training_mean":
                assert row["pearson_centred"] == pytest.approx(np.corrcoef(guess - mean, observed - mean)[0, 1])
            assert row["num_genes"] == 25


def test_what_is_constant_has_no_correlation_and_says_so():
    found = held_out_table({"drugs0": draw_table()}).groupby("predictor")
    mean, zero, causal = (found.get_group(name) for name in ("training_mean", "zero", "causal"))
    assert mean["pearson_centred"].isna().all()
    assert mean["pearson"].notna().all()
    assert (mean["note"] == "centred: a constant side or fewer than 2 genes").all()
    assert zero["pearson"].isna().all()
    assert (zero["note"] == "plain: a constant side or fewer than 2 genes").all()
    assert (causal["note"] == "").all()


def test_centring_alone_gives_weak_responses_a_score():
    # Nothing responds: observed - mean is -mean plus noise, so predicting nothing correlates. The `zero` predictor shows it.
    table = draw_table(1)
    table["observed"] = 0.1 * table["observed"]
    found = held_out_table({"drugs0": table})
    assert found.loc[found["predictor"] == "zero", "pearson_centred"].min() > 0.9


def test_fits_are_kept_apart_and_sorted():
    found = held_out_table({"line_A": draw_table(2), "drugs0": draw_table(3)})
    assert found["fit"].drop_duplicates().tolist() == ["drugs0", "line_A"]
    assert len(found) == 2 * 4 * len(PREDICTORS)
    assert list(found.columns) == ["fit", "perturbation", "predictor", "pearson", "pearson_centred", "num_genes", "note"]


def test_the_order_of_rows_does_not_matter():
    table = draw_table(4)
    pd.testing.assert_frame_equal(held_out_table({"a": table}), held_out_table({"a": table.sample(frac=1, random_state=1)}))


def test_large_offsets_do_not_cost_precision():
    rng = np.random.default_rng(0)
    x, y, group = rng.normal(size=40), rng.normal(size=40), np.repeat([0, 1], 20)
    np.testing.assert_allclose(pearson_by_group(x + 1e6, y - 1e6, group, 2), pearson_by_group(x, y, group, 2), atol=1e-8)


def test_one_gene_and_no_tables():
    found = held_out_table({"a": draw_table(5, num_genes=1)})
    assert found["pearson"].isna().all()
    empty = held_out_table({})
    assert len(empty) == 0
    assert list(empty.columns) == list(found.columns)
    assert pearson_by_group(np.ones(1), np.ones(1), np.zeros(1, dtype=int), 2).tolist() == pytest.approx([np.nan, np.nan], nan_ok=True)


def test_baselines_are_predictors_where_their_columns_are():
    table = draw_table(6)
    rng = np.random.default_rng(1)
    table["target_ridge"], table["same_target_mean"] = rng.normal(size=(2, len(table)))
    table.loc[table["perturbation"] == "drug2", "same_target_mean"] = np.nan
    found = held_out_table({"drugs0": table}).set_index(["perturbation", "predictor"])
    part = table[table["perturbation"] == "drug1"]
    mean, observed, guess = (part[column].to_numpy() for column in ("training_mean", "observed", "target_ridge"))
    assert found.loc[("drug1", "target_ridge"), "pearson"] == pytest.approx(np.corrcoef(guess, observed)[0, 1])
    assert found.loc[("drug1", "target_ridge"), "pearson_centred"] == pytest.approx(np.corrcoef(guess - mean, observed - mean)[0, 1])
    row = found.loc[("drug2", "same_target_mean")]
    assert pd.isna(row["pearson"])
    assert row["note"] == "no training perturbation shares a target"
    assert found.loc[("drug1", "same_target_mean"), "note"] == ""


@pytest.mark.parametrize(("change", "message"), [
    (lambda table: table.drop(columns="observed"), r"held-out table of fit7: expected columns perturbation, .*, found no observed"),
    (lambda table: pd.concat([table, table]), r"expected each gene once per perturbation, found duplicates"),
    (lambda table: table.assign(predicted=np.inf), r"expected finite numbers, found others\. Rerun that fit"),
])  # fmt: skip
def test_wrong_tables_are_told(change, message):
    with pytest.raises(InputError, match=message):
        held_out_table({"fit7": change(draw_table())})
