"""Checks that need the data: labels, controls, gene ids, raw counts. Rule `check` and `causcade validate` run them.

A plate is looked at once (:func:`check_plate`); what concerns the screen as a whole is judged from those looks (:func:`check_screen`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from causcade.config import Config, PerturbationConfig
from causcade.errors import InputError
from causcade.labels import CONTROL
from causcade.plates import Plate
from causcade.quality import PlateCounts, open_plate
from causcade.readers import CountsFile
from causcade.resources.identifiers import Resolver

__all__ = ["check_plate", "check_screen", "read_resolver"]

NUM_CHECKED_BLOCKS = 3
EXAMPLES = 8


def read_resolver(path: str | Path) -> Resolver | None:
    """Resolver of `resources/identifiers.parquet`; None where the run has no HGNC table."""
    table = pd.read_parquet(path)
    return Resolver.from_table(table) if len(table) else None


def check_plate(plate: Plate, config: Config, resolver: Resolver | None) -> dict[str, Any]:
    """Look at one plate: columns, labels, genes, and a sample of the counts.

    Returns
    -------
    dict
        plate, counts, num_cells, num_genes, num_resolved (genes that the resolver knows; None without one), labels ({label: cells}), kinds ({label: kind}),
        lines ({line: cells}), control_lines ({line: control cells}).

    Raises
    ------
    InputError
        For anything that makes the plate unusable by itself.
    """
    with CountsFile(plate.counts, config.input) as file:
        view = open_plate(file, plate, config.input, config.perturbation, resolver)
        if len(view.obs) == 0:
            raise InputError(f"{plate.counts}: expected cells of plate {plate.name!r}, found none. Remove the plate from the table, or give its file.")
        num_resolved = None
        if resolver is not None:
            resolved = resolver.resolve(file.genes["gene_id"].tolist())["gene"].notna() | resolver.resolve(file.genes["symbol"].tolist())["gene"].notna()
            num_resolved = int(resolved.sum())
            if num_resolved == 0:
                examples = ", ".join(file.genes["gene_id"].head(3))
                raise InputError(
                    f"{plate.counts}: expected human gene ids or symbols, found none that HGNC knows among {len(file.genes)} (such as {examples}). "
                    "Set `input: {gene_id: COLUMN}` to the var column that holds Ensembl ids or symbols."
                )
        num, size = len(view.rows), config.input.block_cells
        for start in np.unique(np.linspace(0, max(num - size, 0), NUM_CHECKED_BLOCKS).astype(int)):
            keep = np.zeros(num, dtype=bool)
            keep[start : start + size] = True
            for _ in view.iter_blocks(keep):
                pass
        return _describe(plate, view, num_resolved)


def _describe(plate: Plate, view: PlateCounts, num_resolved: int | None) -> dict[str, Any]:
    used = view.obs[~view.obs["is_excluded"]]
    kinds = used[~used["is_control"]].drop_duplicates("perturbation").set_index("perturbation")["kind"]
    controls = used[used["is_control"]]

    def counts(values: pd.Series) -> dict[str, int]:
        return {str(name): int(number) for name, number in values.value_counts().sort_index().items()}

    return {
        "plate": plate.name,
        "counts": plate.counts,
        "num_cells": len(view.obs),
        "num_genes": len(view.var),
        "num_resolved": num_resolved,
        "labels": counts(used["perturbation"]),
        "kinds": {str(name): str(kind) for name, kind in kinds.sort_index().items()},
        "lines": counts(used["cell_line"]),
        "control_lines": counts(controls["cell_line"]),
    }


def check_screen(looks: list[dict[str, Any]], perturbation: PerturbationConfig) -> dict[str, Any]:
    """Judge the screen from the looks at its plates.

    Returns
    -------
    dict
        plates (the looks by plate), kinds ({perturbation: kind}), warnings (sentences: lines whose controls come from other plates).

    Raises
    ------
    InputError
        With every mistake: no control anywhere, a line without controls on any plate, nothing but controls, one label with two kinds.
    """
    looks = sorted(looks, key=lambda look: str(look["plate"]))
    mistakes: list[str] = []
    warnings: list[str] = []
    kinds: dict[str, str] = {}
    for look in looks:
        for label, kind in look["kinds"].items():
            if kinds.setdefault(label, kind) != kind:
                mistakes.append(f"perturbation {label!r}: expected one kind, found {kinds[label]} and {kind}. Correct the column that perturbation.kind names.")
    all_labels: dict[str, int] = {}
    for look in looks:
        for label, number in look["labels"].items():
            all_labels[label] = all_labels.get(label, 0) + number
    frequent = ", ".join(sorted(all_labels, key=lambda label: -all_labels[label])[:EXAMPLES])
    if CONTROL not in all_labels:
        rule = perturbation.control_where
        expected = " or ".join(map(repr, perturbation.control)) if rule is None else f"{rule.column} == {rule.equals!r}"
        mistakes.append(
            f"perturbation.control: expected control cells ({expected}) on some plate, found none. The most frequent labels are {frequent}. "
            "Set `perturbation: {control: [LABEL]}`, or control_where."
        )
    elif len(all_labels) == 1:
        mistakes.append("perturbation: expected perturbed cells beside the controls, found none. Check `input: {columns: {perturbation: NAME}}` and perturbation.exclude.")
    else:
        control_lines = {line for look in looks for line in look["control_lines"]}
        for look in looks:
            for line in look["lines"]:
                if line in look["control_lines"]:
                    continue
                if line in control_lines:
                    warnings.append(f"plate {look['plate']} has no control cells of line {line}: controls of the line's other plates supply the baseline")
                else:
                    mistakes.append(
                        f"plate {look['plate']}: expected control cells of line {line!r} there or on another plate, found none anywhere. Add controls of that line, or exclude its cells."
                    )
    if mistakes:
        raise InputError("\n".join(mistakes))
    return {"plates": {look["plate"]: look for look in looks}, "kinds": dict(sorted(kinds.items())), "warnings": warnings}
