"""The cells of one plate in its file: labels and genes in canonical form, counts by blocks.

Axes: N cells of the plate, B cells of a block, F features of the file, G genes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp

from causcade.config import InputConfig, PerturbationConfig
from causcade.labels import canonical_obs, select_plate
from causcade.plates import Plate
from causcade.readers import CountsFile, merge_genes
from causcade.resources.identifiers import Resolver, gene_names

__all__ = ["CANONICAL", "METRICS", "PlateCounts", "Source", "input_columns", "open_plate"]

CANONICAL = ("perturbation", "kind", "dose", "cell_line", "plate", "well", "is_control")
METRICS = ("total_counts", "num_genes", "mito_fraction")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What opens a file of counts; unlike an open file it can be sent to a worker. See :class:`causcade.readers.CountsFile`."""

    path: str
    settings: InputConfig
    plate: str | None

    def open(self) -> CountsFile:
        """Open the file."""
        return CountsFile(self.path, self.settings, self.plate)


class PlateCounts:
    """The cells of one plate in its file: canonical obs, canonical genes, blocks of counts.

    Parameters
    ----------
    file
        The file, open; it has to stay open while blocks are read.
    plate, settings, perturbation
        The plate and how to read it.
    names
        Table `gene_id`, `gene` [F] that translates the file's genes in their order; features that get one id are summed.

    Attributes
    ----------
    source : Source
        What opens the file again, in a worker.
    obs : pandas.DataFrame
        Columns of :func:`causcade.labels.canonical_obs` [N]; index `cell`, unique.
    extra : pandas.DataFrame
        The other obs columns of the input and the constants of the plate table [N].
    rows : numpy.ndarray
        Row of each cell in the file [N], ascending.
    var : pandas.DataFrame
        Column `gene`, index `gene_id` [G].
    summing : scipy.sparse.csr_matrix or None
        What sums the features of one gene [F, G]; None where each feature is a gene.

    Raises
    ------
    InputError
        If the plate's cells, labels or doses cannot be told; see :mod:`causcade.labels`.
    """

    def __init__(self, file: CountsFile, plate: Plate, settings: InputConfig, perturbation: PerturbationConfig, names: pd.DataFrame) -> None:
        self._file = file
        self.source = Source(path=str(file.path), settings=settings, plate=file.plate)
        self.rows = np.flatnonzero(select_plate(file.obs, plate, settings))
        selected = file.obs.iloc[self.rows]
        self.obs = canonical_obs(selected, plate, settings, perturbation)
        self.obs.index = _unique_names(selected.index)
        extra = selected.set_axis(self.obs.index).assign(**plate.constants)
        self.extra = extra.drop(columns=[name for name in extra.columns if name in self.obs.columns])
        distinct, self.summing = merge_genes(pd.Index(names["gene_id"]))
        first = ~names["gene_id"].duplicated().to_numpy()
        self.var = pd.DataFrame({"gene": names["gene"].to_numpy()[first].astype(str)}, index=pd.Index(distinct.astype(str), name="gene_id"))

    def iter_blocks(self, keep: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, sp.csr_matrix]]:
        """Blocks of (positions in `obs` [B], counts [B, G]); `keep` (boolean [N]) restricts them."""
        positions = np.arange(len(self.rows)) if keep is None else np.flatnonzero(keep)
        wanted = self.rows[positions]
        done = 0
        for part, counts in self._file.iter_blocks(wanted, self.source.settings.block_cells):
            summed = counts if self.summing is None else sp.csr_matrix(counts @ self.summing)
            summed.eliminate_zeros()
            yield positions[done : done + len(part)], summed
            done += len(part)


def open_plate(file: CountsFile, plate: Plate, settings: InputConfig, perturbation: PerturbationConfig, resolver: Resolver | None) -> PlateCounts:
    """Canonical view of a plate's file: labels, and gene names by the resolver."""
    distinct = file.genes.drop_duplicates("gene_id")
    names = gene_names(distinct["gene_id"].tolist(), distinct["symbol"].tolist(), resolver).set_axis(distinct["gene_id"].to_numpy())
    return PlateCounts(file, plate, settings, perturbation, names.loc[file.genes["gene_id"]])


def input_columns(columns: list[str]) -> list[str]:
    """Those of some obs columns of the cell store that only the input can supply."""
    return [name for name in dict.fromkeys(columns) if name not in (*CANONICAL, *METRICS)]


def _unique_names(names: pd.Index) -> pd.Index:
    """Cell names as text; the second and later cells of one name get `-1`, `-2`, ... (the next number that is free)."""
    given = names.astype(str)
    if given.is_unique:
        return given.rename("cell")
    taken, made, next_number = set(given), [], dict.fromkeys(given, 0)
    for name in given:
        number = next_number[name]
        fresh = f"{name}-{number}" if number else name
        while number and fresh in taken:
            number += 1
            fresh = f"{name}-{number}"
        next_number[name] = number + 1
        taken.add(fresh)
        made.append(fresh)
    return pd.Index(made, name="cell")
