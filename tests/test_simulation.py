"""The simulated screen: planted network, dynamics, drugs, plates, truth."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from causcade.config import SimulationConfig
from causcade.errors import InputError
from causcade.files import sha256_of
from causcade.gene_lists import MITO_GENES
from causcade.simulation import Network, propagate, simulate_plan, simulate_plate, true_responses, write_truth
from causcade.simulation.network import plant_network, random_stream, spectral_radius
from causcade.simulation.screen import CONTROL, DOSES_UM, NEW_SYMBOLS, dose_response

TINY = SimulationConfig(num_genes=100, num_tfs=10, num_drugs=6, num_cell_lines=2, cells_per_well=10)
# Six drugs make two per plate; many cells, so that pseudobulk shows what the model says.
DEEP = TINY.model_copy(update={"cells_per_well": 250, "plates": ["plate1"]})


@pytest.fixture(scope="module")
def default_plan():
    return simulate_plan(SimulationConfig(), seed=3)


@pytest.fixture(scope="module")
def tiny_plate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    simulate_plate(TINY, 0, "plate1", folder / "plate1.h5ad", folder / "truth.parquet")
    return folder


def small_network(entries: dict[tuple[int, int], float], num_genes: int = 4) -> Network:
    weight = sparse.lil_array((num_genes, num_genes))
    for (target, regulator), value in entries.items():
        weight[target, regulator] = value
    return Network(weight=sparse.csr_array(weight), num_tfs=2, num_signalling=1)


def log_fold_changes(path, label: str, dose: float) -> np.ndarray:
    """Pseudobulk log fold change of one drug and dose against the controls, per gene."""
    cells = anndata.read_h5ad(path)
    is_treated = (cells.obs["drugname_drugconc"] == f"[({label!r}, {dose}, 'uM')]").to_numpy()
    is_control = (cells.obs["drug"] == CONTROL).to_numpy()
    size = np.asarray(cells.X.sum(axis=1)).ravel()
    share = [np.asarray(cells.X[chosen].sum(axis=0)).ravel() / size[chosen].sum() for chosen in (is_treated, is_control)]
    return np.log((share[0] + 1e-6) / (share[1] + 1e-6))


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_network_is_stable_signed_and_has_hubs(seed):
    network = simulate_plan(SimulationConfig(), seed).network
    regulator, target, weight = network.edges()
    assert 1.5 <= len(regulator) / network.num_genes <= 2.5
    assert 0.2 <= np.mean(weight < 0) <= 0.4
    assert not np.any(regulator == target)
    assert regulator.max() < network.num_regulators
    in_degree = np.bincount(target, minlength=network.num_genes)
    assert np.quantile(in_degree, 0.98) <= 4
    out_degree = np.sort(np.bincount(regulator, minlength=network.num_tfs)[: network.num_tfs])
    assert out_degree[-6:].sum() > 0.35 * out_degree.sum(), "a tenth of the transcription factors should hold over a third of their edges"
    assert spectral_radius(network.weight.toarray()) <= 0.6 + 1e-9


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_network_has_negative_feedback(seed):
    network = plant_network(100, 10, random_stream(seed, "network"))
    weight = network.weight.toarray()
    loops = weight * weight.T
    tfs, num = slice(0, network.num_tfs), network.num_regulators
    assert (loops[tfs, tfs] < 0).any()
    assert (loops[network.num_tfs : num, tfs] < 0).any()


def test_edges_are_the_entries_of_the_matrix():
    network = small_network({(1, 0): 0.5, (3, 0): -0.25, (0, 1): 0.1})
    regulator, target, weight = network.edges()
    assert list(zip(regulator.tolist(), target.tolist(), weight.tolist(), strict=True)) == [(0, 1, 0.5), (0, 3, -0.25), (1, 0, 0.1)]


def test_linear_propagation_is_the_matrix_inverse():
    network = simulate_plan(TINY, 1).network
    rng = np.random.default_rng(0)
    mrna, activity = rng.normal(size=(2, 3, network.num_genes))
    identity, weight = np.eye(network.num_genes), network.weight.toarray()
    total = np.linalg.inv(identity - weight)
    np.testing.assert_allclose(propagate(network, mrna, np.zeros_like(mrna), "linear"), mrna @ total.T, atol=1e-12)
    np.testing.assert_allclose(propagate(network, np.zeros_like(mrna), activity, "linear"), activity @ (total - identity).T, atol=1e-12)
    np.testing.assert_allclose(propagate(network, mrna, activity, "linear"), mrna @ total.T + activity @ (total - identity).T, atol=1e-12)


def test_propagation_by_hand():
    chain = small_network({(1, 0): 0.5, (2, 1): -0.4})
    effect = np.array([[2.0, 0.0, 0.0, 0.0]])
    nothing = np.zeros_like(effect)
    np.testing.assert_allclose(propagate(chain, effect, nothing, "linear"), [[2.0, 1.0, -0.4, 0.0]], atol=1e-12)
    np.testing.assert_allclose(propagate(chain, nothing, effect, "linear"), [[0.0, 1.0, -0.4, 0.0]], atol=1e-12)
    loop = small_network({(1, 0): 0.5, (0, 1): -0.5})
    # Feedback alone reaches the mRNA of a target that is hit in its activity: x0 = -0.5 x1, x1 = 0.5 (x0 + 2).
    np.testing.assert_allclose(propagate(loop, nothing, effect, "linear"), [[-0.4, 0.8, 0.0, 0.0]], atol=1e-12)


def test_saturating_propagation_solves_its_equation_and_levels_off():
    network = simulate_plan(TINY, 1).network
    rng = np.random.default_rng(1)
    mrna, activity = rng.normal(size=(2, 5, network.num_genes))
    shift = propagate(network, mrna, activity, "saturating")
    np.testing.assert_allclose(shift, mrna + 1.5 * np.tanh((shift + activity) / 1.5) @ network.weight.toarray().T, atol=1e-10)
    tiny = 1e-4 * mrna
    np.testing.assert_allclose(propagate(network, tiny, 0 * tiny, "saturating"), propagate(network, tiny, 0 * tiny, "linear"), rtol=1e-5, atol=1e-10)
    chain = small_network({(1, 0): 0.5})
    huge = np.array([[50.0, 0.0, 0.0, 0.0]])
    assert propagate(chain, huge, 0 * huge, "saturating")[0, 1] == pytest.approx(0.75)


def test_hill_propagation_is_linear_at_first_and_ends_at_the_fold_change():
    network = simulate_plan(TINY, 1).network
    mrna = np.random.default_rng(1).normal(size=(5, network.num_genes))
    shift = propagate(network, mrna, 0 * mrna, "hill")
    weight = network.weight.toarray()
    fold, occupied = (1 + weight) / (1 - weight), 1 / (1 + np.exp(-2 * shift))
    influence = np.log((1 + (fold - 1) * occupied[:, None, :]) / (1 + (fold - 1) / 2)).sum(axis=2)
    np.testing.assert_allclose(shift, mrna + influence, atol=1e-10)
    tiny = 1e-4 * mrna
    np.testing.assert_allclose(propagate(network, tiny, 0 * tiny, "hill"), propagate(network, tiny, 0 * tiny, "linear"), rtol=2e-3, atol=1e-7)
    chain = small_network({(1, 0): 0.5})
    huge = np.array([[50.0, 0.0, 0.0, 0.0], [-50.0, 0.0, 0.0, 0.0]])
    np.testing.assert_allclose(propagate(chain, huge, 0 * huge, "hill")[:, 1], np.log([1.5, 0.5]))


def test_plan_counts_and_names(default_plan):
    genes = default_plan.genes
    assert genes["gene"].is_unique
    assert genes["gene_id"].is_unique
    counts = genes["kind"].value_counts()
    assert (counts["tf"], counts["signalling"], counts["mito"]) == (60, 30, 13)
    assert counts[["tf", "signalling", "gene"]].sum() == 700
    assert set(MITO_GENES) <= set(genes["gene"])
    assert set(NEW_SYMBOLS.values()) <= set(genes["gene"])
    assert not set(NEW_SYMBOLS) & set(genes["gene"])
    has_version = genes["var_name"].str.contains(".", regex=False)
    assert 0.1 < has_version.mean() < 0.3
    assert (genes["var_name"].str.split(".").str[0] == genes["gene_id"]).all()


def test_drugs_hit_enough_genes_and_share_some(default_plan):
    drugs = default_plan.drugs
    hit = [gene for drug in drugs for gene in drug.targets]
    assert 40 <= len(set(hit)) <= 50
    assert max(np.bincount(hit)) >= 3
    assert all(1 <= len(drug.targets) == len(set(drug.targets)) <= 3 for drug in drugs)
    assert np.mean([gene < default_plan.network.num_regulators for gene in hit]) > 0.75
    assert any(gene >= default_plan.network.num_regulators for gene in hit)
    assert sum(drug.is_activity_only for drug in drugs) == round(0.2 * 72)
    assert 0.6 < np.mean([drug.effects[0] < 0 for drug in drugs]) < 0.95
    assert drugs[1].label == drugs[1].name + " "
    assert CONTROL in drugs[2].name


def test_gain_is_half_at_ec50_and_rises_with_dose(default_plan):
    drug = default_plan.drugs[0]
    assert dose_response(drug, drug.ec50_um) == pytest.approx(0.5)
    gains = [dose_response(drug, dose) for dose in (0.0, *DOSES_UM)]
    assert gains[0] == 0.0
    assert gains == sorted(gains)


def test_wells_hold_each_drug_and_dose_once_over_the_default_plates(default_plan):
    wells = pd.concat([default_plan.wells(plate) for plate in default_plan.settings.plates])
    treated = wells[wells["drug"] >= 0]
    assert not treated.duplicated(["drug", "dose"]).any()
    assert set(treated["drug"]) == set(range(72))
    assert set(treated["dose"]) == set(DOSES_UM)
    assert wells["well"].is_unique
    controls = wells[wells["drug"] < 0]
    assert len(controls) == 12
    assert (controls["dose"] == 0).all()
    assert controls["num_cells"].mean() > 2 * treated["num_cells"].mean()


@pytest.mark.parametrize(("num_drugs", "num_wells"), [(2, 7), (7, 13), (400, 406)])
def test_wells_of_small_and_large_libraries(num_drugs, num_wells):
    plan = simulate_plan(TINY.model_copy(update={"num_drugs": num_drugs}), 0)
    all_wells = [plan.wells(plate) for plate in ("plate1", "plate2", "plate3")]
    assert len(all_wells[0]) == num_wells
    assert all(wells["well"].is_unique for wells in all_wells)
    assert all((wells["drug"] >= 0).any() for wells in all_wells)
    assert set(pd.concat(all_wells)["drug"]) == set(range(-1, num_drugs))


def test_fourth_plate_holds_the_drugs_of_the_first_in_other_wells(default_plan):
    first, fourth = default_plan.wells("plate1"), default_plan.wells("plate4")
    assert set(first["drug"]) == set(fourth["drug"])
    assert first["drug"].tolist() != fourth["drug"].tolist()
    assert len(default_plan.wells("donor_B")) == len(first)


def test_same_seed_same_bytes_whatever_other_plates_there_are(tmp_path, tiny_plate):
    others = TINY.model_copy(update={"plates": ["plate9", "plate1"]})
    simulate_plate(others, 0, "plate9", tmp_path / "plate9.h5ad")
    simulate_plate(others, 0, "plate1", tmp_path / "again.h5ad", tmp_path / "truth.parquet")
    simulate_plate(TINY, 1, "plate1", tmp_path / "other_seed.h5ad")
    expected = sha256_of(tiny_plate / "plate1.h5ad")
    assert sha256_of(tmp_path / "again.h5ad") == expected
    assert sha256_of(tmp_path / "truth.parquet") == sha256_of(tiny_plate / "truth.parquet")
    assert sha256_of(tmp_path / "other_seed.h5ad") != expected
    assert sha256_of(tmp_path / "plate9.h5ad") != expected


def test_layout_is_that_of_tahoe(tiny_plate):
    cells = anndata.read_h5ad(tiny_plate / "plate1.h5ad")
    plan = simulate_plan(TINY, 0)
    assert sparse.issparse(cells.X)
    assert cells.X.format == "csr"
    assert cells.X.dtype == np.int32
    assert cells.X.has_sorted_indices
    assert cells.X.data.min() >= 1
    assert list(cells.obs.columns) == ["sample", "drug", "drugname_drugconc", "cell_line", "plate"]
    assert cells.obs_names.is_unique
    assert cells.var_names.tolist() == plan.genes["var_name"].tolist()
    assert cells.var["gene_symbol"].tolist() == plan.genes["gene"].tolist()
    assert set(cells.obs["plate"]) == {"plate1"}
    assert set(cells.obs["cell_line"]) == {"line1", "line2"}
    control = cells.obs[cells.obs["drug"] == CONTROL]
    assert set(control["drugname_drugconc"]) == {"[('DMSO_TF', 0.0, 'uM')]"}
    assert control["sample"].nunique() == 4
    assert "[('Drug02 ', 0.05, 'uM')]" in set(cells.obs["drugname_drugconc"])
    assert "Drug02 " in set(cells.obs["drug"])
    wells = plan.wells("plate1").set_index("well")
    assert cells.obs["sample"].value_counts().to_dict() == wells["num_cells"].to_dict()


def test_unknown_plate_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"simulation\.plates: expected one of plate1, plate2, plate3, found 'plate7'\. Add the plate"):
        simulate_plate(TINY, 0, "plate7", tmp_path / "x.h5ad")
    assert not list(tmp_path.iterdir())


def test_too_few_genes_are_refused():
    with pytest.raises(InputError, match=r"expected at least twice `num_tfs`, that is 120, found 100\. Raise `num_genes`"):
        simulate_plan(SimulationConfig(num_genes=100, num_tfs=60), 0)


def test_a_plate_of_nearly_empty_wells_can_be_written(tmp_path):
    sparse_settings = TINY.model_copy(update={"cells_per_well": 1, "num_cell_lines": 1, "num_tfs": 5, "num_drugs": 60})
    simulate_plate(sparse_settings, 0, "plate2", tmp_path / "plate2.h5ad")
    cells = anndata.read_h5ad(tmp_path / "plate2.h5ad")
    assert (simulate_plan(sparse_settings, 0).wells("plate2")["num_cells"] == 0).any()
    assert cells.n_obs == simulate_plan(sparse_settings, 0).wells("plate2")["num_cells"].sum()


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """One plate with many cells: drugs act on mRNA in one file and on activity in the other; all else is equal."""
    folder = tmp_path_factory.mktemp("deep")
    for name, share in (("mrna", 0.0), ("activity", 1.0)):
        simulate_plate(DEEP.model_copy(update={"activity_only": share}), 0, "plate1", folder / f"{name}.h5ad", folder / f"{name}.parquet")
    return folder


def test_counts_are_overdispersed_and_look_like_cells(deep):
    cells, truth = anndata.read_h5ad(deep / "mrna.h5ad"), pd.read_parquet(deep / "mrna.parquet")
    assert cells.obs_names.tolist() == truth["cell"].tolist()
    counts = cells.X.toarray().astype(float)
    total = counts.sum(axis=1)
    is_good = ~(truth["is_low_quality"] | truth["is_doublet"]).to_numpy()
    # Within a narrow band of cell sizes, so that size alone cannot make the variance exceed the mean.
    band = is_good & (np.abs(np.log(total / np.median(total))) < 0.1)
    mean, variance = counts[band].mean(axis=0), counts[band].var(axis=0, ddof=1)
    assert (variance > mean)[mean > 2].mean() > 0.95
    assert 2000 < np.median(total[is_good]) < 4500
    is_mito = cells.var["gene_symbol"].str.startswith("MT-").to_numpy()
    mito = counts[:, is_mito].sum(axis=1) / total
    is_low = truth["is_low_quality"].to_numpy()
    assert 0.02 < np.median(mito[is_good]) < 0.1
    assert np.median(mito[is_low]) > 0.2
    assert np.median(total[is_low]) < 0.2 * np.median(total[is_good])
    assert np.median(total[truth["is_doublet"]]) > 1.5 * np.median(total[is_good])
    assert 0.01 < is_low.mean() < 0.03
    assert 0.01 < truth["is_doublet"].mean() < 0.03


def test_drug_on_mrna_moves_its_target_and_drug_on_activity_only_what_follows(deep):
    dose = DOSES_UM[-1]
    plans = {name: simulate_plan(DEEP.model_copy(update={"activity_only": share}), 0) for name, share in (("mrna", 0.0), ("activity", 1.0))}
    num = plans["mrna"].network.num_genes
    for index in (0, 1):
        drug = plans["mrna"].drugs[index]
        target = drug.targets[0]
        observed = {name: log_fold_changes(deep / f"{name}.h5ad", drug.label, dose)[:num] for name in plans}
        gain = np.array([dose_response(each, dose) for each in plans["mrna"].drugs])
        truth = {name: true_responses(plan, gain)[index] for name, plan in plans.items()}
        stress = gain[index] * drug.stress * plans["mrna"].expression.stress_G[:num]
        assert observed["mrna"][target] - stress[target] == pytest.approx(truth["mrna"][target], abs=0.35)
        assert abs(observed["activity"][target] - stress[target]) < 0.5 * abs(observed["mrna"][target] - stress[target])
        followers = np.abs(truth["activity"]) > 0.15
        for name in plans:
            seen = (observed[name] - stress)[followers]
            assert np.corrcoef(seen, truth[name][followers])[0, 1] > 0.75


def test_truth_is_the_inverse_of_the_written_network(tmp_path):
    write_truth(TINY, 0, tmp_path)
    plan = simulate_plan(TINY, 0)
    position = {gene: index for index, gene in enumerate(plan.genes["gene"][: plan.network.num_genes])}
    edges = pd.read_parquet(tmp_path / "edges.parquet")
    direct = pd.read_parquet(tmp_path / "direct_effects.parquet")
    responses = pd.read_parquet(tmp_path / "responses.parquet")
    assert list(edges.columns) == ["regulator", "target", "weight"]
    assert list(direct.columns) == ["perturbation", "gene", "effect", "acts_on"]
    assert list(responses.columns) == ["perturbation", "gene", "response"]
    weight = np.zeros((len(position), len(position)))
    weight[edges["target"].map(position), edges["regulator"].map(position)] = edges["weight"]
    total = np.linalg.inv(np.eye(len(position)) - weight)
    for name, rows in direct.groupby("perturbation"):
        effect = np.zeros(len(position))
        effect[rows["gene"].map(position)] = rows["effect"]
        expected = total @ effect - (effect if rows["acts_on"].iloc[0] == "activity" else 0.0)
        found = responses[responses["perturbation"] == name].set_index("gene")["response"]
        np.testing.assert_allclose(found.loc[list(position)], expected, atol=1e-10)
    assert set(direct["acts_on"]) <= {"mrna", "activity"}
    assert set(direct["perturbation"]) == {drug.name for drug in plan.drugs}
    assert not responses["perturbation"].str.endswith(" ").any()


def test_truth_has_equal_bytes_and_follows_the_dynamics(tmp_path):
    for folder in ("one", "two"):
        write_truth(TINY, 0, tmp_path / folder)
    write_truth(TINY.model_copy(update={"dynamics": "saturating"}), 0, tmp_path / "saturating")
    for name in ("edges", "direct_effects", "responses"):
        assert sha256_of(tmp_path / "one" / f"{name}.parquet") == sha256_of(tmp_path / "two" / f"{name}.parquet")
    linear = pd.read_parquet(tmp_path / "one" / "responses.parquet")["response"]
    saturating = pd.read_parquet(tmp_path / "saturating" / "responses.parquet")["response"]
    assert sha256_of(tmp_path / "one" / "edges.parquet") == sha256_of(tmp_path / "saturating" / "edges.parquet")
    assert not np.allclose(linear, saturating)
