"""Change of expression that a fitted causal module predicts: for perturbations at a dose, several at once, and genes that are set to a level.

The operator is the one that was trained: Delta = sum_{k=0..K} W^k d + shared response, with all edges of the fit. Of a perturbation, d and its
shared response are those of the fit times the gain of the dose (:func:`causcade.responses.effects.gain_at`; 1 at the top dose). Several perturbations
add up, in d and in the shared response: the operator is linear, so that no synergy can be predicted. A gene that is set (`do`) has a given change;
edges into it are cut, and neither perturbations nor other genes move it (Pearl 2009, Causality, chapter 3).

Units: x = log1p(10^4 * count / total), natural logarithm. log2 of (1 + CP10k) is x / ln 2; a fold change of CP10k itself needs the expression in
controls, which differs between cell lines, whereas a fit has one W and one d for all lines.

Axes: P perturbations that are asked for, G genes, L controls (plate and line).
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.causal import CausalFit, read_fit
from causcade.errors import InputError
from causcade.files import write_parquet, write_text
from causcade.plates import condition_stores
from causcade.responses.baselines import read_lines
from causcade.responses.effects import gain_at

if TYPE_CHECKING:
    from anndata import AnnData

    from causcade.config import Config

__all__ = [
    "Controls", "Dosed", "Intervention", "Prediction", "format_prediction", "parse_dosed", "parse_intervention", "predict", "read_run",
    "write_prediction",
]  # fmt: skip

Action = Literal["knockout", "knockdown", "activation", "shift"]
NAMED_ACTIONS: dict[str, tuple[Action, float]] = {"knockout": ("knockout", 0.0), "knockdown": ("knockdown", 0.25), "activation": ("activation", 4.0)}
"""With the share of the transcripts that is left, or their fold, where none is given."""
MIN_EXPRESSION = 0.01  # counts per 10^4; below, a fold change means nothing, as in network/edges.parquet
NUM_NEAR = 3
NUM_SHOWN = 12  # so many names are all shown, where none is close
SUFFIXES = (".parquet", ".tsv", ".csv")

Float64 = npt.NDArray[np.float64]


class Dosed(NamedTuple):
    """A perturbation of the fit; without a dose, at its top dose."""

    perturbation: str
    dose: float | None = None


class Intervention(NamedTuple):
    """A gene that is set.

    `knockout` leaves no transcript, `knockdown` the share `amount`, `activation` `amount` times as many; `shift` changes x by `amount`.
    """

    gene: str
    action: Action
    amount: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """Mean of x in control cells: `mean_LG` of each plate and line, in the genes of the fit, and the name of the line of each row."""

    mean_LG: Float64
    lines: list[str]

    def of(self, cell_line: str | None) -> Float64:
        """Mean over the plates of a line, or over all plates and lines, [G].

        Raises
        ------
        InputError
            If no plate has controls of the line.
        """
        if cell_line is None:
            return np.asarray(self.mean_LG.mean(axis=0))
        if cell_line not in self.lines:
            raise InputError(f"--line: expected a cell line with controls, found {cell_line!r}. {_near(cell_line, sorted(set(self.lines)))}")
        return np.asarray(self.mean_LG[[line == cell_line for line in self.lines]].mean(axis=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Predicted changes and what is to be known about them.

    Attributes
    ----------
    table
        gene, change (of x), change_log2 (of log2(1 + CP10k)), log2_fold_change (of CP10k; NaN without controls, and where these hardly express the
        gene), direct, hop_1 .. hop_K, shared (these add up to `change`), control (mean of x, NaN without controls), is_target (listed target of a
        perturbation that was asked for), is_set; all genes, largest change first.
    messages
        In sentences: what is extrapolated, ignored or not known.
    """

    table: pd.DataFrame
    messages: list[str]


def parse_dosed(text: str, known: Collection[str] = ()) -> Dosed:
    """Read `NAME` or `NAME@DOSE`; a name that is known as it stands may hold an @ itself.

    Raises
    ------
    InputError
        If what follows the last @ is no number, or the dose is not positive.
    """
    name, at, dose = text.rpartition("@")
    if not at or text in known:
        return Dosed(text.strip())
    try:
        value = float(dose)
    except ValueError:
        raise InputError(f"perturbation {text!r}: expected NAME or NAME@DOSE, found the dose {dose!r}. Give a number, such as {name}@0.5.") from None
    if not (np.isfinite(value) and value > 0):
        raise InputError(f"perturbation {text!r}: expected a dose above 0, found {dose}. Leave it out for the top dose.")
    return Dosed(name.strip(), value)


