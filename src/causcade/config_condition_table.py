"""The section of the configuration that names a table of conditions in place of plates, and what cannot stand beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from causcade.config_input import ColumnSource, Section

if TYPE_CHECKING:
    from causcade.config import Config

__all__ = ["STAND_IN", "ConditionTableConfig", "Values", "disagreements_of_table"]

# In place of a section with mistakes of its own, so that what cannot stand beside a table is said at once.
STAND_IN = {"path": "", "values": "log"}

Values = Literal["log", "expression", "counts", "change"]


class ConditionTableConfig(Section):
    """A table of conditions x genes, from which the chain starts at the responses: no cells are read."""

    path: str = Field(
        description="h5ad, parquet, tsv or csv: column perturbation and, if there are any, kind, dose, cell_line, plate, num_cells; others are genes."
    )
    values: Values = Field(
        description="What a value is: log (of expression), expression (linear), counts (summed, raw), or change (log, against controls already)."
    )
    pseudocount: Annotated[float, Field(ge=0)] = Field(default=0.0, description="Added to `expression` before the logarithm, in its unit.")
    errors: str | None = Field(
        default=None,
        description="Table of standard errors of the same rows and genes (an h5ad may hold them in layer `se`); null: they are estimated.",
    )

    @model_validator(mode="after")
    def _only_expression_takes_a_pseudocount(self) -> ConditionTableConfig:
        if self.pseudocount > 0 and self.values != "expression":
            raise ValueError(f"expected `pseudocount` beside `values: expression`, found it beside `values: {self.values}`; remove it")
        return self


def disagreements_of_table(config: Config) -> Iterator[tuple[tuple[str, ...], str]]:
    """List settings that need cells, or say again what the table says: the keys, and the sentence."""
    if config.condition_table is None:
        return
    beside, perturbation = "beside `condition_table`", config.perturbation
    if config.plates is not None:
        yield (
            ("plates",),
            f"plates: expected null {beside}, which takes the place of plates, found {config.plates}; remove one of them",
        )
    if isinstance(perturbation.kind, ColumnSource):
        yield (
            ("perturbation.kind",),
            f"perturbation.kind: expected one kind {beside}, found a column; the table's own column `kind`, where it has one, tells each row",
        )
    if perturbation.kind_in_name:
        yield (
            ("perturbation.kind_in_name",),
            f"perturbation.kind_in_name: expected false {beside}, found true; name each perturbation once in the table",
        )
    if perturbation.control_where is not None:
        yield (
            ("perturbation.control_where",),
            f"perturbation.control_where: expected null {beside}, found a column; name controls in its column perturbation, and here by `control`",
        )
    if config.causal.training == "cells":
        yield (
            ("causal.training",),
            f"causal.training: expected conditions {beside}, found cells; a table has none, so write `training: conditions`",
        )
    if config.causal.held_out_lines and config.causal.context == "expression":
        yield (
            ("causal.context", "causal.held_out_lines"),
            f"causal.context: expected none {beside}, found expression; how strongly a line expresses a gene is told by cells; write `none`",
        )
    if config.coexpression.per_line:
        yield (
            ("coexpression.per_line",),
            f"coexpression.per_line: expected false {beside}, found true; a matrix of a cell line is made of its cells",
        )
