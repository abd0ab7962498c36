"""The configuration: one pydantic model that validates, documents and generates.

`config/config.yaml` (every key, commented) and `config/schema.json` are written from this module by `causcade config`; a test
fails when they drift. Nothing else in causcade knows a default. Checks that need the file system are in
:mod:`causcade.validation`; checks that need the data are in :mod:`causcade.checks`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from causcade.errors import ConfigError
from causcade.resource_catalogue import CATALOGUE

__all__ = [
    "BasalConfig", "CausalConfig", "ColumnSource", "Config", "ConditionsConfig", "CascadesConfig", "CoexpressionConfig", "CovariatesConfig",
    "EmbeddingConfig", "EvaluationConfig", "InputConfig", "MaskConfig", "NetworkConfig", "PanelConfig", "PerturbationConfig",
    "QualityConfig", "ReportConfig", "ResourceConfig", "SimulationConfig", "parse_config",
]  # fmt: skip

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
SIMULATED_RUN = "simulated"
BUILT_IN_COVARIATES = ("log_counts", "mito_fraction", "s_score", "g2m_score", "plate", "cell_line")

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of the configuration: unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ColumnSource(Section):
    """Where an obs column of the cells comes from: a column, a part of a column, or a constant."""

    column: str | None = Field(None, description="Name of the obs column in the input.")
    pattern: str | None = Field(None, description="Regular expression with one group; the group is the value (donor from `stim101`: `(\\d+)$`).")
    constant: str | float | None = Field(None, description="The same value for every cell, instead of a column.")

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

    perturbation: ColumnSource = Field(ColumnSource(column="drug"), description="Drug or perturbed gene(s) of a cell.")
    dose: ColumnSource | None = Field(
        ColumnSource(column="drugname_drugconc"),
        description="Dose in `perturbation.dose_unit`, a number or Tahoe-100M's `[('Drug', 0.05, 'uM')]`; null where there are no doses (every treated cell then counts as dose 1).",
    )
    cell_line: ColumnSource = Field(ColumnSource(column="cell_line"), description="Cell line or cell type.")
    plate: ColumnSource | None = Field(
        ColumnSource(column="plate"),
        description="Plate, donor or batch; selects the cells where several rows of the plate table name one file. Null: each file is one plate.",
    )
    well: ColumnSource | None = Field(
        ColumnSource(column="sample"), description="Well (the replicate). Null: one well per perturbation, dose and plate."
    )


class InputConfig(Section):
    """How to read the cells."""

    layer: str | None = Field(None, description="Layer that holds the raw counts; null reads `X`.")
    gene_id: str | None = Field(None, description="var column with gene ids (Ensembl or symbols); null takes the names of the genes.")
    gene_symbol: str | None = Field(None, description="var column with gene symbols, where `gene_id` holds something else.")
    columns: ColumnsConfig = Field(ColumnsConfig(), description="obs columns.")
    block_cells: Positive = Field(4096, description="Cells read at a time; changes memory and speed, never a result.")


class ControlWhere(Section):
    """Controls told by the value of another column."""

    column: str = Field(description="obs column, such as `vehicle`.")
    equals: str | float | bool = Field(description="Value of that column in control cells, such as 1 or true.")


class PerturbationConfig(Section):
    """What was done to the cells."""

    kind: Literal["drug", "knockout", "crispri", "crispra"] | ColumnSource = Field(
        "drug",
        description="drug (targets from a table), knockout, crispri or crispra (the name is the target, `A+B` a combination); "
        "or `{column: NAME}` where kinds are mixed.",
    )
    control: list[str] = Field(["DMSO_TF"], description="Labels of control cells; matched whole, never by substring.")
    control_where: ControlWhere | None = Field(None, description="Instead of labels: controls are the cells where another column has this value.")
    exclude: list[str] = Field([], description="Perturbation labels to drop.")
    targets: str | None = Field(None, description="Table (tsv, csv or parquet: perturbation, target, sign) that overrides targets for every kind.")
    separator: str = Field("+", min_length=1, description="Joins the genes of a combination.")
    dose_unit: str = Field("uM", description="Unit of the doses; only shown.")


class SimulationConfig(Section):
    """The simulated screen that runs when `plates` is null; ignored otherwise."""

    plates: list[str] = Field(["plate1", "plate2", "plate3"], min_length=1, description="Names of the plates; each is drawn from `seed` and its own name.")
    num_genes: Annotated[int, Field(ge=100)] = Field(700, description="Genes in the planted network (cell-cycle and mitochondrial genes come on top).")
    num_tfs: Annotated[int, Field(ge=5)] = Field(60, description="Transcription factors among them.")
    num_drugs: Annotated[int, Field(ge=2)] = Field(72, description="Drugs, three doses each.")
    num_cell_lines: Positive = Field(3, description="Cell lines.")
    cells_per_well: Positive = Field(90, description="Mean number of cells in a treated well, over all lines.")
    dynamics: Literal["linear", "saturating"] = Field("linear", description="How regulators act: linear, or saturating (tanh).")
    activity_only: Fraction = Field(0.2, description="Share of the drugs that change the activity of their target and not its mRNA.")
    prior_recall: Fraction = Field(0.35, description="Share of true edges that the simulated prior databases list.")
    prior_noise: Fraction = Field(0.3, description="Share of false edges in the simulated prior databases.")

    @field_validator("plates")
    @classmethod
    def _names(cls, value: list[str]) -> list[str]:
        for name in value:
            if not re.match(NAME_PATTERN, name):
                raise ValueError(f"expected plate names of letters, digits, '.', '_' and '-', found {name!r}; rename it")
        if len(set(value)) != len(value):
            raise ValueError(f"expected each plate once, found {value}; remove the repeated name")
        return value


class ResourceConfig(Section):
    """One curated resource. A local `path` wins over the `url`."""

    url: str | None = Field(None, description="Address it is fetched from.")
    path: str | None = Field(None, description="Local file, used instead of the address.")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="Expected checksum; null accepts any and records what was found.")
    version: str = Field("", description="Version, for the manifest.")
    licence: str = Field("", description="Licence, for the manifest.")

    @model_validator(mode="after")
    def _somewhere(self) -> ResourceConfig:
        if self.url is None and self.path is None:
            raise ValueError("expected `url` or `path`, found neither; give one, or write null instead of the whole resource")
        return self


def _resource(name: str) -> Any:
    entry = CATALOGUE[name]
    default = ResourceConfig(url=entry.url, version=entry.version, licence=entry.licence)
    return Field(default, description=entry.description + " Null leaves it out.")


class ResourcesConfig(Section):
    """Curated resources, in their upstream formats. In the simulated screen all of them are simulated files."""

    hgnc: ResourceConfig | None = _resource("hgnc")
    collectri: ResourceConfig | None = _resource("collectri")
    dorothea: ResourceConfig | None = _resource("dorothea")
    trrust: ResourceConfig | None = _resource("trrust")
    string: ResourceConfig | None = _resource("string")
    string_info: ResourceConfig | None = _resource("string_info")
    complexportal: ResourceConfig | None = _resource("complexportal")
    humap: ResourceConfig | None = _resource("humap")
    reactome: ResourceConfig | None = _resource("reactome")
    tfs: ResourceConfig | None = _resource("tfs")
    rbps: ResourceConfig | None = _resource("rbps")
    hallmarks: ResourceConfig | None = _resource("hallmarks")
    drug_targets: ResourceConfig | None = _resource("drug_targets")
    dorothea_levels: list[Literal["A", "B", "C", "D", "E"]] = Field(["A", "B", "C"], description="Confidence levels of DoRothEA to take.")
    string_min_score: Annotated[int, Field(ge=0, le=999)] = Field(700, description="Smallest combined score (0-999) of a STRING physical pair.")
    humap_max_confidence: Annotated[int, Field(ge=1, le=5)] = Field(3, description="Worst hu.MAP confidence class to take (1 best, 5 worst).")
    reactome_max_genes: Annotated[int, Field(ge=2)] = Field(100, description="Largest Reactome pathway whose members count as pairs.")

    @model_validator(mode="after")
    def _string_ids(self) -> ResourcesConfig:
        if self.string is not None and self.string_info is None:
            raise ValueError("expected `string_info` beside `string` (it translates the protein ids), found null; set it, or set `string: null`")
        return self


class QualityConfig(Section):
    """Filters of cells; all genes are kept."""

    min_counts: Count = Field(200, description="Fewest counts of a cell.")
    min_genes: Count = Field(100, description="Fewest detected genes of a cell.")
    max_mito: Fraction = Field(0.25, description="Largest share of mitochondrial counts.")
    mad: Annotated[float, Field(gt=0)] | None = Field(
        5.0, description="Cells further than this many median absolute deviations from their plate's median (log counts, log genes) go; null: none."
    )
    doublets: Literal["none", "scrublet"] = Field("none", description="Doublet calls per well.")


class PanelConfig(Section):
    """The genes that the network is about."""

    num_hvg: Count = Field(9000, description="Highly variable genes taken by consensus over plates.")
    vote_cells: Positive = Field(100_000, description="Most cells of a plate on which variability is ranked; a seeded sample beyond.")
    min_cells: Positive = Field(20, description="Fewest cells, over the plates that vote, that express a gene of the panel.")
    sources: list[Literal["hvg", "tfs", "rbps", "hallmarks", "drug_targets"]] = Field(
        ["hvg", "tfs", "rbps", "hallmarks", "drug_targets"], min_length=1, description="What the panel is the union of."
    )


class CovariatesConfig(Section):
    """What coexpression is adjusted for."""

    terms: list[str] = Field(
        ["log_counts", "mito_fraction", "s_score", "g2m_score", "plate", "cell_line"],
        description="log_counts, mito_fraction, s_score, g2m_score, plate, cell_line, or any obs column (numeric, or text as categories).",
    )


    @property
    def obs_columns(self) -> list[str]:
        """Terms that are obs columns of the input, which the cell store has to keep."""
        return [term for term in self.terms if term not in BUILT_IN_COVARIATES]


class CoexpressionConfig(Section):
    """Residual coexpression."""

    partners: Positive = Field(100, description="Partners kept per gene, by |r|.")


class MaskConfig(Section):
    """Candidate edges."""

    partners: Positive = Field(100, description="Top coexpression partners of a gene that become its candidate regulators.")
    symmetric: bool = Field(False, description="Add the other direction of each coexpression edge too.")


class EmbeddingConfig(Section):
    """The cell representation that the basal decoder starts from."""

    source: Literal["precomputed", "pca"] = Field("pca", description="precomputed (an obsm key of the input) or pca.")
    obsm: str = Field("X_emb", description="obsm key of a precomputed embedding.")
    dimensions: Positive = Field(32, description="Dimensions of the PCA.")
    cells: Literal["controls", "all"] = Field("controls", description="Which cells to embed; controls suffice for `basal.baseline: matched_control`.")


class BasalConfig(Section):
    """The basal decoder and the baseline of treated cells."""

    baseline: Literal["matched_control", "control_mean"] = Field(
        "matched_control", description="matched_control (mean basal prediction of the controls of line and plate) or control_mean (their plain mean, no model)."
    )
    hidden: Positive = Field(128, description="Width of the decoder's hidden layer.")
    max_epochs: Positive = Field(40, description="Most passes over the control cells.")
    patience: Positive = Field(4, description="Passes without improvement on held-out wells before stopping.")
    batch_cells: Positive = Field(256, description="Cells per step.")
    learning_rate: Annotated[float, Field(gt=0)] = Field(1e-3, description="Step size of Adam.")
    max_cells: Positive = Field(200_000, description="Most control cells used; a seeded sample beyond.")


class ConditionsConfig(Section):
    """Pseudobulk of each perturbation x dose x line x plate."""

    min_cells: Positive = Field(5, description="Fewest cells of a condition.")


class CausalConfig(Section):
    """The causal module: Delta = sum over k of W^k d."""

    parameters: Literal["low_rank", "per_edge"] = Field("low_rank", description="How W is written: mask * (U V'), or one value per candidate edge.")
    rank: Positive = Field(64, description="Rank of U V'.")
    num_hops: Positive = Field(6, description="Terms of the Neumann series beyond the direct effect.")
    num_steps: Positive = Field(300, description="Optimiser steps.")
    batch_perturbations: Positive = Field(128, description="Perturbations per step, with all their conditions.")
    learning_rate: Annotated[float, Field(gt=0)] = Field(0.02, description="Step size of Adam.")
    edge_dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.2, description="Share of candidate edges dropped at each step.")
    l1: Annotated[float, Field(ge=0)] = Field(0.01, description="Weight of the L1 penalty on edges.")
    l1_start: Count = Field(50, description="First step with the L1 penalty.")
    prior_strength: Fraction = Field(0.5, description="How much a prior confidence of 1 lowers the L1 penalty of an edge.")
    max_spectral_radius: Annotated[float, Field(gt=0, lt=1)] = Field(0.95, description="Bound on the spectral radius of W.")
    support: Literal["targets", "neighbourhood"] = Field("targets", description="Where a direct effect may be: targets, or targets and their neighbours.")
    l1_direct: Annotated[float, Field(ge=0)] = Field(0.1, description="Weight of the L1 penalty on direct effects outside the targets.")
    unknown_targets: Literal["exclude", "learn"] = Field("exclude", description="Perturbations without a known target: leave out, or learn a sparse direct effect.")
    edge_nulls: Count = Field(2, description="Fits on responses permuted gene by gene.")
    label_nulls: Count = Field(2, description="Fits on permuted perturbation labels.")
    bootstraps: Count = Field(4, description="Fits on resampled perturbations, for stability.")
    drug_folds: Annotated[int, Field(ge=0)] = Field(2, description="Folds of held-out perturbations; 0: none.")
    held_out_lines: list[str] = Field([], description="Cell lines to hold out, one fit each.")

    @field_validator("drug_folds")
    @classmethod
    def _folds(cls, value: int) -> int:
        if value == 1:
            raise ValueError("expected 0 or at least 2 folds, found 1; write `drug_folds: 2`, or 0 for none")
        return value


class NetworkConfig(Section):
    """The exported network."""

    score: Literal["weight", "weight_no_prior"] = Field("weight_no_prior", description="Which fit ranks the edges.")
    num_export: Positive = Field(10_000, description="Edges in the tsv, graphml and gmt exports, best first.")


class EvaluationConfig(Section):
    """References, controls and intervals."""

    bootstrap: Count = Field(200, description="Resamplings of genes for 95 % intervals.")
    hubs: Positive = Field(50, description="How many genes count as hubs.")


class CascadesConfig(Section):
    """Per-perturbation explanations."""

    num_genes: Positive = Field(50, description="Genes listed per hop.")
    num_paths: Positive = Field(20, description="Paths listed per perturbation.")


class ReportConfig(Section):
    """The page."""

    title: str = Field("causcade report", description="Title of the page.")
    num_edges: Positive = Field(2000, description="Edges in the searchable table, best first.")


class Config(Section):
    """Everything that decides a run."""

    run: str = Field(SIMULATED_RUN, pattern=NAME_PATTERN, description="Name of the run; artifacts go to `<results>/<run>/`.")
    results: str = Field("results", description="Folder of all runs.")
    seed: Count = Field(0, description="Seed of everything random.")
    backend: Literal["auto", "cpu", "gpu"] = Field("auto", description="Where to compute; auto takes a GPU if there is one.")
    plates: str | None = Field(None, description="Plate table (tsv: plate, counts); null runs the simulated screen.")
    simulation: SimulationConfig = Field(SimulationConfig(), description="The simulated screen, used while `plates` is null.")
    input: InputConfig = Field(InputConfig(), description="How to read the cells. The defaults are those of Tahoe-100M.")
    perturbation: PerturbationConfig = Field(PerturbationConfig(), description="What was done to the cells.")
    resources: ResourcesConfig = Field(ResourcesConfig(), description="Curated resources.")
    quality: QualityConfig = Field(QualityConfig(), description="Filters of cells.")
    panel: PanelConfig = Field(PanelConfig(), description="The gene panel.")
    covariates: CovariatesConfig = Field(CovariatesConfig(), description="Covariates.")
    coexpression: CoexpressionConfig = Field(CoexpressionConfig(), description="Coexpression.")
    mask: MaskConfig = Field(MaskConfig(), description="Candidate edges.")
    embedding: EmbeddingConfig = Field(EmbeddingConfig(), description="Embedding.")
    basal: BasalConfig = Field(BasalConfig(), description="Basal decoder.")
    conditions: ConditionsConfig = Field(ConditionsConfig(), description="Conditions.")
    causal: CausalConfig = Field(CausalConfig(), description="Causal module.")
    network: NetworkConfig = Field(NetworkConfig(), description="Network.")
    evaluation: EvaluationConfig = Field(EvaluationConfig(), description="Evaluation.")
    cascades: CascadesConfig = Field(CascadesConfig(), description="Cascades.")
    report: ReportConfig = Field(ReportConfig(), description="Report.")

    @property
    def is_simulated(self) -> bool:
        """Whether the run is the simulated screen."""
        return self.plates is None

    @model_validator(mode="after")
    def _agree(self) -> Config:
        if self.plates is not None and self.run == SIMULATED_RUN:
            raise ValueError(
                f"expected a name of your own for the run, found `run: {SIMULATED_RUN}` beside `plates: {self.plates}`; write for example `run: my_screen`"
            )
        if self.mask.partners > self.coexpression.partners:
            raise ValueError(
                f"expected `mask.partners` of at most `coexpression.partners` ({self.coexpression.partners}), found {self.mask.partners}; "
                f"write `coexpression: {{partners: {self.mask.partners}}}`"
            )
        return self


def _sentence(error: Mapping[str, Any]) -> str:
    """One mistake of pydantic's list as one sentence: where, expected, found, what to do."""
    where = ".".join(str(part) for part in error["loc"]) or "the configuration"
    found = error["input"]
    match error["type"]:
        case "extra_forbidden":
            return f"{where}: unknown key. Remove it, or correct its spelling; config/config.yaml lists every key."
        case "value_error":
            return f"{where}: {error['ctx']['error']}."
        case "missing":
            return f"{where}: expected a value, found none. Add the key."
        case _:
            return f"{where}: {error['msg'][:1].lower()}{error['msg'][1:]}, found {found!r}. Correct the value; config/config.yaml says what it means."


def parse_config(value: Mapping[str, Any]) -> Config:
    """Validate a mapping (as read from YAML) into a :class:`Config`.

    Raises
    ------
    ConfigError
        With every mistake, not only the first.
    """
    try:
        return Config.model_validate(dict(value))
    except ValidationError as error:
        raise ConfigError([_sentence(item) for item in error.errors()]) from None
