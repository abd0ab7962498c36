"""Shared fixtures."""

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that run Snakemake: they are the longest, and none should be left for one worker at the end."""
    items.sort(key=lambda item: item.get_closest_marker("workflow") is None)


@pytest.fixture(autouse=True)
def same_threads():
    """A job sets the thread pools of its process by these variables: put them back, as numba refuses another number once its threads run."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    yield
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data beside the checkout; the test is skipped where it is absent."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}; it is not part of the project")
    return folder


@pytest.fixture(scope="session")
def benchmark_of_resources() -> ModuleType:
    """`benchmarks/resources.py`: which real file is which resource, and what it holds."""
    spec = importlib.util.spec_from_file_location("benchmark_of_resources", REPOSITORY / "benchmarks" / "resources.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def plate_of(tmp_path):
    """Write and open a small input as the cells of a plate (:func:`cell_cases.open_input`); files are closed at the end."""
    from cell_cases import gene_names, open_input, write_input

    opened = []

    def make(counts, genes=None, *, columns=None, index=None, **options):
        genes = gene_names(counts.shape[1]) if genes is None else genes
        file, view = open_input(write_input(tmp_path / f"{len(opened)}.h5ad", counts, genes, index=index, **(columns or {})), **options)
        opened.append(file)
        return view

    yield make
    for file in opened:
        file.close()
