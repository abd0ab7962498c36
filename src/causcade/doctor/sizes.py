"""Sizes that decide what a run costs: cells, genes, edges, conditions, and what of them is only assumed so far.

What the check of a run has counted (`check.json`) counts; before it, the proportions of Tahoe-100M are taken, and said.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from causcade.config import Config
from causcade.doctor.shapes import PlateShape, plate_shapes
from causcade.files import read_json
from causcade.plates import Plate, list_plates
from causcade.shards import expected_cells

__all__ = ["Sizes", "panel_genes", "sizes_of"]

LISTED_GENES = 7200  # transcription factors, RNA-binding proteins, hallmark genes and drug targets together

# Of the simulated screen: genes beside the network's (cell cycle, mitochondria); expressed genes of a cell, as counted at 810 genes, and the power
# with which they grow (656 were counted at 1,610); wells of controls on a plate, with three times the cells of another; doses; share of distinct
# targets among drugs (44 targets of 72 drugs were drawn).
OTHER_GENES = 110
EXPRESSED_GENES = 436.0
OF_GENES = 810
EXPRESSED_POWER = 0.6
CONTROL_WELLS = 4 * 3
DOSES = 3
TARGETS_OF_A_DRUG = 0.6

# Of Tahoe-100M, for what is not known yet: 2,330,156 control cells of 100,648,790, 65,243 treated conditions of mean 1,507 cells, 50 lines, 379 drugs
# at three doses, 280 distinct targets, and 933 of the 1,460 expressed genes of a cell within a panel of 14,142.
CONTROL_SHARE = 2_330_156 / 100_648_790
CELLS_PER_CONDITION = 1507
ATLAS_LINES = 50
ATLAS_TARGETS = 280 / 379
PANEL_SHARE = 933 / 1460


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What a run consists of.

    Attributes
    ----------
    shapes
        Of each plate whose size something tells, by name.
    num_genes
        Genes of the panel, at most.
    num_controls, num_conditions
        Control cells, and conditions (perturbation x dose x line x plate), of all plates.
    num_lines, num_perturbations, num_targets
        Cell lines, perturbations, and distinct listed targets.
    num_edges
        Candidate edges.
    assumed
        Sentences on what nothing tells yet.
    """

    shapes: dict[str, PlateShape]
    num_genes: int
    num_controls: float
    num_lines: int
    num_perturbations: int
    num_conditions: float
    num_targets: int
    num_edges: float
    assumed: tuple[str, ...] = field(default=())

    @property
    def num_cells(self) -> float:
        """Cells of all plates."""
        return sum(shape.num_cells for shape in self.shapes.values())

    @property
    def num_nonzero(self) -> float:
        """Non-zero counts of all plates."""
        return sum(shape.num_nonzero for shape in self.shapes.values())

    @property
    def genes_per_cell(self) -> float:
        """Expressed genes of a cell, on average."""
        return self.num_nonzero / max(1.0, self.num_cells)

    @property
    def panel_share(self) -> float:
        """Share of the non-zero counts that are in genes of the panel."""
        num_genes = max((shape.num_genes for shape in self.shapes.values()), default=0)
        return 1.0 if 0 < num_genes <= self.num_genes else PANEL_SHARE


def panel_genes(config: Config, shapes: list[PlateShape]) -> int:
    """Genes of the panel, at most; 0 without a plate."""
    if not shapes:
        return 0
    size = config.panel.num_hvg + LISTED_GENES if config.panel.num_genes is None else config.panel.num_genes
    return int(min(max(shape.num_genes for shape in shapes) or size, size))


def _simulated(config: Config, plates: list[Plate]) -> Sizes:
    settings = config.simulation
    num_genes = settings.num_genes + OTHER_GENES
    cells = expected_cells(plates, config)
    expressed = min(num_genes, EXPRESSED_GENES * (num_genes / OF_GENES) ** EXPRESSED_POWER)
    shapes = {name: PlateShape(number or 0, num_genes, expressed * (number or 0)) for name, number in cells.items()}
    num_conditions = DOSES * settings.num_drugs * settings.num_cell_lines + len(plates) * settings.num_cell_lines
    return _with_edges(
        config,
        shapes,
        num_controls=float(CONTROL_WELLS * settings.cells_per_well * len(plates)),
        num_lines=settings.num_cell_lines,
        num_perturbations=settings.num_drugs,
        num_conditions=float(num_conditions),
        num_targets=round(TARGETS_OF_A_DRUG * settings.num_drugs),
    )


def _with_edges(config: Config, shapes: dict[str, PlateShape], *, assumed: tuple[str, ...] = (), **sizes: float) -> Sizes:
    num_genes = panel_genes(config, list(shapes.values()))
    partners = min(config.mask.partners, max(0, num_genes - 1)) * (2 if config.mask.symmetric else 1)
    return Sizes(shapes=shapes, num_genes=num_genes, num_edges=float(num_genes * partners), assumed=assumed, **sizes)  # type: ignore[arg-type]


def sizes_of(config: Config, plates: list[Plate] | None = None) -> Sizes:
    """Sizes of a run, from its configuration, the headers of its plates, and the check of its cells where that has run.

    Parameters
    ----------
    config
        The configuration.
    plates
        Plates of the run, where they are known already.

    Raises
    ------
    InputError
        If a plate is damaged or of a format that causcade does not read.
    """
    plates = list_plates(config) if plates is None else plates
    if config.is_simulated:
        return _simulated(config, plates)
    shapes = plate_shapes(plates, config.input)
    num_cells = sum(shape.num_cells for shape in shapes.values())
    path = Path(config.results) / config.run / "check.json"
    if path.is_file():
        seen = read_json(path)
        looks = list(seen["plates"].values())
        lines = [set(look["lines"]) for look in looks]
        perturbations = set(seen.get("kinds", {}))
        pairs = sum(len(look.get("labels", {})) * len(found) for look, found in zip(looks, lines, strict=True))
        by_size = num_cells / CELLS_PER_CONDITION
        return _with_edges(
            config,
            shapes,
            num_controls=float(sum(sum(look.get("control_lines", {}).values()) for look in looks)),
            num_lines=len(set().union(*lines)),
            num_perturbations=len(perturbations),
            num_conditions=float(max(pairs, min(by_size, DOSES * pairs))),
            num_targets=max(1, round(ATLAS_TARGETS * len(perturbations))),
            assumed=("as many doses and distinct targets to a perturbation as in Tahoe-100M",),
        )
    num_conditions = max(1.0, num_cells / CELLS_PER_CONDITION)
    num_perturbations = max(2, round(num_conditions / (DOSES * ATLAS_LINES)))
    return _with_edges(
        config,
        shapes,
        num_controls=CONTROL_SHARE * num_cells,
        num_lines=ATLAS_LINES,
        num_perturbations=num_perturbations,
        num_conditions=num_conditions,
        num_targets=max(1, round(ATLAS_TARGETS * num_perturbations)),
        assumed=(
            f"as in Tahoe-100M, until they are counted: {CONTROL_SHARE:.1%} of the cells are controls, {CELLS_PER_CONDITION:,} make a condition",
        ),
    )
