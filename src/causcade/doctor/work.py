"""The jobs of a run: how much each one has to do, in the unit of its rate, what it waits for, and what it leaves on disk.

One entry for each rule, in an order in which they can run. The amount of a job is what its time grows with; the time itself is the rate's affair
(:mod:`causcade.doctor.rates`). Memory and disk follow from the shapes of arrays.

Axes: G genes of the panel, D dimensions of an embedding, H width of the decoder's hidden layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from causcade.config import Config
from causcade.devices import gpus_of, nodes_of, processes_of
from causcade.doctor.sizes import Sizes
from causcade.embedding_cost import JUDGED_CELLS, cell_flops, memory_mb, shape_of
from causcade.fits import fit_names, latent_fit_names
from causcade.shards import num_shards, num_threads, num_threads_of_pairs
from causcade.tx1.shape import forward_flops

__all__ = ["GIB", "MB", "Work", "works_of"]

MB = 1_000_000
GIB = 1 << 30
MAP_CELLS = 5000  # of the embedding's map, at most
BYTES_PER_COUNT = 1.7  # measured for uint16 counts and columns, sharded and compressed
BYTES_PER_CONDITION = 5.2  # of each gene, mean and variance, as measured on the demo (compressed)
BYTES_OF_NETWORK = 86.0  # of each candidate edge in the network's files, as measured on the demo


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """All jobs of a rule.

    Attributes
    ----------
    rule, stage
        Name of the rule, and of the line of the table that it belongs to.
    jobs
        What each job has to do, in `unit`, by the name that its benchmark file has (the rule's own where there is one job).
    unit
        What is counted.
    after
        Rules whose jobs come first, where the run has them.
    threads
        Processors of a job.
    gpus
        GPUs of a job, over all its nodes.
    pairs, edges, model_mb
        What the memory of a job grows with: genes squared, candidate edges, and MB of a model.
    cells
        Cells of the largest job, for the names and labels of its cells.
    disk
        Bytes that stay.
    flops
        Floating-point operations of all jobs where they are mostly products of matrices; 0: not counted.
    """

    rule: str
    stage: str
    jobs: dict[str, float]
    unit: str
    after: tuple[str, ...] = ()
    threads: int = 1
    gpus: int = 0
    pairs: float = 0.0
    edges: float = 0.0
    model_mb: float = 0.0
    cells: float = 0.0
    disk: float = 0.0
    flops: float = 0.0

    @property
    def amount(self) -> float:
        """What all jobs have to do together."""
        return sum(self.jobs.values())


def works_of(config: Config, sizes: Sizes) -> list[Work]:
    """List the work of a run from nothing, in an order in which the rules can run.

    Parameters
    ----------
    config
        The configuration.
    sizes
        What the run consists of.
    """
    if not sizes.shapes:
        return []
    return [*_input(config, sizes), *_cells(config, sizes), *_embedding(config, sizes), *_fits(config, sizes), *_results(config, sizes)]


def _gpus(config: Config, stage: str) -> int:
    return gpus_of(config, stage) * nodes_of(config, stage)


def _nonzero(sizes: Sizes) -> dict[str, float]:
    return {name: shape.num_nonzero for name, shape in sizes.shapes.items()}


def _largest_cells(sizes: Sizes) -> float:
    return max((shape.num_cells for shape in sizes.shapes.values()), default=0.0)


def _once(rule: str, stage: str, amount: float = 0.0, unit: str = "", **keys: object) -> Work:
    return Work(rule=rule, stage=stage, jobs={rule: amount}, unit=unit, **keys)  # type: ignore[arg-type]


def _input(config: Config, sizes: Sizes) -> Iterator[Work]:
    nonzero, cells = _nonzero(sizes), _largest_cells(sizes)
    if config.is_simulated:
        yield _once("simulation_resources", "input")
        yield Work(rule="simulation_plate", stage="input", jobs=nonzero, unit="non-zero counts", disk=sizes.num_nonzero * 1.6)
    yield _once("resources", "input", after=("simulation_resources",))
    yield Work(rule="check_plate", stage="input", jobs=nonzero, unit="non-zero counts", after=("simulation_plate", "resources"), cells=cells)
    yield _once("check", "input", after=("check_plate",))
    yield _once("check_settings", "input", after=("check_plate",))
    yield _once("targets", "input", after=("check",))


def _cells(config: Config, sizes: Sizes) -> Iterator[Work]:
    nonzero, cells, num_genes = _nonzero(sizes), _largest_cells(sizes), sizes.num_genes
    square, triangle = float(num_genes) ** 2, 4.0 * num_genes * (num_genes + 1)
    of_panel = {name: value * sizes.panel_share for name, value in nonzero.items()}
    yield Work(
        rule="quality", stage="quality", jobs=nonzero, unit="non-zero counts", after=("check", "check_settings", "targets"), cells=cells,
        gpus=_gpus(config, "quality"), disk=BYTES_PER_COUNT * sizes.num_nonzero,
    )  # fmt: skip
    yield _once("quality_summary", "quality", sizes.num_cells, "cells", after=("quality",), cells=cells)
    yield Work(
        rule="panel_votes", stage="panel", jobs=nonzero, unit="non-zero counts", after=("quality",), cells=cells, gpus=_gpus(config, "panel")
    )  # fmt: skip
    yield _once("panel_consensus", "panel", after=("panel_votes",))
    yield _once("panel", "panel", after=("panel_consensus",))
    yield from _sums(config, sizes, of_panel, square, triangle)
    yield _once("mask", "mask", sizes.num_edges, "edges", after=("coexpression",), edges=sizes.num_edges, disk=8.0 * sizes.num_edges)
    yield _once("unmeasured", "mask", after=("panel", "targets"))
    yield Work(
        rule="conditions", stage="conditions", jobs=nonzero, unit="non-zero counts", after=("panel",), cells=cells,
        disk=BYTES_PER_CONDITION * sizes.num_conditions * num_genes,
    )  # fmt: skip


def _sums(config: Config, sizes: Sizes, of_panel: dict[str, float], square: float, triangle: float) -> Iterator[Work]:
    gpus, settings = _gpus(config, "coexpression"), config.coexpression
    cut = {name: num_shards(round(shape.num_cells), settings.shard_cells) for name, shape in sizes.shapes.items()}
    whole = {name: of_panel[name] for name, number in cut.items() if number == 1}
    large = {name: number for name, number in cut.items() if number > 1}
    threads = max(num_threads(round(sizes.shapes[name].num_cells), number) for name, number in cut.items())
    multiplied = 2.0 * sum(shape.num_cells for shape in sizes.shapes.values()) * square / 2  # a GPU multiplies dense blocks, half of the square
    common = {"stage": "coexpression", "threads": threads, "gpus": gpus, "pairs": square, "cells": _largest_cells(sizes)}
    if whole:
        share = sum(sizes.shapes[name].num_cells for name in whole) / max(1.0, sizes.num_cells)
        yield Work(
            rule="coexpression_moments", jobs=whole, unit="non-zero counts", after=("panel",), disk=len(whole) * triangle, flops=share * multiplied,
            **common,  # type: ignore[arg-type]
        )  # fmt: skip
    if large:
        shards = {f"{name}_{shard + 1}of{number}": of_panel[name] / number for name, number in large.items() for shard in range(number)}
        share = sum(sizes.shapes[name].num_cells for name in large) / max(1.0, sizes.num_cells)
        yield Work(
            rule="coexpression_moments_shard", jobs=shards, unit="non-zero counts", after=("panel",), flops=share * multiplied,
            **common,  # type: ignore[arg-type]
        )  # fmt: skip
        yield Work(
            rule="coexpression_moments_sum", stage="coexpression", jobs={name: number * square for name, number in large.items()},
            unit="pairs of genes", after=("coexpression_moments_shard",), pairs=square, disk=len(large) * triangle,
        )  # fmt: skip
    sums = ("coexpression_moments", "coexpression_moments_sum")
    yield _once(
        "coexpression", "coexpression", square * (1 + len(cut) / 40), "pairs of genes", after=sums,
        threads=num_threads_of_pairs(sizes.num_genes), pairs=square, disk=2 * 4 * square,
    )  # fmt: skip
    if settings.per_line:
        lines = sizes.num_lines
        yield Work(
            rule="coexpression_lines_moments", jobs=of_panel, unit="non-zero counts", after=("panel",), disk=len(cut) * lines * triangle,
            **common,  # type: ignore[arg-type]
        )  # fmt: skip
        yield _once(
            "coexpression_lines", "coexpression", lines * square * (1 + len(cut) / 40), "pairs of genes", after=("coexpression_lines_moments",),
            threads=num_threads_of_pairs(sizes.num_genes), pairs=square, disk=lines * 2 * 4 * square,
        )  # fmt: skip


def _embedding(config: Config, sizes: Sizes) -> Iterator[Work]:
    settings, training = config.embedding, config.pretraining
    nonzero, cells = _nonzero(sizes), _largest_cells(sizes)
    embedded = sizes.num_cells if settings.cells == "all" else sizes.num_controls
    share = embedded / max(1.0, sizes.num_cells)
    shape = shape_of(config, "embedding") if settings.source == "tx1" else None
    dimensions = shape.d_model if shape is not None else settings.dimensions
    disk = embedded * dimensions * (2 if settings.storage == "float16" else 4)
    if settings.trains and shape is not None:
        length = min(training.max_length, round(sizes.genes_per_cell) + 1)
        flops = 3.0 * training.steps * forward_flops(shape, [length] * training.batch_cells, decode=True)
        processes = processes_of(config, "pretraining")
        yield _once("pretraining_roll", "pretraining", after=("quality",))
        yield _once(
            "pretraining", "pretraining", flops, "operations", after=("pretraining_roll", "panel"), threads=processes, flops=flops, cells=cells,
            gpus=_gpus(config, "pretraining"), model_mb=processes * memory_mb(config, "pretraining"),
        )  # fmt: skip
        judged = min(JUDGED_CELLS, sizes.num_cells) * cell_flops(shape, sizes.genes_per_cell, settings.max_length)
        yield _once(
            "model_judging", "pretraining", judged, "operations", after=("pretraining",), flops=judged, cells=cells,
            gpus=_gpus(config, "model_judging"), model_mb=memory_mb(config, "pretraining"),
        )  # fmt: skip
    after = ("quality", "panel", "pretraining")
    if settings.source == "tx1":
        each = 0.0 if shape is None else cell_flops(shape, sizes.genes_per_cell, settings.max_length)
        jobs = {name: share * plate.num_cells * each for name, plate in sizes.shapes.items()}
        yield Work(
            rule="embedding", stage="embedding", jobs=jobs, unit="operations", after=after, gpus=_gpus(config, "embedding"), cells=cells, disk=disk,
            flops=sum(jobs.values()), model_mb=memory_mb(config, "embedding", round(cells)),
        )  # fmt: skip
    else:
        if settings.source == "pca":
            square = float(sizes.num_genes) ** 2
            yield _once("embedding_roll", "embedding", after=("coexpression",))
            yield _once("embedding_basis", "embedding", square, "pairs of genes", after=("embedding_roll",), pairs=square)
        jobs = {name: share * value for name, value in nonzero.items()}
        yield Work(
            rule="embedding", stage="embedding", jobs=jobs, unit="non-zero counts", after=(*after, "embedding_basis"), cells=cells, disk=disk
        )  # fmt: skip
    # A sample of cells, wherever it is laid out: what processors take is an upper bound, so no GPU is told.
    yield _once("embedding_map", "embedding", min(embedded, MAP_CELLS), "cells", after=("embedding",), cells=cells)
    yield from _basal(config, sizes, dimensions)


def _basal(config: Config, sizes: Sizes, dimensions: int) -> Iterator[Work]:
    settings, num_genes = config.basal, sizes.num_genes
    if settings.baseline != "control_mean":
        cells = min(settings.max_cells, sizes.num_controls)
        width = dimensions * num_genes + settings.hidden * (dimensions + num_genes)  # D G + H (D + G)
        flops = 6.0 * cells * width * settings.max_epochs
        yield _once("basal_roll", "basal", after=("embedding",))
        yield _once(
            "basal", "basal", flops, "operations", after=("basal_roll",), threads=processes_of(config, "basal"),
            gpus=_gpus(config, "basal"), flops=flops, cells=_largest_cells(sizes),
        )  # fmt: skip
    share = 1.0 if settings.baseline == "own_cell" else sizes.num_controls / max(1.0, sizes.num_cells)
    jobs = {name: share * value for name, value in _nonzero(sizes).items()}
    yield Work(
        rule="basal_baseline", stage="basal", jobs=jobs, unit="non-zero counts", after=("basal", "embedding"), cells=_largest_cells(sizes),
        disk=4.0 * len(jobs) * sizes.num_lines * num_genes,
    )  # fmt: skip
    yield _once("basal_comparison", "basal", sizes.num_conditions * num_genes, "conditions x genes", after=("basal_baseline", "conditions"))


def _fits(config: Config, sizes: Sizes) -> Iterator[Work]:
    settings, num_genes, edges = config.causal, sizes.num_genes, sizes.num_edges
    fits, latent_fits = fit_names(settings), latent_fit_names(settings)
    nuisance = sizes.num_targets * num_genes if settings.nuisance_edges else 0.0
    batch = min(sizes.num_perturbations, settings.batch_perturbations)
    each = settings.num_steps * (edges + nuisance) * batch * max(1, settings.num_hops)
    inputs = ("basal_baseline", "conditions", "targets", "mask")
    yield Work(
        rule="causal", stage="causal", jobs=dict.fromkeys(fits, each), unit="edge steps", after=inputs, threads=processes_of(config, "causal"),
        gpus=_gpus(config, "causal"), edges=edges + nuisance, disk=4.0 * (edges + nuisance) * len(fits),
    )  # fmt: skip
    plates, square = len(sizes.shapes), float(num_genes) ** 2
    sums = ("coexpression_moments", "coexpression_moments_sum")
    yield _once(
        "latent_cells", "latent", square * (num_genes + 1000.0 * plates), "pairs x genes", after=(*sums, "conditions", "mask"),
        threads=num_threads_of_pairs(num_genes), pairs=square,
    )  # fmt: skip
    blocks = float(num_genes) * sizes.num_targets * sizes.num_perturbations
    yield Work(
        rule="latent", stage="latent", jobs=dict.fromkeys(latent_fits, blocks), unit="genes x targets x perturbations",
        after=("latent_cells", *inputs), gpus=_gpus(config, "latent"), edges=edges, disk=14.0 * edges * len(latent_fits),
    )  # fmt: skip
    controls = {name: sizes.panel_share * value * sizes.num_controls / max(1.0, sizes.num_cells) for name, value in _nonzero(sizes).items()}
    yield Work(
        rule="evidence_controls", stage="evidence", jobs=controls, unit="non-zero counts", after=("panel",), pairs=square,
        gpus=_gpus(config, "coexpression"), disk=plates * 4.0 * num_genes * (num_genes + 1),
    )  # fmt: skip
    yield _once(
        "evidence_partial", "evidence", square * num_genes, "pairs x genes", after=("evidence_controls", "mask"),
        threads=num_threads_of_pairs(num_genes), pairs=square,
    )  # fmt: skip
    evidence_fits = [fit for fit in latent_fits if not fit.startswith("line_")]
    yield Work(
        rule="evidence", stage="evidence", jobs=dict.fromkeys(evidence_fits, blocks), unit="genes x targets x perturbations",
        after=("causal", "latent", "evidence_partial", "latent_cells"), edges=edges, disk=24.0 * edges * len(evidence_fits),
    )  # fmt: skip


def _results(config: Config, sizes: Sizes) -> Iterator[Work]:
    edges = sizes.num_edges
    rules: list[tuple[str, tuple[str, ...], int, Callable[[], float]]] = [
        ("network", ("evidence", "causal"), 1, lambda: edges),
        ("evaluation", ("network", "evidence", "coexpression"), 2, lambda: edges * max(1, config.evaluation.bootstrap)),
        ("cascades", ("causal", "network"), 1, lambda: edges),
    ]
    for rule, after, threads, amount in rules:
        disk = BYTES_OF_NETWORK * edges if rule == "network" else 0.0
        unit = "edges x resamplings" if rule == "evaluation" else "edges"
        yield _once(rule, "results", amount(), unit, after=after, threads=threads, edges=edges, disk=disk)
    yield _once("manifest", "results", after=("check",))
    yield _once("report", "results", after=("evaluation", "cascades", "embedding_map", "manifest", "quality_summary"), edges=edges)
