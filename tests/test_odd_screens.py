"""Screens and tables of targets that are odd: each gives a sound result through every estimator, or one clear line."""

import numpy as np
import pandas as pd
import pytest
from latent_cases import make_effects

from causcade.causal import fit_causal
from causcade.config import CausalConfig, Config, MaskConfig
from causcade.errors import InputError
from causcade.infer import infer_network
from causcade.mask import build_mask
from causcade.responses import gene_positions

NUM_GENES = 48
FEW = CausalConfig(num_steps=4, l1_start=2)
SETTINGS = Config.model_validate(
    {
        "latent": {"num_rounds": 2, "first_sweeps": 4, "sweeps": 3},
        "causal": {"edge_nulls": 1, "label_nulls": 1, "bootstraps": 1, "drug_folds": 2},
    }
)
CASES = {
    "drugs all without targets": (6, []),
    "one drug": (1, [(0, 0, -1)]),
    "one drug with a target among six": (6, [(0, 0, -1)]),
    "a drug with 40 targets": (6, [*((0, gene, -1) for gene in range(40)), (1, 41, -1), (2, 42, -1)]),
    "two drugs with identical targets": (6, [(0, 0, -1), (0, 1, -1), (1, 0, -1), (1, 1, -1)]),
    "targets of unknown sign": (6, [(drug, drug, 0) for drug in range(6)]),
}


def effects_of(num_drugs, links):
    rng = np.random.default_rng(3)
    effect_DG = rng.normal(0, 0.1, (num_drugs, NUM_GENES))
    for drug, gene, _ in links:
        effect_DG[drug, gene] = -1.0
    return make_effects(effect_DG, 0.1, links)


@pytest.mark.parametrize(("num_drugs", "links"), list(CASES.values()), ids=list(CASES))
def test_the_network_is_sound(num_drugs, links, caplog):
    effects = effects_of(num_drugs, links)
    targets = pd.DataFrame([(f"d{drug:02d}", f"G{gene:03d}", sign) for drug, gene, sign in links], columns=["perturbation", "target", "sign"])
    priors = None
    if num_drugs == 1:
        with pytest.raises(InputError, match=r"expected at least 3 perturbations, from whose correlation candidate edges come, found 1\. Add"):
            infer_network(effects, targets, SETTINGS)
        priors = pd.DataFrame({"regulator": ["G000"], "target": ["G001"], "sign": np.int8([0]), "sources": ["collectri"], "confidence": [0.5]})
    found = infer_network(effects, targets, SETTINGS, priors=priors)
    edges = found.edges
    hit = set(targets["target"])
    assert np.isfinite(edges["score"]).all()
    assert edges["probability"].notna().equals(edges["regulator"].isin(hit)), "a probability where a perturbation hits the regulator, and only there"
    assert edges["probability"].dropna().between(0, 1).all()
    assert (edges["regulator"] != edges["target"]).all()
    if len(links) < 2 or num_drugs == 1:
        assert "too few for 2 folds: none is held out" in caplog.text
        assert found.held_out.empty or found.held_out["fit"].str.startswith("boot").all()
    if not links:
        assert not edges["score"].any(), "no network is claimed from perturbations whose targets nobody knows"
        assert "no edge can be learnt and every score is 0" in caplog.text


@pytest.mark.parametrize(("num_drugs", "links"), list(CASES.values()), ids=list(CASES))
def test_the_causal_module_is_sound(num_drugs, links):
    effects = effects_of(num_drugs, links)
    genes = effects.genes["gene"]
    edges = pd.DataFrame({"regulator": genes[:-1].to_numpy(), "target": genes[1:].to_numpy(), "prior_confidence": 0.0})
    fit = fit_causal(effects, edges, FEW, seed=0)
    assert np.isfinite(fit.weight_C).all()
    assert np.isfinite(fit.predict().total).all()
    assert bool(links) or not fit.weight_C.any()


def test_a_gene_as_its_own_candidate_is_no_edge_and_an_empty_mask_is_told():
    own = pd.DataFrame({"regulator": ["A", "A"], "target": ["A", "B"], "sign": [1, 1], "sources": "collectri", "confidence": 0.5})
    none = pd.DataFrame(columns=["gene", "partner", "correlation", "rank"])
    edges = build_mask(none, None, own, ["A", "B"], MaskConfig())
    assert edges[["regulator", "target"]].to_numpy().tolist() == [["A", "B"]]
    with pytest.raises(
        InputError, match="candidate edges: expected coexpression partners or curated edges among the 2 genes of the panel, found neither"
    ):
        build_mask(none, None, own.iloc[:1], ["A", "B"], MaskConfig())
    with pytest.raises(InputError, match=r"candidate edges: expected at least one, found none\. Raise `mask.partners`"):
        gene_positions(edges.iloc[:0], pd.DataFrame({"gene": ["A", "B"]}))
