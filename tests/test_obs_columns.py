"""Which obs columns can be covariates."""

import numpy as np
import pandas as pd
import pytest

from causcade.errors import InputError
from causcade.obs_columns import MAX_LEVELS, column_problem, is_number, require_usable


def test_problems_of_columns():
    assert column_problem(pd.Series([1.0, 2.0])) == column_problem(pd.Series(["a", "a"])) == column_problem(pd.Series([], dtype=float)) == ""
    assert column_problem(pd.Series([1e39, 1.0, np.nan, -np.inf])) == "3 missing or infinite"  # 1e39 is infinite as float32
    assert column_problem(pd.Series(pd.array([1, None], dtype="Int64"))) == "1 missing or infinite"
    assert column_problem(pd.Series(pd.Categorical(["a", None, "b"]))) == "1 missing or infinite"
    names = pd.Series([f"cell{number}" for number in range(MAX_LEVELS + 1)])
    assert column_problem(names) == "1001 distinct texts, such as 'cell0', more than 1000"
    assert column_problem(names.head(MAX_LEVELS)) == ""
    assert column_problem(pd.Series(np.arange(5000.0))) == ""


def test_what_counts_as_a_number():
    assert all(is_number(pd.Series(values)) for values in ([1], [0.5], [True], pd.array([True, None], dtype="boolean"), pd.array([1], dtype="Int64")))
    assert not any(is_number(pd.Series(values)) for values in (["1"], pd.Categorical([1, 2]), pd.to_datetime(["2024-05-01"])))


def test_a_column_that_cannot_be_used_is_an_error():
    require_usable(pd.Series([1.0, 2.0]), "age")
    with pytest.raises(InputError) as error:
        require_usable(pd.Series([1.0, np.nan]), "age", " of plate p1")
    assert str(error.value) == (
        "covariates.terms: expected a number or one of a few texts in 'age' for each cell of plate p1, found 1 missing or infinite. "
        "Leave the term out, or mend the column."
    )
