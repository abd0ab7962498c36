"""Cells from MDS folders (mosaicml-streaming), the form in which the published training data are.

A sample has `genes` (tokens, `<cls>` first), `expressions` (raw counts, a filler first) and in some sets `drug`. Shards are decoded in memory, one at
a time: nothing is unpacked to disk. The columns are pickled tensors, and unpickling can run code: read only folders whose origin you trust.

Axes: N cells of a folder, B cells of a range, V tokens of the vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from causcade.errors import InputError
from causcade.files import read_json
from causcade.tx1.seeds import hashed, name_key
from causcade.tx1.sources import Cells
from causcade.tx1.vocabulary import Vocabulary

__all__ = ["MdsCells"]

logger = logging.getLogger(__name__)

GENES, COUNTS, DRUG = "genes", "expressions", "drug"
HEADER_BYTES = 4  # number of samples, then the start of each


class MdsCells:
    """Cells of an MDS folder; a source of :class:`causcade.tx1.stream.TrainingStream`.

    Parameters
    ----------
    folder
        Folder with `index.json`, such as `train/` of a published set.
    vocabulary
        The vocabulary that the tokens are numbers of.
    drug_ids
        Row of each drug in the table of drugs, by name; None: cells carry no drug.

    Raises
    ------
    InputError
        If `mosaicml-streaming` is not installed, the folder is no MDS folder, a shard is missing or damaged, or tokens are beyond the vocabulary.
    """

    def __init__(self, folder: str | Path, vocabulary: Vocabulary, drug_ids: Mapping[str, int] | None = None) -> None:
        try:
            from streaming.base.format import reader_from_json
        except ImportError as error:
            raise InputError(
                f"{folder}: MDS folders are read by mosaicml-streaming, which is not installed or lacks a part ({error}). "
                "Install `mosaicml-streaming`, or train on cell stores."
            ) from None
        self._folder, self._size, self._drug_ids = Path(folder), vocabulary.size, drug_ids
        self.name = str(self._folder)
        try:
            index = read_json(self._folder / "index.json")
            self._shards: list[Any] = [reader_from_json(str(self._folder), "", shard) for shard in index["shards"]]
        except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
            raise InputError(f"{folder}: expected an MDS folder with index.json, found none that can be read ({error}). Correct the path.") from None
        for shard in self._shards:
            missing = [column for column in (GENES, COUNTS, *([DRUG] if drug_ids is not None else [])) if column not in shard.column_names]
            if missing:
                raise InputError(f"{folder}: expected columns {GENES} and {COUNTS}, found no {' and no '.join(missing)}. Take a set of Tahoe-x1.")
        self._first = np.concatenate([[0], np.cumsum([shard.samples for shard in self._shards])]).astype(np.int64)
        self._key = name_key("mds", self._folder.name, self._folder.parent.name)
        self._decoded: tuple[int, bytes] = (-1, b"")

    @property
    def num_cells(self) -> int:
        """Number of cells."""
        return int(self._first[-1])

    def read(self, start: int, stop: int) -> Cells:
        """Read the cells of a range."""
        samples = [self._sample(number) for number in range(start, stop)]
        # the first position is <cls> and its filler
        tokens = [np.asarray(sample[GENES], dtype=np.int64)[1:] for sample in samples]
        counts = [np.asarray(sample[COUNTS], dtype=np.float32)[1:] for sample in samples]
        indptr = np.concatenate([[0], np.cumsum([len(part) for part in tokens])]).astype(np.int64)
        token_E = np.concatenate([np.zeros(0, np.int64), *tokens])
        count_E = np.concatenate([np.zeros(0, np.float32), *counts])
        if len(token_E) != len(count_E) or token_E.max(initial=0) >= self._size or token_E.min(initial=0) < 0:
            raise InputError(
                f"{self._folder}: expected tokens below {self._size:,}, the size of the vocabulary, and as many counts, found tokens up to "
                f"{token_E.max(initial=0):,} and {len(count_E):,} counts of {len(token_E):,}. Take the vocabulary of the data."
            )
        drug_B = None
        if self._drug_ids is not None:
            drug_B = np.array([self._drug_ids.get(str(sample[DRUG]), 0) for sample in samples], dtype=np.int64)
        matrix = sp.csr_matrix((count_E, token_E, indptr), shape=(len(samples), self._size))
        return Cells(matrix, hashed(self._key, np.arange(start, stop)), drug_B)

    def _sample(self, number: int) -> dict[str, Any]:
        """Decode one cell."""
        place = int(np.searchsorted(self._first, number, side="right")) - 1
        data, within = self._shard(place), number - int(self._first[place])
        begin, end = np.frombuffer(data, np.uint32, count=2, offset=HEADER_BYTES * (1 + within))
        sample: dict[str, Any] = self._shards[place].decode_sample(data[int(begin) : int(end)])
        return sample

    def _shard(self, place: int) -> bytes:
        """Bytes of a shard, decompressed; the last one is kept."""
        if self._decoded[0] != place:
            from streaming.base.compression import decompress

            shard = self._shards[place]
            try:
                packed = shard.zip_data is not None and not (self._folder / shard.raw_data.basename).exists()
                path = self._folder / (shard.zip_data if packed else shard.raw_data).basename
                data = path.read_bytes()
                if packed:
                    data = decompress(shard.compression, data)
            except Exception as error:  # noqa: BLE001  (each compression has its own)
                raise InputError(f"{self._folder}: expected whole shards, found {error}. Fetch the folder again.") from None
            if len(data) != shard.raw_data.bytes:
                raise InputError(f"{path}: expected {shard.raw_data.bytes:,} bytes, found {len(data):,}. Fetch the file again.")
            self._decoded = (place, data)
        return self._decoded[1]
