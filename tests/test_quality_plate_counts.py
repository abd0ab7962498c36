"""The cells of a plate in its file: names, and which columns come from the input."""

import numpy as np
import pytest

from causcade.quality import input_columns


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_repeated_cell_names_become_distinct(plate_of):
    plate = plate_of(np.ones((5, 2), dtype=int), index=["a", "a", "b", "a-1", "a"])
    assert plate.obs.index.tolist() == ["a", "a-2", "b", "a-1", "a-3"]
    assert plate.extra.index.tolist() == plate.obs.index.tolist()


def test_columns_that_only_the_input_can_supply():
    assert input_columns(["donor", "well", "total_counts", "age", "donor"]) == ["donor", "age"]
    assert input_columns([]) == []


def test_the_file_can_be_opened_again_elsewhere(plate_of):
    import pickle

    plate = plate_of(np.arange(12).reshape(4, 3))
    source = pickle.loads(pickle.dumps(plate.source))
    with source.open() as file:
        blocks = [counts.toarray() for _, counts in file.iter_blocks(plate.rows, 3)]
    np.testing.assert_array_equal(np.concatenate(blocks), np.arange(12).reshape(4, 3))
