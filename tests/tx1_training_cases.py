"""Small plates and models for the tests of TX1's training."""

from pathlib import Path

import numpy as np
from cell_cases import make_store

from causcade.cells import CellStore
from causcade.config import InputConfig, PerturbationConfig, QualityConfig, SimulationConfig
from causcade.plates import Plate
from causcade.quality import open_plate, store_plate
from causcade.readers import CountsFile
from causcade.simulation import simulate_plate
from causcade.tx1.model import Tx1
from causcade.tx1.shape import CollatorSettings, ModelShape
from causcade.tx1.sources import StoreCells
from causcade.tx1.stream import Collation
from causcade.tx1.vocabulary import Vocabulary

GENES = [f"ENSG{number:011d}" for number in range(1, 31)]
VOCABULARY = Vocabulary.from_genes(GENES)
COLLATION = Collation(settings=CollatorSettings())


def make_plate(
    path: Path, num_cells: int = 40, *, seed: int = 0, genes: list[str] = GENES, lines: tuple[str, ...] = ("A", "B"), wells: int = 8
) -> CellStore:
    """A plate of two lines that differ in a third of their genes; the first quarter of the wells are controls, the others express less of gene 0."""
    rng = np.random.default_rng(seed)
    line = rng.integers(0, len(lines), num_cells)
    well = np.arange(num_cells) * wells // num_cells
    rate = np.full((num_cells, len(genes)), 2.0)
    for number in range(len(lines)):
        rate[np.ix_(line == number, np.arange(number, len(genes), 3))] *= 4.0
    is_control = well < max(1, wells // 4)
    rate[~is_control, 0] *= 0.2
    counts = rng.poisson(rate)
    counts[:, 1] += counts.sum(axis=1) == 0
    labels = {"well": [f"w{number:02d}" for number in well], "cell_line": [lines[number] for number in line], "is_control": is_control}
    return make_store(path, counts, genes, plate=path.stem, perturbation=np.where(is_control, "control", "DrugA"), **labels)


def make_sources(
    folder: Path, sizes: dict[str, int], *, vocabulary: Vocabulary = VOCABULARY, drug_ids: dict[str, int] | None = None
) -> list[StoreCells]:
    stores = [make_plate(folder / f"{name}.zarr", num, seed=number) for number, (name, num) in enumerate(sizes.items())]
    return [StoreCells(store, vocabulary, np.arange(store.num_cells), drug_ids) for store in stores]


def make_shape(**changes) -> ModelShape:
    about = {"vocab_size": VOCABULARY.size, "d_model": 16, "num_layers": 2, "num_heads": 2, "expansion": 2, "standard_scale_outputs": True}
    return ModelShape(**(about | changes))


def make_model(**changes) -> Tx1:
    return Tx1(make_shape(**changes), seed=0)


def simulated_stores(folder: Path, settings: SimulationConfig, *, seed: int = 0) -> list[CellStore]:
    """Cell stores of a simulated screen, with the filters of the workflow."""
    stores = []
    for name in settings.plates:
        simulate_plate(settings, seed, name, folder / f"{name}.h5ad")
        reading = InputConfig()
        with CountsFile(folder / f"{name}.h5ad", reading, name) as file:
            view = open_plate(file, Plate(name=name, counts=str(folder / f"{name}.h5ad")), reading, PerturbationConfig(), None)
            store_plate(view, folder / f"{name}.zarr", QualityConfig(), columns=[], seed=seed)
        stores.append(CellStore(folder / f"{name}.zarr"))
    return stores
