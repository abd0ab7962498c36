"""The latent estimator on simulated screens: how well it ranks edges, whether its probabilities are right, and what its nulls have.

    python benchmarks/latent.py [--seeds 21 22 23] [--variants base saturating ...] [--short] [--cache /tmp/latent] [--output ...]

Screens are those of :mod:`latent_screens`. `np` (no prior): curated edges are left out of positives and negatives. All rankings are of the same
candidate edges and of the same responses; all settings are the defaults. `missing` and `false` spoil the table of targets (40 % of the links lost,
half as many false ones added). `--short` is the estimator, one edge null, mean shift and deconvolution. Seeds 1, 2, 11 to 19 were used while the
estimator was written.
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from latent_screens import VARIANTS, Case, simulate, with_dirty_table
from scipy.stats import rankdata

from causcade.causal import fit_causal
from causcade.config import CausalConfig
from causcade.config_latent import LatentConfig
from causcade.evaluation.edges import code_edges
from causcade.evaluation.metrics import auroc, average_precision, direction_accuracy, grouped_auroc, sign_accuracy, sort_ranking, tie_runs
from causcade.evaluation.rankings import Responses, mean_shift, screened_links
from causcade.evaluation.ridge import ridge_between_perturbations
from causcade.evidence import aggregate_ranks, deconvolve_targets, prepare_effects, shift_of_target
from causcade.evidence import ridge_between_perturbations as column_of_ridge
from causcade.files import write_json
from causcade.latent import LatentFit, fit_latent, partial_correlation
from causcade.responses import DrugEffects, edge_null, label_null

BINS = (0.0, 0.01, 0.05, 0.2, 0.5, 0.8, 0.9, 0.95, 0.99, 1.0)
NUM_NULLS = 2
DIRTY = {"missing": {"missing": 0.4, "false": 0.0}, "false": {"missing": 0.0, "false": 0.5}}
SETTINGS = LatentConfig()


class Judge:
    """Metrics of rankings of the candidate edges of a screen."""

    def __init__(self, case: Case) -> None:
        self.edges = code_edges(case.edges, case.responses.genes)
        genes = pd.Index(case.responses.genes["gene"])
        weight_GG = np.zeros((len(genes), len(genes)))
        weight_GG[genes.get_indexer(case.truth["target"]), genes.get_indexer(case.truth["regulator"])] = case.truth["weight"]
        self.weight_E = weight_GG[self.edges.target_E, self.edges.source_E]
        self.is_true_E, self.no_prior_E = self.weight_E != 0, ~self.edges.is_curated_E

    def rank(self, score_E: np.ndarray, sign_E: np.ndarray | None = None) -> dict[str, float]:
        """Score one ranking; signs are judged on all true edges, directions on all candidates, the rest on edges that are not curated."""
        ranking = sort_ranking(np.asarray(score_E, dtype=np.float64), self.edges)
        order, by_source = (rows[self.no_prior_E[rows]] for rows in (ranking.order_E, ranking.by_source_E))
        runs = tie_runs(ranking.level_E[order], self.is_true_E[order])
        same_source, _ = grouped_auroc(self.edges.source_E[by_source], ranking.level_E[by_source], self.is_true_E[by_source])
        everywhere = np.ones_like(self.is_true_E)
        found = {"auprc": average_precision(runs), "auroc": auroc(runs), "same_source_auroc": same_source}
        found["direction"] = direction_accuracy(ranking.level_E, self.is_true_E, everywhere, self.edges.reverse_E)[0]
        if sign_E is not None:
            found["sign"] = sign_accuracy(np.sign(sign_E).astype(np.int8), np.sign(self.weight_E).astype(np.int8), everywhere)[0]
        return {name: round(float(value), 4) for name, value in found.items() if value is not None}

    def calibrate(self, probability_E: np.ndarray) -> dict:
        """Compare probabilities with the share of true edges."""
        known = np.isfinite(probability_E)
        bins = []
        for low, high in pairwise(BINS):
            inside = known & (probability_E >= low) & ((probability_E < high) | (high == 1.0))
            if inside.any():
                mean, share = float(probability_E[inside].mean()), float(self.is_true_E[inside].mean())
                bins.append({"from": low, "to": high, "num": int(inside.sum()), "mean": round(mean, 4), "true": round(share, 4)})
        sure = known & (probability_E > 0.9)
        found = {"bins": bins, "num_above_0.9": int(sure.sum()), "num_above_0.5": int((known & (probability_E > 0.5)).sum())}
        found["expected"], found["true"] = round(float(probability_E[known].sum()), 1), int(self.is_true_E[known].sum())
        if sure.any():
            found["right_above_0.9"] = round(float(self.is_true_E[sure].mean()), 4)
            found["right_above_0.9_np"] = round(float(self.is_true_E[sure & self.no_prior_E].sum() / max((sure & self.no_prior_E).sum(), 1)), 4)
            found["recall_above_0.9"] = round(float((sure & self.is_true_E).sum() / max(self.is_true_E[known].sum(), 1)), 4)
        return found


def deconvolve(effects: DrugEffects, target_E: np.ndarray, source_E: np.ndarray) -> np.ndarray:
    """Total effect of each listed gene on each gene, in standard errors: ridge regression of the responses on the signed table of targets."""
    listed_J = np.flatnonzero(effects.is_target_DG.any(axis=0))
    design_DJ = np.where(effects.sign_DG != 0, effects.sign_DG, effects.is_target_DG)[:, listed_J].astype(np.float64)
    effect_DG, variance_DG = effects.effect_DG.astype(np.float64), effects.se_DG.astype(np.float64) ** 2
    value_GG = np.zeros((effect_DG.shape[1],) * 2)
    for gene in range(effect_DG.shape[1]):
        weighted = design_DJ / (variance_DG[:, [gene]] + np.median(variance_DG[:, gene]))
        normal = weighted.T @ design_DJ
        inverse = np.linalg.inv(normal + 0.5 * np.median(np.diag(normal)) * np.eye(len(listed_J)))
        value_GG[gene, listed_J] = inverse @ (weighted.T @ effect_DG[:, gene]) / np.sqrt(np.diag(inverse @ normal @ inverse))
    return value_GG[target_E, source_E]


def peers(case: Case, judge: Judge, effects: DrugEffects, *, short: bool) -> dict[str, dict[str, float]]:
    """Rankings to beat; `short`: those that are quick.

    `column_*` are the evidence columns of a run, which read responses without what perturbations share; the others read them as they are.
    """
    genes = case.responses.genes
    measured = Responses(
        perturbations=effects.table["perturbation"].tolist(), genes=genes["gene"].tolist(), effect_DG=effects.effect_DG, error_DG=effects.se_DG
    )
    links = case.responses.links.assign(target=genes["gene"].to_numpy()[case.responses.links["target"].to_numpy(int)])
    shift = mean_shift(judge.edges, screened_links(links, genes, measured.perturbations), measured)
    total = deconvolve(effects, judge.edges.target_E, judge.edges.source_E)
    prepared = prepare_effects(effects)
    columns = {
        f"column_{name}": value(prepared, judge.edges.target_E, judge.edges.source_E)
        for name, value in (("mean_shift", shift_of_target), ("deconvolution", deconvolve_targets), ("ridge", column_of_ridge))
    }
    found = {"mean_shift": judge.rank(shift.score_E, shift.sign_E), "deconvolution": judge.rank(np.abs(total), total)}
    found |= {name: judge.rank(np.abs(value_E), value_E) for name, value_E in columns.items()}
    if short:
        return found
    ridge = ridge_between_perturbations(judge.edges, measured)
    fit = fit_causal(effects, case.edges, CausalConfig(prior_strength=0.0), seed=0)
    weight = fit.weight_C * np.sqrt(fit.information_C)
    mean_rank = sum(rankdata(np.abs(value)) for value in (weight, ridge.score_E, total))
    aggregate_E = aggregate_ranks({"weight_no_prior": weight, **{name: columns[f"column_{name}"] for name in ("deconvolution", "ridge")}})
    return found | {
        "ridge": judge.rank(ridge.score_E, ridge.sign_E),
        "causal": judge.rank(np.abs(weight), weight),
        "rank_mean": judge.rank(mean_rank),
        "column_aggregate": judge.rank(np.abs(aggregate_E), aggregate_E),
    }


def of_fit(judge: Judge, fit: LatentFit) -> dict:
    metrics = judge.rank(fit.edges["score"], fit.edges["sign"].to_numpy()) if judge.is_true_E.any() else {}
    return metrics | {"calibration": judge.calibrate(fit.edges["probability"].to_numpy())}


def study(case: Case, *, short: bool = False) -> dict:
    """All figures of one screen; without a true edge or `short`, few."""
    judge, effects = Judge(case), case.effects
    target_E, source_E = case.places
    partial_E = partial_correlation(case.all_covariance_GG, target_E, source_E)
    started = time.perf_counter()
    fit = fit_latent(effects, case.edges, SETTINGS, partial_C=partial_E)
    seconds = time.perf_counter() - started
    report = {
        "screen": {
            "genes": len(case.responses.genes), "perturbations": len(effects.table), "candidates": judge.edges.num_edges,
            "treated_cells": int(case.responses.obs["n_cells"].sum()), "true_np": int((judge.is_true_E & judge.no_prior_E).sum()),
            "prevalence_np": round(float(judge.is_true_E[judge.no_prior_E].mean()), 5), "listed_genes": fit.summary["num_listed_genes"],
        },
        "seconds": round(seconds, 2), "latent": of_fit(judge, fit),
    }  # fmt: skip
    short |= not judge.is_true_E.any()
    if not short:
        report |= _parts_left_out(judge, case, effects, partial_E)
    for number in range(1 if short else NUM_NULLS):
        rng = np.random.default_rng([number, 7])
        null = fit_latent(edge_null(effects, rng), case.edges, SETTINGS, partial_C=rng.permutation(partial_E))
        report[f"edge_null{number}"] = of_fit(judge, null)
        if not short:
            report[f"label_null{number}"] = of_fit(judge, fit_latent(label_null(effects, rng), case.edges, SETTINGS, partial_C=partial_E))
    return report | (peers(case, judge, effects, short=short) if judge.is_true_E.any() else {})


def _parts_left_out(judge: Judge, case: Case, effects: DrugEffects, partial_E: np.ndarray) -> dict:
    without = SETTINGS.model_copy(update={"mediators": False})
    return {
        "without_partial": of_fit(judge, fit_latent(effects, case.edges, SETTINGS)),
        "without_mediators": of_fit(judge, fit_latent(effects, case.edges, without, partial_C=partial_E)),
    }


def cases(variants: list[str], seeds: list[int], cache: Path) -> list[tuple[str, int, Case]]:
    found = []
    for variant in variants:
        for seed in seeds:
            if variant in DIRTY:
                found.append((variant, seed, with_dirty_table(simulate("base", seed, cache=cache), seed=seed, **DIRTY[variant])))
            else:
                found.append((variant, seed, simulate(variant, seed, cache=cache)))
    return found


def print_report(name: str, report: dict) -> None:
    print(f"{name}: {report['screen']}, {report['seconds']} s")
    for ranking, values in report.items():
        if ranking in ("screen", "seconds"):
            continue
        line = "  ".join(f"{key} {value:.3f}" for key, value in values.items() if key != "calibration")
        calibration = values.get("calibration", {})
        if "right_above_0.9" in calibration:
            right, num = calibration["right_above_0.9"], calibration["num_above_0.9"]
            line += f"  >.9: {right:.2f} of {num} right ({calibration['right_above_0.9_np']:.2f} np)"
        print(f"  {ranking:18s} {line}")
    bins = report["latent"]["calibration"]["bins"]
    print("  calibration " + "  ".join(f"{one['mean']:.2f}>{one['true']:.2f} ({one['num']})" for one in bins), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--variants", nargs="+", default=["base"], choices=[*VARIANTS, *DIRTY])
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--cache", type=Path, default=Path("/tmp/latent"))
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    reports = {}
    for variant, seed, case in cases(arguments.variants, arguments.seeds, arguments.cache):
        reports[f"{variant}_{seed}"] = study(case, short=arguments.short)
        print_report(f"{variant}_{seed}", reports[f"{variant}_{seed}"])
        if arguments.output:
            write_json(arguments.output, reports)


if __name__ == "__main__":
    main()
