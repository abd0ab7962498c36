import numpy as np
import pytest

from causcade.training_cells import _draw


@pytest.mark.parametrize("num_rows", [100, 5000])
def test_a_draw_is_of_distinct_rows_in_order_and_of_all_where_there_are_no_more(num_rows):
    rows = np.arange(num_rows) * 3
    np.testing.assert_array_equal(_draw(rows, num_rows, 0, "p1"), rows)
    some = _draw(rows, num_rows // 2, 0, "p1")
    assert len(some) == num_rows // 2
    assert (np.diff(some) > 0).all()
    assert np.isin(some, rows).all()
    assert some.tolist() != _draw(rows, num_rows // 2, 1, "p1").tolist()
