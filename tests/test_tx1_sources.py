import numpy as np
import pandas as pd
import pytest
from cell_cases import make_store
from tx1_training_cases import GENES, VOCABULARY, make_plate

import causcade.tx1.sources as sources
from causcade.errors import InputError
from causcade.tx1.sources import StoreCells, held_out_wells, join_cells


def dense_by_token(store, vocabulary, rows):
    """Counts in the columns of the vocabulary, gene by gene."""
    (_, counts), *_ = store.iter_counts(store.num_cells)
    found = np.zeros((len(rows), vocabulary.size))
    for column, token in enumerate(vocabulary.columns(store.var.index)):
        if token >= 0:
            found[:, token] += counts.toarray()[rows][:, column]
    return found


@pytest.mark.parametrize("resident", [1 << 26, 0])
def test_ranges_hold_the_counts_of_their_rows(tmp_path, monkeypatch, resident):
    monkeypatch.setattr(sources, "RESIDENT_ELEMENTS", resident)
    # genes of two versions of an id are one, and some are not in the vocabulary
    store = make_plate(tmp_path / "p1.zarr", genes=[*GENES[5:], GENES[7] + ".2", "ENSG99999999999"])
    rows = np.array([0, 3, 4, 11, 12, 13, 30, 39])
    source = StoreCells(store, VOCABULARY, rows, {"DrugA": 3})
    assert source.num_cells == len(rows)
    assert source.name == "p1"
    for start, stop in [(0, 8), (2, 5), (7, 8), (3, 3)]:
        cells = source.read(start, stop)
        np.testing.assert_array_equal(cells.counts.toarray(), dense_by_token(store, VOCABULARY, rows[start:stop]))
        assert cells.drug_B.tolist() == np.where(store.obs["is_control"].to_numpy()[rows[start:stop]], 0, 3).tolist()


def test_the_key_of_a_cell_depends_on_plate_and_row_alone(tmp_path):
    stores = [make_plate(tmp_path / f"{name}.zarr") for name in ("p1", "p2")]
    whole = StoreCells(stores[0], VOCABULARY, np.arange(40)).read(0, 40).key_B
    assert StoreCells(stores[0], VOCABULARY, np.array([3, 17])).read(0, 2).key_B.tolist() == whole[[3, 17]].tolist()
    assert len(np.union1d(whole, StoreCells(stores[1], VOCABULARY, np.arange(40)).read(0, 40).key_B)) == 80


def test_cells_are_joined_in_order(tmp_path):
    source = StoreCells(make_plate(tmp_path / "p1.zarr"), VOCABULARY, np.arange(40))
    joined = join_cells([source.read(5, 9), source.read(0, 2)])
    np.testing.assert_array_equal(joined.counts.toarray(), source.read(0, 40).counts.toarray()[[5, 6, 7, 8, 0, 1]])
    assert joined.drug_B is None


def test_a_plate_without_a_gene_of_the_vocabulary_is_refused(tmp_path):
    store = make_store(tmp_path / "p1.zarr", np.ones((3, 2), dtype=int), ["MYC", "TP53"])
    with pytest.raises(
        InputError, match=r"expected genes of the model's vocabulary \(such as ENSG00000000001.*found none among its 2 \(such as MYC, TP53\)"
    ):
        StoreCells(store, VOCABULARY, np.arange(3))


def make_obs(num_control, num_treated, cells=5, plate="p1"):
    wells = [f"c{number}" for number in range(num_control)] + [f"t{number}" for number in range(num_treated)]
    obs = pd.DataFrame({"plate": plate, "well": np.repeat(wells, cells)})
    return obs.assign(is_control=obs["well"].str.startswith("c"))


def test_whole_wells_are_held_out_of_controls_and_of_treated():
    obs = make_obs(4, 20)
    held = held_out_wells(obs, 0.1, seed=0)
    by_well = pd.Series(held).groupby(obs["well"]).agg(["min", "max"])
    assert (by_well["min"] == by_well["max"]).all()
    kept = by_well["max"]
    assert kept[kept.index.str.startswith("c")].sum() == 1
    assert kept[kept.index.str.startswith("t")].sum() == 2
    assert not np.array_equal(held, held_out_wells(obs, 0.1, seed=1))


def test_the_choice_on_a_plate_does_not_depend_on_other_plates():
    first, second = make_obs(3, 9), make_obs(3, 9, plate="p2")
    both = held_out_wells(pd.concat([second, first]), 0.3, seed=0)
    np.testing.assert_array_equal(both[len(second) :], held_out_wells(first, 0.3, seed=0))


@pytest.mark.parametrize(("num_control", "num_treated", "share", "expected"), [(1, 1, 0.5, 0), (2, 2, 0.01, 2), (3, 4, 0.0, 0), (2, 2, 0.99, 2)])
def test_a_single_well_is_never_held_out_and_one_of_two_always(num_control, num_treated, share, expected):
    obs = make_obs(num_control, num_treated)
    held = held_out_wells(obs, share, seed=0)
    assert obs["well"][held].nunique() == expected
