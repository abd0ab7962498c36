"""A small planted screen for the tests of the evaluation: a known network, curated edges that leak, nulls and baselines."""

import numpy as np
import pandas as pd

from causcade.evaluation import EvaluationInputs, Responses
from causcade.evaluation.edges import code_edges

NUM_GENES = 60
NUM_DRUGS = 20


def draw_case(seed=0, *, num_edges=1500, num_true=120, causal_noise=0.15, curated_percent=33, with_truth=True):
    """Inputs in which the causal scores follow the truth (nothing, if `causal_noise` is None), the nulls nothing, and all curated edges are true."""
    rng = np.random.default_rng(seed)
    genes = np.array([f"GENE{i:02d}" for i in range(NUM_GENES)])
    pairs = np.array([(t, s) for t in range(NUM_GENES) for s in range(NUM_GENES) if s != t])
    target, source = pairs[np.sort(rng.choice(len(pairs), num_edges, replace=False))].T
    weight = np.zeros(num_edges)
    true = rng.choice(num_edges, num_true, replace=False)
    weight[true] = rng.choice([-1, 1], num_true) * rng.uniform(0.5, 1.5, num_true)
    curated = np.zeros(num_edges, dtype=bool)
    curated[rng.choice(true, num_true * curated_percent // 100, replace=False)] = True
    candidates = pd.DataFrame({
        "regulator": genes[source], "target": genes[target], "coexpression": rng.uniform(-1, 1, num_edges),
        "rank": pd.array(rng.integers(1, 30, num_edges), dtype="Int32"),
        "sources": np.where(curated, "coexpression;collectri", "coexpression"),
        "prior_confidence": np.where(curated, 0.8, 0.0), "prior_sign": np.where(curated, np.sign(weight), 0).astype(np.int8),
    })  # fmt: skip
    noise = {name: rng.normal(size=num_edges) for name in ("causal", "edge_null0", "edge_null1", "label_null0")}
    scores = dict(noise)
    if causal_noise is not None:
        scores["causal"] = weight + causal_noise * noise["causal"]
    scores["causal_prior"] = scores["causal"] + 3.0 * curated * np.sign(weight)
    first, second = np.minimum(source[true], target[true]), np.maximum(source[true], target[true])  # names are in the order of numbers
    pairs_table = pd.DataFrame({"reference": "string", "gene_a": genes[first], "gene_b": genes[second], "score": 900.0}).drop_duplicates()
    links = pd.DataFrame({"perturbation": [f"drug{i % NUM_DRUGS:02d}" for i in range(30)], "gene": genes[:30], "sign": -1})
    effect_DG = rng.normal(size=(NUM_DRUGS, NUM_GENES))
    held_out = pd.DataFrame({
        "perturbation": np.repeat(["drug00", "drug01", "drug02"], NUM_GENES), "gene": np.tile(genes, 3),
        "training_mean": np.tile(rng.normal(size=NUM_GENES), 3), "predicted": rng.normal(size=3 * NUM_GENES),
    })  # fmt: skip
    held_out["observed"] = held_out["training_mean"] + held_out["predicted"] + 0.3 * rng.normal(size=len(held_out))
    return EvaluationInputs(
        candidate_edges=candidates,
        panel=pd.DataFrame({"gene": genes, "is_tf": rng.random(NUM_GENES) < 0.3, "is_drug_target": rng.random(NUM_GENES) < 0.3}),
        scores=scores,
        reference_pairs=pairs_table,
        reference_universe=pd.DataFrame({"reference": "string", "gene": genes[:50]}),
        drug_links=links,
        raw_correlation=rng.uniform(-1, 1, num_edges),
        responses=Responses(
            perturbations=[f"drug{i:02d}" for i in range(NUM_DRUGS)], genes=list(genes), effect_DG=effect_DG, error_DG=np.ones_like(effect_DG)
        ),
        truth_edges=pd.DataFrame({"regulator": genes[source[true]], "target": genes[target[true]], "weight": weight[true]}) if with_truth else None,
        held_out={"drugs0": held_out},
    )


def code_random_edges(seed, *, num_genes, num_edges, order=None, curated_percent=0):
    """Random candidate edges as indices; `order` turns their rows."""
    rng = np.random.default_rng(seed)
    genes = np.array([f"G{i:03d}" for i in range(num_genes)])
    pairs = np.array([(s, t) for s in range(num_genes) for t in range(num_genes) if s != t])
    source, target = pairs[rng.choice(len(pairs), num_edges, replace=False)].T
    sources = np.where(rng.random(num_edges) < curated_percent / 100, "coexpression;trrust", "coexpression")
    table = pd.DataFrame({"regulator": genes[source], "target": genes[target], "sources": sources})
    return code_edges(table if order is None else table.iloc[order].reset_index(drop=True), pd.DataFrame({"gene": genes}))


def value_of(table, **key):
    """Value of the single row with these keys; None where it is missing."""
    rows = table
    for column, wanted in key.items():
        rows = rows[rows[column] == wanted]
    assert len(rows) == 1, (key, len(rows))
    value = rows["value"].iloc[0]
    return None if pd.isna(value) else float(value)