def parse_intervention(text: str) -> Intervention:
    """Read `GENE=knockout`, `GENE=knockdown[:SHARE LEFT]`, `GENE=activation[:FOLD]` or `GENE=CHANGE OF x`.

    Raises
    ------
    InputError
        For another form, a share outside of [0, 1), or a fold of at most 1.
    """
    gene, _, what = text.partition("=")
    action, _, amount = what.strip().partition(":")
    forms = "GENE=knockout, GENE=knockdown:0.25 (share left), GENE=activation:4 (fold) or GENE=-1.5 (change of log1p CP10k)"
    wrong = InputError(f"--do {text}: expected {forms}, found another form. Correct it.")
    if not gene.strip() or not action or (action == "knockout" and amount):
        raise wrong
    try:
        if action in NAMED_ACTIONS:
            name, default = NAMED_ACTIONS[action]
            found = Intervention(gene.strip(), name, float(amount) if amount else default)
        else:
            found = Intervention(gene.strip(), "shift", float(what))
    except ValueError:
        raise wrong from None
    is_sound = {"knockout": True, "knockdown": 0 <= found.amount < 1, "activation": found.amount > 1, "shift": True}[found.action]
    if not is_sound or not np.isfinite(found.amount):
        raise wrong
    return found


def predict(
    fit: CausalFit,
    perturbations: Sequence[Dosed] = (),
    interventions: Sequence[Intervention] = (),
    *,
    controls: Controls | None = None,
    cell_line: str | None = None,
) -> Prediction:
    """Predict the change of expression under perturbations and genes that are set, all at once.

    Parameters
    ----------
    fit
        From :func:`causcade.causal.read_fit`.
    perturbations
        Of the fit, each once.
    interventions
        Genes of the fit, each once.
    controls
        Expression in controls; needed to set a gene other than by a `shift`, and for fold changes.
    cell_line
        Whose controls; all by default. It changes no edge and no direct effect.

    Returns
    -------
    Prediction
        `direct` of a gene that is set is its change; its `hop_1` .. and `shared` are 0.

    Raises
    ------
    InputError
        If nothing is asked for, or something twice, for names that the fit does not know (with those that are close), or without controls where
        they are needed.
    """
    asked = [one.perturbation for one in perturbations] + [f"--do {one.gene}" for one in interventions]
    twice = next((name for name in asked if asked.count(name) > 1), None)
    if not asked or twice is not None:
        found = "none" if twice is None else f"{twice} twice"
        raise InputError(f"prediction: expected at least one perturbation or gene to set, each once, found {found}. Correct the list.")
    if cell_line is not None and controls is None:
        remedy = "Run the stage `basal` first, or leave it out (a table of conditions has none)."
        raise InputError(f"--line: expected baselines of the run (basal/baseline), found none. {remedy}")
    control_G = None if controls is None else controls.of(cell_line)
    messages: list[str] = []
    rows = np.array([_position(one.perturbation, fit.perturbations, _NO_PERTURBATION) for one in perturbations], dtype=np.int64)
    gain_P = np.array([_gain(one, fit, row, messages) for one, row in zip(perturbations, rows, strict=True)], dtype=np.float32)
    places = [_position(one.gene, fit.genes, _NO_GENE) for one in interventions]
    direct_1G = gain_P[None] @ fit.direct_DG[rows]
    shared_G = gain_P @ fit.shared_DG[rows]
    if len(rows) and not direct_1G.any():
        messages.append("the fit has no direct effect of what was asked for, so that only shared responses are predicted")
    for one, place in zip(interventions, places, strict=True):
        direct_1G[0, place] = _change(one, None if control_G is None else float(control_G[place]), messages)
        _tell_of_edges(one.gene, place, fit, messages)
    shared_G[places] = 0
    if cell_line is not None:
        messages.append(
            f"edges and direct effects are those of all lines together; {cell_line} gives the expression in controls, and the fold changes"
        )
    hops = [hop[0].astype(np.float64) for hop in fit.propagate(direct_1G, fixed=places)]
    is_target_G = np.asarray(fit.is_target_DG[rows].any(axis=0))
    return Prediction(table=_table(fit.genes, hops, shared_G.astype(np.float64), control_G, is_target_G, places), messages=messages)


