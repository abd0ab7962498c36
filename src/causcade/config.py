"""The configuration: one pydantic model that validates, documents and generates.

`config/config.yaml` (every key, commented) and `config/schema.json` are written from this module by `causcade config`; a test
fails when they drift. Nothing else in causcade knows a default. Checks that need the file system are in
:mod:`causcade.validation`; checks that need the data are in :mod:`causcade.checks`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from causcade.config_condition_table import STAND_IN, ConditionTableConfig, disagreements_of_table
from causcade.config_input import ColumnsConfig, ColumnSource, ControlWhere, InputConfig, PerturbationConfig, Positive, Section
from causcade.config_latent import LatentConfig
from causcade.config_mistakes import place_of, sentences_of, without
from causcade.config_resources import ResourceConfig, ResourcesConfig
from causcade.config_tx1 import EmbeddingConfig, PretrainingConfig
from causcade.errors import ConfigError

__all__ = [
    "BasalConfig", "CascadesConfig", "CausalConfig", "CoexpressionConfig", "ColumnSource", "ColumnsConfig", "ConditionTableConfig",
    "ConditionsConfig", "Config", "ControlWhere", "CovariatesConfig", "EmbeddingConfig", "EvaluationConfig",
    "InputConfig", "LatentConfig", "MaskConfig", "NetworkConfig", "PanelConfig", "PerturbationConfig", "PretrainingConfig", "QualityConfig",
    "ReportConfig", "ResourceConfig", "ResourcesConfig", "SimulationConfig", "parse_config",
]  # fmt: skip

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
SIMULATED_RUN = "simulated"
BUILT_IN_COVARIATES = ("log_counts", "mito_fraction", "s_score", "g2m_score", "plate", "cell_line")

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]


class SimulationConfig(Section):
    """The simulated screen that runs when `plates` is null; ignored otherwise."""

    plates: list[str] = Field(
        default=["plate1", "plate2", "plate3"], min_length=1, description="Names of the plates; each is drawn from `seed` and its own name."
    )
    num_genes: Annotated[int, Field(ge=100)] = Field(
        default=700, description="Genes in the planted network (cell-cycle and mitochondrial genes come on top)."
    )
    num_tfs: Annotated[int, Field(ge=5)] = Field(default=60, description="Transcription factors among them.")
    num_drugs: Annotated[int, Field(ge=2)] = Field(default=72, description="Drugs, three doses each.")
    num_cell_lines: Positive = Field(default=3, description="Cell lines.")
    cells_per_well: Positive = Field(default=90, description="Mean number of cells in a treated well, over all lines.")
    dynamics: Literal["linear", "saturating", "hill"] = Field(
        default="linear", description="How regulators act: linear, saturating (tanh), or by the occupancy of promoters (hill)."
    )
    activity_only: Fraction = Field(default=0.2, description="Share of the drugs that change the activity of their target and not its mRNA.")
    prior_recall: Fraction = Field(default=0.35, description="Share of true edges that the simulated prior databases list.")
    prior_noise: Fraction = Field(default=0.3, description="Share of false edges in the simulated prior databases.")

    @field_validator("plates")
    @classmethod
    def _names(cls, value: list[str]) -> list[str]:
        for name in value:
            if not re.match(NAME_PATTERN, name):
                raise ValueError(f"expected plate names of letters, digits, '.', '_' and '-', found {name!r}; rename it")
        if len(set(value)) != len(value):
            raise ValueError(f"expected each plate once, found {value}; remove the repeated name")
        return value


class QualityConfig(Section):
    """Filters of cells; all genes are kept."""

    min_counts: Count = Field(default=200, description="Fewest counts of a cell.")
    min_genes: Count = Field(default=100, description="Fewest detected genes of a cell.")
    max_mito: Fraction = Field(default=0.25, description="Largest share of mitochondrial counts.")
    mad: Annotated[float, Field(gt=0)] | None = Field(
        default=5.0,
        description="Cells further than this many median absolute deviations from their plate's median (log counts, log genes) go; null: none.",
    )
    doublets: Literal["none", "scrublet"] = Field(
        default="none", description="Doublet calls per well; a well of which more than a quarter would be called keeps its scores and calls none."
    )
    size_factors: Literal["total", "without_dominant"] = Field(
        default="total",
        description="What counts of a cell are divided by: the total of all genes, or that of the genes that hold less than a tenth of the counts of "
        "the plate's controls, for panels in which one gene takes much of the counts.",
    )
    gpu_oversubscribe: bool = Field(
        default=False,
        description="On GPUs: true lets the driver move what does not fit to the host (managed memory, TCP); false takes a pool (UCX).",
    )


class PanelConfig(Section):
    """The genes that the network is about."""

    num_genes: Annotated[int, Field(ge=2)] | None = Field(
        default=14_142,
        description="Size that highly variable genes fill the panel up to; genes of the other sources always enter. Null: `num_hvg` of them enter.",
    )
    num_hvg: Count = Field(
        default=9000, description="Highly variable genes that each plate votes for; a gene that no plate votes for enters by another source only."
    )
    flavor: Literal["seurat", "cell_ranger", "seurat_v3"] = Field(
        default="seurat",
        description="How variability is ranked, as in scanpy and rapids-singlecell; seurat_v3 takes raw counts and needs scikit-misc "
        "(`pip install 'causcade[seurat-v3]'`).",
    )
    vote_cells: Positive = Field(default=100_000, description="Most cells of a plate on which variability is ranked; a seeded sample beyond.")
    min_cells: Positive = Field(default=20, description="Fewest cells, over the plates that vote, that express a gene of the panel.")
    sources: list[Literal["hvg", "tfs", "rbps", "hallmarks", "drug_targets"]] = Field(
        default=["hvg", "tfs", "rbps", "hallmarks", "drug_targets"], min_length=1, description="What the panel is the union of."
    )


class CovariatesConfig(Section):
    """What coexpression is adjusted for."""

    terms: list[str] = Field(
        default=["log_counts", "mito_fraction", "s_score", "g2m_score", "plate", "cell_line"],
        description="log_counts, mito_fraction, s_score, g2m_score, plate, cell_line, or any obs column (numeric, or text as categories).",
    )

    @property
    def obs_columns(self) -> list[str]:
        """Terms that are obs columns of the input, which the cell store has to keep."""
        return [term for term in self.terms if term not in BUILT_IN_COVARIATES]


class CoexpressionConfig(Section):
    """Residual coexpression."""

    partners: Positive = Field(default=100, description="Partners kept per gene, by |r|.")
    shard_cells: Positive = Field(
        default=2_000_000, description="Plates of more cells are measured in shards of about so many, one job each; changes no result."
    )
    precision: Literal["float32", "tf32", "fp16_split", "fp16"] = Field(
        default="float32",
        description="Numbers that a GPU multiplies; errors of r stay below 1e-6, 3e-4, 1e-5 and 3e-4 (docs/performance.md). A CPU takes float32.",
    )
    per_line: bool = Field(
        default=False,
        description="Also one matrix per cell line, from sums kept per line: 8 bytes x genes^2 / 2 for each line and plate (0.8 GB at 14,142 genes).",
    )


class MaskConfig(Section):
    """Candidate edges."""

    partners: Positive = Field(default=100, description="Top coexpression partners of a gene that become its candidate regulators.")
    symmetric: bool = Field(default=False, description="Add the other direction of each coexpression edge too.")
    unmeasured_targets: Literal["none", "curated", "all"] = Field(
        default="curated",
        description="Edges that may leave a listed target that is not measured: none, curated, or to all genes; with any, it is a latent gene.",
    )


class BasalConfig(Section):
    """The basal decoder and the baseline of treated cells."""

    baseline: Literal["matched_control", "own_cell", "control_mean"] = Field(
        default="matched_control",
        description="matched_control (mean basal prediction of the controls of line and plate), own_cell (that of the treated cells themselves: it "
        "explains a part of the response away, and needs `embedding.cells: all`) or control_mean (plain mean of the controls, no model).",
    )
    hidden: Positive = Field(default=128, description="Width of the decoder's hidden layer.")
    max_epochs: Positive = Field(default=40, description="Most passes over the control cells.")
    patience: Positive = Field(default=4, description="Passes without improvement on held-out wells before stopping.")
    batch_cells: Positive = Field(default=256, description="Cells per step.")
    learning_rate: Annotated[float, Field(gt=0)] = Field(default=1e-3, description="Step size of Adam.")
    max_cells: Positive = Field(
        default=5_000_000, description="Most control cells used, a seeded sample beyond; they are copied to files, 15 KB each at atlas shape."
    )
    processes: Positive = Field(default=1, description="Processes that share the fit through torchrun, one GPU each where there are GPUs.")

    def deciding(self) -> dict[str, Any]:
        """Return the keys that decide the decoder, without what it is used for and how fast it is fitted."""
        return self.model_dump(mode="json", exclude={"baseline", "processes"})


class ConditionsConfig(Section):
    """Pseudobulk of each perturbation x dose x line x plate."""

    min_cells: Positive = Field(default=5, description="Fewest cells of a condition.")


class CausalConfig(Section):
    """The causal module: Delta = sum over k of W^k d."""

    parameters: Literal["low_rank", "per_edge"] = Field(
        default="per_edge", description="How W is written: mask * (U V'), or one value per candidate edge."
    )
    rank: Positive = Field(default=64, description="Rank of U V'.")
    num_hops: Positive = Field(default=6, description="Terms of the Neumann series beyond the direct effect.")
    num_steps: Positive = Field(default=300, description="Optimiser steps.")
    training: Literal["conditions", "cells"] = Field(
        default="conditions",
        description="What a step sees: conditions of perturbations, or batches of treated cells. The optimum is the same; cells take far longer.",
    )
    batch_perturbations: Positive = Field(default=128, description="Perturbations per step, with all their conditions.")
    batch_cells: Positive = Field(default=2048, description="Treated cells per step, where `training` is cells.")
    processes: Positive = Field(default=1, description="Processes that share a fit on each node (torchrun), one GPU each where there are GPUs.")
    nodes: Positive = Field(default=1, description="Nodes that share a fit, with `processes` on each; more than one needs Slurm.")
    learning_rate: Annotated[float, Field(gt=0)] = Field(default=0.005, description="Step size of Adam.")
    edge_dropout: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.2, description="Share of candidate edges dropped at each step.")
    l1: Annotated[float, Field(ge=0)] = Field(default=1.0, description="L1 penalty on edges, in standard errors of an edge.")
    l1_start: Count = Field(default=50, description="First step with the L1 penalty.")
    prior_strength: Fraction = Field(default=0.5, description="How much a prior confidence of 1 lowers the L1 penalty of an edge.")
    source_hierarchy: Annotated[float, Field(ge=0)] = Field(
        default=0.5, description="How much regulators with few clear edges are penalised more, and those with many less; 0: all alike."
    )
    nuisance_edges: bool = Field(
        default=True, description="Also fit the pairs from listed targets that are not candidates; they take up other paths and are never reported."
    )
    max_spectral_radius: Annotated[float, Field(gt=0, lt=1)] = Field(default=0.95, description="Bound on the spectral radius of W.")
    support: Literal["targets", "neighbourhood"] = Field(
        default="targets", description="Where a direct effect may be: targets, or targets and their neighbours."
    )
    l1_direct: Annotated[float, Field(ge=0)] = Field(
        default=4.0, description="L1 penalty on direct effects outside the targets, in standard errors of a response."
    )
    context: Literal["none", "expression"] = Field(
        default="none",
        description="Responses in a held-out line: those of the other lines, or scaled gene by gene by how strongly its controls express the gene.",
    )
    unknown_targets: Literal["exclude", "learn"] = Field(
        default="exclude", description="Perturbations without a known target: leave out, or learn a sparse direct effect."
    )
    edge_nulls: Count = Field(default=3, description="Fits on responses permuted gene by gene.")
    label_nulls: Count = Field(default=3, description="Fits on permuted perturbation labels.")
    bootstraps: Count = Field(default=3, description="Fits on resampled perturbations, for stability.")
    drug_folds: Annotated[int, Field(ge=0)] = Field(default=2, description="Folds of held-out perturbations; 0: none.")
    held_out_lines: list[str] = Field(default=[], description="Cell lines to hold out, one fit each.")

    @field_validator("drug_folds")
    @classmethod
    def _folds(cls, value: int) -> int:
        if value == 1:
            raise ValueError("expected 0 or at least 2 folds, found 1; write `drug_folds: 2`, or 0 for none")
        return value


class NetworkConfig(Section):
    """The exported network."""

    score: Literal[
        "auto", "latent", "weight", "weight_no_prior", "deconvolution", "mean_shift", "ridge", "partial_correlation", "partial_within", "aggregate"
    ] = Field(default="auto", description="Which evidence column ranks the edges; auto: by held-out perturbations and bootstraps, no reference.")
    num_export: Positive = Field(default=10_000, description="Edges in the tsv, graphml and gmt exports, best first.")


class EvaluationConfig(Section):
    """References, controls and intervals."""

    bootstrap: Count = Field(default=200, description="Resamplings of genes for 95 % intervals.")
    hubs: Positive = Field(default=50, description="How many genes count as hubs.")
    top: Positive = Field(default=100, description="How many of the best edges the top precision counts.")


class CascadesConfig(Section):
    """Per-perturbation explanations."""

    num_genes: Positive = Field(default=50, description="Genes listed per hop.")
    num_paths: Positive = Field(default=20, description="Paths listed per perturbation.")


class ReportConfig(Section):
    """The page."""

    title: str = Field(default="causcade report", description="Title of the page.")
    num_edges: Positive = Field(default=2000, description="Edges in the searchable table, best first.")


class Config(Section):
    """Everything that decides a run."""

    run: str = Field(default=SIMULATED_RUN, pattern=NAME_PATTERN, description="Name of the run; artifacts go to `<results>/<run>/`.")
    results: str = Field(default="results", description="Folder of all runs.")
    seed: Count = Field(default=0, description="Seed of everything random.")
    backend: Literal["auto", "cpu", "gpu"] = Field(default="auto", description="Where to compute; auto takes a GPU if there is one.")
    plates: str | None = Field(
        default=None, description="Plate table (tsv: plate, counts; optional: cells); null, without a `condition_table`, runs the simulated screen."
    )
    condition_table: ConditionTableConfig | None = Field(
        default=None,
        description="In place of plates, a table of conditions x genes: `{path: FILE, values: KIND}` and, where needed, `pseudocount` and `errors`. "
        "`values` is log, expression, counts or change (docs/condition_table.md).",
    )
    simulation: SimulationConfig = Field(
        default=SimulationConfig(), description="The simulated screen, used while `plates` and `condition_table` are null."
    )
    input: InputConfig = Field(default=InputConfig(), description="How to read the cells. The defaults are those of Tahoe-100M.")
    perturbation: PerturbationConfig = Field(default=PerturbationConfig(), description="What was done to the cells.")
    resources: ResourcesConfig = Field(default=ResourcesConfig(), description="Curated resources.")
    quality: QualityConfig = Field(default=QualityConfig(), description="Filters of cells.")
    panel: PanelConfig = Field(default=PanelConfig(), description="The gene panel.")
    covariates: CovariatesConfig = Field(default=CovariatesConfig(), description="Covariates.")
    coexpression: CoexpressionConfig = Field(default=CoexpressionConfig(), description="Coexpression.")
    mask: MaskConfig = Field(default=MaskConfig(), description="Candidate edges.")
    pretraining: PretrainingConfig = Field(
        default=PretrainingConfig(), description="Training of a TX1 model, where `embedding.model` is null, or on request (`snakemake pretraining`)."
    )
    embedding: EmbeddingConfig = Field(default=EmbeddingConfig(), description="Embedding.")
    basal: BasalConfig = Field(default=BasalConfig(), description="Basal decoder.")
    conditions: ConditionsConfig = Field(default=ConditionsConfig(), description="Conditions.")
    causal: CausalConfig = Field(default=CausalConfig(), description="Causal module.")
    latent: LatentConfig = Field(default=LatentConfig(), description="Latent-activity estimator; it has the fits that `causal` asks for.")
    network: NetworkConfig = Field(default=NetworkConfig(), description="Network.")
    evaluation: EvaluationConfig = Field(default=EvaluationConfig(), description="Evaluation.")
    cascades: CascadesConfig = Field(default=CascadesConfig(), description="Cascades.")
    report: ReportConfig = Field(default=ReportConfig(), description="Report.")

    @property
    def is_simulated(self) -> bool:
        """Whether the run is the simulated screen."""
        return self.plates is None and self.condition_table is None

    @property
    def has_cells(self) -> bool:
        """Whether the run reads cells: all do but those that start from a table of conditions."""
        return self.condition_table is None

    def deciding(self) -> dict[str, dict[str, Any]]:
        """Sections that have keys for speed alone, by name, without those keys: what decides a result."""
        return {"embedding": self.embedding.deciding(), "pretraining": self.pretraining.deciding(), "basal": self.basal.deciding()}

    @model_validator(mode="after")
    def _agree(self, info: ValidationInfo) -> Config:
        """Sections must fit each other. A rule about a key that is a mistake itself (`context["skip"]`) says nothing."""
        skip = (info.context or {}).get("skip", frozenset())
        mistakes = [sentence for keys, sentence in _disagreements(self) if not any(key.startswith(wrong) for key in keys for wrong in skip)]
        if mistakes:
            raise ValueError(*mistakes)
        return self


def _disagreements(config: Config) -> Iterator[tuple[tuple[str, ...], str]]:
    """Mistakes that concern several keys: the keys, and the sentence."""
    yield from disagreements_of_table(config)
    if not config.is_simulated and config.run == SIMULATED_RUN:
        beside = f"`plates: {config.plates}`" if config.plates is not None else "`condition_table`"
        yield (
            ("run", "plates"),
            f"run: expected a name of your own, found `run: {SIMULATED_RUN}` beside {beside}; write for example `run: my_screen`",
        )
    if config.basal.baseline == "own_cell" and config.embedding.cells != "all":
        yield (
            ("basal.baseline", "embedding.cells"),
            f"embedding.cells: expected all beside `basal.baseline: own_cell`, found {config.embedding.cells}; write `embedding: {{cells: all}}`, or "
            "`basal: {baseline: matched_control}`",
        )
    wanted, kept = config.mask.partners, config.coexpression.partners
    if wanted > kept:
        yield (
            ("mask.partners", "coexpression.partners"),
            f"mask.partners: expected at most `coexpression.partners` ({kept}), found {wanted}; write `coexpression: {{partners: {wanted}}}`",
        )
    if config.resources.string is not None and config.resources.string_info is None:
        yield (
            ("resources.string", "resources.string_info"),
            "resources.string_info: expected a resource beside `resources.string` (it translates the protein ids), found null; "
            "set it, or write `string: null`",
        )
    if config.resources.reactome_pathways == "leaves" and (config.is_simulated or config.resources.reactome_relations is None):
        remedy = "write `all`, which is all that the simulated screen has" if config.is_simulated else "set it, or write `reactome_pathways: all`"
        yield (
            ("resources.reactome_pathways", "resources.reactome_relations"),
            f"resources.reactome_pathways: expected `all`, or `resources.reactome_relations` beside it, found leaves; {remedy}",
        )
    if config.plates is not None and not config.perturbation.control and config.perturbation.control_where is None:
        yield (
            ("perturbation.control", "perturbation.control_where"),
            "perturbation.control: expected at least one label of control cells, found none; write `control: [LABEL]`, or set `control_where`",
        )


def parse_config(value: Mapping[str, Any]) -> Config:
    """Validate a mapping (as read from YAML) into a :class:`Config`.

    Raises
    ------
    ConfigError
        With every mistake, not only the first: pydantic leaves out the rules between sections where a key is wrong, so they are looked at once more
        without the wrong keys.
    """
    try:
        return Config.model_validate(dict(value))
    except ValidationError as error:
        errors = error.errors()
    mistakes = sentences_of(errors, value, Config)
    rest, skip = dict(value), frozenset[str]()
    config: Config | None = None
    while config is None:
        wrong = {place_of(item["loc"], rest, is_missing=item["type"] == "missing") for item in errors} - {()}
        smaller = without(rest, wrong)
        if any(place[0] == "condition_table" for place in wrong):
            smaller["condition_table"] = STAND_IN
        if rest == smaller:
            break
        rest, skip = smaller, skip | {".".join(map(str, place)) for place in wrong}
        try:
            config = Config.model_validate(rest, context={"skip": skip})
        except ValidationError as error:
            errors = error.errors()
            mistakes += sentences_of([item for item in errors if not item["loc"]], rest, Config)
    raise ConfigError(mistakes, rest=config, wrong=skip)
