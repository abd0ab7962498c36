"""The choice of the column that ranks the network, on screens to whose list of targets half as many false links are added."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from latent_cases import Case, make_case
from sklearn.metrics import average_precision_score

from causcade.config import Config
from causcade.evidence import choose_score, measure_evidence
from causcade.latent import run_latent
from causcade.responses import DrugEffects

CLOSE = 0.05  # of AUPRC: columns that differ by less count as equally right
FITS = ("main", "boot0", "boot1", "drugs0", "drugs1")
QUICK = Config.model_validate(
    {
        "causal": {"edge_nulls": 0, "label_nulls": 0, "bootstraps": 2, "drug_folds": 2},
        "latent": {"num_rounds": 2, "first_sweeps": 8, "sweeps": 5},
    }
)


def with_false_links(effects: DrugEffects, seed: int, *, share: float = 0.5) -> DrugEffects:
    """Add a link to a gene that it does not hit to a share of the perturbations."""
    rng = np.random.default_rng(seed)
    is_target_DG, sign_DG = effects.is_target_DG.copy(), effects.sign_DG.copy()
    for drug in rng.choice(len(is_target_DG), round(share * len(is_target_DG)), replace=False):
        gene = rng.choice(np.flatnonzero(~is_target_DG[drug]))
        is_target_DG[drug, gene], sign_DG[drug, gene] = True, -1
    return replace(effects, is_target_DG=is_target_DG, sign_DG=sign_DG)


def choose(case: Case, effects: DrugEffects, misled: DrugEffects | None = None) -> tuple[dict, dict[str, float]]:
    """What is chosen, and the AUPRC of each column; the latent estimator may be given other effects than the rest."""
    tables, held_out = {}, []
    for fit in FITS:
        latent = run_latent(fit, effects if misled is None else misled, case.edges, QUICK.latent, QUICK.causal, seed=0)
        tables[fit], predicted = measure_evidence(
            fit, effects, case.edges, QUICK.causal, seed=0, weights={}, partial={}, latent=latent.edges
        )  # fmt: skip
        held_out.append(predicted)
    boots = [tables["boot0"], tables["boot1"]]
    choice = choose_score("auto", tables["main"], boots, pd.concat(held_out, ignore_index=True), num_genes=len(effects.genes))
    right = {name: float(average_precision_score(case.is_true_C, tables["main"][name].abs())) for name in choice["columns"]}
    return choice, right


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_a_column_as_right_as_the_best_is_taken(seed):
    case = make_case(seed=seed, num_genes=40, num_drugs=48, num_sources=12)
    choice, right = choose(case, with_false_links(case.effects, seed + 100))
    assert right[choice["score"]] > max(right.values()) - CLOSE
    assert right["ridge"] < max(right.values()) - CLOSE  # so that there is something to choose


def test_a_column_that_the_links_misled_is_not_taken():
    case = make_case(seed=0, num_genes=40, num_drugs=48, num_sources=12)
    effects = with_false_links(case.effects, 100)
    order = np.random.default_rng(0).permutation(len(effects.table))
    misled = replace(effects, is_target_DG=effects.is_target_DG[order], sign_DG=effects.sign_DG[order])
    choice, right = choose(case, effects, misled)
    assert right["latent"] < 0.6 * max(right.values())
    assert choice["score"] != "latent"
    assert right[choice["score"]] > 1.5 * right["latent"]
