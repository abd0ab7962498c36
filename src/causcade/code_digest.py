"""A digest of the code behind a stage, so that an edited module reruns that stage and what depends on it.

Snakemake sees edits of scripts, not of the library that they call; each rule therefore carries this digest as a parameter. It covers the
stage's module or package and every causcade module that it imports, directly or not, except the infrastructure below, which cannot change a
result. Comments and docstrings do not count.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from pathlib import Path

__all__ = ["code_digest", "modules_of"]

PACKAGE = Path(__file__).parent
INFRASTRUCTURE = frozenset(
    {
        "backend", "cli", "code_digest", "config", "config_condition_table", "config_files", "config_input", "config_latent", "config_mistakes",
        "config_resources", "config_tx1", "devices", "doctor", "errors", "files", "plates", "resource_catalogue", "runtime", "validation",
    }
)  # fmt: skip


def _sources(module: str) -> list[Path]:
    """Files of a module (``mask``, ``resources.identifiers``): one file, or all files of a package."""
    folder = PACKAGE.joinpath(*module.split("."))
    if folder.is_dir():
        paths = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return sorted(path for path in paths if not path.name.startswith(".") and not path.name.endswith("~"))
    path = folder.with_suffix(".py")
    return [path] if path.is_file() else []


@functools.cache
def _parsed(path: Path) -> tuple[str, frozenset[str]]:
    """Code of a file without comments and docstrings, and the causcade modules that it imports."""
    if path.suffix != ".py":
        return hashlib.sha256(path.read_bytes()).hexdigest(), frozenset()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "causcade":
            module = node.module.removeprefix("causcade").removeprefix(".")
            imported.update([module] if module else [name.name for name in node.names])
        elif isinstance(node, ast.Import):
            imported.update(name.name.removeprefix("causcade.") for name in node.names if name.name.startswith("causcade."))
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return ast.dump(tree), frozenset(imported)


def modules_of(stage: str) -> list[str]:
    """Modules behind a stage: its own and what they import, without the infrastructure, sorted.

    Raises
    ------
    KeyError
        If there is no such module.
    """
    if not _sources(stage):
        raise KeyError(f"no module of causcade is named {stage!r}")
    found: set[str] = set()
    waiting = [stage]
    while waiting:
        module = waiting.pop()
        if module in found or module in INFRASTRUCTURE:
            continue
        paths = _sources(module)
        if not paths:
            continue
        found.add(module)
        for path in paths:
            waiting.extend(_parsed(path)[1])
    return sorted(found)


def code_digest(*stages: str) -> str:
    """Digest (16 hexadecimal digits) of the code behind one or more stages."""
    digest = hashlib.sha256()
    for module in sorted({module for stage in stages for module in modules_of(stage)}):
        for path in _sources(module):
            digest.update(f"{path.relative_to(PACKAGE)}\0{_parsed(path)[0]}\0".encode())
    return digest.hexdigest()[:16]