_NO_PERTURBATION = "perturbation of the fit (those without a listed target in the panel take no part, unless `causal.unknown_targets: learn`)"
_NO_GENE = "gene of the panel (another cannot act on any, so that setting it would predict only itself)"


def _near(name: str, known: Sequence[str]) -> str:
    """Say which known names are close to one that is not known."""
    folded, wanted = {one.casefold(): one for one in known}, name.casefold()
    longer = [one for one in folded if wanted in one]  # a name without its salt, which is not close by letters
    near = [folded[one] for one in dict.fromkeys([*longer, *difflib.get_close_matches(wanted, list(folded), n=NUM_NEAR)])][:NUM_NEAR]
    if near:
        return f"Did you mean {' or '.join(near)}?"
    if not known:
        return "It has none."
    return f"There are {', '.join(known)}." if len(known) <= NUM_SHOWN else f"None of the {len(known)} names is close to it."


def _position(name: str, known: Sequence[str], what: str) -> int:
    """Place of a name, or an error that says what was expected and which names are close."""
    if name not in known:
        raise InputError(f"prediction: expected a {what}, found {name!r}. {_near(name, known)}")
    return list(known).index(name)


def _gain(asked: Dosed, fit: CausalFit, row: int, messages: list[str]) -> float:
    """Gain of the dose asked for."""
    if asked.dose is None:
        return 1.0
    if len(fit.dose_D3) == 0:
        raise InputError(f"{asked.perturbation}@{asked.dose:g}: expected a fit with doses, found one of an older version. Rerun the stage `causal`.")
    lowest, half, top = fit.dose_D3[row]
    if not np.isfinite(top):
        messages.append(f"{asked.perturbation} has no doses in the screen; the dose {asked.dose:g} is ignored")
        return 1.0
    gain = float(gain_at(np.array([asked.dose]), half, top)[0])
    if not lowest <= asked.dose <= top:
        messages.append(
            f"{asked.perturbation}: dose {asked.dose:g} lies outside of the screen's {lowest:g} to {top:g}; its gain of {gain:.3g} is extrapolated"
        )
    elif lowest == top:
        messages.append(f"{asked.perturbation} was screened at one dose")
    return gain


def _change(asked: Intervention, control: float | None, messages: list[str]) -> float:
    """Change of x that an intervention gives its gene."""
    if asked.action == "shift":
        return asked.amount
    if control is None:
        raise InputError(
            f"--do {asked.gene}={asked.action}: expected baselines of the run (basal/baseline), found none. Run the stage `basal` first (a table of "
            f"conditions has none), or give the change itself, such as {asked.gene}=-1.5."
        )
    if np.expm1(control) < MIN_EXPRESSION:
        messages.append(f"{asked.gene} is hardly expressed in the controls (log1p CP10k {control:.2g}): {asked.action} changes next to nothing")
    left = {"knockout": 0.0, "knockdown": asked.amount, "activation": asked.amount}[asked.action]
    return float(np.log1p(left * np.expm1(control)) - control)


def _tell_of_edges(gene: str, place: int, fit: CausalFit, messages: list[str]) -> None:
    """Say where a gene that is set acts on none, or where nothing was learnt of it by hitting it."""
    if not (fit.source_C == place).any() and not (fit.nuisance_source_N == place).any():
        messages.append(f"no candidate edge leaves {gene}, so that setting it predicts only itself")
    elif fit.operator[:, [place]].count_nonzero() == 0:
        messages.append(f"every edge that leaves {gene} has the weight 0, so that setting it predicts only itself")
    elif not (fit.direct_gene_S[fit.direct_is_target_S] == place).any():
        messages.append(f"no perturbation of the fit hits {gene}: its edges rest on how it moves together with others, and are associations")


def _fold_change(control_G: Float64, change_G: Float64) -> Float64:
    """Log2 fold change of CP10k; what falls below the least expression counts as that, and NaN where the controls are below it."""
    before_G, after_G = np.expm1(control_G), np.expm1(np.maximum(control_G + change_G, 0.0))
    is_expressed_G = before_G >= MIN_EXPRESSION
    fold_G = np.full(len(control_G), np.nan)
    fold_G[is_expressed_G] = np.log2(np.maximum(after_G, MIN_EXPRESSION)[is_expressed_G] / before_G[is_expressed_G])
    return fold_G


