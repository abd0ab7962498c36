"""Rates of each rule for `causcade doctor`: src/causcade/doctor/rates.tsv, from two runs of the simulated screen and from the other benchmarks.

    python benchmarks/rates.py [--folder FOLDER] [--usage SMALL.jsonl LARGE.jsonl]

The demo and a larger screen (BIG) are run by Snakemake in a folder of their own; each Python process writes down, when it ends, the processor time
and the memory that the system counted for it. Two sizes give a start and a rate; where a benchmark at the size of the atlas tells the rate, it
counts (SCALE). Processor time hardly depends on what else the machine does, but where threads spin while they wait for each other: for rules of
several threads the lesser of this and of `--idle` counts. `--usage` takes what earlier runs have written.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from causcade.config import Config, parse_config
from causcade.doctor.probes import PROBES
from causcade.doctor.rates import read_recorded
from causcade.doctor.sizes import sizes_of
from causcade.doctor.work import works_of
from causcade.files import write_text

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "src/causcade/doctor/rates.tsv"
BIG = {
    "run": "big",
    "simulation": {
        "plates": ["plate1", "plate2"], "num_genes": 1500, "num_tfs": 120, "num_drugs": 72, "num_cell_lines": 3, "cells_per_well": 180,
    },
    "embedding": {"source": "pca"},
    "causal": {"edge_nulls": 0, "label_nulls": 0, "bootstraps": 1, "drug_folds": 0},
    "network": {"score": "latent"},
}  # fmt: skip
LOGGER = """
import atexit, json, os, resource, sys
def write():
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    with open(os.environ["USAGE"], "a") as file:
        cpu = own.ru_utime + own.ru_stime
        file.write(json.dumps(dict(argv=sys.argv, cpu=cpu, child=children.ru_utime + children.ru_stime, rss=own.ru_maxrss)) + "\\n")
