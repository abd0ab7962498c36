"""What the reader of each format hands over: the tables of an input and its matrix, nothing of which is in memory yet but the tables.

Axes: N cells, F features.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from causcade.config import InputConfig
from causcade.errors import InputError
from causcade.input_files import READ_ERRORS, first_line
from causcade.readers.matrices import CountMatrix

__all__ = ["OpenedInput", "numbered_cells", "opening", "refuse_layer"]


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedInput:
    """An input that is open.

    Attributes
    ----------
    obs : pandas.DataFrame
        obs columns of the cells, index: their names [N].
    var : pandas.DataFrame
        Table of the selected features, index: their names.
    symbol : str or None
        Column of `var` with symbols, where the configuration names none.
    matrix : CountMatrix
        Counts [N, F].
    kept : numpy.ndarray or None
        Ascending positions of the selected features among those of the matrix; None: all.
    obsm : Any
        Group or mapping of embeddings; empty in formats that have none.
    close : callable
        Closes the file.
    """

    obs: pd.DataFrame
    var: pd.DataFrame
    matrix: CountMatrix
    symbol: str | None = None
    kept: np.ndarray | None = None
    obsm: Any = field(default_factory=dict)
    close: Callable[[], None] = _nothing


@contextlib.contextmanager
def opening(path: Path, kind: str) -> Iterator[None]:
    """Tell what a library raises on a damaged file as one sentence; `kind` is what the file should have been."""
    try:
        yield
    except READ_ERRORS as error:
        raise InputError(
            f"{path}: expected {kind}, found a file that is damaged, truncated or of another kind ({first_line(error)}). "
            "Copy it again, or write it again."
        ) from None


def refuse_layer(path: Path, settings: InputConfig, kind: str) -> None:
    """Refuse `input.layer` for a format without layers.

    Raises
    ------
    InputError
        If it is set.
    """
    if settings.layer is not None:
        raise InputError(f"{path}: expected no layer (input.layer) for {kind}, found {settings.layer!r}. Write `input: {{layer: null}}`.")


def numbered_cells(num: int) -> pd.DataFrame:
    """Return an obs without columns for cells whose names are not known: they are numbered from 0 [N]."""
    return pd.DataFrame(index=pd.Index(np.arange(num).astype(str), dtype=object))
