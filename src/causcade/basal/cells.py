"""Control cells for the decoder: read once from the cell stores and embeddings of all plates, and kept in files that batches are taken from.

Controls are scattered through stores of millions of treated cells, so that each epoch read from there would cost a pass over the atlas. They are
therefore copied once, block by block, into flat files beside the checkpoint (6 bytes a count and 4 a dimension: 40 GB for the 2.3 million controls
and 2,560 dimensions of Tahoe-100M), which are mapped, not loaded: what all processes of a machine read is in its memory once, as far as it fits.

Axes: N control cells, B cells of a batch, D embedding dimensions, G genes of the panel, E nonzero values.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp

from causcade.cells import CellStore
from causcade.errors import InputError
from causcade.files import read_json, replacing, write_json
from causcade.runtime import Progress

__all__ = ["ControlCells", "Embedding", "gather_controls", "identity_of", "open_controls"]

logger = logging.getLogger("causcade")

READ_CELLS = 16_384  # rows of an embedding that are read at a time
FACTS = "cells.json"
FloatArray = npt.NDArray[np.float32]


class Embedding:
    """An embedding of the cells of a plate, read by blocks of rows; in it, a plate may have ten million cells.

    Attributes
    ----------
    obs : pandas.DataFrame
        Table of the embedded cells; column `row` has their rows in the cell store.
    num_dimensions : int
        Length of an embedding.
    """

    def __init__(self, path: str | Path) -> None:
        import zarr
        from anndata.io import read_elem

        self.path = Path(path)
        group: Any = zarr.open_group(str(path), mode="r")
        self.obs: pd.DataFrame = read_elem(group["obs"])
        self._x = group["X"]
        self.num_dimensions = int(self._x.shape[1])

    def blocks(self, rows: npt.NDArray[np.int64]) -> Iterator[FloatArray]:
        """Embeddings [B, D] of the given rows (ascending), block by block.

        Raises
        ------
        InputError
            If one is not finite.
        """
        for start in range(0, len(self.obs), READ_CELLS):
            first, last = np.searchsorted(rows, [start, start + READ_CELLS])
            if first == last:
                continue
            part = rows[first:last]
            z_BD = np.asarray(self._x[int(part[0]) : int(part[-1]) + 1], dtype=np.float32)[part - part[0]]
            bad = np.flatnonzero(~np.isfinite(z_BD).all(axis=1))
            if len(bad):
                raise InputError(
                    f"{self.path}: expected finite values, found NaN or infinity in cell {self.obs.index[part[bad[0]]]}. "
                    "Embed these cells again, or leave them out of the counts."
                )
            yield z_BD


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlCells:
    """Control cells, in memory or in mapped files.

    Attributes
    ----------
    z_ND
        Embeddings, float32.
    data_E, column_E, indptr
        Expression x = log(1 + CP10k), row by row as in a CSR matrix.
    well_N, group_N
        Number of the well, and of the plate and cell line, of each cell.
    num_genes
        Genes of the panel.
    """

    z_ND: npt.NDArray[np.float32]
    data_E: npt.NDArray[np.float32]
    column_E: npt.NDArray[np.integer[Any]]
    indptr: npt.NDArray[np.int64]
    well_N: npt.NDArray[np.int64]
    group_N: npt.NDArray[np.int64]
    num_genes: int

    @property
    def num_cells(self) -> int:
        """Number of cells."""
        return len(self.well_N)

    def embeddings(self, rows: npt.NDArray[np.int64]) -> FloatArray:
        """Embeddings [B, D] of some cells."""
        return np.asarray(self.z_ND[rows])

    def expression(self, rows: npt.NDArray[np.int64]) -> sp.csr_matrix:
        """Expression [B, G] of some cells."""
        length_B = self.indptr[rows + 1] - self.indptr[rows]
        indptr = np.concatenate([[0], np.cumsum(length_B)])
        place_E = np.arange(indptr[-1]) + np.repeat(self.indptr[rows] - indptr[:-1], length_B)
        found = sp.csr_matrix((self.data_E[place_E], self.column_E[place_E].astype(np.int32), indptr), shape=(len(rows), self.num_genes))
        found.has_canonical_format = True
        return found


def identity_of(plates: Mapping[str, Mapping[str, str]]) -> str:
    """Digest of which stores and embeddings these are: their paths and when they were written."""
    facts = {
        name: {kind: [path, (Path(path) / "zarr.json").stat().st_mtime_ns] for kind, path in sorted(paths.items())}
        for name, paths in sorted(plates.items())
    }
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def gather_controls(
    plates: Mapping[str, Mapping[str, str]], gene_ids: pd.Index, folder: str | Path, *, max_cells: int, seed: int, block_cells: int
) -> ControlCells:
    """Copy the control cells of all plates into the files of `folder`, one block in memory at a time, and open them.

    What lies there already is taken if it was copied from the same stores and embeddings, the same way.

    Parameters
    ----------
    plates
        Paths `cells` and `embedding` of each plate.
    gene_ids
        Genes of the panel [G].
    folder
        Where the files are.
    max_cells
        Most cells, over all plates; a seeded sample beyond.
    seed
        Seed of the sample.
    block_cells
        Cells read at a time; changes no result.

    Raises
    ------
    InputError
        If there is no control cell, an embedding is not finite, or embeddings of plates differ in their dimensions.
    """
    folder = Path(folder)
    genes = hashlib.sha256("\n".join(map(str, gene_ids)).encode()).hexdigest()[:16]
    facts = {"of": identity_of(plates), "genes": genes, "max_cells": max_cells, "seed": seed}
    if not (folder / FACTS).is_file() or any(read_json(folder / FACTS).get(name) != value for name, value in facts.items()):
        with replacing(folder) as temporary:
            temporary.mkdir()
            _copy(plates, gene_ids, temporary, facts, max_cells=max_cells, seed=seed, block_cells=block_cells)
    return open_controls(folder)


def open_controls(folder: str | Path) -> ControlCells:
    """Open what :func:`gather_controls` copied."""
    folder = Path(folder)
    facts = read_json(folder / FACTS)

    def mapped(name: str, kind: npt.DTypeLike, *shape: int) -> Any:
        # a file of no bytes cannot be mapped: cells without any count
        return np.memmap(folder / name, dtype=kind, mode="r", shape=shape) if 0 not in shape else np.zeros(shape, kind)

    num_cells, num_values = facts["num_cells"], facts["num_values"]
    return ControlCells(
        z_ND=mapped("z", np.float32, num_cells, facts["num_dimensions"]), data_E=mapped("data", np.float32, num_values),
        column_E=mapped("columns", facts["column_kind"], num_values), indptr=np.fromfile(folder / "indptr", np.int64),
        well_N=np.fromfile(folder / "wells", np.int64), group_N=np.fromfile(folder / "groups", np.int64), num_genes=facts["num_genes"],
    )  # fmt: skip


def _copy(
    plates: Mapping[str, Mapping[str, str]],
    gene_ids: pd.Index,
    folder: Path,
    facts: Mapping[str, Any],
    *,
    max_cells: int,
    seed: int,
    block_cells: int,
) -> None:
    chosen, num_dimensions = _choose(plates, max_cells=max_cells, seed=seed)
    column_kind = np.dtype(np.uint16 if len(gene_ids) <= np.iinfo(np.uint16).max else np.int32)
    wells, groups = dict[str, int](), dict[str, int]()
    well_parts, group_parts, num_values = list[Any](), list[Any](), 0
    with ExitStack() as stack:
        z, data, columns = (stack.enter_context((folder / name).open("wb")) for name in ("z", "data", "columns"))
        length_parts = [np.zeros(1, np.int64)]
        progress = Progress(sum(map(len, chosen.values())), "control cells")
        for name, rows in chosen.items():
            embedding = Embedding(plates[name]["embedding"])
            obs = embedding.obs.iloc[rows]
            for z_BD in embedding.blocks(rows):
                _append(z, z_BD)
            with CellStore(plates[name]["cells"]) as store:
                for _, x_BG in store.iter_sparse_expression(gene_ids, block_cells, obs["row"].to_numpy()):
                    _append(data, x_BG.data.astype(np.float32, copy=False))
                    _append(columns, x_BG.indices.astype(column_kind))
                    length_parts.append(np.diff(x_BG.indptr).astype(np.int64))
                    num_values += x_BG.nnz
                    progress.advance(x_BG.shape[0])
            # Wells and lines of two plates may share a name.
            plate = obs["plate"].astype(str)
            well_parts.append(_numbers(plate + "|" + obs["well"].astype(str), wells))
            group_parts.append(_numbers(plate + "|" + obs["cell_line"].astype(str), groups))
    np.cumsum(np.concatenate(length_parts)).tofile(folder / "indptr")
    np.concatenate(well_parts).tofile(folder / "wells")
    np.concatenate(group_parts).tofile(folder / "groups")
    sizes = {"num_cells": sum(map(len, chosen.values())), "num_values": num_values, "num_genes": len(gene_ids)}
    write_json(folder / FACTS, {**facts, **sizes, "num_dimensions": num_dimensions, "column_kind": column_kind.name})


def _choose(plates: Mapping[str, Mapping[str, str]], *, max_cells: int, seed: int) -> tuple[dict[str, npt.NDArray[np.int64]], int]:
    """Rows of the control cells of each plate that has any, or of a sample of them over all plates; and the dimensions of the embedding."""
    control, dimensions = dict[str, npt.NDArray[np.int64]](), dict[str, int]()
    for name, paths in sorted(plates.items()):
        embedding = Embedding(paths["embedding"])  # tables of all cells of all plates would not fit into memory
        control[name], dimensions[name] = np.flatnonzero(embedding.obs["is_control"].to_numpy()), embedding.num_dimensions
    total = sum(map(len, control.values()))
    if total == 0:
        raise InputError(
            "basal: expected control cells, found none on any plate. Check `perturbation.control` (or control_where) in the configuration."
        )
    if len(set(dimensions.values())) > 1:
        raise InputError(
            f"embedding: expected as many dimensions on every plate, found {dimensions}. Embed all plates with the same source and model."
        )
    if total > max_cells:
        logger.info("%d of %d control cells are drawn", max_cells, total)
        is_chosen = np.zeros(total, dtype=bool)
        is_chosen[np.random.default_rng(seed).choice(total, max_cells, replace=False)] = True
        parts = np.split(is_chosen, np.cumsum([len(rows) for rows in control.values()])[:-1])
        control = {name: rows[part] for (name, rows), part in zip(control.items(), parts, strict=True)}
    return {name: rows for name, rows in control.items() if len(rows)}, next(iter(dimensions.values()))


def _numbers(names: pd.Series, known: dict[str, int]) -> npt.NDArray[np.int64]:
    """Numbers of names, which are counted as they come."""
    codes, found = pd.factorize(names, sort=True)
    numbers = np.array([known.setdefault(name, len(known)) for name in found], dtype=np.int64)
    return np.asarray(numbers[codes])


def _append(file: IO[bytes], values: npt.NDArray[Any]) -> None:
    file.write(np.ascontiguousarray(values).data)
