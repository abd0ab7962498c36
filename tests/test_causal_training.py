from dataclasses import replace

import numpy as np
import pytest
import torch
from screens import make_screen
from sklearn.metrics import roc_auc_score

import causcade.causal.training as training
from causcade.causal.problem import fingerprint, make_problem
from causcade.config import CausalConfig
from causcade.errors import InputError
from causcade.responses import aggregate, build_responses

CPU = torch.device("cpu")
SCREEN = make_screen()
SETTINGS = CausalConfig(learning_rate=0.02, num_steps=120, l1_start=30, prior_strength=0.0)


@pytest.fixture(scope="module")
def problem():
    return make_problem(aggregate(build_responses(SCREEN.conditions, SCREEN.baselines, SCREEN.targets)), SCREEN.edges, SETTINGS)


def run(problem, settings=SETTINGS, *, seed=0, checkpoint=None):
    return training.train(problem, len(SCREEN.genes), settings, seed=seed, device=CPU, checkpoint=checkpoint)


def truth_of(problem):
    return SCREEN.weight_GG[problem.target_E, problem.source_E]


@pytest.mark.parametrize(
    "options", [{}, {"parameters": "low_rank", "rank": 16}, {"batch_perturbations": 10}], ids=["per_edge", "low_rank", "batches"]
)
def test_the_planted_network_is_found(problem, options):
    found = run(problem, SETTINGS.model_copy(update=options))
    score = found.value_E.abs() * found.information_E.sqrt()
    assert roc_auc_score(truth_of(problem) != 0, score) > 0.9
    strong = np.abs(truth_of(problem)) > 0.3
    assert np.corrcoef(found.value_E[strong], truth_of(problem)[strong])[0, 1] > 0.8


def test_equal_seeds_give_equal_bits_and_other_seeds_other_ones(problem):
    first, second, other = run(problem), run(problem), run(problem, seed=1)
    assert torch.equal(first.value_E, second.value_E)
    assert first.metrics == second.metrics
    assert not torch.equal(first.value_E, other.value_E)


@pytest.mark.parametrize("stop", [1, 31, 50])
def test_a_resumed_fit_equals_an_undisturbed_one(problem, tmp_path, monkeypatch, stop):
    whole = run(problem)
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 1)
    advance = training._Trainer.advance

    def dying(self):
        if self.step == stop:
            raise KeyboardInterrupt
        advance(self)

    monkeypatch.setattr(training._Trainer, "advance", dying)
    with pytest.raises(KeyboardInterrupt):
        run(problem, checkpoint=tmp_path / "state.pt")
    monkeypatch.setattr(training._Trainer, "advance", advance)
    resumed = run(problem, checkpoint=tmp_path / "state.pt")
    for name in ("value_E", "information_E", "direct_S", "loading_FG", "tau_G"):
        assert torch.equal(getattr(resumed, name), getattr(whole, name)), name
    assert resumed.metrics == whole.metrics


def test_a_checkpoint_of_another_fit_is_passed_over_with_a_warning(problem, tmp_path, caplog):
    path = tmp_path / "state.pt"
    run(problem, SETTINGS.model_copy(update={"num_steps": 2}), checkpoint=path)
    found = run(problem, SETTINGS, checkpoint=path)
    assert f"{path}: the checkpoint is of other data or settings; the fit starts anew" in caplog.text
    fresh = run(problem, SETTINGS)
    assert torch.equal(found.value_E, fresh.value_E)
    assert found.metrics == fresh.metrics
    caplog.clear()
    run(problem, SETTINGS, checkpoint=path)  # by now it is a checkpoint of this fit
    assert caplog.text == ""


@pytest.mark.parametrize("name", ["support_gene_S", "start_S", "strength_DF", "is_target_GD", "confidence_E"])
def test_every_array_of_the_data_decides_whether_a_checkpoint_fits(problem, name):
    value = getattr(problem, name)
    other = replace(problem, **{name: ~value if value.dtype == bool else value + 1})
    assert fingerprint(problem, SETTINGS, 0) == fingerprint(replace(problem), SETTINGS, 0)
    assert fingerprint(problem, SETTINGS, 0) != fingerprint(other, SETTINGS, 0)


