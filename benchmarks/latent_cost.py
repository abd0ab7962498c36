"""Cost of the latent estimator at the shape of the atlas, worked out from a part of its target genes: it is linear in them.

    python benchmarks/latent_cost.py [--genes 512 1024] [--drugs 379] [--sources 280] [--workers 1] [--output benchmarks/results/latent_cost.json]

Measured are the seconds of processor time of one sweep over all edges and of one renewal of the activities (a chunk of perturbations, times the
number of chunks), and the peak memory. The whole fit has 70 sweeps and three renewals (the defaults).
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import torch

from causcade.config_latent import LatentConfig
from causcade.files import write_json
from causcade.latent.block import DRUGS_PER_CHUNK
from causcade.latent.estimate import _Fit
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
        hidden_DG=np.zeros(effect_DG.shape, bool), undecided_D=np.ones(num_drugs, bool), ambiguous_D=np.zeros(num_drugs, bool), typical_effect=1.0,
        direct_sd=0.7, min_tau=0.03, perturbations=[f"d{drug}" for drug in range(num_drugs)],
        is_measured_G=np.ones(num_genes, bool),
    )  # fmt: skip


def measure(num_genes: int, num_drugs: int, num_sources: int, workers: int) -> dict[str, float]:
    settings = LatentConfig()
    with _Fit(draw_problem(num_genes, num_drugs, num_sources), settings, None, ["cpu"], workers, 512) as fit:
        fit._sweep(0)
        wall, cpu = time.perf_counter(), time.process_time()
        for sweep in (4, 5):
            fit._sweep(sweep)
        sweep_wall, sweep_cpu = (time.perf_counter() - wall) / 2, (time.process_time() - cpu) / 2
        # one chunk of perturbations
        drugs = min(num_drugs, DRUGS_PER_CHUNK)
        fit.activity_DJ, fit.variance_DJ, fit.seen_DJ = fit.activity_DJ[:drugs], fit.variance_DJ[:drugs], fit.seen_DJ[:drugs]
        wall, cpu = time.perf_counter(), time.process_time()
        fit._renew_activities()
        share = num_drugs / drugs
        return {
            "genes": num_genes, "sweep_cpu_s": round(sweep_cpu, 3), "sweep_wall_s": round(sweep_wall, 3),
            "renewal_cpu_s": round((time.process_time() - cpu) * share, 2), "renewal_wall_s": round((time.perf_counter() - wall) * share, 2),
            "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genes", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--drugs", type=int, default=379)
    parser.add_argument("--sources", type=int, default=280)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(genes, arguments.drugs, arguments.sources, arguments.workers) for genes in arguments.genes]
    settings, last = LatentConfig(), rows[-1]
    num_sweeps = settings.first_sweeps + settings.sweeps * (settings.num_rounds - 1)
    scale = ATLAS_GENES / last["genes"]
    whole = (num_sweeps * last["sweep_cpu_s"] + (settings.num_rounds - 1) * last["renewal_cpu_s"]) * scale
    report = {"measured": rows, "workers": arguments.workers, "sweeps": num_sweeps, "atlas_cpu_minutes": round(whole / 60, 1)}
    print(report)
    if arguments.output:
        write_json(arguments.output, report)


if __name__ == "__main__":
    main()
