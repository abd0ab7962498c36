"""Parsers of hu.MAP: its complexes (versions 2.0 and 3.0) and its tables of protein pairs with a probability.

Complexes are a csv with a confidence class, 1 the best; pairs are tab-separated without a header, tens of millions of them, so that they are read in
blocks. Sources: hu.MAP 2.0 (Drew et al. 2021, doi:10.15252/msb.202010016), hu.MAP 3.0 (Fischer et al. 2024, doi:10.1101/2024.10.11.617930).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from causcade.errors import ResourceError
from causcade.resources.reading import ResourcePath, fetch_again, first_line, iter_blocks, read_delimited

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["HUMAP_FORMATS", "HumapFormat", "HumapPairs", "is_humap_pairs", "parse_humap", "parse_humap_pairs"]

PAIR_COLUMNS = ("protein_a", "protein_b", "probability")
ROWS_PER_BLOCK = 1_000_000


@dataclass(frozen=True, slots=True)
class HumapFormat:
    """What differs between the versions of hu.MAP."""

    id_column: str
    confidence_column: str
    num_classes: int
    """Confidence classes, from 1 (best)."""
    remedy: str


HUMAP_FORMATS = {
    "humap": HumapFormat(
        "HuMAP2_ID",
        "Confidence",
        5,
        "Use humap2_complexes_20200809.txt (HuMAP2_ID,Confidence,Uniprot_ACCs,genenames), or its pairs; hu.MAP 3.0 is `humap3`.",
    ),
    "humap3": HumapFormat(
        "HuMAP3_ID",
        "ComplexConfidence",
        6,
        "Use the complexes of hu.MAP 3.0 (HuMAP3_ID,ComplexConfidence,Uniprot_ACCs,genenames), or its pairs; hu.MAP 2.0 is `humap`.",
    ),
}
"""By name of the resource."""


class HumapPairs(NamedTuple):
    """Pairs of proteins, as positions in a list of identifiers."""

    identifiers: list[str]
    """[N] UniProt accessions (symbols in the files named `genename`), in the order in which they occur."""
    first: NDArray[np.int32]
    """[P]."""
    second: NDArray[np.int32]
    """[P]."""
    probability: NDArray[np.float32]
    """[P] 0 to 1."""


def is_humap_pairs(path: ResourcePath, name: str) -> bool:
    """Whether a file holds pairs (three fields separated by tabs) and not complexes (commas)."""
    return first_line(path, name).count("\t") == len(PAIR_COLUMNS) - 1


def parse_humap(path: ResourcePath, name: str = "humap") -> pd.DataFrame:
    """Read complexes of hu.MAP 2.0 (`humap`) or 3.0 (`humap3`).

    Accessions and symbols are lists in DIFFERENT order in the original file of 2.0, so that only the accessions are read.

    Returns
    -------
    pandas.DataFrame
        One row per complex and protein: complex, identifier (UniProt), confidence (int, 1 best to 5 or 6 worst).

    Raises
    ------
    ResourceError
        If the columns are those of another version, or a confidence is no class of this one.
    """
    import pandas as pd

    form = HUMAP_FORMATS[name]
    expected = [form.id_column, form.confidence_column, "Uniprot_ACCs"]
    table = read_delimited(path, name, separator=",", expected=expected, remedy=form.remedy)
    confidence = pd.to_numeric(table[form.confidence_column], errors="coerce")
    strange = ~confidence.isin(range(1, form.num_classes + 1))
    if strange.any():
        bad = table[form.confidence_column][strange].iloc[0]
        raise ResourceError(f"{path}: expected a {form.confidence_column} of 1 to {form.num_classes}, found {bad!r}. {form.remedy}")
    members = table["Uniprot_ACCs"].str.split().explode().dropna()
    return pd.DataFrame(
        {
            "complex": table[form.id_column].loc[members.index].to_numpy(),
            "identifier": members.to_numpy(),
            "confidence": confidence.loc[members.index].astype("int8").to_numpy(),
        }
    )


def _codes(values: pd.Series, known: dict[str, int]) -> NDArray[np.int32]:
    """Positions of the values in the order in which they were first seen; `known` is extended in place."""
    import pandas as pd

    codes, unique = pd.factorize(values)
    positions = np.array([known.setdefault(identifier, len(known)) for identifier in unique], dtype=np.int32)
    found: NDArray[np.int32] = positions[codes]
    return found


def parse_humap_pairs(path: ResourcePath, name: str = "humap") -> HumapPairs:
    """Read hu.MAP's pairs with probabilities (`*.pairsWprob`): two identifiers and a number, separated by tabs, without a header.

    Raises
    ------
    ResourceError
        If a probability is none, or the file is damaged.
    """
    import pandas as pd

    known: dict[str, int] = {}
    parts: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]] = []
    for block in iter_blocks(path, name, columns=PAIR_COLUMNS, separator="\t", num_rows=ROWS_PER_BLOCK):
        probability = pd.to_numeric(block["probability"], errors="coerce")
        strange = ~probability.between(0, 1)
        if strange.any():
            bad = block["probability"][strange].iloc[0]
            raise ResourceError(f"{path}: expected a probability from 0 to 1 in the third field, found {bad!r}. {fetch_again(name)}")
        first, second = (_codes(block[column].str.strip(), known) for column in PAIR_COLUMNS[:2])
        parts.append((first, second, probability.to_numpy(dtype=np.float32)))
    first, second, values = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return HumapPairs(list(known), first, second, values)
