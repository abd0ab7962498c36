"""The causal module on simulated screens: how well it ranks edges beside its nulls, and what it predicts of held-out perturbations and lines.

    python benchmarks/causal_screens.py [--seeds 11 12 13] [--cache FOLDER] [--output benchmarks/results/causal_screens.json]

Screens are those of :mod:`latent_screens` (600 genes, 100 perturbations, 5 lines, 50,000 cells), rankings are judged as in :mod:`latent`: curated
edges are left out of positives and negatives, but for direction and sign. All settings are the defaults unless said otherwise.

* `main`, `noprior`, `neighbourhood` (no prior, direct effects also beside the targets), `low_rank` (no prior, rank 64): fits.
* `edge_null`, `label_null`: fits without prior to permuted data, means of two.
* `coexpression`, `mean_shift`: rankings without a model. The first has no direction.
* `held_out_drugs`: two folds; mean over perturbations of the correlation over genes that are no targets. `noise_free` is the network's part of the
  change, without noise and stress, of an average line; `observed` is what was measured, with the training mean added to the model.
* `held_out_lines`: two lines; the share of the weighted squared response that is left, and the median correlation around the training mean.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from latent import Judge
from latent_screens import BASE, Case, simulate

from causcade.causal import CausalFit, fit_causal, run_fit
from causcade.causal.fits import _predict_drugs
from causcade.config import CausalConfig, SimulationConfig
from causcade.evaluation.held_out_baselines import target_ridge
from causcade.evaluation.rankings import Responses, mean_shift, screened_links
from causcade.files import write_json
from causcade.responses import DrugEffects, aggregate, drug_folds, edge_null, hold_out_drugs, hold_out_line, label_null
from causcade.responses import Responses as Screen
from causcade.simulation.screen import DOSES_UM, ScreenPlan, dose_response, simulate_plan, true_responses

NUM_NULLS, NUM_FOLDS, NUM_LINES = 2, 2, 2
NO_PRIOR = CausalConfig(prior_strength=0.0)
NEIGHBOURHOOD = NO_PRIOR.model_copy(update={"support": "neighbourhood"})


def ranked(judge: Judge, fit: CausalFit) -> dict[str, float]:
    """Metrics of a fit, and how large its direct effects beside the targets are."""
    last = fit.metrics[-1]
    found = judge.rank(np.abs(fit.score_C), fit.weight_C) | {"off_target_mass": round(last["off_target_mass"], 4)}
    return found | {"spectral_radius": round(fit.spectral_radius, 4), "share_projected": float(np.mean([m["projected"] for m in fit.metrics]))}


def mean_of(parts: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(float(np.mean([part[name] for part in parts])), 4) for name in parts[0]}


def rank_edges(case: Case, judge: Judge, effects: DrugEffects) -> dict[str, dict[str, float]]:
    """All rankings of the candidate edges."""

    def fit(data: DrugEffects, settings: CausalConfig) -> dict[str, float]:
        return ranked(judge, fit_causal(data, case.edges, settings, seed=0))

    report = {"main": fit(effects, CausalConfig()), "noprior": fit(effects, NO_PRIOR)}
    report["neighbourhood"] = fit(effects, NEIGHBOURHOOD)
    report["low_rank"] = fit(effects, NO_PRIOR.model_copy(update={"parameters": "low_rank"}))
    for name, null in (("edge_null", edge_null), ("label_null", label_null)):
        report[name] = mean_of([fit(null(effects, np.random.default_rng([number, 7])), NO_PRIOR) for number in range(NUM_NULLS)])
    report["coexpression"] = judge.rank(np.abs(case.edges["coexpression"].fillna(0).to_numpy()), case.edges["coexpression"].fillna(0).to_numpy())
    genes = case.responses.genes
    links = case.responses.links.assign(target=genes["gene"].to_numpy()[case.responses.links["target"].to_numpy(int)])
    shift = mean_shift(judge.edges, screened_links(links, genes, effects.table["perturbation"].tolist()), measured(effects))
    return report | {"mean_shift": judge.rank(shift.score_E, shift.sign_E)}


def measured(effects: DrugEffects) -> Responses:
    names, genes = effects.table["perturbation"].tolist(), effects.genes["gene"].tolist()
    return Responses(perturbations=names, genes=genes, effect_DG=effects.effect_DG, error_DG=effects.se_DG)


def noise_free(plan: ScreenPlan, genes: pd.Series, names: list[str]) -> np.ndarray:
    """Change of x at the top dose that the network makes of each perturbation, in an average line, [names, G]."""
    expression = plan.expression
    gain_D = np.array([dose_response(drug, DOSES_UM[-1]) for drug in plan.drugs]) * expression.line_gain_L.mean()
    place = pd.Index(plan.genes["gene"]).get_indexer(genes)
    share_G = np.exp(expression.log_share_G)
    mean_G = (1e4 * share_G / share_G.sum())[place]
    row = {drug.name: number for number, drug in enumerate(plan.drugs)}
    change_DG = np.zeros((len(names), len(plan.genes)))  # genes outside the network do not change
    change_DG[:, : plan.network.num_genes] = true_responses(plan, gain_D)[[row[name] for name in names]]
    return change_DG[:, place] * mean_G / (1 + mean_G)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0


def hold_out_perturbations(case: Case, effects: DrugEffects, plan: ScreenPlan) -> dict[str, float]:
    """Correlations of what is predicted of held-out perturbations, means over all of them."""
    found: list[dict[str, float]] = []
    for names in drug_folds(effects, NUM_FOLDS, np.random.default_rng(0)):
        training, held = hold_out_drugs(effects, names)
        fits = {"model": training, "label_null": label_null(training, np.random.default_rng(1))}
        predicted = {}
        for name, data in fits.items():
            of_name = _predict_drugs(fit_causal(data, case.edges, CausalConfig(), seed=0), data, held)
            predicted[name] = np.stack([of_name[drug] for drug in held.table["perturbation"]])
        links = case.responses.links.assign(gene=lambda part: effects.genes["gene"].to_numpy()[part["target"].to_numpy(int)])
        mean_G = training.effect_DG.mean(axis=0)
        predicted["ridge"] = target_ridge(measured(training), links, held.table["perturbation"].tolist()) - mean_G
        truth_DG = noise_free(plan, effects.genes["gene"], held.table["perturbation"].tolist())
        for d, is_target_G in enumerate(held.is_target_DG):
            free = ~is_target_G
            one = {"training_mean_observed": correlation(mean_G[free], held.effect_DG[d, free])}
            one["training_mean_noise_free"] = correlation(mean_G[free], truth_DG[d, free])
            for name, value_DG in predicted.items():
                value_G = np.nan_to_num(value_DG[d, free])
                one[f"{name}_noise_free"] = correlation(value_G, truth_DG[d, free])
                one[f"{name}_plus_mean_observed"] = correlation(value_G + mean_G[free], held.effect_DG[d, free])
            found.append(one)
    return mean_of(found)


def with_line_means(responses: Screen, plan: ScreenPlan) -> Screen:
    """Responses that know what each line expresses: what it is expected to, where a screen was cached before that was kept."""
    if getattr(responses, "mean_of_line", None):
        return responses
    share_LG = np.exp(plan.expression.log_share_G + plan.expression.line_shift_LG)
    mean_LG = np.log1p(1e4 * share_LG / share_LG.sum(axis=1, keepdims=True))[:, pd.Index(plan.genes["gene"]).get_indexer(responses.genes["gene"])]
    return replace(responses, mean_of_line=dict(zip(plan.cell_lines, mean_LG, strict=True)))


def hold_out_lines(case: Case, responses: Screen) -> dict[str, dict[str, float]]:
    """Tell what the same perturbations in the other lines, and the model, leave of the responses in a line."""
    found: list[dict[str, dict[str, float]]] = []
    for line in sorted(set(responses.obs["cell_line"]))[:NUM_LINES]:
        training, held = (aggregate(part) for part in hold_out_line(responses, line))
        row, held_row = ({name: d for d, name in enumerate(part.table["perturbation"])} for part in (training, held))
        tables = {}
        for context in ("none", "expression"):
            tables[f"model_{context}"] = run_fit(f"line_{line}", responses, case.edges, CausalConfig(context=context), seed=0).held_out
        parts: dict[str, list[tuple[float, float, float]]] = {}
        for drug, table in tables["model_none"].groupby("perturbation", sort=True):
            place = pd.Index(held.genes["gene"]).get_indexer(table["gene"])
            predicted = {name: one.loc[table.index, "predicted"].to_numpy() for name, one in tables.items()}
            predicted["other_lines"] = training.effect_DG[row[drug]][place]
            weight, mean = 1 / held.se_DG[held_row[drug]][place] ** 2, table["training_mean"].to_numpy()
            observed = table["observed"].to_numpy()
            for name, value in predicted.items():
                left, whole = float((weight * (observed - value) ** 2).sum()), float((weight * observed**2).sum())
                parts.setdefault(name, []).append((left, whole, correlation(value - mean, observed - mean)))
        found.append(
            {
                name: {"left": sum(p[0] for p in part) / sum(p[1] for p in part), "correlation": float(np.median([p[2] for p in part]))}
                for name, part in parts.items()
            }
        )
    return {name: mean_of([one[name] for one in found]) for name in found[0]}


def study(case: Case, seed: int) -> dict[str, Any]:
    """All figures of one screen."""
    started = time.perf_counter()
    judge, effects = Judge(case), case.effects
    plan = simulate_plan(SimulationConfig(**BASE), seed)
    prevalence = round(float(judge.is_true_E[judge.no_prior_E].mean()), 5)
    report: dict[str, Any] = {"num_candidates": judge.edges.num_edges, "prevalence_np": prevalence} | rank_edges(case, judge, effects)
    report["held_out_drugs"] = hold_out_perturbations(case, effects, plan)
    report["held_out_lines"] = hold_out_lines(case, with_line_means(case.responses, plan))
    return report | {"seconds": round(time.perf_counter() - started, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--cache", type=Path, default=Path("/tmp/latent"))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/causal_screens.json"))
    parser.add_argument("--neighbourhood-only", action="store_true", help="renew that fit; the other figures stay")
    arguments = parser.parse_args()
    reports: dict[str, Any] = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    for seed in arguments.seeds:
        if arguments.neighbourhood_only:
            case = simulate("base", seed, cache=arguments.cache)
            reports[f"base_{seed}"]["neighbourhood"] = ranked(Judge(case), fit_causal(case.effects, case.edges, NEIGHBOURHOOD, seed=0))
            print(f"base_{seed}", reports[f"base_{seed}"]["neighbourhood"], flush=True)
            write_json(arguments.output, reports)
            continue
        reports[f"base_{seed}"] = study(simulate("base", seed, cache=arguments.cache), seed)
        print(f"base_{seed}")
        for name, values in reports[f"base_{seed}"].items():
            print(f"  {name:16s} {values}", flush=True)
        write_json(arguments.output, reports)


if __name__ == "__main__":
    main()
