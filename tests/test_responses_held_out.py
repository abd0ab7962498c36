import numpy as np
import pytest
from screens import make_screen

from causcade.responses import HELD_OUT_COLUMNS, aggregate, build_responses, held_out_table, hold_out_drugs, typical_effects

SCREEN = make_screen()


@pytest.fixture(scope="module")
def parts():
    effects = aggregate(build_responses(SCREEN.conditions, SCREEN.baselines, SCREEN.targets))
    return hold_out_drugs(effects, effects.table["perturbation"].tolist()[:3])


def test_a_sign_with_few_links_has_the_effect_of_the_screen():
    direct, sign = np.array([-2.0, -1.0, -4.0, -3.0, -9.0, 5.0, 7.0]), np.array([-1, -1, -1, -1, -1, 1, 0])
    assert typical_effects(direct, sign, 0.5) == {-1: -3.0, 0: 0.0, 1: 0.5}
    assert typical_effects(np.zeros(0), np.zeros(0, np.int8), 0.5) == {-1: -0.5, 0: 0.0, 1: 0.5}


def test_rows_are_the_genes_that_are_no_listed_target(parts):
    training, held_out = parts
    names = held_out.table["perturbation"].tolist()
    genes = training.genes["gene"].tolist()
    predicted = {name: np.arange(len(genes)) + 100.0 * row for row, name in enumerate(names[:2])}
    table = held_out_table(predicted, training, held_out)
    expected = [
        (name, gene, predicted[name][g], held_out.effect_DG[d, g], training.effect_DG[:, g].mean())
        for d, name in enumerate(names[:2])
        for g, gene in enumerate(genes)
        if not held_out.is_target_DG[d, g]
    ]
    assert list(table.columns) == HELD_OUT_COLUMNS
    assert list(zip(table["perturbation"], table["gene"], strict=True)) == [row[:2] for row in expected]
    np.testing.assert_allclose(table[HELD_OUT_COLUMNS[2:]], [row[2:] for row in expected], rtol=1e-6, atol=1e-7)  # means of float32


def test_without_predictions_there_are_columns_and_no_rows(parts):
    table = held_out_table({}, *parts)
    assert list(table.columns) == HELD_OUT_COLUMNS
    assert table.empty
