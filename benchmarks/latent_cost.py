"""Cost of the latent estimator at the shape of the atlas, worked out from two smaller numbers of target genes, and what more workers gain.

    python benchmarks/latent_cost.py [--genes 2048 4096] [--drugs 379] [--sources 280] [--workers 1 2] [--whole]
        [--output benchmarks/results/latent_cost.json]

Measured are the seconds of one sweep over all edges and of one renewal of the activities (a chunk of perturbations, times the number of chunks), and
the peak memory. A sweep is linear in genes; a renewal has a part that does not depend on them (its equations in the activities), so both are drawn
as a line through the two sizes. The number of sweeps and renewals is that of the defaults. Each case is the least of three. `--whole` also times a
whole fit of the larger size, once for each number of workers.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from causcade.config_latent import LatentConfig
from causcade.files import write_json
from causcade.latent.block import DRUGS_PER_CHUNK
from causcade.latent.estimate import _Fit, estimate
from causcade.latent.problem import LatentProblem

ATLAS_GENES = 14_142
LINKS_PER_DRUG = 2


def draw_problem(num_genes: int, num_drugs: int, num_sources: int) -> LatentProblem:
    """Draw noise of the shape of a screen, the sources first."""
    rng = np.random.default_rng(0)
    effect_DG = rng.normal(0, 0.1, (num_drugs, num_genes))
    listed_DJ = np.zeros((num_drugs, num_sources), bool)
    for drug in range(num_drugs):
        listed_DJ[drug, rng.choice(num_sources, LINKS_PER_DRUG, replace=False)] = True
    weight_DG = np.ones((num_drugs, num_genes))
    weight_DG[:, :num_sources][listed_DJ] = 0
    return LatentProblem(
        effect_DG=effect_DG, variance_DG=np.full(effect_DG.shape, 0.01), composition_D=np.zeros(num_drugs), profile_G=np.zeros(num_genes),
        weight_DG=weight_DG, strength_DF=rng.normal(0, 1, (num_drugs, 2)),
        source_J=np.arange(num_sources), listed_DJ=listed_DJ, sign_DJ=-listed_DJ.astype(np.float64), seen_DJ=np.ones_like(listed_DJ),
        hidden_DG=np.zeros(effect_DG.shape, bool), undecided_D=np.ones(num_drugs, bool), fixed_DJ=np.zeros_like(listed_DJ),
        quiet_DJ=np.zeros_like(listed_DJ), ambiguous_D=np.zeros(num_drugs, bool), typical_effect=1.0, direct_sd=0.7, fixed_sd=0.5, min_tau=0.03,
        perturbations=[f"d{drug}" for drug in range(num_drugs)],
        is_measured_G=np.ones(num_genes, bool),
    )  # fmt: skip


def measure(num_genes: int, num_drugs: int, num_sources: int, workers: int) -> dict[str, float]:
    """Seconds of one sweep and one renewal, of processors and of the clock."""
    times = []
    with _Fit(draw_problem(num_genes, num_drugs, num_sources), LatentConfig(), None, ["cpu"], workers, 512) as fit:
        fit._sweep(0)
        drugs = min(num_drugs, DRUGS_PER_CHUNK)
        for _ in range(3):
            wall, cpu = time.perf_counter(), time.process_time()
            fit._sweep(5)
            sweep = time.perf_counter() - wall, time.process_time() - cpu
            whole = fit.activity_DJ, fit.variance_DJ, fit.seen_DJ
            fit.activity_DJ, fit.variance_DJ, fit.seen_DJ = (state_DJ[:drugs].clone() for state_DJ in whole)  # one chunk of perturbations
            wall, cpu = time.perf_counter(), time.process_time()
            fit._renew_activities()
            renewal = time.perf_counter() - wall, time.process_time() - cpu
            fit.activity_DJ, fit.variance_DJ, fit.seen_DJ = whole
            times.append((*sweep, *(seconds * num_drugs / drugs for seconds in renewal)))
    found = dict(zip(("sweep_wall_s", "sweep_cpu_s", "renewal_wall_s", "renewal_cpu_s"), np.min(times, axis=0).round(3).tolist(), strict=True))
    return {"genes": num_genes, "workers": workers} | found | {"peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)}


def measure_whole(num_genes: int, num_drugs: int, num_sources: int, workers: int) -> float:
    """Seconds of a whole fit by the clock."""
    problem = draw_problem(num_genes, num_drugs, num_sources)
    start = time.perf_counter()
    estimate(problem, LatentConfig(), workers=workers)
    return round(time.perf_counter() - start, 1)


def at_atlas(rows: list[dict[str, float]], clock: str) -> float:
    """Minutes of a whole fit, from the two sizes."""
    settings = LatentConfig()
    num_sweeps = settings.first_sweeps + settings.sweeps * (settings.num_rounds - 1)
    genes = [row["genes"] for row in rows]

    def at(name: str) -> float:
        slope, constant = np.polyfit(genes, [row[f"{name}_{clock}_s"] for row in rows], 1)
        return float(constant + slope * ATLAS_GENES)

    return round((num_sweeps * at("sweep") + (settings.num_rounds - 1) * at("renewal")) / 60, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genes", type=int, nargs=2, default=[2048, 4096])
    parser.add_argument("--drugs", type=int, default=379)
    parser.add_argument("--sources", type=int, default=280)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(genes, arguments.drugs, arguments.sources, workers) for genes in arguments.genes for workers in arguments.workers]
    report: dict[str, Any] = {"measured": rows}
    for workers in arguments.workers:
        own = [row for row in rows if row["workers"] == workers]
        report[f"atlas_minutes_{workers}"] = {"cpu": at_atlas(own, "cpu"), "wall": at_atlas(own, "wall")}
    if arguments.whole:
        shape = (max(arguments.genes), arguments.drugs, arguments.sources)
        report["whole_fit_wall_s"] = {workers: measure_whole(*shape, workers) for workers in arguments.workers}
    print(json.dumps(report, indent=2))
    if arguments.output:
        write_json(arguments.output, report)


if __name__ == "__main__":
    main()
