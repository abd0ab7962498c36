"""Checks that need the data: labels, controls, gene ids, raw counts. Rule `check` and `causcade validate` run them.

A plate is looked at once (:func:`check_plate`). From those looks, the screen as a whole is judged (:func:`check_screen`), and what later stages will
want of it (:func:`check_settings`). :func:`survey` does all of that, for the command line.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from causcade.backend import require_flavor
from causcade.config import Config, PerturbationConfig
from causcade.errors import InputError, ScreenError
from causcade.files import read_parquet
from causcade.labels import CONTROL
from causcade.plates import Plate
from causcade.quality import PlateCounts, input_columns, open_plate
from causcade.readers import CountsFile
from causcade.resources.identifiers import Resolver

__all__ = ["check_plate", "check_screen", "check_settings", "price_of_lines", "read_resolver", "survey"]

EXAMPLES = 8
FILES = 3
GB = 1e9
ONE_KIND = "Write `perturbation: {kind_in_name: true}`, which tells them apart, or exclude the label."


def read_resolver(path: str | Path) -> Resolver | None:
    """Read the resolver from `resources/identifiers.parquet`; None where the run has no HGNC table."""
    table = read_parquet(path)
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
        kinds ({label: kind}), lines ({line: cells}), control_lines ({line: control cells}), columns (further obs columns), obsm ({key: width}).

    Raises
    ------
    InputError
        For anything that makes the plate unusable by itself.
    """
    with CountsFile(plate.counts, config.input, plate.name) as file:
        view = open_plate(file, plate, config.input, config.perturbation, resolver)
        if len(view.obs) == 0:
            raise InputError(
                f"{plate.counts}: expected cells of plate {plate.name!r}, found none. Remove the plate from the table, or correct its file."
            )
        num_resolved = None if resolver is None else _num_resolved(file, resolver)
        file.check_sample(view.rows, config.input.block_cells)
        return _describe(plate, view, num_resolved) | {"columns": list(map(str, view.extra.columns)), "obsm": file.obsm_widths}


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
    ScreenError
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
        raise ScreenError(mistakes)
    return {"plates": {look["plate"]: look for look in looks}, "kinds": dict(sorted(kinds.items())), "warnings": warnings}


