"""The evaluation at the size of the atlas: seconds and peak memory of all rankings on all references, with every control and every interval.

    python benchmarks/evaluation.py [--genes 14142] [--edges 1400000] [--bootstrap 200] [--output benchmarks/results/evaluation.json]

Edges, scores and references are drawn at random: as many pairs and genes as the real references have (`REFERENCES`), a fifth of the pairs among the
candidate edges, targets of equal and regulators of very unequal degree. Scores follow the references weakly, so that no metric is trivial. Two cases,
each in a process of its own whose peak memory is what the system reports, the drawn inputs included:

* `rankings`: 12 rankings (two models, four nulls, six baselines), all subsets, metrics, controls and bootstrap intervals.
* `stage`: besides, mean shift and ridge between 379 perturbations, and as many nulls and fits on resampled perturbations as the workflow makes by
  default.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from causcade.config import CausalConfig, EvaluationConfig
from causcade.evaluation import EvaluationInputs, Responses, evaluate
from causcade.files import write_json

NUM_PRIORS = 46_000
NUM_DRUGS = 379
NUM_TARGETS = 280
REFERENCES = {"string": (57_912, 8_956), "complexportal": (12_781, 2_403), "humap": (13_972, 10_007), "reactome": (548_878, 11_419)}  # pairs, genes
SHARE_IN_CANDIDATES = 0.2
SIGNAL = 0.5
SEED = 0
BYTES_PER_KB = 1024
CASES = ("rankings", "stage")


def draw_pairs(num_genes: int, num: int, num_sources: int, rng: np.random.Generator) -> np.ndarray:
    """Draw unique ordered pairs, as target * G + source, sorted; `num_sources` genes are sources, with weights that fall as 1 / rank."""
    order = rng.permutation(num_genes)[:num_sources]
    weight = 1.0 / (np.arange(num_sources) + 50.0)
    cumulative = np.cumsum(weight) / weight.sum()
    keys = np.zeros(0, dtype=np.int64)
    while len(keys) < num:
        source = order[np.minimum(np.searchsorted(cumulative, rng.random(num)), num_sources - 1)]
        target = rng.integers(0, num_genes, num)
        keys = np.unique(np.concatenate([keys, (target * num_genes + source)[source != target]]))
    return np.sort(rng.choice(keys, num, replace=False))


def draw_references(keys: np.ndarray, names: np.ndarray, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Pairs and universes of the references, and in how many of them each candidate edge is a pair."""
    num_genes = len(names)
    target, source = np.divmod(keys, num_genes)
    unordered = np.minimum(source, target) * num_genes + np.maximum(source, target)
    pairs, universe, hits = [], [], np.zeros(len(keys))
    for name, (num_pairs, num_known) in REFERENCES.items():
        genes = rng.choice(num_genes, min(num_known, num_genes), replace=False)
        is_known = np.zeros(num_genes, dtype=bool)
        is_known[genes] = True
        inside = unordered[is_known[source] & is_known[target]]
        chosen = rng.choice(inside, min(round(num_pairs * SHARE_IN_CANDIDATES), len(inside) // 3), replace=False)
        a, b = genes[rng.integers(0, len(genes), (2, num_pairs - len(chosen)))]
        a, b = a[a != b], b[a != b]
        every = np.unique(np.concatenate([chosen, np.minimum(a, b) * num_genes + np.maximum(a, b)]))
        hits += np.isin(unordered, every)
        first, second = np.divmod(every, num_genes)
        pairs.append(pd.DataFrame({"reference": name, "gene_a": names[first], "gene_b": names[second], "score": 0.9}))
        universe.append(pd.DataFrame({"reference": name, "gene": names[np.sort(genes)]}))
    return pd.concat(pairs, ignore_index=True), pd.concat(universe, ignore_index=True), hits


def draw_inputs(num_genes: int, num_edges: int, *, with_responses: bool) -> EvaluationInputs:
    """Draw the inputs of the stage."""
    rng = np.random.default_rng(SEED)
    names = np.array([f"GENE{number:05d}" for number in range(num_genes)], dtype=object)
    curated = draw_pairs(num_genes, min(NUM_PRIORS, num_edges // 2), num_genes // 12, rng)
    coexpressed = draw_pairs(num_genes, num_edges, num_genes, rng)
    keys = np.union1d(curated, rng.choice(np.setdiff1d(coexpressed, curated), num_edges - len(curated), replace=False))
    is_curated = np.isin(keys, curated)
    pairs, universe, hits = draw_references(keys, names, rng)
    target, source = np.divmod(keys, num_genes)

    def score(signal: float) -> np.ndarray:
        return (rng.standard_normal(num_edges) + signal * hits) * rng.choice([-1.0, 1.0], num_edges)

    fitted = CausalConfig() if with_responses else CausalConfig(edge_nulls=2, label_nulls=2, bootstraps=0)
    fits = {"causal": SIGNAL, "causal_prior": SIGNAL} | {f"causal_boot{number}": SIGNAL for number in range(fitted.bootstraps)}
    fits |= {f"edge_null{number}": 0.0 for number in range(fitted.edge_nulls)} | {f"label_null{number}": 0.1 for number in range(fitted.label_nulls)}
    hit = rng.choice(num_genes, min(NUM_TARGETS, num_genes), replace=False)
    drugs = [f"drug{number:03d}" for number in range(NUM_DRUGS)]
    links = pd.DataFrame({"perturbation": rng.choice(drugs, 2 * len(hit)), "target": names[np.tile(hit, 2)], "sign": -1})
    shape = (NUM_DRUGS, num_genes)
    responses = Responses(perturbations=drugs, genes=names.tolist(), effect_DG=rng.standard_normal(shape), error_DG=np.ones(shape))
    prior_target, prior_source = np.divmod(curated, num_genes)
    return EvaluationInputs(
        candidate_edges=pd.DataFrame({
            "regulator": names[source], "target": names[target], "coexpression": np.tanh(0.2 * score(SIGNAL)),
            "rank": pd.array(rng.integers(1, 101, num_edges), dtype="Int32"),
            "sources": np.where(is_curated, "collectri;coexpression", "coexpression"),
            "prior_confidence": np.where(is_curated, rng.choice([0.5, 0.6, 0.8, 0.95], num_edges), 0.0),
            "prior_sign": np.where(is_curated, 1, 0).astype(np.int8),
        }),
        panel=pd.DataFrame({"gene": names, "is_tf": rng.random(num_genes) < 0.08, "is_drug_target": np.isin(np.arange(num_genes), hit)}),
        scores={name: score(signal) for name, signal in fits.items()}, reference_pairs=pairs, reference_universe=universe, drug_links=links,
        prior_edges=pd.DataFrame({
            "regulator": names[prior_source], "target": names[prior_target], "sign": 1, "sources": "collectri", "confidence": 0.8,
            "literature": "1;2",
        }),
        raw_correlation=np.tanh(0.2 * score(SIGNAL)), responses=responses if with_responses else None,
    )  # fmt: skip


def run_case(case: str, num_genes: int, num_edges: int, bootstrap: int) -> None:
    """Evaluate in this process and print what it took."""
    start = time.perf_counter()
    inputs = draw_inputs(num_genes, num_edges, with_responses=case == "stage")
    drawn, cpu = time.perf_counter(), time.process_time()
    drawn_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_PER_KB / 1e9
    tables = evaluate(inputs, settings=EvaluationConfig(bootstrap=bootstrap), seed=SEED)
    metrics = tables.metrics
    found = {
        "seconds": time.perf_counter() - drawn, "cpu_seconds": time.process_time() - cpu, "drawing_seconds": drawn - start, "drawing_gb": drawn_gb,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_PER_KB / 1e9,
        "num_rankings": int(metrics["ranking"].nunique()), "num_references": int(metrics["reference"].nunique()),
        "num_subsets": int(metrics["subset"].nunique()), "num_metrics": int(metrics["metric"].nunique()), "num_values": len(metrics),
        "num_intervals": int(metrics["low"].notna().sum()),
        "num_positive": {name: int(part["num_positive"].max()) for name, part in metrics[metrics["subset"] == "all"].groupby("reference")},
    }  # fmt: skip
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--genes", type=int, default=14_142)
    parser.add_argument("--edges", type=int, default=1_400_000)
    parser.add_argument("--bootstrap", type=int, default=EvaluationConfig().bootstrap)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/evaluation.json"))
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case is not None:
        run_case(arguments.case, arguments.genes, arguments.edges, arguments.bootstrap)
        return
    facts = {"machine": platform.machine(), "threads": arguments.threads, "python": platform.python_version(), "numpy": np.__version__}
    measured: dict[str, object] = {"facts": facts, "num_genes": arguments.genes, "num_edges": arguments.edges, "bootstrap": arguments.bootstrap}
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), str(arguments.threads))
    for case in CASES:
        command = [sys.executable, __file__, "--case", case]
        command += ["--genes", str(arguments.genes), "--edges", str(arguments.edges), "--bootstrap", str(arguments.bootstrap)]
        measured[case] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout)
        print(case, json.dumps(measured[case], indent=1), flush=True)
    write_json(arguments.output, measured)


if __name__ == "__main__":
    main()
