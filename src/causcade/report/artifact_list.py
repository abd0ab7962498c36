"""Section 12: what each artifact of a run holds, with columns and units (the list itself is `assets/artifacts.tsv`)."""

from __future__ import annotations

from importlib import resources as package_files
from typing import Any

from causcade.report.data import Artifacts

__all__ = ["artifact_rows"]


def artifact_rows(artifacts: Artifacts) -> list[dict[str, Any]]:
    """Return one row per artifact: path, words, columns, and how many such files there are."""
    text = (package_files.files("causcade.report") / "assets" / "artifacts.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines()[1:]]
    return [{"path": path, "words": words, "columns": columns, "num": len(artifacts.matching(path))} for path, words, columns in rows]
