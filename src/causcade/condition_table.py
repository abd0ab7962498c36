"""A table of conditions x genes as input, without cells: pseudobulk, L1000 signatures, bulk knockouts, simulated benchmarks.

Rows are conditions with the columns `perturbation` and, if there are any, kind, dose, cell_line, plate, num_cells; all other columns are genes. An
h5ad has the former in obs and the values in X, with standard errors, if known, in layer `se`.

What a value is has to be said: `log` (of expression, any pseudocount), `expression` (0 or more, on a linear scale), `counts` (summed raw counts,
taken as log1p of 10^4 shares, as cells are), or `change` (log fold changes or z-scores against controls already). The first three are compared with
the controls of the same plate and line or, in a table without controls, with the median over its conditions there: most perturbations leave a gene as
it is.

`causcade infer` reads such a table, and the rule `condition_table`, which stores the responses where a run on cells has its conditions.

Axes: C conditions, G genes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.condition_table_reading import ConditionTable, read_condition_table
from causcade.config_condition_table import ConditionTableConfig, Values
from causcade.config_input import KINDS, PerturbationConfig
from causcade.errors import InputError
from causcade.labels import CONTROL
from causcade.resources.identifiers import gene_names
from causcade.responses import Responses, list_targets
from causcade.responses.conditions import tell_unmeasured

if TYPE_CHECKING:
    from anndata import AnnData

    from causcade.resources.identifiers import Resolver

__all__ = [
    "LEFT_OUT", "NO_DRUGS", "ConditionTable", "Values", "check_table", "labels_of_table", "load_table", "measure_table", "read_condition_table",
    "responses_of_table", "store_of_responses",
]  # fmt: skip

logger = logging.getLogger("causcade")

Float64 = npt.NDArray[np.float64]

MIN_CONDITIONS = 8  # perturbations from which their median stands in for controls
MAD_TO_SD = 1.4826
ERROR_FLOOR = 0.3  # of the median error over genes, where errors are estimated: a gene that hardly varies is no certain one
NO_DRUGS = pd.DataFrame(columns=["perturbation", "target", "sign", "source"])

# What a run on cells has and a run on a table has not, for the files and the page that say so.
LEFT_OUT = {
    "partial_correlation": "it is measured over control cells",
    "partial_within": "it is measured over cells within their condition",
    "quality control": "there are no cells to filter",
    "gene panel": "every gene of the table takes part",
    "covariates": "they are regressed out of cells; coexpression is the correlation between perturbations",
    "embedding": "there are no cells to embed",
    "basal decoder and its comparison": "the table, or its controls, is the baseline",
}


def load_table(settings: ConditionTableConfig, perturbation: PerturbationConfig) -> ConditionTable:
    """Read the table that a configuration names, without the perturbations that it excludes.

    Raises
    ------
    InputError
        As of :func:`read_condition_table`, or where a label of controls or of an excluded perturbation is not in the table.
    """
    table = read_condition_table(settings.path, errors=settings.errors)
    labels = table.obs["perturbation"]
    present = set(labels)
    absent = [name for name in perturbation.control if name not in present]
    if absent:
        few = ", ".join(map(repr, sorted(present)[:5]))
        raise InputError(
            f"{settings.path}: expected conditions labelled {absent[0]!r} (perturbation.control), found none among {few}. "
            "Correct the label, or write `perturbation: {control: []}` for a table without controls."
        )
    keep_C = ~labels.isin(perturbation.exclude).to_numpy(bool)
    return replace(
        table, value_CG=table.value_CG[keep_C], error_CG=None if table.error_CG is None else table.error_CG[keep_C],
        obs=table.obs.loc[keep_C].reset_index(drop=True),
    )  # fmt: skip


def _is_control(obs: pd.DataFrame, control: str | Sequence[str]) -> npt.NDArray[np.bool_]:
    labels = [control] if isinstance(control, str) else list(control)
    return np.asarray(obs["perturbation"].isin(labels), dtype=bool)


def labels_of_table(table: ConditionTable, *, kind: str, control: str | Sequence[str] = CONTROL) -> pd.DataFrame:
    """Perturbations that occur, and their kinds: perturbation, kind.

    Parameters
    ----------
    table
        As read.
    kind
        Kind of the perturbations whose row gives none.
    control
        Label, or labels, of the rows that are controls.

    Raises
    ------
    InputError
        For a kind that is none, a perturbation with two, or nothing but controls.
    """
    obs = table.obs[~_is_control(table.obs, control)]
    if obs.empty:
        raise InputError(f"table of conditions: expected perturbed conditions beside {control!r}, found none. Correct the column perturbation.")
    labels = pd.DataFrame({"perturbation": obs["perturbation"], "kind": obs["kind"].replace("", kind).str.lower()}).drop_duplicates(ignore_index=True)
    wrong = sorted(set(labels["kind"]) - set(KINDS))
    if wrong:
        raise InputError(
            f"table of conditions: expected kinds {', '.join(KINDS)}, found {wrong[0]!r}. Name the kind of all (`--kind`, `perturbation.kind`), "
            "or correct the column kind."
        )
    twice = labels.loc[labels["perturbation"].duplicated(), "perturbation"]
    if len(twice):
        raise InputError(f"table of conditions: expected one kind for each perturbation, found two for {twice.iloc[0]!r}. Give them different names.")
    return labels


def responses_of_table(
    table: ConditionTable,
    targets: pd.DataFrame,
    *,
    values: Values,
    kind: str,
    control: str | Sequence[str] = CONTROL,
    pseudocount: float = 0.0,
) -> Responses:
    """Responses of the conditions of a table.

    Errors that the table does not give are estimated gene by gene: from the controls where there are at least 8, else from the median absolute
    deviation over conditions, since most perturbations leave a gene as it is.

    Parameters
    ----------
    table
        As read.
    targets
        perturbation, target, sign.
    values
        What a value is.
    kind
        Kind of the perturbations whose row gives none.
    control
        Label, or labels, of the rows that are controls.
    pseudocount
        Added to `expression` before the logarithm, in its unit.

    Raises
    ------
    InputError
        As of :func:`labels_of_table`, for negative values of a linear scale, or a plate and line with neither controls nor 8 perturbations.
    """
    kinds = labels_of_table(table, kind=kind, control=control).set_index("perturbation")["kind"]
    obs = table.obs.assign(kind=table.obs["perturbation"].map(kinds).fillna("")).rename(columns={"num_cells": "n_cells"})
    is_control_C = _is_control(obs, control)
    x_CG = _on_log_scale(table.value_CG, values, pseudocount)
    delta_CG = x_CG if values == "change" else _against_reference(x_CG, obs, is_control_C)
    error_CG = _errors(table, x_CG, delta_CG, is_control_C, obs) if table.error_CG is None else table.error_CG
    kept = obs.loc[~is_control_C].reset_index(drop=True)
    genes = pd.DataFrame({"gene": table.genes, "gene_id": table.genes})
    links, unmeasured = list_targets(set(kept["perturbation"]), targets, genes)
    tell_unmeasured(unmeasured)
    # The change of a logarithm is a fold change; only log1p of small numbers needs the level for that.
    level_G = x_CG[is_control_C if is_control_C.any() else slice(None)].mean(axis=0) if values == "counts" else np.full(len(genes), np.inf)
    return Responses(
        delta_CG=delta_CG[~is_control_C].astype(np.float32), se_CG=error_CG[~is_control_C].astype(np.float32), obs=kept, genes=genes, links=links,
        unmeasured=unmeasured, control_mean_G=level_G,
    )  # fmt: skip


def measure_table(settings: ConditionTableConfig, perturbation: PerturbationConfig) -> tuple[Responses, dict[str, Any]]:
    """Responses of the table that a configuration names, without targets, and what :func:`check_table` says of it.

    Raises
    ------
    InputError
        As of :func:`load_table` and :func:`responses_of_table`.
    """
    table, kind = load_table(settings, perturbation), str(perturbation.kind)
    labels = labels_of_table(table, kind=kind, control=perturbation.control)
    responses = responses_of_table(
        table, NO_DRUGS, values=settings.values, kind=kind, control=perturbation.control, pseudocount=settings.pseudocount
    )  # fmt: skip
    return responses, check_table(table, labels, settings.values, perturbation.control)


def _on_log_scale(value_CG: Float64, values: Values, pseudocount: float) -> Float64:
    if values in ("log", "change"):
        return value_CG
    if (value_CG < 0).any():
        raise InputError(
            f"table of conditions, values {values}: expected values of 0 or more, found {value_CG.min():.3g}. Say `log` if they are logarithms."
        )
    if values == "counts":
        return np.asarray(np.log1p(1e4 * value_CG / np.maximum(value_CG.sum(axis=1, keepdims=True), 1)))
    if pseudocount <= 0 and (value_CG == 0).any():
        raise InputError(
            "table of conditions, values expression: expected a pseudocount above 0, since the table has zeros, found 0. Give one (`--pseudocount`, "
            "`condition_table.pseudocount`)."
        )
    return np.asarray(np.log(value_CG + pseudocount))


def _against_reference(x_CG: Float64, obs: pd.DataFrame, is_control_C: npt.NDArray[np.bool_]) -> Float64:
    """Values minus those of the controls of the same plate and line, or minus the median over all conditions where the table has no control."""
    delta_CG = np.empty_like(x_CG)
    for (plate, line), rows in obs.groupby(["plate", "cell_line"], sort=True).indices.items():
        controls = rows[is_control_C[rows]]
        if len(controls):
            delta_CG[rows] = x_CG[rows] - x_CG[controls].mean(axis=0)
        elif not is_control_C.any() and obs["perturbation"].iloc[rows].nunique() >= MIN_CONDITIONS:
            delta_CG[rows] = x_CG[rows] - np.median(x_CG[rows], axis=0)
        else:
            raise InputError(
                f"plate {plate}, line {line}: expected controls, or a table without any and at least {MIN_CONDITIONS} perturbations there, found "
                f"{len(rows)} conditions. Add controls, or write changes against controls and say so (values `change`)."
            )
    return delta_CG


def _error_source(is_control_C: npt.NDArray[np.bool_]) -> str:
    has_many = int(is_control_C.sum()) >= MIN_CONDITIONS
    return f"{int(is_control_C.sum())} controls" if has_many else "the median absolute deviation over conditions"


def _errors(table: ConditionTable, x_CG: Float64, delta_CG: Float64, is_control_C: npt.NDArray[np.bool_], obs: pd.DataFrame) -> Float64:
    """Estimate the standard error of each gene, the same in all conditions, [C, G]."""
    if is_control_C.sum() >= MIN_CONDITIONS:
        error_G = delta_CG[is_control_C].std(axis=0, ddof=1)
    else:
        treated_CG = delta_CG[~is_control_C]
        error_G = MAD_TO_SD * np.median(np.abs(treated_CG - np.median(treated_CG, axis=0)), axis=0)
    typical = float(np.median(error_G))
    if typical <= 0:
        raise InputError("table of conditions: expected values that vary, found more than half of the genes constant. Give standard errors.")
    logger.info("standard errors from %s: median %.3g", _error_source(is_control_C), typical)
    return np.broadcast_to(np.maximum(error_G, ERROR_FLOOR * typical), x_CG.shape)


def store_of_responses(responses: Responses, resolver: Resolver | None) -> AnnData:
    """Responses as the store of conditions of a run: obs as there, layers delta and se [C, G], var gene and control_mean.

    Parameters
    ----------
    responses
        From :func:`responses_of_table`.
    resolver
        Gives genes their approved symbols, by which curated resources name them; None takes the names of the table.

    Raises
    ------
    InputError
        If the resolver knows none of the genes.
    """
    from anndata import AnnData

    given = responses.genes["gene"].astype(str).tolist()
    if resolver is not None and resolver.resolve(given)["gene"].isna().all():
        raise InputError(
            f"table of conditions: expected human gene ids or symbols, found none that HGNC knows among {len(given)} (such as "
            f"{', '.join(given[:3])}). Correct the columns, or write `resources: {{hgnc: null}}` where they are no human genes."
        )
    genes = gene_names(given, None, resolver)
    var = pd.DataFrame({"gene": genes["gene"].to_numpy(), "control_mean": responses.control_mean_G}, index=pd.Index(genes["gene_id"], name="gene_id"))
    obs = responses.obs.assign(is_control=False)
    obs.index = obs.index.astype(str)
    return AnnData(obs=obs, var=var, layers={"delta": responses.delta_CG, "se": responses.se_CG})


def check_table(table: ConditionTable, labels: pd.DataFrame, values: Values, control: Sequence[str]) -> dict[str, Any]:
    """Say what was found, as the check of a screen of cells does.

    Parameters
    ----------
    table, values, control
        As for :func:`responses_of_table`.
    labels
        From :func:`labels_of_table`.

    Returns
    -------
    dict
        kinds ({perturbation: kind}), num_conditions, num_controls, num_genes, warnings (sentences: what stands in for controls and for errors).
    """
    is_control_C = _is_control(table.obs, control)
    warnings = []
    if values != "change" and not is_control_C.any():
        warnings.append("The table has no controls: the median over the conditions of a plate and line stands in for them.")
    if table.error_CG is None:
        warnings.append(f"Standard errors are estimated, the same in all conditions of a gene: from {_error_source(is_control_C)}.")
    return {
        "kinds": dict(sorted(zip(labels["perturbation"], labels["kind"], strict=True))),
        "num_conditions": int((~is_control_C).sum()), "num_controls": int(is_control_C.sum()), "num_genes": len(table.genes), "warnings": warnings,
    }  # fmt: skip
