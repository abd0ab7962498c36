"""Sections of the configuration that say how to read an input and what was done to its cells, and the base of all sections."""

from __future__ import annotations

import re
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

__all__ = [
    "KINDS",
    "ColumnSource",
    "ColumnsConfig",
    "ControlWhere",
    "InputConfig",
    "ObsTable",
    "PerturbationConfig",
    "Positive",
    "Section",
    "types_of",
]

KINDS = ("drug", "knockout", "crispri", "crispra")

Positive = Annotated[int, Field(ge=1)]


def types_of(annotation: Any) -> set[Any]:
    """Types that a field may have: the members of its union, `Annotated` unwrapped."""
    if get_origin(annotation) is Annotated:
        return types_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return {kind for member in get_args(annotation) for kind in types_of(member)}
    return {annotation}


class Section(BaseModel):
    """A part of the configuration: unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse yes/no where a number or a text is meant: pydantic would read `true` as 1."""
        name = str(info.field_name)
        if isinstance(value, bool) and bool not in types_of(cls.model_fields[name].annotation):
            raise ValueError(
                f"expected a number or a text, found {str(value).lower()}; YAML reads a bare yes, no, on and off as true or false, so quote a text"
            )
        return value


class ColumnSource(Section):
    """Where an obs column of the cells comes from: a column, a part of a column, or a constant."""

    column: str | None = Field(default=None, description="Name of the obs column in the input.")
    pattern: str | None = Field(
        default=None, description="Regular expression with one group; the group is the value (donor from `stim101`: `(\\d+)$`)."
    )
    constant: str | float | None = Field(default=None, description="The same value for every cell, instead of a column.")

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_source(self) -> ColumnSource:
        if (self.column is None) == (self.constant is None):
            raise ValueError("expected either `column` or `constant`, found both or neither; write `{column: NAME}` or `{constant: VALUE}`")
        if self.pattern is not None:
            if self.constant is not None:
                raise ValueError("expected `pattern` beside `column`, found it beside `constant`; remove one of them")
            try:
                groups = re.compile(self.pattern).groups
            except re.error as error:
                raise ValueError(f"expected a regular expression, found {self.pattern!r} ({error}); correct `pattern`") from None
            if groups != 1:
                raise ValueError(f"expected one group in `pattern`, found {groups} in {self.pattern!r}; put parentheses around the value to take")
        return self


class ColumnsConfig(Section):
    """Which obs columns of the input say what."""

    perturbation: ColumnSource = Field(default=ColumnSource(column="drug"), description="Drug or perturbed gene(s) of a cell.")
    dose: ColumnSource | None = Field(
        default=ColumnSource(column="drugname_drugconc"),
        description="Dose in `perturbation.dose_unit`, a number or Tahoe-100M's `[('Drug', 0.05, 'uM')]`; "
        "null where there are no doses (every treated cell then counts as dose 1).",
    )
    cell_line: ColumnSource = Field(default=ColumnSource(column="cell_line"), description="Cell line or cell type.")
    plate: ColumnSource | None = Field(
        default=ColumnSource(column="plate"),
        description="Plate, donor or batch; selects the cells where several rows of the plate table name one file. Null: each file is one plate.",
    )
    well: ColumnSource | None = Field(
        default=ColumnSource(column="sample"), description="Well (the replicate). Null: one well per perturbation, dose and plate."
    )


class ObsTable(Section):
    """A table of further obs columns, for formats that hold counts and barcodes only, or for facts about wells and lines."""

    path: str = Field(description="tsv, csv (or .gz of them) or parquet; `{plate}` in it stands for the name of the plate.")
    key: str | None = Field(default=None, description="Column of the table that names the cells (or what `of` names); null: its first column.")
    of: str | None = Field(default=None, description="obs column that the key is looked up for, such as `sample`; null: the names of the cells.")


class InputConfig(Section):
    """How to read the cells."""

    format: Literal["auto", "anndata", "tenx_h5", "mtx", "tahoe_parquet"] = Field(
        default="auto",
        description="anndata (h5ad or zarr), tenx_h5, mtx (folder of 10x or Parse) or tahoe_parquet (file or folder); auto tells it from the file.",
    )
    tables: list[ObsTable] = Field(default=[], description="Tables joined to obs, each `{path, key, of}`.")
    gene_table: str | None = Field(
        default=None, description="Table of the gene tokens of Tahoe parquet files (token_id, ensembl_id, gene_symbol); tahoe_parquet needs it."
    )
    genome: str | None = Field(default=None, description="Genome to take from an input of several (10x h5, Parse); null: the only one.")
    layer: str | None = Field(default=None, description="Layer that holds the raw counts; null reads `X`.")
    gene_id: str | None = Field(
        default=None,
        description="var column with gene ids (Ensembl or symbols; a gene without one keeps its name); null takes the genes' names.",
    )
    gene_symbol: str | None = Field(default=None, description="var column with gene symbols, where `gene_id` holds something else.")
    columns: ColumnsConfig = Field(default=ColumnsConfig(), description="obs columns.")
    block_cells: Positive = Field(default=4096, description="Cells read at a time; changes memory and speed, never a result.")

    @model_validator(mode="after")
    def _tokens_have_genes(self) -> InputConfig:
        if self.format == "tahoe_parquet" and self.gene_table is None:
            raise ValueError("expected `gene_table` beside `format: tahoe_parquet`, found none; write `gene_table: PATH` (gene_metadata.parquet)")
        return self


class ControlWhere(Section):
    """Controls told by the value of another column."""

    column: str = Field(description="obs column, such as `vehicle`.")
    equals: str | float | bool = Field(description="Value of that column in control cells, such as 1 or true.")


class PerturbationConfig(Section):
    """What was done to the cells."""

    kind: Literal["drug", "knockout", "crispri", "crispra"] | ColumnSource = Field(
        default="drug",
        description="drug (targets from a table), knockout, crispri or crispra (the name is the target, `A+B` a combination); "
        "or `{column: NAME}` where kinds are mixed.",
    )

    @field_validator("kind", mode="before")
    @classmethod
    def _known_kind(cls, value: Any) -> Any:
        """Take a text as a kind, never as a column: a misspelt kind would otherwise be looked for among the obs columns."""
        if isinstance(value, str) and value not in KINDS:
            raise ValueError(f"expected {', '.join(KINDS)} or `{{column: NAME}}`, found {value!r}; correct the kind")
        return value

    kind_in_name: bool = Field(
        default=False,
        description="Beside `kind: {column: NAME}`: name genetic ones with their kind, `MYC (crispra)`, where a label stands for two kinds.",
    )
    control: list[str] = Field(default=["DMSO_TF"], description="Labels of control cells; matched whole, never by substring.")
    control_where: ControlWhere | None = Field(
        default=None, description="Instead of labels: controls are the cells where another column has this value."
    )
    exclude: list[str] = Field(default=[], description="Perturbation labels to drop.")
    targets: str | None = Field(
        default=None, description="Table (tsv, csv or parquet: perturbation, target, sign) that overrides targets for every kind."
    )
    separator: str = Field(default="+", min_length=1, description="Joins the genes of a combination.")
    dose_unit: str = Field(default="uM", description="Unit of the doses; only shown.")
