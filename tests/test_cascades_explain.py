import itertools
import logging
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest
from screens import make_screen, network_of

from causcade.cascades import build_cascades, write_cascades
from causcade.causal import fit_causal
from causcade.config import CascadesConfig, CausalConfig
from causcade.errors import InputError
from causcade.responses import aggregate, build_responses

SCREEN = make_screen()
SETTINGS = CascadesConfig(num_genes=12, num_paths=5)
CAUSAL = CausalConfig(num_steps=120, l1_start=30)
SETS = pd.DataFrame({"collection": "hallmarks", "gene_set": "FIRST", "gene": SCREEN.genes[:20]})


@pytest.fixture(scope="module")
def responses():
    return build_responses(SCREEN.conditions, SCREEN.baselines, SCREEN.targets)


def explain(responses):
    fit = fit_causal(responses, SCREEN.edges, CAUSAL, seed=0)
    network = network_of(fit, responses, SCREEN.edges)
    return fit, network, build_cascades(fit, network, responses, SETS, SETTINGS)


@pytest.fixture(scope="module")
def explained(responses):
    return explain(responses)


def test_most_of_the_response_is_explained(explained):
    summary = explained[2].summary
    total = summary[["share_direct", "share_propagated", "share_shared"]].sum(axis=1)
    assert summary["perturbation"].tolist() == SCREEN.drugs
    assert 0.6 < total.median() < 1.1
    assert summary["correlation"].median() > 0.8
    assert (summary["num_conditions"] == 12).all()
    assert (summary["num_cells"] == 12 * 40).all()


def test_shares_add_up_to_the_share_of_the_whole_prediction(explained, responses):
    fit, _, tables = explained
    effects = aggregate(responses)
    weight = 1 / (effects.se_DG.astype(float) ** 2 + fit.tau_G.astype(float) ** 2)
    whole = (weight * effects.effect_DG * fit.predict().total).sum(axis=1) / (weight * effects.effect_DG.astype(float) ** 2).sum(axis=1)
    assert fit.direct_is_seen_S.all(), "else some entries are left out"
    np.testing.assert_allclose(tables.summary[["share_direct", "share_propagated", "share_shared"]].sum(axis=1), whole, rtol=1e-4)


def test_hops_list_the_strongest_genes_of_each_power(explained):
    fit, _, tables = explained
    hop = fit.operator @ (fit.operator @ fit.direct_DG[4])
    listed = tables.hops.query("perturbation == 'drug04' and hop == 2")
    assert listed["rank"].tolist() == list(range(1, 13))
    np.testing.assert_allclose(listed["effect"], hop[np.argsort(-np.abs(hop), kind="stable")[:12]], rtol=1e-3, atol=1e-6)


def test_paths_multiply_along_candidate_edges(explained):
    _, network, tables = explained
    weight = network.set_index(["regulator", "target"])["weight"]
    curated = set(network.loc[network["prior_confidence"] > 0, ["regulator", "target"]].itertuples(index=False, name=None))
    for row in tables.paths.itertuples():
        genes = row.path.split(">")
        steps = list(itertools.pairwise(genes))
        direct = tables.direct.query("perturbation == @row.perturbation and gene == @genes[0]")["direct_effect"].item()
        assert row.effect == pytest.approx(direct * np.prod([weight[step] for step in steps]), rel=1e-4)
        assert row.hops == len(steps)
        assert row.num_curated == sum(step in curated for step in steps)
    assert tables.paths.groupby("perturbation")["rank"].apply(list).map(lambda ranks: ranks == list(range(1, len(ranks) + 1))).all()


def test_similarity_is_the_cosine_of_the_network_response(explained):
    fit, _, tables = explained
    assert len(tables.similarity) == 30 * 29 // 2
    first, second = fit.predict().network[[0, 12]]
    row = tables.similarity.query("perturbation_a == 'drug00' and perturbation_b == 'drug12'").iloc[0]
    assert row["cosine"] == pytest.approx(first @ second / np.linalg.norm(first) / np.linalg.norm(second), rel=1e-4)
    assert row["shared_targets"] == 1, "drugs 0 and 12 hit the same gene"
    assert row["cosine"] > 0.9


def test_novel_edges_are_uncurated_identified_and_in_order(explained):
    _, network, tables = explained
    novel = tables.novel_edges.merge(network[["regulator", "target", "prior_confidence", "identifiability"]])
    assert len(novel) == len(tables.novel_edges) > 10
    assert not novel["prior_confidence"].any()
    assert set(novel["identifiability"]) == {"direct"}
    assert novel["rank"].is_monotonic_increasing
    assert (novel["score"] > 0).all()
    assert novel["rank"].notna().all()


def test_without_any_target_tables_are_empty_with_all_columns(explained, responses, caplog):
    with caplog.at_level(logging.WARNING, logger="causcade"):
        _, _, empty = explain(replace(responses, links=responses.links.iloc[:0]))
    for item in fields(empty):
        assert len(getattr(empty, item.name)) == 0
        assert list(getattr(empty, item.name).columns) == list(getattr(explained[2], item.name).columns)
    assert "there is no cascade to explain" in caplog.text


def test_written_tables(explained, tmp_path):
    for name in ("a", "b"):
        write_cascades(explained[2], tmp_path / name)
    names = {"summary", "direct", "hops", "paths", "similarity", "novel_edges", "gene_sets"}
    assert {path.stem for path in (tmp_path / "a").iterdir()} == names
    for name in names:
        assert (tmp_path / "a" / f"{name}.parquet").read_bytes() == (tmp_path / "b" / f"{name}.parquet").read_bytes()


def test_messages(explained, responses):
    fit, network, _ = explained
    with pytest.raises(InputError, match=rf"network: expected the {len(network)} candidate edges of the fit, found 3"):
        build_cascades(fit, network.iloc[:3], responses, SETS, SETTINGS)
    with pytest.raises(InputError, match="expected a fit on the genes of the conditions"):
        build_cascades(replace(fit, genes=fit.genes[::-1]), network, responses, SETS, SETTINGS)
    some = responses.take((responses.obs["perturbation"] != "drug00").to_numpy())
    with pytest.raises(InputError, match=r"expected conditions of every perturbation of the fit, found none of \['drug00'\]"):
        build_cascades(fit, network, some, SETS, SETTINGS)
