"""The page as a whole: prepares every section, fills the template, and checks that nothing outside is asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import resources as package_files
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from causcade import files
from causcade.config import ReportConfig
from causcade.errors import InputError
from causcade.report import condition_table, embedding, evaluation, network, overview, perturbations, provenance, summary, training, unmeasured
from causcade.report.artifact_list import artifact_rows
from causcade.report.data import Artifacts, as_json

__all__ = ["PAGE_NAME", "build_report", "write_report"]

PAGE_NAME = "report/index.html"
PANEL_COLUMNS = ["gene_id", "gene", "is_tf", "is_rbp", "is_hallmark", "is_drug_target"]
SCRIPTS = ("base.js", "charts.js", "scatter.js", "tables.js", "network.js", "evaluation.js", "perturbations.js", "main.js")
SECTIONS = [
    ("summary", "Summary"), ("quality", "Quality"), ("panel", "Genes and coexpression"), ("embedding", "Representation of cells"),
    ("mask", "Candidate edges"), ("training", "Training"), ("network", "Network"), ("evaluation", "Evaluation"),
    ("perturbations", "Perturbations"), ("methods", "Methods"), ("provenance", "Resources and versions"), ("artifacts", "Files"),
]  # fmt: skip
DASH = "–"
THIN_SPACE, NO_BREAK, MINUS = "\u202f", "\u00a0", "\u2212"
TIMES_TEN = f"{NO_BREAK}×{NO_BREAK}10"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
SMALLEST_PLAIN, LARGEST_PLAIN = 1e-3, 1e5


def number(value: Any, digits: int = 3) -> str:
    """Write a number as a person does: three significant digits, thousands apart, powers of ten where it is tiny; a dash for none."""
    if value is None or value is pd.NA:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    amount = float(value)
    if not math.isfinite(amount):
        return DASH
    if amount == int(amount) or abs(amount) >= LARGEST_PLAIN:
        text = f"{amount:,.0f}"
    elif abs(amount) < SMALLEST_PLAIN:
        mantissa, exponent = f"{amount:.{digits - 1}e}".split("e")
        text = f"{mantissa}{TIMES_TEN}{str(int(exponent)).translate(SUPERSCRIPTS)}"
    else:
        text = f"{amount:,.{max(0, digits - 1 - math.floor(math.log10(abs(amount))))}f}"
    return text.replace(",", THIN_SPACE).replace("-", MINUS)


def percent(part: Any, whole: Any = 1) -> str:
    """Write a share in percent; a dash where there is no whole."""
    if part is None or whole in (None, 0) or not math.isfinite(float(part) / float(whole)):
        return DASH
    return f"{number(100 * float(part) / float(whole))}{NO_BREAK}%"


def _asset(*names: str) -> str:
    folder = package_files.files("causcade.report") / "assets"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("causcade.report", "assets"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, percent=percent)
    return environment


def _context(artifacts: Artifacts, settings: ReportConfig, config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Prepare what the template shows, and what the browser draws."""
    panel = artifacts.needed("panel.parquet", PANEL_COLUMNS)
    edges = artifacts.needed("network/edges.parquet", network.EDGE_COLUMNS, every=True)
    if not len(edges):
        raise InputError(f"{artifacts.folder / 'network/edges.parquet'}: expected candidate edges, found none. Loosen the mask and rerun it.")
    edges = edges.astype(dict.fromkeys(("regulator", "target"), str))
    figures: dict[str, Any] = {}
    data: dict[str, Any] = {"figures": figures}
    genes = {str(gene): position for position, gene in enumerate(panel["gene"])}
    view: dict[str, Any] = {
        "summary": summary.summary(artifacts, edges, len(panel)),
        "quality": overview.quality(artifacts, figures),
        "panel": overview.panel(artifacts, panel, figures),
        "embedding": embedding.embedding(artifacts, data, figures, config),
        "mask": overview.mask(artifacts, figures),
        "table": condition_table.condition_table(artifacts, config),
        "unmeasured": unmeasured.unmeasured(artifacts),
        "unit": condition_table.unit_of(config),
        "training": training.training(artifacts, figures, dict(config)),
        "evaluation": evaluation.evaluation(artifacts, data),
        "leak": evaluation.leak(artifacts),
        "not_hit": evaluation.not_hit(artifacts),
        "held_out": evaluation.held_out(artifacts, figures),
        "perturbations": perturbations.perturbations(artifacts, edges, genes, data),
        "resources": provenance.resources(artifacts),
        "timings": provenance.timings(artifacts, figures),
        "artifacts": artifact_rows(artifacts),
    }
    data["edges"] = network.table(artifacts, edges, genes, settings.num_edges)
    data["neighbours"] = network.neighbourhoods(edges, genes)
    data["hubs"] = network.hubs(artifacts)
    data["not_measured"] = network.not_measured(edges, genes)
    data["unit"] = view["unit"]
    data["genes"] = list(genes)
    flags = zip(*(panel[name].astype(bool) for name in ("is_tf", "is_rbp", "is_drug_target")), strict=True)
    data["flags"] = [tf + 2 * rbp + 4 * target for tf, rbp, target in flags]
    view["hubs"] = data["hubs"]
    view["network"] = {
        "num_shown": min(settings.num_edges, len(edges)),
        "num_scored": int(edges["rank"].notna().sum()),
        "signs": network.sign_counts(edges),
        "is_cut": data["neighbours"]["is_cut"],
        "num_not_measured": len(data["not_measured"]),
        "choice": network.score_choice(artifacts),
    }
    view["figures"] = figures
    return view, data


def build_report(folder: Path, settings: ReportConfig, *, run: str, methods: Mapping[str, Any] | None = None) -> str:
    """Build the page of one run.

    Parameters
    ----------
    folder
        `results/<run>/`. `panel.parquet` and `network/edges.parquet` are needed; the section of any other absent artifact says so in words.
    settings
        Section `report` of the configuration.
    run
        Name of the run.
    methods
        Resolved configuration for the methods section; by default the one in `manifest.json`.

    Returns
    -------
    str
        A complete HTML document that asks for nothing outside itself. Equal artifacts give equal text.

    Raises
    ------
    InputError
        If the folder or a needed artifact is absent, or an artifact lacks a column.
    """
    artifacts = Artifacts(folder)
    manifest = artifacts.json("manifest.json") or {}
    config = dict(methods if methods is not None else manifest.get("config", {}))
    view, data = _context(artifacts, settings, config)
    data["dose_unit"] = config.get("perturbation", {}).get("dose_unit", "")
    return (
        _environment()
        .get_template("template.html")
        .render(
            title=settings.title,
            run=run,
            sections=SECTIONS,
            style=_asset("style.css"),
            script=_asset(*SCRIPTS),
            data=as_json(data),
            config=config,
            config_rows=provenance.flat(config),
            manifest=manifest,
            manifest_rows={
                name: provenance.flat(manifest[name]) for name in ("versions", "seeds", "device") if isinstance(manifest.get(name), Mapping)
            },
            inputs=provenance.input_rows(manifest.get("inputs") or {}),
            citations=provenance.CITATIONS,
            absent_files=sorted(artifacts.absent),
            words=evaluation.REFERENCE_WORDS,
            **view,
        )
    )


def write_report(folder: Path, settings: ReportConfig, *, run: str, methods: Mapping[str, Any] | None = None) -> Path:
    """Build the page and write it to `report/index.html` below the folder of the run; returns its path."""
    path = folder / PAGE_NAME
    files.write_text(path, build_report(folder, settings, run=run, methods=methods))
    return path
