"""The three baselines side by side on simulated screens: what they leave of the true response, what network is found from it, and what they cost.

    python benchmarks/baselines.py [--seeds 21 22] [--folder FOLDER] [--output benchmarks/results/baselines.json]

A screen of 300 genes, 60 perturbations and three lines, through the stages of the library: cell stores, conditions, a PCA of all cells as the
embedding (32 dimensions, and 100), the basal decoder, the baselines, responses, the two fits (no prior), judged as in :mod:`latent`. Settings are the
defaults.

* `true_left`: slope of the estimated effects on the true ones (network's part of the change at the top dose, in an average line; both centred over
  perturbations), as a share of that of `control_mean`.
* `left`, `left_centred`: what the report says of the run, which does not know the truth (:mod:`causcade.basal.comparison`).
* `noise`: mean over genes and perturbations of the squared residual around that slope, as a share of that of `control_mean`.
* `neumann`, `latent`: rankings of the candidate edges by |W| in standard errors, and by the inclusion probability.
* processor seconds of fitting the decoder (`decoder`, once for both that need it) and of measuring the baselines; cells that need an embedding; the
  most memory of the process so far, in MB (control_mean is measured first, own_cell last).
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from causal_screens import noise_free
from latent import Judge
from latent_screens import BASE, MAX_MITO, MIN_COUNTS, MIN_GENES, VARIANTS, Case, simulate, targets_of

from causcade.basal.baselines import Baseline, measure_baselines
from causcade.basal.cells import Embedding
from causcade.basal.comparison import compare_baselines
from causcade.basal.stage import fit_plates, write_fit
from causcade.causal import fit_causal
from causcade.cells import CellStore, write_store
from causcade.conditions import measure_conditions
from causcade.config import CausalConfig, EmbeddingConfig, SimulationConfig
from causcade.config_latent import LatentConfig
from causcade.embedding.pca import embed_plate, pca_basis
from causcade.files import read_json, write_anndata, write_json
from causcade.latent import fit_latent
from causcade.responses import ScreenFiles
from causcade.simulation.cells import _draw_well, _noise_operator, _rates_of_wells
from causcade.simulation.network import random_stream
from causcade.simulation.screen import ScreenPlan, simulate_plan

VARIANTS["baselines"] = {"num_genes": 300, "num_tfs": 40, "num_drugs": 60, "num_cell_lines": 3, "cells_per_well": 100}
DIMENSIONS = (32, 100)
BASELINES: tuple[Baseline, ...] = ("control_mean", "matched_control", "own_cell")
NO_ROLES = pd.DataFrame({"gene_id": pd.Series(dtype=str), "role": pd.Series(dtype=str)})
MIN_CELLS, BLOCK_CELLS = 5, 4096


def write_cells(settings: SimulationConfig, seed: int, plan: ScreenPlan, plate: str, path: Path) -> None:
    """Store the cells of a plate that pass the filters."""
    passed_on_NR, wells = _noise_operator(plan.network), plan.wells(plate)
    counts, tables = [], []
    for shift_LG, well in zip(_rates_of_wells(plan, plate, wells), wells.itertuples(index=False), strict=True):
        drawn = _draw_well(plan, shift_LG, passed_on_NR, int(well.num_cells), random_stream(seed, "cells", plate, well.well))
        counts_NG = sp.csr_matrix(drawn.counts).astype(np.int64)
        total_N = np.asarray(counts_NG.sum(axis=1)).ravel()
        mito_N = np.asarray(counts_NG[:, plan.expression.is_mito_G].sum(axis=1)).ravel() / np.maximum(total_N, 1)
        keep_N = (total_N >= MIN_COUNTS) & (counts_NG.getnnz(axis=1) >= MIN_GENES) & (mito_N <= MAX_MITO)
        is_control = well.drug < 0
        counts.append(counts_NG[keep_N])
        tables.append(pd.DataFrame({
            "perturbation": "control" if is_control else plan.drugs[well.drug].name, "kind": "drug", "dose": 0.0 if is_control else well.dose,
            "cell_line": np.array(plan.cell_lines)[drawn.line[keep_N]], "plate": plate, "well": well.well, "is_control": is_control,
            "total_counts": total_N[keep_N].astype(np.float64), "num_genes": counts_NG[keep_N].getnnz(axis=1), "mito_fraction": mito_N[keep_N],
        }))  # fmt: skip
    whole = sp.vstack(counts, format="csr")
    obs = pd.concat(tables, ignore_index=True)
    obs.index = plate + "-" + obs.index.astype(str)
    var = pd.DataFrame({"gene": plan.genes["gene"].to_numpy()}, index=pd.Index(plan.genes["gene_id"].to_numpy(), name="gene_id"))
    write_store(path, obs, var, iter([whole]), num_nonzero=whole.nnz, largest=int(whole.data.max()))


def embed(paths: dict[str, Path], panel: pd.DataFrame, dimensions: int, folder: Path) -> dict[str, dict[str, str]]:
    """Embed all cells of all plates; paths of what the stages read."""
    gene_ids = pd.Index(panel["gene_id"])
    x_NG = np.concatenate([block.x_BG for path in paths.values() for block in CellStore(path).iter_expression(gene_ids, BLOCK_CELLS)])
    basis = pca_basis(np.corrcoef(x_NG.T), x_NG.mean(axis=0, dtype=np.float64), x_NG.std(axis=0, dtype=np.float64), gene_ids.tolist(), dimensions)
    settings = EmbeddingConfig(source="pca", cells="all", dimensions=dimensions)
    found = {}
    for plate, path in paths.items():
        target = folder / f"embedding{dimensions}" / f"{plate}.zarr"
        write_anndata(target, embed_plate(CellStore(path), settings, basis, roles=NO_ROLES, block_cells=BLOCK_CELLS))
        found[plate] = {"cells": str(path), "embedding": str(target)}
    return found


def true_changes(plan: ScreenPlan, genes: pd.Series, names: list[str]) -> np.ndarray:
    """Return the true effects [names, G], centred over perturbations."""
    found = noise_free(plan, genes, names)
    return found - found.mean(axis=0)


def study(case: Case, plan: ScreenPlan, settings: SimulationConfig, seed: int, folder: Path) -> dict[str, Any]:
    """All figures of one screen."""
    judge = Judge(case)
    panel = case.responses.genes
    paths = {plate: folder / "cells" / f"{plate}.zarr" for plate in settings.plates}
    conditions = []
    for plate, path in paths.items():
        if not path.exists():
            write_cells(settings, seed, plan, plate, path)
        with CellStore(path) as store:
            measured = measure_conditions(store, panel, NO_ROLES, min_cells=MIN_CELLS, block_cells=BLOCK_CELLS)
        write_anndata(folder / "conditions" / f"{plate}.zarr", measured)
        conditions.append(str(folder / "conditions" / f"{plate}.zarr"))
    num_cells, num_controls = (sum(int(number(CellStore(path))) for path in paths.values()) for number in (_all, _controls))
    report: dict[str, Any] = {"num_cells": num_cells, "num_controls": num_controls, "num_candidates": judge.edges.num_edges}
    plain: dict[str, float] = {}
    for dimensions in DIMENSIONS:
        plates = embed(paths, panel, dimensions, folder)
        started = time.process_time()
        fit, cells = fit_plates(plates, panel, {"basal": {}, "seed": 0}, folder / f"checkpoints{dimensions}", block_cells=BLOCK_CELLS)
        decoder_seconds = time.process_time() - started
        write_fit(folder / f"basal{dimensions}", fit, cells, panel, settings.plates)
        learned = read_json(folder / f"basal{dimensions}" / "summary.json")
        part: dict[str, Any] = {"decoder": {key: learned[key] for key in ("r2_median", "total_r2", "over_plain_mean", "best_epoch")}}
        for baseline in BASELINES:
            if baseline == "control_mean" and dimensions != DIMENSIONS[0]:
                continue  # knows no embedding
            started, written = time.process_time(), []
            for plate, found in plates.items():
                with CellStore(found["cells"]) as store:
                    decoder = None if baseline == "control_mean" else fit.decoder
                    table = measure_baselines(store, Embedding(found["embedding"]), decoder, panel, baseline=baseline, block_cells=BLOCK_CELLS)
                written.append(str(folder / f"{baseline}{dimensions}" / f"{plate}.zarr"))
                write_anndata(written[-1], table)
            seconds = time.process_time() - started
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
            figures = judged(case, judge, plan, conditions, written, plain)
            compared = compare_baselines(conditions, written, baseline).set_index("baseline").loc[baseline]
            figures |= {"left": compared["left"], "left_centred": compared["left_centred"]}
            cost = {"decoder_s": 0.0 if baseline == "control_mean" else decoder_seconds, "baselines_s": seconds, "peak_mb": memory}
            cost["cells_embedded"] = {"control_mean": 0, "matched_control": num_controls, "own_cell": num_cells}[baseline]
            name = baseline if baseline == "control_mean" else f"{baseline}_{dimensions}"
            report[name] = {key: _rounded(value) for key, value in figures.items()} | {"cost": {key: round(value, 1) for key, value in cost.items()}}
            print(name, report[name], flush=True)
        report[f"decoder_{dimensions}"] = part["decoder"]
    return report


def judged(case: Case, judge: Judge, plan: ScreenPlan, conditions: list[str], baselines: list[str], plain: dict[str, float]) -> dict[str, Any]:
    """Compare effects with the truth, and rank edges; `plain` keeps what control_mean, which comes first, has."""
    effects = ScreenFiles(conditions, baselines, targets_of(plan)).effects()
    truth_DG = true_changes(plan, effects.genes["gene"], effects.table["perturbation"].tolist())
    effect_DG = effects.effect_DG - effects.effect_DG.mean(axis=0)
    slope = float((effect_DG * truth_DG).sum() / (truth_DG**2).sum())
    noise = float(((effect_DG - slope * truth_DG) ** 2).mean())
    plain.setdefault("slope", slope)
    plain.setdefault("noise", noise)
    neumann = fit_causal(effects, case.edges, CausalConfig(prior_strength=0.0), seed=0)
    latent = fit_latent(effects, case.edges, LatentConfig())
    correlation = float(np.corrcoef(effect_DG.ravel(), truth_DG.ravel())[0, 1])
    return {
        "true_left": slope / plain["slope"], "noise": noise / plain["noise"], "correlation_with_truth": correlation,
        "neumann": judge.rank(np.abs(neumann.score_C), neumann.weight_C),
        "latent": judge.rank(latent.edges["score"].to_numpy(), latent.edges["sign"].to_numpy()),
    }  # fmt: skip


def _rounded(value: Any) -> Any:
    return value if isinstance(value, dict) else round(float(value), 4)


def _all(store: CellStore) -> int:
    return store.num_cells


def _controls(store: CellStore) -> int:
    return int(store.obs["is_control"].sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[21, 22])
    parser.add_argument("--folder", type=Path, required=True, help="for cells, embeddings and what is made of them")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/baselines.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    reports: dict[str, Any] = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    settings = SimulationConfig(**(BASE | VARIANTS["baselines"]))
    for seed in arguments.seeds:
        case = simulate("baselines", seed, cache=arguments.folder)
        reports[f"seed_{seed}"] = study(case, simulate_plan(settings, seed), settings, seed, arguments.folder / str(seed))
        write_json(arguments.output, reports)


if __name__ == "__main__":
    main()
