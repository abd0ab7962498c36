"""The base of all sections."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from causcade.config_input import InputConfig, Section, types_of


def test_types_of_unions_and_annotated():
    assert types_of(int) == {int}
    assert types_of(str | float | None) == {str, float, type(None)}
    assert types_of(Annotated[float, Field(gt=0)] | None) == {float, type(None)}
    assert types_of(Literal["a"] | bool) == {Literal["a"], bool}


class Example(Section):
    number: int = 1
    truth: bool = False
    either: str | bool = "x"


def test_truth_is_taken_only_where_it_is_meant():
    assert Example(truth=True, either=True).either is True
    with pytest.raises(ValidationError, match="found true"):
        Example(number=True)


def test_unknown_keys_are_refused():
    with pytest.raises(ValidationError, match="Extra inputs"):
        Example(nmber=2)


def test_tokens_need_a_table_of_genes():
    assert InputConfig(format="tahoe_parquet", gene_table="genes.parquet").gene_table == "genes.parquet"
    with pytest.raises(ValidationError, match="expected `gene_table` beside `format: tahoe_parquet`, found none; write `gene_table: PATH`"):
        InputConfig(format="tahoe_parquet")
