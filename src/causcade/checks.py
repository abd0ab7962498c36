"""Checks that need the data: labels, controls, gene ids, raw counts. Rule `check` and `causcade validate` run them.

A plate is looked at once (:func:`check_plate`); what concerns the screen as a whole is judged from those looks (:func:`check_screen`).
"""

from __future__ import annotations

from collections import Counter
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
ONE_KIND = "Give its cells different labels (perturbation.targets then names the gene), or exclude the label."


def read_resolver(path: str | Path) -> Resolver | None:
    """Read the resolver from `resources/identifiers.parquet`; None where the run has no HGNC table."""
    table = pd.read_parquet(path)
    return Resolver.from_table(table) if len(table) else None


def check_plate(plate: Plate, config: Config, resolver: Resolver | None) -> dict[str, Any]:
    """Look at one plate: columns, labels, genes, and a sample of the counts.

    Parameters
    ----------
    plate
        The plate.
    config
        Its sections `input` and `perturbation` are used.
    resolver
        Knows human genes; None leaves the check of gene ids out.

    Returns
    -------
    dict
        plate, counts, num_cells, num_genes, num_resolved (genes that the resolver knows; None without one), labels ({label: cells}),
        kinds ({label: kind}), lines ({line: cells}), control_lines ({line: control cells}).

    Raises
    ------
    InputError
        For anything that makes the plate unusable by itself.
    """
    with CountsFile(plate.counts, config.input) as file:
        view = open_plate(file, plate, config.input, config.perturbation, resolver)
        if len(view.obs) == 0:
            raise InputError(
                f"{plate.counts}: expected cells of plate {plate.name!r}, found none. Remove the plate from the table, or correct its file."
            )
        num_resolved = None if resolver is None else _num_resolved(file, resolver)
        _read_sample(view, config.input.block_cells)
        return _describe(plate, view, num_resolved)


def _num_resolved(file: CountsFile, resolver: Resolver) -> int:
    """Count the genes that the resolver knows by id or symbol; none at all is an error."""
    by_id, by_symbol = (resolver.resolve(file.genes[name].tolist())["gene"].notna() for name in ("gene_id", "symbol"))
    num = int((by_id | by_symbol).sum())
    if num == 0:
        examples = ", ".join(file.genes["gene_id"].head(3))
        raise InputError(
            f"{file.path}: expected human gene ids or symbols, found none that HGNC knows among {len(file.genes)} (such as {examples}). "
            "Set `input: {gene_id: COLUMN}` to the var column that holds Ensembl ids or symbols."
        )
    return num


def _read_sample(view: PlateCounts, num_cells: int) -> None:
    """Read a few blocks of a plate, from its first cell to its last: the reader checks that they are raw counts."""
    num = len(view.rows)
    for start in np.unique(np.linspace(0, max(num - num_cells, 0), NUM_CHECKED_BLOCKS).astype(int)):
        keep = np.zeros(num, dtype=bool)
        keep[start : start + num_cells] = True
        for _ in view.iter_blocks(keep):
            pass


def _describe(plate: Plate, view: PlateCounts, num_resolved: int | None) -> dict[str, Any]:
    """Count the cells of a plate by label and line; excluded ones are left out."""
    used = view.obs[~view.obs["is_excluded"]]
    kinds = used[~used["is_control"]].groupby("perturbation")["kind"].unique()
    mixed = kinds[kinds.map(len) > 1]
    if len(mixed):
        found = " and ".join(sorted(mixed.iloc[0]))
        raise InputError(f"{plate.counts}: expected one kind for each perturbation, found {found} for {mixed.index[0]!r}. {ONE_KIND}")

    def counts(values: pd.Series) -> dict[str, int]:
        """Cells by value, sorted by name."""
        return {str(name): int(number) for name, number in values.value_counts().sort_index().items()}

    return {
        "plate": plate.name,
        "counts": plate.counts,
        "num_cells": len(view.obs),
        "num_genes": len(view.var),
        "num_resolved": num_resolved,
        "labels": counts(used["perturbation"]),
        "kinds": {str(name): str(kind[0]) for name, kind in kinds.sort_index().items()},
        "lines": counts(used["cell_line"]),
        "control_lines": counts(used.loc[used["is_control"], "cell_line"]),
    }


def check_screen(looks: list[dict[str, Any]], perturbation: PerturbationConfig) -> dict[str, Any]:
    """Judge the screen from the looks at its plates.

    Parameters
    ----------
    looks
        What :func:`check_plate` returned for each plate, in any order.
    perturbation
        Names the control labels, for the messages.

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
    kinds: dict[str, str] = {}
    mistakes: list[str] = []
    labels: Counter[str] = Counter()
    for look in looks:
        labels.update(look["labels"])
        for label, kind in look["kinds"].items():
            if kinds.setdefault(label, kind) != kind:
                mistakes.append(f"perturbation {label!r}: expected one kind, found {kinds[label]} and {kind}. {ONE_KIND}")
    warnings: list[str] = []
    if CONTROL not in labels:
        mistakes.append(_no_control(labels, perturbation))
    elif len(labels) == 1:
        mistakes.append(
            "perturbation: expected perturbed cells beside the controls, found none. "
            "Correct `input: {columns: {perturbation: NAME}}`, or perturbation.exclude."
        )
    else:
        without, warnings = _lines_without_controls(looks)
        mistakes += without
    if mistakes:
        raise InputError("\n".join(mistakes))
    return {"plates": {look["plate"]: look for look in looks}, "kinds": dict(sorted(kinds.items())), "warnings": warnings}


def _no_control(labels: Counter[str], perturbation: PerturbationConfig) -> str:
    rule = perturbation.control_where
    expected = " or ".join(map(repr, perturbation.control)) if rule is None else f"{rule.column} == {rule.equals!r}"
    frequent = ", ".join(label for label, _ in labels.most_common(EXAMPLES)) or "none"
    return (
        f"perturbation.control: expected control cells ({expected}) on some plate, found none. The most frequent labels are {frequent}. "
        "Set `perturbation: {control: [LABEL]}`, or control_where."
    )


def _lines_without_controls(looks: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Return mistakes (lines without controls anywhere) and warnings (lines whose controls are on other plates)."""
    plates_without: dict[str, list[str]] = {}
    for look in looks:
        for line in look["lines"]:
            if line not in look["control_lines"]:
                plates_without.setdefault(line, []).append(str(look["plate"]))
    controlled = {line for look in looks for line in look["control_lines"]}
    mistakes, warnings = [], []
    for line, plates in sorted(plates_without.items()):
        where = f"plate {plates[0]}" if len(plates) == 1 else f"plates {', '.join(plates)}"
        if line in controlled:
            warnings.append(f"{where}: no control cells of line {line!r}; controls of the line's other plates supply the baseline")
        else:
            mistakes.append(
                f"{where}: expected control cells of line {line!r} there or on another plate, found none anywhere. "
                "Add controls of that line, or leave its cells out of the input."
            )
    return mistakes, warnings
