"""Finds the folder of a checkpoint: a path, or a repository of the Hugging Face hub, which is fetched once and then taken from the hub's cache.

The published repository keeps each size in a folder of its own (`70m-model/`); the folder of the 1.3B model is called `1b` or `1.3b`.
"""

from __future__ import annotations

import re
from pathlib import Path

from causcade.errors import InputError

__all__ = ["DRUG_FILE", "REQUIRED", "WEIGHTS", "find_folder"]

WEIGHTS = "model.safetensors"
REQUIRED = (WEIGHTS, "model_config.yml", "collator_config.yml", "vocab.json")
DRUG_FILE = "drug_to_id_pad.json"
HUB_NAME = re.compile(r"(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?::(?P<size>[\w.-]+))?")
ALIASES = {"1b": ("1b", "1.3b"), "1.3b": ("1.3b", "1b")}


def find_folder(where: str | Path, size: str | None = None) -> tuple[Path, str]:
    """Find a checkpoint's folder and a name for it.

    Parameters
    ----------
    where
        Folder, or `owner/name` or `owner/name:size` on the hub. A folder of that name comes first.
    size
        Which size, where there are several.

    Raises
    ------
    InputError
        If there is no such folder, a file of it is missing, or the hub cannot be asked.
    """
    path, text = Path(where).expanduser(), str(where)
    if path.is_dir():
        folder = _of_size(path, size)
        _check_whole(folder)
        return folder, folder.resolve().name
    if path.is_file():
        kind = "a pickled checkpoint, which may run code when read" if path.suffix in (".pt", ".pth", ".ckpt", ".bin") else "a file"
        raise InputError(f"{path}: expected a folder with {', '.join(REQUIRED)}, found {kind}. Give the published folder.")
    match = None if isinstance(where, Path) else HUB_NAME.fullmatch(text)
    if match is None:
        raise InputError(f"{text}: expected a folder or a name on the Hugging Face hub (owner/name:size), found no such folder. Correct the path.")
    if size and match["size"] and size != match["size"]:
        raise InputError(f"{text}: expected one size, found {match['size']} in the name and {size} beside it. Leave one out.")
    size = size or match["size"]
    folder = _of_size(_fetch(match["repository"], size), size)
    _check_whole(folder, f"{match['repository']} on the hub")
    return folder, match["repository"].split("/")[1] + (f"-{size}" if size else "")


def _names_of_size(size: str) -> list[str]:
    return [f"{alias}-model" for alias in ALIASES.get(size, (size,))]


def _of_size(folder: Path, size: str | None) -> Path:
    """Folder of one size, where a folder holds several."""
    sizes = sorted(path.name.removesuffix("-model") for path in folder.glob("*-model") if path.is_dir())
    if size is None:
        if sizes and not (folder / WEIGHTS).is_file():
            raise InputError(f"{folder}: expected one model, found several sizes: {', '.join(sizes)}. Say which: {sizes[0]!r} as size.")
        return folder
    for name in _names_of_size(size):
        if (folder / name).is_dir():
            return folder / name
    if (folder / WEIGHTS).is_file():
        raise InputError(f"{folder}: expected a folder with several sizes, found one model. Leave the size {size!r} out.")
    raise InputError(f"{folder}: expected a folder {' or '.join(_names_of_size(size))}, found {', '.join(sizes) or 'none'}. Correct the size.")


def _check_whole(folder: Path, where: str | None = None) -> None:
    """Stop if a file is missing."""
    missing = [name for name in REQUIRED if not (folder / name).is_file()]
    if not missing:
        return
    where, remedy = where or str(folder), "Copy the whole folder."
    if WEIGHTS in missing and list(folder.glob("*.safetensors.index.json")):
        remedy = "Weights in several files are not supported: merge them."
    elif WEIGHTS in missing and list(folder.glob("*.pt")):
        remedy = "Pickled weights (.pt) are not read, since they may run code: take the published safetensors."
    raise InputError(f"{where}: expected {', '.join(REQUIRED)}, found no {', no '.join(missing)}. {remedy}")


def _fetch(repository: str, size: str | None) -> Path:
    """Fetch what is needed of a repository into the hub's cache."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise InputError(
            f"{repository}: expected a folder, found none of that name; to take it from the Hugging Face hub, huggingface_hub is needed and is not "
            "installed. Install it (pip install huggingface_hub), or give the path of a folder."
        ) from None
    files = (*REQUIRED, DRUG_FILE)
    patterns = list(files) if size is None else [f"{name}/{file}" for name in _names_of_size(size) for file in files]
    try:
        return Path(snapshot_download(repository, allow_patterns=patterns))
    # Failures of the hub and of the network are OSErrors, bad names ValueErrors.
    except (OSError, ValueError) as error:
        what = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{repository}: expected a folder, or a repository of the Hugging Face hub, found no such folder and no answer from the hub ({what}). "
            "Check the name and the network, or download the folder elsewhere and give its path."
        ) from error
