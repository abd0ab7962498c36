"""Reading the files of curated resources: plain, gzip or zip alike, and errors that say what to do.

The compression is told by the first bytes and not by the name, since a download may be renamed. All values are read as text and empty fields stay
empty text: `NA`, `NAN` or `1-2` in a gene column must not turn into a missing value or a number.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from causcade.errors import ResourceError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ResourcePath", "fetch_again", "first_line", "iter_blocks", "read_delimited", "read_lines", "read_text", "require_columns"]

ResourcePath = str | os.PathLike[str]

GZIP_MAGIC = b"\x1f\x8b"
ZIP_MAGIC = b"PK\x03\x04"
MOST_COLUMNS_SHOWN = 12


def fetch_again(name: str) -> str:
    """Say what to do about a damaged file of resource `name`, as one sentence."""
    return f"Fetch it again (delete the file and rerun), or point `resources.{name}.path` to a whole copy."


def _unpacked(path: Path, content: bytes, name: str) -> bytes:
    """Content without its compression."""
    try:
        if content.startswith(GZIP_MAGIC):
            return gzip.decompress(content)
        if content.startswith(ZIP_MAGIC):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                members = [item for item in archive.namelist() if not item.endswith("/")]
                if len(members) != 1:
                    raise ResourceError(
                        f"{path}: expected a zip archive with one file, found {len(members)} ({', '.join(members[:5])}). "
                        f"Unpack it and point `resources.{name}.path` to the file that is meant."
                    )
                return archive.read(members[0])
    except (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error) as error:
        raise ResourceError(
            f"{path}: expected a whole compressed file, found one that is truncated or damaged ({error}). {fetch_again(name)}"
        ) from None
    return content


def read_text(path: ResourcePath, name: str) -> str:
    """Text of a resource, unpacked where it is gzip or zip.

    Parameters
    ----------
    path
        The file.
    name
        Name of the resource in the configuration, for the messages.

    Raises
    ------
    ResourceError
        If the file is absent, empty, damaged, a web page, or not text in UTF-8.
    """
    path = Path(path)
    if not path.is_file():
        raise ResourceError(f"{path}: expected the file of resource `{name}`, found none. Correct `resources.{name}.path`, or write `{name}: null`.")
    content = _unpacked(path, path.read_bytes(), name)
    if not content.strip():
        raise ResourceError(f"{path}: expected the content of resource `{name}`, found an empty file. {fetch_again(name)}")
    if content[:200].lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise ResourceError(
            f"{path}: expected the content of resource `{name}`, found a web page (an address that answers with its login, moved or error page). "
            f"Correct `resources.{name}.url`, delete the file and rerun."
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ResourceError(
            f"{path}: expected text in UTF-8, found byte {error.object[error.start]:#04x} at {error.start}. {fetch_again(name)}"
        ) from None


def read_lines(path: ResourcePath, name: str) -> list[str]:
    """Lines of a resource that are not empty, without their ends (LF or CRLF); spaces around are kept."""
    # Not splitlines, which also breaks at characters that free text may hold.
    return [line for line in (line.rstrip("\r") for line in read_text(path, name).split("\n")) if line.strip()]


@contextlib.contextmanager
def _opened(path: ResourcePath, name: str) -> Iterator[io.BufferedIOBase]:
    """Open a resource as bytes, unpacked on the way where it is gzip; a zip archive is unpacked at once."""
    path = Path(path)
    if not path.is_file():
        raise ResourceError(f"{path}: expected the file of resource `{name}`, found none. Correct `resources.{name}.path`, or write `{name}: null`.")
    with path.open("rb") as handle:
        head = handle.read(len(ZIP_MAGIC))
    try:
        if head.startswith(GZIP_MAGIC):
            with gzip.open(path) as unpacked:
                yield unpacked
        elif head.startswith(ZIP_MAGIC):
            yield io.BytesIO(_unpacked(path, path.read_bytes(), name))
        else:
            with path.open("rb") as plain:
                yield plain
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ResourceError(
            f"{path}: expected a whole compressed file, found one that is truncated or damaged ({error}). {fetch_again(name)}"
        ) from None


def first_line(path: ResourcePath, name: str) -> str:
    """First line of a resource without its end, of which only the beginning is read."""
    with _opened(path, name) as handle:
        return handle.readline().decode("utf-8-sig", errors="replace").rstrip("\r\n")


def iter_blocks(path: ResourcePath, name: str, *, columns: Sequence[str], separator: str, num_rows: int) -> Iterator[pd.DataFrame]:
    """Read a table without a header in blocks, so that a file of gigabytes takes the memory of one block.

    Parameters
    ----------
    path, name
        The file, and the name of the resource in the configuration.
    columns
        Names of all columns, in order.
    separator
        One character between fields.
    num_rows
        Rows per block.

    Yields
    ------
    pandas.DataFrame
        At most `num_rows` rows, text in every field; the fields of a line that was cut off are empty.

    Raises
    ------
    ResourceError
        If the file is absent, empty, damaged, or has lines of more fields.
    """
    import pandas as pd

    found = first_line(path, name).split(separator)
    expected = f"{len(columns)} fields in every line ({', '.join(columns)})"
    if len(found) > len(columns):  # the parser would drop what goes beyond
        raise ResourceError(f"{path}: expected {expected}, found {len(found)} in the first line. {fetch_again(name)}")
    options = {"sep": separator, "names": list(columns), "header": None, "dtype": str, "keep_default_na": False, "na_filter": False}
    try:
        with _opened(path, name) as handle:
            num_read = 0
            for block in pd.read_csv(handle, chunksize=num_rows, quoting=csv.QUOTE_NONE, index_col=False, **options):
                num_read += len(block)
                yield block.fillna("")
        if num_read == 0:
            raise ResourceError(f"{path}: expected the content of resource `{name}`, found an empty file. {fetch_again(name)}")
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise ResourceError(f"{path}: expected {expected}, found another form ({str(error).strip()}). {fetch_again(name)}") from None


def require_columns(path: ResourcePath, found: Sequence[object], expected: Sequence[str], remedy: str) -> None:
    """Raise a :class:`ResourceError` that names both lists of columns, unless all of `expected` are in `found`."""
    missing = [column for column in expected if column not in found]
    if missing:
        shown = ", ".join(map(str, found[:MOST_COLUMNS_SHOWN])) + (", ..." if len(found) > MOST_COLUMNS_SHOWN else "")
        raise ResourceError(f"{path}: expected the columns {', '.join(expected)}, found {shown} (missing: {', '.join(missing)}). {remedy}")


def _check_last_line(path: ResourcePath, name: str, text: str, separator: str, *, quoted: bool) -> None:
    """Raise if the last line has fewer fields than the first: a plain file that was cut off. The parser would fill them with empty text."""
    lines = text.rstrip("\r\n").split("\n")
    first, last = csv.reader([lines[0], lines[-1]], delimiter=separator, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
    if len(last) < len(first):
        raise ResourceError(
            f"{path}: expected {len(first)} fields in every line, found {len(last)} in the last, line {len(lines)}. {fetch_again(name)}"
        )


def read_delimited(
    path: ResourcePath,
    name: str,
    *,
    separator: str,
    expected: Sequence[str],
    remedy: str,
    header: bool = True,
    quoted: bool = True,
    optional: Sequence[str] = (),
) -> pd.DataFrame:
    """Read a delimited resource as text.

    Parameters
    ----------
    path, name
        The file, and the name of the resource in the configuration.
    separator
        One character between fields.
    expected
        Columns that must be there; with ``header=False`` the names of all columns, in order.
    remedy
        What to do if the columns differ; ends the message.
    header
        Whether the first line names the columns.
    quoted
        Whether double quotes enclose fields. False where free text holds single quotes of its own.
    optional
        Columns to keep as well, where they are there.

    Returns
    -------
    pandas.DataFrame
        Text in every field; the columns `expected` and those of `optional` that exist.

    Raises
    ------
    ResourceError
        If columns are missing or a line is too short (a plain file cut off).
    """
    import pandas as pd

    text = read_text(path, name)
    first = text.split("\n", 1)[0].rstrip("\r").split(separator)
    if not header and len(first) != len(expected):  # the parser would drop what goes beyond
        require_columns(path, [f"{len(first)} field(s) in the first line"], expected, remedy)
    try:
        table = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            header=0 if header else None,
            names=None if header else list(expected),
            index_col=False,
            dtype=str,
            keep_default_na=False,
            na_filter=False,
            quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
            usecols=None if not header else (lambda column: column in expected or column in optional),
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError):
        table = None
    if table is None or not set(expected) <= set(table.columns):
        if header:
            require_columns(path, first, expected, remedy)
        raise ResourceError(f"{path}: expected {len(expected)} columns in every line ({', '.join(expected)}), found lines of other lengths. {remedy}")
    _check_last_line(path, name, text, separator, quoted=quoted)
    return table
