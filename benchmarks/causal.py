"""One training step of the causal module at the size of the atlas: seconds and peak memory, beside a dense matrix W; and a whole fit.

    python benchmarks/causal.py [--genes 14142] [--edges 1400000] [--output benchmarks/results/causal.json]

Effects, targets and candidate edges are drawn at random, as many as the atlas has: 379 perturbations of which 264 have targets, 280 distinct
targets, regulators of very unequal degree. Each case runs in a process of its own, whose peak memory is what the system reports. A step is timed
after the L1 penalty has set in, and every 25th of them, which renews the information of the edges, by itself; so is the check of the radius by
ARPACK. On a machine that others use too, the least of the steps' times and the time of the processors tell more than the median; the load is
written beside them.

* `per_edge_<batch>`, `low_rank_<batch>`: a step of the module with one value per edge, or rank 64.
* `dense_64`: the same step with W as a dense matrix times a mask, gradients by autograd, its Adam; every product and every moment has G x G entries.
* `aggregate`: conditions to effects of perturbations, one plate of the atlas' size after another, as a fit reads them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import torch
from evaluation import draw_pairs

from causcade.causal.problem import Problem, make_problem
from causcade.causal.spectral import POWER_STEPS
from causcade.causal.training import CHECK_STEPS, REFRESH_STEPS, _Trainer
from causcade.config import CausalConfig
from causcade.files import write_anndata, write_json
from causcade.responses import DrugEffects, ScreenFiles

NUM_DRUGS, NUM_LISTED, NUM_TARGETS = 379, 264, 280
NUM_LINES, NUM_PLATES, NUM_REPEATED = 50, 14, 168
SEED = 0
NUM_STEPS = 10
BYTES_PER_KB = 1024


def draw_effects(num_genes: int, rng: np.random.Generator) -> DrugEffects:
    """Draw effects of perturbations and their targets."""
    names = [f"GENE{number:05d}" for number in range(num_genes)]
    hit = rng.choice(num_genes, min(NUM_TARGETS, num_genes), replace=False)
    is_target_DG = np.zeros((NUM_DRUGS, num_genes), dtype=bool)
    is_target_DG[np.arange(len(hit)) % NUM_LISTED, hit] = True
    is_target_DG[np.arange(NUM_LISTED), rng.choice(hit, NUM_LISTED)] = True
    effect_DG = rng.normal(0, 0.1, is_target_DG.shape).astype(np.float32) - is_target_DG
    table = pd.DataFrame({"perturbation": [f"drug{number:03d}" for number in range(NUM_DRUGS)], "kind": "drug", "weight": 1})
    return DrugEffects(
        effect_DG=effect_DG, se_DG=np.full_like(effect_DG, 0.05), table=table, genes=pd.DataFrame({"gene": names, "gene_id": names}),
        sign_DG=-is_target_DG.astype(np.int8), is_target_DG=is_target_DG, control_mean_G=np.ones(num_genes),
    )  # fmt: skip


def draw_problem(num_genes: int, num_edges: int, settings: CausalConfig) -> Problem:
    """Draw the data of a fit."""
    rng = np.random.default_rng(SEED)
    target, source = np.divmod(draw_pairs(num_genes, num_edges, num_genes, rng), num_genes)
    effects = draw_effects(num_genes, rng)
    names = effects.genes["gene"].to_numpy()
    curated = rng.random(num_edges) < 1 / 30
    edges = pd.DataFrame({"regulator": names[source], "target": names[target], "prior_confidence": np.where(curated, 0.8, 0.0)})
    problem = make_problem(effects, edges, settings)
    assert problem is not None
    return problem


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_PER_KB / 1e9


def time_sparse(num_genes: int, num_edges: int, parameters: str, batch: int, *, nuisance: bool = True) -> dict[str, float]:
    """Time the steps of the module itself."""
    settings = CausalConfig.model_validate({"parameters": parameters, "batch_perturbations": batch, "l1_start": 0, "nuisance_edges": nuisance})
    started = time.perf_counter()
    problem = draw_problem(num_genes, num_edges, settings)
    drawn, drawn_gb = time.perf_counter(), peak_gb()
    trainer = _Trainer(problem, num_genes, settings, SEED, torch.device("cpu"))
    trainer.advance()
    placed = time.perf_counter()
    seconds, cpu = [], time.process_time()
    for _ in range(NUM_STEPS):
        start = time.perf_counter()
        trainer.advance()
        seconds.append(time.perf_counter() - start)
    cpu_seconds = (time.process_time() - cpu) / NUM_STEPS
    trainer.step = REFRESH_STEPS
    start = time.perf_counter()
    trainer.advance()
    refresh = time.perf_counter() - start
    start = time.perf_counter()
    trainer.check(POWER_STEPS)
    check = time.perf_counter() - start
    step = min(seconds)
    num_refreshes = (settings.num_steps - settings.l1_start) // REFRESH_STEPS + 1
    num_checks = settings.num_steps // CHECK_STEPS
    return {
        "seconds_per_step": step, "median_seconds_per_step": float(np.median(seconds)), "cpu_seconds_per_step": cpu_seconds,
        "load": os.getloadavg()[0],
        "seconds_with_refresh": refresh, "seconds_of_check": check, "peak_gb": peak_gb(), "drawing_gb": drawn_gb, "drawing_seconds": drawn - started,
        "placing_seconds": placed - drawn, "num_edges": trainer.pattern.num_edges, "num_perturbations": len(problem.perturbations),
        "fit_seconds": step * settings.num_steps + max(0.0, refresh - step) * num_refreshes + check * num_checks, "num_steps": settings.num_steps,
    }  # fmt: skip


def time_dense(num_genes: int, num_edges: int, batch: int) -> dict[str, float]:
    """Time the same step with W as a dense matrix: nothing else of the loss, so what is compared is the form of W."""
    settings = CausalConfig(batch_perturbations=batch)
    problem = draw_problem(num_genes, num_edges, settings)
    mask_GG = torch.zeros(num_genes, num_genes)
    mask_GG[torch.as_tensor(problem.target_E), torch.as_tensor(problem.source_E)] = 1.0
    weight_GG = torch.zeros_like(mask_GG).requires_grad_()
    optimiser = torch.optim.Adam([weight_GG], lr=settings.learning_rate)
    direct_GD = torch.zeros(problem.effect_GD.shape).index_put(
        (torch.as_tensor(problem.support_gene_S), torch.as_tensor(problem.support_drug_S)), torch.as_tensor(problem.start_S)
    )
    effect_GD = torch.as_tensor(problem.effect_GD)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        columns = torch.randperm(effect_GD.shape[1])[:batch]
        kept_GG = mask_GG * (torch.rand(num_genes, num_genes) >= settings.edge_dropout) / (1 - settings.edge_dropout)
        masked_GG = weight_GG * kept_GG
        term = total = direct_GD[:, columns]
        for _ in range(settings.num_hops):
            term = masked_GG @ term
            total = total + term
        loss = ((effect_GD[:, columns] - total) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            weight_GG.copy_(torch.sign(weight_GG) * (weight_GG.abs() - 1e-6).clamp_min(0))
            vector = torch.randn(num_genes, 1)
            for _ in range(POWER_STEPS):
                vector = weight_GG @ vector
        seconds.append(time.perf_counter() - start)
    return {"seconds_per_step": min(seconds), "load": os.getloadavg()[0], "peak_gb": peak_gb(), "num_values": num_genes**2}


def time_aggregation(num_genes: int, num_plates: int) -> dict[str, float]:
    """Time from stores of conditions, as many as the atlas has, to effects of perturbations."""
    rng = np.random.default_rng(SEED)
    genes = [f"GENE{number:05d}" for number in range(num_genes)]
    doses = [(f"drug{number:03d}", dose) for number in range(NUM_DRUGS) for dose in (0.05, 0.5, 5.0)]
    doses += doses[:NUM_REPEATED]  # on two plates
    lines = [f"line{number:02d}" for number in range(NUM_LINES)]
    with tempfile.TemporaryDirectory() as temporary:
        paths: list[list[str]] = [[], []]
        num_conditions = 0
        for plate in range(num_plates):
            wells = [(drug, "drug", dose, line, f"p{plate}", 1500, False) for drug, dose in doses[plate::num_plates] for line in lines]
            num_conditions += len(wells)
            obs = pd.DataFrame(wells, columns=["perturbation", "kind", "dose", "cell_line", "plate", "n_cells", "is_control"]).rename(index=str)
            var = pd.DataFrame({"gene": genes}, index=genes)
            layers = {name: rng.random((len(obs), num_genes), dtype=np.float32) for name in ("mean", "var")}
            controls = pd.DataFrame({"cell_line": lines, "plate": f"p{plate}", "n_cells": 3000}).rename(index=str)
            mean_LG = rng.random((NUM_LINES, num_genes), dtype=np.float32)
            base = anndata.AnnData(mean_LG, obs=controls, var=var, layers={"var": mean_LG / 3000})
            for place, name, store in ((0, "conditions", anndata.AnnData(obs=obs, var=var, layers=layers)), (1, "baseline", base)):
                paths[place].append(f"{temporary}/{name}/p{plate}.zarr")
                write_anndata(paths[place][-1], store)
            del layers
        written_gb = peak_gb()
        start, cpu = time.perf_counter(), time.process_time()
        targets = pd.DataFrame({"perturbation": ["drug000"], "target": [genes[0]], "sign": [-1]})
        effects = ScreenFiles(*paths, targets).effects()
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    return {
        "seconds": seconds, "cpu_seconds": cpu_seconds, "load": os.getloadavg()[0], "peak_gb": peak_gb(),
        "writing_gb": written_gb, "num_conditions": num_conditions, "num_plates": num_plates,
        "num_perturbations": len(effects.table),
    }  # fmt: skip


CASES = {
    "per_edge_64": lambda genes, edges: time_sparse(genes, edges, "per_edge", 64),
    "per_edge_128": lambda genes, edges: time_sparse(genes, edges, "per_edge", 128),
    "per_edge_64_candidates_only": lambda genes, edges: time_sparse(genes, edges, "per_edge", 64, nuisance=False),
    "low_rank_64": lambda genes, edges: time_sparse(genes, edges, "low_rank", 64),
    "low_rank_128": lambda genes, edges: time_sparse(genes, edges, "low_rank", 128),
    "dense_64": lambda genes, edges: time_dense(genes, edges, 64),
    "aggregate": lambda genes, _: time_aggregation(genes, NUM_PLATES),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--genes", type=int, default=14_142)
    parser.add_argument("--edges", type=int, default=1_400_000)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/causal.json"))
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="cases to measure; the others keep their figures")
    arguments = parser.parse_args()
    if arguments.case is not None:
        torch.set_num_threads(arguments.threads)
        print(json.dumps(CASES[arguments.case](arguments.genes, arguments.edges)))
        return
    facts = {"machine": platform.machine(), "threads": arguments.threads, "python": platform.python_version(), "torch": torch.__version__}
    measured: dict[str, Any] = {"facts": facts, "num_genes": arguments.genes, "num_candidates": arguments.edges}
    if arguments.output.exists():
        measured = json.loads(arguments.output.read_text()) | measured
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), str(arguments.threads))
    for case in arguments.cases:
        command = [sys.executable, __file__, "--case", case, "--threads", str(arguments.threads)]
        command += ["--genes", str(arguments.genes), "--edges", str(arguments.edges)]
        measured[case] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout)
        print(case, json.dumps(measured[case], indent=1), flush=True)
        write_json(arguments.output, measured)
    if {"dense_64", "per_edge_64"} <= measured.keys():
        for name in ("seconds_per_step", "peak_gb"):
            measured[f"dense_over_per_edge_{name}"] = measured["dense_64"][name] / measured["per_edge_64"][name]
    write_json(arguments.output, measured)


if __name__ == "__main__":
    main()
