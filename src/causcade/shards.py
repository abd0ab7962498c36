"""How many cells a plate is expected to have, and in how many shards its sums are measured.

Both have to be known whenever the Snakefile is parsed, in the main process and in every job alike. So the number of cells is taken from the plate
table, from the headers of the input, or, for a simulated plate, from the settings, which say the same before and after the plate is drawn. It
decides how the work is cut, and never a result; an estimate is enough. This module is light.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable

from causcade.config import Config, SimulationConfig
from causcade.plates import Plate

__all__ = ["expected_cells", "num_shards", "num_threads", "num_threads_of_pairs"]

# Of a simulated plate: a third of the drugs at three doses, and four wells of controls with three times the cells.
SIMULATED_BLOCKS = 3
SIMULATED_DOSES = 3
SIMULATED_CONTROLS = 4 * 3

CELLS_PER_THREAD = 25_000
MOST_THREADS = 8
LARGE_PANEL = 4_000  # genes


def _simulated_cells(settings: SimulationConfig) -> int:
    """Return the expected number of cells of a simulated plate."""
    num_drugs = math.ceil(settings.num_drugs / SIMULATED_BLOCKS)
    return settings.cells_per_well * (SIMULATED_DOSES * num_drugs + SIMULATED_CONTROLS)


def expected_cells(plates: Iterable[Plate], config: Config) -> dict[str, int | None]:
    """Return the expected number of cells of each plate, by name; None where nothing tells it.

    Column `cells` of the plate table wins; else the cells that the headers of the input tell, shared equally by the plates in it.

    Parameters
    ----------
    plates
        Plates of the run.
    config
        Configuration of the run.
    """
    if config.is_simulated:
        return {plate.name: _simulated_cells(config.simulation) for plate in plates}
    from causcade.cell_count import count_cells

    by_file: dict[str, int | None] = {}
    found: dict[str, int | None] = {}
    for plate in plates:
        found[plate.name] = plate.num_cells
        if plate.num_cells is not None:
            continue
        file = os.path.realpath(plate.counts)
        if file not in by_file:
            by_file[file] = count_cells(plate.counts, config.input)
        num_cells = by_file[file]
        if num_cells is not None:
            found[plate.name] = math.ceil(num_cells / plate.num_sharing)
    return found


def num_shards(num_cells: int | None, shard_cells: int) -> int:
    """Return the number of shards of a plate: the fewest of at most `shard_cells` cells each; 1 for a plate whose size is not known.

    Parameters
    ----------
    num_cells
        Expected number of cells of the plate.
    shard_cells
        Setting `coexpression.shard_cells`.
    """
    return 1 if num_cells is None else max(1, math.ceil(num_cells / shard_cells))


def num_threads(num_cells: int | None, num_shards: int) -> int:
    """Return the threads that a job on one shard is worth: one per 25,000 cells, at most 8, which is also what a job of unknown size gets."""
    return MOST_THREADS if num_cells is None else min(MOST_THREADS, 1 + num_cells // (num_shards * CELLS_PER_THREAD))


def num_threads_of_pairs(num_genes: int | None) -> int:
    """Return the threads of a job on matrices of gene pairs: of a small panel one, since it would wait longer for a second than it gains by it."""
    return 1 if num_genes is not None and num_genes < LARGE_PANEL else 2
