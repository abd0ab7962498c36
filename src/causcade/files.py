"""Writing so that a reader never sees half a file: under a temporary name first, then renamed.

A job may be killed at any moment. Each writer of this package therefore goes through :func:`replacing`, which hands out
a hidden name in the same folder and renames it when the block ends without an error.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import anndata
    import pandas as pd

__all__ = [
    "read_anndata",
    "read_json",
    "read_parquet",
    "replacing",
    "sha256_of",
    "write_anndata",
    "write_json",
    "write_parquet",
    "write_tensors",
    "write_text",
    "zarr_v3",
]

HASH_BLOCK_BYTES = 1 << 22


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Hand out a temporary path beside `path`; rename it to `path` if the block succeeds.

    Works for files and for folders (zarr stores). An older file or folder of that name is replaced; a leftover of a
    killed job is removed first. If the block raises, nothing is left behind and the old file stays. Killed at any moment, the final
    name is whole, old or new, or absent: a folder is moved aside before it is removed, since removing it takes time.

    Parameters
    ----------
    path
        Final name. Its folder is made if absent.

    Yields
    ------
    pathlib.Path
        The name to write to; it keeps the suffix, since many writers go by it.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = (final.with_name(f".{what}-{final.name}") for what in ("writing", "replaced"))
    for leftover in (temporary, old):
        _remove(leftover)
    try:
        yield temporary
    except BaseException:
        _remove(temporary)
        raise
    if final.is_dir() or (final.exists() and temporary.is_dir()):
        final.replace(old)
    temporary.replace(final)
    _remove(old)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 text file in one step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write JSON with sorted keys, so that equal values give equal bytes. NaN is refused."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_parquet(path: str | os.PathLike[str], table: pd.DataFrame) -> None:
    """Write a table without its index, zstd-compressed, in one step."""
    with replacing(path) as temporary:
        table.to_parquet(temporary, index=False, compression="zstd")


def read_parquet(path: str | os.PathLike[str], columns: list[str] | None = None) -> pd.DataFrame:
    """Read a table, or some of its columns.

    Arrow gets the path, not an open file as pandas by itself would hand over: one of its threads may let go of that file while Python ends, and a
    finished job then dies of "terminate called without an active exception" (https://github.com/apache/arrow/issues/50482).
    """
    import pandas as pd
    from pyarrow.fs import LocalFileSystem

    return pd.read_parquet(os.fspath(path), columns=columns, filesystem=LocalFileSystem())


def write_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    """Write tensors (all of torch, or all of numpy; contiguous) as safetensors, in one step.

    The file can be read by whom a plain file could be: safetensors by itself leaves it to its owner alone.
    """
    from safetensors import numpy as of_numpy

    is_numpy = all(type(value).__module__ == "numpy" for value in tensors.values())
    if not is_numpy:
        from safetensors import torch as of_torch
    with replacing(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        (of_numpy if is_numpy else of_torch).save_file(dict(tensors), temporary, metadata=dict(metadata))
        temporary.chmod(mode)


@contextlib.contextmanager
def zarr_v3() -> Iterator[None]:
    """Let anndata write zarr v3, sharded, without its notice that consolidated metadata are an extension of the format."""
    import anndata as ad

    with warnings.catch_warnings(), ad.settings.override(zarr_write_format=3, auto_shard_zarr_v3=True):
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        yield


def write_anndata(path: str | os.PathLike[str], data: anndata.AnnData) -> None:
    """Write a small AnnData as a consolidated zarr v3 store, in one step."""
    import anndata as ad

    with replacing(path) as temporary, zarr_v3():
        ad.AnnData.write_zarr(data, temporary)


def read_anndata(path: str | os.PathLike[str]) -> anndata.AnnData:
    """Read an AnnData zarr store into memory."""
    import anndata as ad

    return ad.read_zarr(path)


def sha256_of(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file as 64 hexadecimal digits, read in blocks."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as handle:
        while block := handle.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