def _no_control(labels: Counter[str], perturbation: PerturbationConfig, where: str = "") -> str:
    rule = perturbation.control_where
    expected = " or ".join(map(repr, perturbation.control)) if rule is None else f"{rule.column} == {rule.equals!r}"
    frequent = ", ".join(label for label, _ in labels.most_common(EXAMPLES)) or "none"
    return (
        f"perturbation.control: expected control cells ({expected}) on some plate, found none{where}. The most frequent labels are {frequent}. "
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


def check_settings(looks: list[dict[str, Any]], *, columns: list[str], obsm: str | None, held_out_lines: list[str], flavor: str = "seurat") -> None:
    """Judge whether the screen has what later stages will want of it, so that none of them fails after hours.

    Parameters
    ----------
    looks
        What :func:`check_plate` returned for each plate.
    columns
        obs columns that `covariates.terms` names.
    obsm
        Key of the precomputed embedding; None where the embedding is computed.
    held_out_lines
        Cell lines that a fit holds out.
    flavor
        How the panel's votes rank variability.

    Raises
    ------
    ScreenError
        With every mistake: an obs column or obsm key that a plate lacks, an embedding of several widths, a line that is not there or the only one, a
        flavour whose package is not installed.
    """
    mistakes: list[str] = []
    try:
        require_flavor(flavor)
    except InputError as error:
        mistakes.append(str(error))
    for name in input_columns(columns):
        without = [look for look in looks if name not in look["columns"]]
        if without:
            found = ", ".join(without[0]["columns"][:EXAMPLES]) or "no further column"
            where = _listed_files([look["counts"] for look in without])
            mistakes.append(f"covariates.terms: expected obs column {name!r} in {where}, found {found}. Leave the term out, or correct its name.")
    mistakes += [] if obsm is None else _obsm_mistakes(looks, obsm)
    lines = sorted({line for look in looks for line in look["lines"]})
    mistakes += [
        f"causal.held_out_lines: expected one of several cell lines, found {line!r} among {', '.join(lines[:EXAMPLES])}. "
        "Correct the name, or remove it."
        for line in held_out_lines
        if line not in lines or len(lines) == 1
    ]
    if mistakes:
        raise ScreenError(mistakes)


def price_of_lines(looks: list[dict[str, Any]], num_genes: int | None) -> str:
    """Say what matrices per cell line (`coexpression.per_line`) take on disk, before compression.

    Parameters
    ----------
    looks
        What :func:`check_plate` returned for each plate.
    num_genes
        Setting `panel.num_genes`; null counts every gene of the input.
    """
    genes = min(num_genes or math.inf, max((look["num_genes"] for look in looks), default=0))
    num_lines = len({line for look in looks for line in look["lines"]})
    num_sums = sum(len(look["lines"]) for look in looks)
    # sums are a triangle in float64; of each line, two matrices in float32 are kept
    sums_gb, matrices_gb = (number * genes**2 * 8 / GB for number in (num_sums / 2, num_lines))
    return (
        f"coexpression.per_line: at {genes:,} genes, sums of {num_lines} cell lines on {len(looks)} plates take {sums_gb:,.1f} GB of disk, "
        f"and their matrices up to {matrices_gb:,.1f} GB"
    )


def _obsm_mistakes(looks: list[dict[str, Any]], key: str) -> list[str]:
    without = [look for look in looks if key not in look["obsm"]]
    if without:
        found = ", ".join(without[0]["obsm"]) or "no obsm"
        where = _listed_files([look["counts"] for look in without])
        return [f"embedding.obsm: expected obsm[{key!r}] in {where}, found {found}. Name one that is there, or write `embedding: {{source: pca}}`."]
    widths = {look["obsm"][key]: str(look["plate"]) for look in looks}
    if len(widths) > 1:
        found = " and ".join(f"{width} (plate {plate})" for width, plate in sorted(widths.items()))
        return [f"embedding.obsm: expected obsm[{key!r}] of one width on all plates, found {found}. Embed all plates alike."]
    return []


def _listed_files(files: list[str]) -> str:
    """Return the first few distinct files, for a message."""
    names = list(dict.fromkeys(files))
    more = f" and {len(names) - FILES} more" if len(names) > FILES else ""
    return ", ".join(names[:FILES]) + more


def survey(plates: list[Plate], config: Config, resolver: Resolver | None, *, is_whole: bool = True) -> tuple[dict[str, Any] | None, list[str]]:
    """Check all plates, the screen, and what its settings want of it.

    Parameters
    ----------
    plates
        The plates that can be looked at.
    config
        A valid configuration.
    resolver
        Knows human genes; None leaves the check of gene ids out.
    is_whole
        Whether these are all plates of the screen; of a part, only what each plate must have is judged, and that there are controls.

    Returns
    -------
    screen : dict or None
        What :func:`check_screen` returns; None where there are mistakes.
    mistakes : list of str
        One sentence each; a mistake that several files share is told once.
    """
    looks: list[dict[str, Any]] = []
    files_by_text: dict[str, list[str]] = {}
    for plate in plates:
        try:
            looks.append(check_plate(plate, config, resolver))
        except InputError as error:
            file = next((file for file in (plate.counts, str(Path(plate.counts))) if str(error).startswith(f"{file}: ")), "")
            files_by_text.setdefault(str(error).removeprefix(file), []).append(file)
    mistakes = [_listed_files(files) + text for text, files in files_by_text.items()]
    screen: dict[str, Any] | None = None
    labels: Counter[str] = Counter()
    for look in looks:
        labels.update(look["labels"])
    try:
        if is_whole and not mistakes:
            screen = check_screen(looks, config.perturbation)
            screen["warnings"] += [price_of_lines(looks, config.panel.num_genes)] if config.coexpression.per_line else []
        elif looks and CONTROL not in labels:
            mistakes.append(_no_control(labels, config.perturbation, " on those that can be read"))
    except ScreenError as error:
        mistakes += error.mistakes
    try:
        lines = config.causal.held_out_lines if is_whole and len(looks) == len(plates) else []
        obsm = config.embedding.obsm if config.embedding.source == "precomputed" and config.embedding.path is None else None
        check_settings(looks, columns=config.covariates.obs_columns, obsm=obsm, held_out_lines=lines, flavor=config.panel.flavor)
    except ScreenError as error:
        mistakes += error.mistakes
    return (None if mistakes else screen), mistakes
