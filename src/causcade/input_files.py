"""What an input is, told from its names, first bytes and headers, and the files behind it.

This module is light, since the Snakefile uses it each time it is parsed: the readers themselves are in :mod:`causcade.readers`.

An mtx folder holds one matrix in text: of 10x (`matrix.mtx`, `barcodes.tsv`, `features.tsv` or `genes.tsv`; genes x cells) or of Parse
(`count_matrix.mtx`, `DGE.mtx` or `gene_mat.mtx`, `all_genes.csv` and perhaps `cell_metadata.csv`; cells x genes), each plain or gzip.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, cast

from causcade.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from causcade.config_input import InputConfig

__all__ = [
    "FORMAT_NAMES",
    "READ_ERRORS",
    "Format",
    "MtxFiles",
    "MtxHeader",
    "absent_table",
    "find_mtx",
    "first_line",
    "folder_digest",
    "input_files",
    "is_cells_by_genes",
    "list_shards",
    "num_lines",
    "open_bytes",
    "read_mtx_header",
    "table_paths",
    "tell_format",
]

Format = Literal["anndata", "tenx_h5", "mtx", "tahoe_parquet"]

FORMAT_NAMES: dict[Format, str] = {
    "anndata": "AnnData (h5ad or zarr)",
    "tenx_h5": "10x h5",
    "mtx": "an mtx folder",
    "tahoe_parquet": "Tahoe parquet",
}
# What h5py, zarr, anndata, pandas, pyarrow and gzip raise on damaged data; any other exception is a defect and keeps its traceback.
READ_ERRORS = (OSError, KeyError, ValueError, RuntimeError, IndexError, EOFError, zlib.error)
EXPECTED = "expected counts (h5ad, AnnData zarr, 10x h5, an mtx folder or Tahoe parquet)"
ZARR_FILES = ("zarr.json", ".zgroup", ".zattrs")
TENX_MATRIX = "matrix.mtx"
PARSE_MATRICES = ("count_matrix.mtx", "DGE.mtx", "gene_mat.mtx")
PARQUET_MAGIC = b"PAR1"
GZIP_MAGIC = b"\x1f\x8b"
MTX_BANNER = b"%%MatrixMarket"
MTX_SAYS_CELLS_FIRST = re.compile(r"rows\s*=\s*cells", re.IGNORECASE)
MTX_SAYS_GENES_FIRST = re.compile(r"rows\s*=\s*(genes|features)", re.IGNORECASE)
SHOWN = 8
BLOCK_BYTES = 1 << 20


def first_line(error: BaseException) -> str:
    """Return the first line of what a library says, and no full stop at its end."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _named(paths: Sequence[Path]) -> str:
    """Return the names of the first few files, for a message."""
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return (", ".join(path.name for path in paths[:SHOWN]) + more) or "nothing"


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file for reading bytes; gzip, told by its first bytes, is unpacked."""
    with path.open("rb") as handle:
        is_gzip = handle.read(2) == GZIP_MAGIC
    return cast("IO[bytes]", gzip.open(path, "rb")) if is_gzip else path.open("rb")


# ---- formats


def tell_format(path: Path, asked: str = "auto") -> Format:
    """Tell the format of an input.

    Parameters
    ----------
    path
        File or folder.
    asked
        `input.format`; anything but `auto` is taken as it is.

    Raises
    ------
    InputError
        If there is nothing at the path, or nothing that causcade reads.
    """
    if not path.exists():
        raise InputError(f"{path}: expected counts of a plate, found no file. Correct column counts of the plate table.")
    if asked in FORMAT_NAMES:
        return asked
    if path.is_dir():
        return _format_of_folder(path)
    try:
        with path.open("rb") as handle:
            head = handle.read(len(MTX_BANNER))
        if head.startswith(GZIP_MAGIC):
            with gzip.open(path, "rb") as handle:
                head = handle.read(len(MTX_BANNER))
    except READ_ERRORS as error:
        raise _unknown_file(path, first_line(error)) from None
    if head.startswith(PARQUET_MAGIC):
        return "tahoe_parquet"
    if head == MTX_BANNER:
        return "mtx"
    return _format_of_hdf5(path)


def _unknown_file(path: Path, said: str) -> InputError:
    return InputError(
        f"{path}: {EXPECTED}, found a file that cannot be opened: it is truncated or of another format ({said}). "
        "Copy it again, or convert it to one of these."
    )


def _format_of_folder(path: Path) -> Format:
    if any((path / name).exists() for name in ZARR_FILES):
        return "anndata"
    if _matrices_in(path):
        return "mtx"
    if any(path.glob("*.parquet")):
        return "tahoe_parquet"
    inside = [folder.name for folder in sorted(path.iterdir()) if folder.is_dir() and _matrices_in(folder)]
    remedy = f"Name one of its folders {', '.join(inside)}." if inside else "Correct column counts of the plate table."
    raise InputError(f"{path}: {EXPECTED}, found a folder with {_named(sorted(path.iterdir()))}. {remedy}")


def _format_of_hdf5(path: Path) -> Format:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            keys = sorted(file)
            if "obs" in file and "var" in file:
                return "anndata"
            if any(isinstance(file[key], h5py.Group) and "barcodes" in file[key] for key in keys):
                return "tenx_h5"
    except READ_ERRORS as error:
        raise _unknown_file(path, first_line(error)) from None
    found = ", ".join(keys[:SHOWN]) or "nothing"
    raise InputError(
        f"{path}: expected AnnData (obs, var, X) or 10x h5 (matrix with barcodes), found an HDF5 file with {found}. Convert it to one of these."
    )


def list_shards(path: Path) -> list[Path]:
    """Parquet files of an input, by name: the file itself, or those of the folder.

    Raises
    ------
    InputError
        If the folder has none.
    """
    if not path.is_dir():
        return [path]
    shards = sorted(shard for shard in path.glob("*.parquet") if not shard.name.startswith("."))
    if not shards:
        raise InputError(f"{path}: expected Tahoe parquet files, found {_named(sorted(path.iterdir()))}. Correct column counts of the plate table.")
    return shards


# ---- mtx folders


@dataclass(frozen=True, slots=True, kw_only=True)
class MtxFiles:
    """The files of an mtx folder; `cells` is None where Parse wrote no metadata of the cells."""

    vendor: Literal["10x", "Parse"]
    matrix: Path
    genes: Path
    cells: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MtxHeader:
    """Header of a matrix in text: sizes as written, lines before the first entry, and its comments."""

    num_rows: int
    num_columns: int
    num_entries: int
    num_lines: int
    comments: str


def _plain(path: Path) -> str:
    return path.name.removesuffix(".gz")


def _matrices_in(folder: Path) -> list[Path]:
    """Files that are named like a matrix of counts; a prefix before `_matrix.mtx` is fine."""
    return sorted(path for path in folder.iterdir() if _plain(path) in (TENX_MATRIX, *PARSE_MATRICES) or _plain(path).endswith("_" + TENX_MATRIX))


def find_mtx(path: Path) -> MtxFiles:
    """Find the files of an mtx folder, which may be named by its matrix too (where it holds several).

    Raises
    ------
    InputError
        If there is no matrix, several, or a matrix without the names of its genes or cells.
    """
    matrices = _matrices_in(path) if path.is_dir() else [path]
    if len(matrices) != 1:
        names = f"{TENX_MATRIX} (10x) or {', '.join(PARSE_MATRICES)} (Parse)"
        remedy = "Name the file itself in column counts." if matrices else "Correct column counts of the plate table."
        found = _named(matrices or sorted(path.iterdir()))
        raise InputError(f"{path}: expected one matrix, {names}, plain or gzip, found {found}. {remedy}")
    matrix = matrices[0]
    folder, prefix = matrix.parent, _plain(matrix).removesuffix(TENX_MATRIX) if _plain(matrix).endswith(TENX_MATRIX) else ""
    features, barcodes = (_either(folder, [prefix + name for name in names]) for names in (("features.tsv", "genes.tsv"), ("barcodes.tsv",)))
    if features is not None and barcodes is not None:
        return MtxFiles(vendor="10x", matrix=matrix, genes=features, cells=barcodes)
    genes = _either(folder, ["all_genes.csv"])
    if genes is not None:
        return MtxFiles(vendor="Parse", matrix=matrix, genes=genes, cells=_either(folder, ["cell_metadata.csv"]))
    raise InputError(
        f"{matrix}: expected {prefix}barcodes.tsv and {prefix}features.tsv (or {prefix}genes.tsv) of 10x, or all_genes.csv of Parse, beside it, "
        f"found {_named(sorted(other for other in folder.iterdir() if other != matrix))}. Copy the whole folder."
    )


def _either(folder: Path, names: Sequence[str]) -> Path | None:
    """Return the first of these files that is there, plain or gzip."""
    candidates = (folder / (name + suffix) for name in names for suffix in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def read_mtx_header(path: Path) -> MtxHeader:
    """Read the header of a matrix in Matrix Market text (https://math.nist.gov/MatrixMarket/formats.html).

    Raises
    ------
    InputError
        If it is none, or no general coordinate matrix of integers or reals.
    """
    try:
        with open_bytes(path) as handle:
            banner = handle.readline().decode(errors="replace").split()
            comments: list[str] = []
            while (line := handle.readline().decode(errors="replace")) and (line.startswith("%") or not line.strip()):
                comments.append(line.strip())
    except READ_ERRORS as error:
        raise InputError(f"{path}: expected a matrix in text, found a file that cannot be read ({first_line(error)}). Copy it again.") from None
    kind = " ".join(banner).lower()
    if re.fullmatch(r"%%matrixmarket matrix coordinate (integer|real) general", kind) is None:
        raise InputError(
            f"{path}: expected '%%MatrixMarket matrix coordinate integer general' (or real) in the first line, found {kind[:80]!r}. Write it again."
        )
    sizes = line.split()
    if len(sizes) != 3 or not all(size.isdigit() for size in sizes):
        raise InputError(f"{path}: expected numbers of rows, columns and entries after the comments, found {line.strip()[:80]!r}. Copy it again.")
    rows, columns, entries = map(int, sizes)
    return MtxHeader(num_rows=rows, num_columns=columns, num_entries=entries, num_lines=len(comments) + 2, comments="\n".join(comments))


def is_cells_by_genes(files: MtxFiles, header: MtxHeader, num_genes: int, num_cells: int | None) -> bool:
    """Whether the rows of a matrix are its cells.

    The vendor's layout, or what a comment of the file says; where the sizes fit the other one only, that one.

    Parameters
    ----------
    num_genes, num_cells
        Genes and cells that the files beside the matrix name (None: they do not name the cells).

    Raises
    ------
    InputError
        If neither layout fits.
    """

    def fits(cells: int, genes: int) -> bool:
        return genes == num_genes and num_cells in (None, cells)

    expects_cells = files.vendor == "Parse"
    if MTX_SAYS_CELLS_FIRST.search(header.comments) or MTX_SAYS_GENES_FIRST.search(header.comments):
        expects_cells = MTX_SAYS_CELLS_FIRST.search(header.comments) is not None
    is_as_told = {True: fits(header.num_rows, header.num_columns), False: fits(header.num_columns, header.num_rows)}
    if is_as_told[expects_cells]:
        return expects_cells
    if is_as_told[not expects_cells]:
        return not expects_cells
    cells = "" if files.cells is None else f" and {num_cells} cells ({files.cells.name})"
    raise InputError(
        f"{files.matrix}: expected a matrix of {num_genes} genes ({files.genes.name}){cells}, found {header.num_rows} x {header.num_columns}. "
        "Copy the files of one run."
    )


def num_lines(path: Path) -> int:
    """Count the lines of a text file, plain or gzip; the last one needs no line end."""
    count, last = 0, b"\n"
    with open_bytes(path) as handle:
        while block := handle.read(BLOCK_BYTES):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")


# ---- what the rules list


def input_files(path: str, asked: str = "auto") -> list[str]:
    """List the files of an input for the workflow: those of an mtx folder one by one, since a changed file does not change the time of its folder.

    What cannot be told is listed as it is; the check of the plate says what is wrong with it.
    """
    place = Path(path)
    if asked not in ("auto", "mtx") or not (place.is_dir() or place.name.endswith((".mtx", ".mtx.gz"))):
        return [path]
    try:
        if tell_format(place, asked) != "mtx":
            return [path]
        files = find_mtx(place)
    except (InputError, OSError):
        return [path]
    return [str(file) for file in (files.matrix, files.genes, files.cells) if file is not None]


@functools.cache
def folder_digest(path: str) -> str:
    """Digest of the names and sizes of all files below a folder (16 hexadecimal digits); empty for a file, or where nothing is.

    A file that is rewritten in its place changes neither the folder nor, to the workflow, the input that the folder is.
    """
    files = sorted(place for place in Path(path).rglob("*") if place.is_file())
    facts = "\n".join(f"{place.relative_to(path)}\t{place.stat().st_size}" for place in files)
    return hashlib.sha256(facts.encode()).hexdigest()[:16] if files else ""


def table_paths(settings: InputConfig, plate: str | None) -> list[str]:
    """List the tables that reading a plate needs: those of `input.tables`, with the plate's name in them, and the table of gene tokens.

    Raises
    ------
    InputError
        If a path holds `{plate}` and there is no plate.
    """
    found: list[str] = []
    for number, table in enumerate(settings.tables):
        if "{plate}" in table.path and plate is None:
            raise InputError(
                f"input.tables.{number}.path: expected one table for all cells where no plate is named, found {table.path!r}. "
                "Leave the table out, or name one without {plate}."
            )
        found.append(table.path.replace("{plate}", plate or ""))
    return found + ([] if settings.gene_table is None else [settings.gene_table])


def absent_table(key: str, path: str) -> str:
    """Return the sentence for a table that is not there, told alike before any job and by the reader."""
    remedy = "Correct the path, or write null." if key == "input.gene_table" else "Correct the path, or remove the table."
    return f"{key}: expected a table at {path}, found no file. {remedy}"