@pytest.mark.parametrize("parameters", ["per_edge", "low_rank"])
def test_the_spectral_radius_is_kept_within_its_bound(problem, parameters):
    settings = SETTINGS.model_copy(update={"max_spectral_radius": 0.2, "parameters": parameters, "rank": 8})
    found = run(problem, settings)
    dense = np.zeros((60, 60))
    dense[problem.target_E, problem.source_E] = found.value_E
    assert np.abs(np.linalg.eigvals(dense)).max() < 0.21
    assert found.spectral_radius <= 0.2
    assert sum(record["projected"] for record in found.metrics) > 0


def ring_problem(problem, weights):
    """The data with another network: edges by (target, source), all candidates; and their weights."""
    target, source = (np.array(part, dtype=np.int64) for part in zip(*sorted(weights), strict=True))
    edges = {"target_E": target, "source_E": source, "confidence_E": np.zeros(len(target), np.float32), "candidate_place_C": np.arange(len(target))}
    return replace(problem, **edges), torch.tensor([weights[key] for key in sorted(weights)])


COMPLEX = {(1, 0): 1.5, (2, 1): 1.5, (0, 2): 1.5, (4, 3): 0.4}  # a ring of three: eigenvalues 1.5 times the cubic roots of 1
NEGATIVE_CYCLE = {(1, 0): -4.0, (0, 1): 1.0, (2, 1): 0.5}  # eigenvalues +-2i


@pytest.mark.parametrize(("weights", "radius"), [(COMPLEX, 1.5), (NEGATIVE_CYCLE, 2.0)], ids=["complex", "negative two-cycle"])
def test_the_clamp_brings_complex_dominant_eigenvalues_to_the_bound(problem, caplog, weights, radius):
    data, value_E = ring_problem(problem, weights)
    settings = SETTINGS.model_copy(update={"learning_rate": 1e-9, "l1": 0.0, "num_steps": 4})
    trainer = training._Trainer(data, 60, settings, 0, CPU)
    trainer.parameters["value_E"] = value_E.clone().requires_grad_()
    matrix = np.zeros((60, 60))
    for _ in range(4):
        trainer.advance()
    matrix[data.target_E, data.source_E] = trainer.values().detach()
    eigenvalues = np.linalg.eigvals(matrix)
    assert 0.8 < np.abs(eigenvalues).max() <= 0.951
    assert np.abs(eigenvalues.imag).max() > 0.5, "the dominant eigenvalues are complex"
    outside = {(4, 3): 0.4, (2, 1): 0.5}  # on no cycle: left as they were
    kept = [(key, value) for key, value in outside.items() if weights.get(key) == value]
    assert all(matrix[key] == pytest.approx(value, abs=0.1) for key, value in kept)
    assert trainer.metrics[0]["spectral_radius"] == pytest.approx(radius, rel=1e-3)
    assert trainer.num_projected >= 1
    with caplog.at_level("INFO", logger="causcade"):
        trainer.finish()
    assert f"by ARPACK; its bound was met in {trainer.num_projected} of 4 steps" in caplog.text


def test_what_the_power_steps_miss_is_found_by_arpack(problem, monkeypatch):
    data, value_E = ring_problem(problem, COMPLEX)
    monkeypatch.setattr(training.SpectralProbe, "measure", lambda *_, **__: 0.1)
    trainer = training._Trainer(data, 60, SETTINGS.model_copy(update={"learning_rate": 1e-9, "l1": 0.0}), 0, CPU)
    trainer.parameters["value_E"] = value_E.clone().requires_grad_()
    trainer.advance()
    assert trainer.check(10) == pytest.approx(0.95)
    assert trainer.metrics[-1]["arpack_radius"] == pytest.approx(1.5, rel=1e-3)
    assert np.abs(np.linalg.eigvals(trainer.pattern.matrix(trainer.values().detach()).to_dense().numpy())).max() == pytest.approx(0.95, rel=1e-4)


def test_the_radius_is_compared_with_arpack_every_fifty_steps(problem, caplog):
    with caplog.at_level("INFO", logger="causcade"):
        found = run(problem)
    assert [record["step"] + 1 for record in found.metrics if "arpack_radius" in record] == [50, 100, 120]
    assert found.spectral_radius == pytest.approx(found.metrics[-1]["arpack_radius"])
    assert caplog.text.count("by ARPACK; its bound was met in") == 3


