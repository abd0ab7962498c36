"""Random numbers that depend on what they are for, and on nothing else: not on the batch, the order, or the number of processes.

A draw is a hash of the seed and of names such as plate, cell, epoch and gene (the finaliser of SplitMix64, doi:10.1145/2714064.2660195): a bijection
of 64 bits, so that distinct genes of a cell get distinct numbers.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["generator_for", "hashed", "name_key"]

Keys = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_BYTES = 8


def hashed(key: Any, *values: Any) -> Keys:
    """Hash whole numbers from 0 (or arrays of them, which broadcast) to uniform 64-bit ones; at fixed other arguments, one to one in each of them."""
    with np.errstate(over="ignore"):  # wrapping around is what is wanted
        state = _finalised(np.asarray(key, dtype=np.uint64) + _GOLDEN)
        for value in values:
            state = _finalised((state ^ np.asarray(value, dtype=np.uint64)) + _GOLDEN)
    return state


def _finalised(state: Any) -> Keys:
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return np.asarray(state ^ (state >> np.uint64(31)), dtype=np.uint64)


def name_key(*names: object) -> int:
    """Hash texts and numbers to one 64-bit number, the same on every machine."""
    return int.from_bytes(hashlib.sha256("\0".join(map(str, names)).encode()).digest()[:_BYTES], "little")


def generator_for(*names: object) -> np.random.Generator:
    """Make a generator of its own for what is named."""
    return np.random.default_rng(name_key(*names))