atexit.register(write)
"""
SPINNING = ("basal", "evaluation", "embedding_map")
LIBRARIES_S = 3.0
"""Processor seconds in which torch, scanpy and the rest are loaded: the start of a rule whose rate only one size tells."""

# Processor seconds for each unit, as measured at or near the size of the atlas.
SCALE = {
    "coexpression_moments": (2.1e-7, "docs/performance.md: 10,028 cells/s on 2 threads at 14,142 genes, 933 non-zero counts of a cell"),
    "coexpression_moments_shard": (2.1e-7, "as coexpression_moments"),
    "coexpression_lines_moments": (2.1e-7, "as coexpression_moments; cells are read once for each line"),
    "evidence_controls": (2.1e-7, "as coexpression_moments"),
    "coexpression_moments_sum": (1.2e-9, "docs/performance.md: 14 plates of 14,142 genes take 3 s more than one"),
    "coexpression": (9.8e-8, "docs/performance.md: 10 s on 2 threads at 14,142 genes"),
    "coexpression_lines": (9.8e-8, "as coexpression"),
    "mask": (4.9e-6, "benchmarks/results/mask.json: 7.3 s for 1,483,724 edges"),
    "causal": (3.5e-10, "benchmarks/results/causal.json: 1.42 s a step for 5,333,815 edges, 128 perturbations, 6 hops"),
    "latent": (2.4e-7, "benchmarks/results/latent_cost.json: 6.1 min for 14,142 genes, 280 targets, 379 perturbations"),
    "evidence": (6.0e-8, "docs/evidence.md: 45 s for 7,000 genes, 280 targets, 379 perturbations"),
    "latent_cells": (2.1e-11, "dpotrf and dpotri at 4,500 genes, 1.95 s on one core; its sums are taken to grow as 1,000 genes for each plate"),
    "evidence_partial": (1.1e-11, "docs/evidence.md: 0.7 s at 4,000 genes"),
    "evaluation": (2.7e-7, "benchmarks/results/evaluation.json: 75.6 s for 1,400,000 edges, 200 resamplings"),
}
SCALE_OF_TX1 = (1 / 8.27e10, "benchmarks/results/embedding.json: the 70M shape, 0.73 cells of 113 GFLOP a processor second")
# Bytes of memory for each edge beyond what the demo takes: benchmarks/results/{mask,causal,evaluation}.json, docs/evidence.md.
EDGE_BYTES = {"mask": 543.0, "causal": 180.0, "evaluation": 1000.0, "evidence": 264.0}
OF_EDGES = ("network", "cascades", "latent", "report")


def run_logged(settings: dict, folder: Path, usage: Path) -> None:
    """Run the workflow in a copy of the checkout, each process writing down what it used."""
    subprocess.run(["git", "clone", "--quiet", "--shared", str(ROOT), str(folder / "checkout")], check=True)
    site = folder / "site"
    site.mkdir()
    write_text(site / "sitecustomize.py", LOGGER)
    write_text(folder / "settings.yaml", json.dumps(settings))
    environment = {**os.environ, "USAGE": str(usage), "PYTHONPATH": os.pathsep.join([str(site), str(folder / "checkout/src")])}
    command = [sys.executable, "-m", "snakemake", "--profile", "profiles/local", "--cores", "2", "--configfile", str(folder / "settings.yaml")]
    subprocess.run(command, cwd=folder / "checkout", env=environment, check=True)


def read_usage(path: Path) -> tuple[dict[str, list[float]], dict[str, float], float]:
    """Processor seconds of each job by rule, largest memory in MB by rule, and the seconds of Snakemake itself for a job."""
    seconds, memory, workflow = defaultdict(list), defaultdict(float), 0.0
    for line in path.read_text().splitlines():
        row = json.loads(line)
        name = Path(row["argv"][0]).name if row["argv"] else ""
        if "snakemake" in name or name == "__main__.py":
            workflow = max(workflow, row["cpu"])
            continue
        if name.endswith("worker.py") or not name.endswith(".py"):
            continue
        rule = re.sub(r"^tmp[^.]*\.", "", name).removesuffix(".py")
        if rule == "embedding" and row["cpu"] + row["child"] == 0:
            continue
        seconds[rule].append(row["cpu"] + row["child"])
        memory[rule] = max(memory[rule], row["rss"] / 1000)
    return dict(seconds), dict(memory), workflow / max(1, sum(map(len, seconds.values())))


def amounts(config: Config) -> dict[str, tuple[float, str]]:
    """Count what an average job of each rule has to do, with its unit."""
    return {work.rule: (work.amount / len(work.jobs), work.unit) for work in works_of(config, sizes_of(config))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to run; default: a folder that goes afterwards")
    parser.add_argument("--usage", type=Path, nargs=2, help="what two earlier runs have written: of the demo, of the larger screen")
    parser.add_argument("--idle", type=Path, help="benchmark files of a demo on an idle machine, for rules whose threads spin while they wait")
    parser.add_argument("--date", required=True, help="when the two runs were made, for the table")
    parser.add_argument("--output", type=Path, default=TABLE)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        usage = arguments.usage
        if usage is None:
            folder = (arguments.folder or Path(temporary)).resolve()
            usage = [folder / "small.jsonl", folder / "large.jsonl"]
            for path, settings in zip(usage, ({"run": "simulated"}, BIG), strict=True):
                (folder / path.stem).mkdir(parents=True)
                run_logged(settings, folder / path.stem, path)
        (small, small_mb, overhead), (large, large_mb, _) = map(read_usage, usage)
    idle = {} if arguments.idle is None else read_recorded(arguments.idle)
    for rule in SPINNING:
        if rule in idle:
            seconds = list(idle[rule].processor.values())
            small[rule] = min(small[rule], seconds, key=lambda values: sum(values) / len(values))
            large.pop(rule, None)  # one idle point and a busy one give no rate
    edges = sizes_of(parse_config({})).num_edges, sizes_of(parse_config(BIG)).num_edges

    def bytes_per_edge(name: str) -> float:
        """Memory for each edge: as a benchmark at the size of the atlas tells, else by the difference of the two screens."""
        if name not in OF_EDGES or name not in large_mb:
            return EDGE_BYTES.get(name, 0.0)
        return max(0.0, 1e6 * (large_mb[name] - small_mb[name]) / (edges[1] - edges[0]))

    lines = [
        f"# Processor seconds and memory of jobs, measured {arguments.date} on two cores of a shared x86-64 machine (Python 3.11, torch 2.13.0+cpu)",
        "# by benchmarks/rates.py: the demo and a screen of twice the genes and cells of a plate; rates at the size of the atlas are those of the",
        "# named benchmark. No GPU was measured: causcade doctor tells no time of a GPU from this table.",
        "\t".join(["rule", "unit", "start_s", "per_unit_s", "base_mb", "bytes_per_edge", "source"]),
    ]

    def add(rule: str, unit: str, start: float, per_unit: float, base: float, source: str) -> None:
        lines.append("\t".join([rule, unit, f"{start:.3g}", f"{per_unit:.3g}", f"{base:.0f}", f"{bytes_per_edge(rule):.0f}", source]))

    of_small, of_large = amounts(parse_config({})), amounts(parse_config(BIG))
    both = {**of_large, **of_small}
    both |= {"coexpression_moments_shard": both["coexpression_moments"], "coexpression_lines_moments": both["coexpression_moments"]}
    both |= {"coexpression_moments_sum": (0.0, "pairs of genes"), "coexpression_lines": both["coexpression"]}
    like = {"coexpression_moments_shard": "coexpression_moments", "coexpression_lines_moments": "coexpression_moments"}
    like |= {"coexpression_moments_sum": "coexpression", "coexpression_lines": "coexpression"}
    for rule, (_, unit) in both.items():
        name = like.get(rule, rule)
        taken = [values.get(name) for values in (small, large)]
        means = [None if not one else sum(one) / len(one) for one in taken]
        found = [(mean, of[name][0]) for mean, of in zip(means, (of_small, of_large), strict=True) if mean is not None and name in of]
        if rule in ("embedding",):
            continue
        if not found:
            print(f"{rule}: not measured, left out")
            continue
        base = max(small_mb.get(name, 0), 0) or large_mb[name]
        per_unit, source = SCALE.get(rule, (0.0, "demo"))
        if rule not in SCALE and len(found) == 2 and found[1][1] > 1.3 * found[0][1] > 0:
            per_unit = max(0.0, (found[1][0] - found[0][0]) / (found[1][1] - found[0][1]))
            source = "demo and the larger screen" if per_unit > 0 else "demo; the larger screen takes no longer"
        elif rule not in SCALE and unit == "operations":
            per_unit = max(0.0, found[0][0] - LIBRARIES_S) / found[0][1]
        start = max(0.1, found[0][0] - per_unit * found[0][1]) if rule not in like else 2.0
        add(rule, unit, start, per_unit, base, source)
    tx1 = sum(small["embedding"]) / len(small["embedding"])
    add(
        "embedding",
        "operations",
        max(LIBRARIES_S, tx1 - SCALE_OF_TX1[0] * of_small["embedding"][0]),
        SCALE_OF_TX1[0],
        small_mb["embedding"],
        SCALE_OF_TX1[1],
    )
    pca = sum(large["embedding"]) / len(large["embedding"])
    add(
        "embedding",
        "non-zero counts",
        0.5 * pca,
        0.5 * pca / of_large["embedding"][0],
        large_mb["embedding"],
        "the larger screen, pca; half of it taken as start",
    )
    add("snakemake", "", overhead, 0.0, 0.0, "processor seconds of Snakemake for a job of the demo")
    for name, probe in PROBES.items():
        add(name, "", min(probe() for _ in range(5)), 0.0, 0.0, "benchmarks/rates.py: the fastest of five")
    write_text(arguments.output, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