def test_a_higher_l1_leaves_smaller_weights_and_a_prior_spares_its_edges(problem):
    sizes = [float(run(problem, SETTINGS.model_copy(update={"l1": l1})).value_E.abs().sum()) for l1 in (0.0, 2.0, 8.0)]
    assert sizes[0] > sizes[1] > sizes[2]
    curated = problem.confidence_E > 0
    strict = SETTINGS.model_copy(update={"l1": 8.0})
    spared = run(problem, strict.model_copy(update={"prior_strength": 1.0}))
    assert float(spared.value_E[curated].abs().sum()) > 1.5 * float(run(problem, strict).value_E[curated].abs().sum())


def test_without_a_prior_confidence_changes_nothing(problem):
    other = replace(problem, confidence_E=np.zeros_like(problem.confidence_E))
    assert torch.equal(run(problem).value_E, run(other).value_E)


def test_a_weight_of_two_is_the_perturbation_twice(problem):
    settings = SETTINGS.model_copy(update={"edge_dropout": 0.0, "num_steps": 40})
    twice = replace(problem, weight_D=np.where(np.arange(30) == 0, 2, 1).astype(np.float32))
    trainer_1, trainer_2 = (training._Trainer(p, 60, settings, 0, CPU) for p in (problem, twice))
    value = torch.zeros(trainer_1.pattern.num_edges)
    single, double = (trainer.loss(value, torch.tensor([0])).item() for trainer in (trainer_1, trainer_2))
    assert double == pytest.approx(2 * single, rel=1e-5)


def test_strong_l1_keeps_the_direct_effect_on_the_targets(problem):
    effects = aggregate(build_responses(SCREEN.conditions, SCREEN.baselines, SCREEN.targets))
    settings = SETTINGS.model_copy(update={"support": "neighbourhood"})
    wide = make_problem(effects, SCREEN.edges, settings)
    strong, weak = (run(wide, settings.model_copy(update={"l1_direct": l1})).metrics for l1 in (4.0, 0.0))
    assert strong[-1]["off_target_mass"] < 0.1
    assert weak[-1]["off_target_mass"] > 1.5 * strong[-1]["off_target_mass"]
    assert max(record["off_target_mass"] for record in weak) <= 0.2 + 1e-4, "the bound holds whatever the penalty"


def test_effects_of_perturbations_without_a_listed_target_are_not_bounded():
    effects = aggregate(build_responses(SCREEN.conditions, SCREEN.baselines, SCREEN.targets))
    known = (np.arange(30) >= 15)[:, None]
    partly = replace(effects, is_target_DG=effects.is_target_DG & known, sign_DG=effects.sign_DG * known)
    data = make_problem(partly, SCREEN.edges, SETTINGS.model_copy(update={"unknown_targets": "learn"}))
    found = run(data)
    assert found.direct_S[~data.support_is_target_S].abs().sum() > 0.5 * found.direct_S[data.support_is_target_S].abs().sum()
    assert {record["off_target_mass"] for record in found.metrics} == {0.0}


def test_the_own_mrna_of_a_hidden_target_does_not_enter(problem):
    hidden = problem.is_target_GD & (np.arange(30) == 3)
    base = replace(problem, is_hidden_GD=hidden)
    changed = replace(base, effect_GD=np.where(hidden, 99, problem.effect_GD).astype(np.float32))
    assert torch.equal(run(base).value_E, run(changed).value_E)


def test_a_loss_that_is_not_finite_is_told(problem):
    broken = replace(problem, effect_GD=np.full_like(problem.effect_GD, np.nan))
    with pytest.raises(InputError, match=r"expected a finite loss, found nan at step 0. Lower `causal.learning_rate`"):
        run(broken)


@pytest.mark.parametrize("parameters", ["per_edge", "low_rank"])
def test_a_process_without_a_part_of_the_batch_has_no_gradient_of_the_data(problem, parameters):
    trainer = training._Trainer(problem, 60, SETTINGS.model_copy(update={"parameters": parameters, "rank": 4}), 0, CPU)
    loss = trainer.loss(trainer.values(), torch.arange(0))
    assert float(loss.detach()) == 0.0
    gradients = torch.autograd.grad(loss, list(trainer.parameters.values()))
    assert not any(gradient.any() for gradient in gradients)