def _table(
    genes: list[str], hops: list[Float64], shared_G: Float64, control_G: Float64 | None, is_target_G: npt.NDArray[np.bool_], places: list[int]
) -> pd.DataFrame:
    """Put the parts side by side, largest change first; equal ones in the order of the panel."""
    change_G = np.sum(hops, axis=0) + shared_G
    unknown_G = np.full(len(genes), np.nan)
    columns = {
        "gene": genes,
        "change": change_G,
        "change_log2": change_G / np.log(2),
        "log2_fold_change": unknown_G if control_G is None else _fold_change(control_G, change_G),
        "direct": hops[0],
        **{f"hop_{k}": hop for k, hop in enumerate(hops[1:], start=1)},
        "shared": shared_G,
        "control": unknown_G if control_G is None else control_G,
        "is_target": is_target_G,
        "is_set": np.isin(np.arange(len(genes)), places),
    }
    return pd.DataFrame(columns).iloc[np.argsort(-np.abs(change_G), kind="stable")].reset_index(drop=True)


def read_run(config: Config, fit: str = "main") -> tuple[CausalFit, Controls | None]:
    """Read a fit of the run of a configuration, and the controls of its plates (None before the stage `basal`).

    Raises
    ------
    InputError
        If the run has no such fit (with those that it has), or its baselines are of other genes.
    """
    run = Path(config.results) / config.run
    folder = run / "causal" / fit
    if not (folder / "model.safetensors").is_file():
        there = sorted(path.parent.name for path in (run / "causal").glob("*/model.safetensors"))
        found = f"none named {fit!r}" if there else "none"
        raise InputError(f"{run}/causal: expected a fit, found {found}. " + (f"There are {', '.join(there)}." if there else "Run `snakemake` first."))
    model = read_fit(folder)
    stores = [read_lines(path) for path in condition_stores(config)[1] if Path(path).exists()]
    return model, _controls(stores, model.genes, run) if stores else None


def _controls(stores: list[AnnData], genes: list[str], run: Path) -> Controls:
    for store in stores:
        found = (store.var["gene"] if "gene" in store.var else store.var.index.to_series()).astype(str).tolist()
        if found != genes:
            raise InputError(f"{run}: expected baselines of the genes of the fit, found others. Rerun the stages `basal` and `causal`.")
    lines = [str(line) for store in stores for line in store.obs["cell_line"]]
    return Controls(mean_LG=np.concatenate([np.asarray(store.X, dtype=np.float64) for store in stores]), lines=lines)


def write_prediction(prediction: Prediction, path: str | os.PathLike[str]) -> None:
    """Write the table as parquet, tsv or csv, told by the ending of the name.

    Raises
    ------
    InputError
        For another ending.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: expected a name that ends in {', '.join(SUFFIXES)}, found {path.suffix or 'no ending'!r}. Correct the name.")
    if path.suffix == ".parquet":
        write_parquet(path, prediction.table)
    else:
        write_text(path, prediction.table.to_csv(sep="\t" if path.suffix == ".tsv" else ",", index=False))


def format_prediction(prediction: Prediction, num_best: int) -> str:
    """Write the messages and the genes that change most as text for a terminal."""
    table = prediction.table[prediction.table["change"] != 0].head(num_best)
    propagated = table[[name for name in table.columns if name.startswith("hop_")]].sum(axis=1)
    shown = table[["gene", "change", "log2_fold_change", "direct"]].assign(propagated=propagated, shared=table["shared"])
    if shown["log2_fold_change"].isna().all():
        shown = shown.drop(columns="log2_fold_change")
    shown["note"] = np.select([table["is_set"], table["is_target"]], ["set", "target"], "")
    num_changed = int((prediction.table["change"] != 0).sum())
    lines = [f"note: {message}" for message in prediction.messages]
    if table.empty:
        return "\n".join([*lines, "no gene changes"])
    text = shown.to_string(index=False, na_rep="-", float_format=lambda value: f"{value:+.3f}")
    # Without controls nothing tells whether responses are of cells or of a table of conditions.
    words = "change of log1p CP10k (natural log); log2 fold change of CP10k" if "log2_fold_change" in shown else "change in the unit of the responses"
    return "\n".join([*lines, f"{len(table)} of {num_changed:,} genes that change; {words}", text])
