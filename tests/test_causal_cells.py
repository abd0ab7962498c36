import numpy as np
import pytest
import torch
from cell_screens import make_cell_screen

import causcade.causal.cells as cells
import causcade.causal.training as training
from causcade.causal import run_fit
from causcade.causal.cells import CellStream
from causcade.causal.problem import make_problem
from causcade.config import CausalConfig
from causcade.errors import InputError
from causcade.ranks import Ranks

CPU = torch.device("cpu")
SETTINGS = CausalConfig(learning_rate=0.02, training="cells", num_steps=20, l1_start=10, prior_strength=0.0, edge_dropout=0.0, batch_cells=64)


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    return make_cell_screen(tmp_path_factory.mktemp("screen"))


@pytest.fixture(scope="module")
def effects(screen):
    return screen.files.effects()


def stream(screen, effects, **options):
    return CellStream(screen.files, screen.stores, effects, **{"batch_cells": 64, "seed": 0} | options)


def one_epoch(found):
    return [found.next() for _ in range(found.num_batches)]


def trainer_of(screen, effects, cells=None):
    problem = make_problem(effects, screen.edges, SETTINGS)
    return training._Trainer(problem, len(screen.genes), SETTINGS, 0, CPU, cells=cells)


def gradients(trainer, loss):
    return torch.autograd.grad(loss(trainer.parameters["value_E"]), list(trainer.parameters.values()))


@pytest.mark.parametrize("options", [{}, {"without_line": "A549"}], ids=["all", "without a line"])
def test_over_an_epoch_cells_give_the_gradient_of_the_effects_and_the_same_loss_but_for_a_constant(screen, effects, options):
    effects = screen.files.without_line("A549")[0] if options else effects
    found = stream(screen, effects, **options)
    trainer = trainer_of(screen, effects, found)
    batches = one_epoch(found)
    differences = []
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        for value in trainer.parameters.values():
            value.data = 0.3 * torch.randn(value.shape, generator=generator)
        trainer.tau2_G1 = 0.01 + 0.1 * torch.rand(trainer.tau2_G1.shape, generator=generator) if seed == 0 else trainer.tau2_G1
        of_cells = lambda value: sum(trainer.loss_of_cells(value, batch) for batch in batches)  # noqa: E731
        of_effects = lambda value: trainer.loss(value, torch.arange(len(screen.drugs)))  # noqa: E731
        for by_cells, by_effects in zip(gradients(trainer, of_cells), gradients(trainer, of_effects), strict=True):
            torch.testing.assert_close(by_cells, by_effects, rtol=2e-4, atol=2e-5 * float(by_effects.abs().max()))
        with torch.no_grad():
            value = trainer.parameters["value_E"]
            differences.append(float(of_cells(value) - of_effects(value)))
    assert differences[0] == pytest.approx(differences[1], rel=1e-4)
    assert differences[0] > 0


def test_an_epoch_has_every_treated_cell_once_and_another_order_the_next_time(screen, effects):
    found = stream(screen, effects)
    first, second = one_epoch(found), one_epoch(found)
    rows = [torch.cat([batch.response_BG.sum(dim=1) for batch in epoch]) for epoch in (first, second)]
    assert len(rows[0]) == found.num_cells == 2 * 2 * 15 * (10 + 9) - 4 * 5
    torch.testing.assert_close(rows[0].sort().values, rows[1].sort().values)
    assert not torch.equal(rows[0], rows[1])
    assert max(len(batch.response_BG) for batch in first) == 64


def test_a_line_or_a_perturbation_that_takes_no_part_has_no_cells(screen, effects):
    assert stream(screen, effects, without_line="A549").num_cells == stream(screen, effects).num_cells / 2
    few = effects.take(np.array([9]))
    assert stream(screen, few).num_cells == 2 * 2 * 15
    with pytest.raises(InputError, match="expected treated cells of perturbations that take part, found none"):
        stream(screen, effects.take(np.zeros(0, np.int64)))


def test_plate_after_plate_reads_the_same_cells(screen, effects, monkeypatch):
    whole = torch.cat([batch.response_BG for batch in one_epoch(stream(screen, effects))])
    monkeypatch.setattr(cells, "TABLE_BYTES", 0)
    found = stream(screen, effects)
    parts = torch.cat([batch.response_BG for batch in one_epoch(found)])
    assert len(found._opened) == 1
    torch.testing.assert_close(parts.sum(dim=1).sort().values, whole.sum(dim=1).sort().values)


def test_the_parts_of_two_processes_are_the_batch_of_one(screen, effects):
    whole = stream(screen, effects)
    parts = [stream(screen, effects, ranks=Ranks(rank, 2)) for rank in range(2)]
    for _ in range(whole.num_batches):
        expected, found = whole.next(), [part.next() for part in parts]
        joined = torch.cat([batch.weight_BG * batch.response_BG for batch in found])
        torch.testing.assert_close(joined.sum(dim=0), (expected.weight_BG * expected.response_BG).sum(dim=0), rtol=1e-4, atol=1e-4)


def test_a_resumed_fit_of_cells_equals_an_undisturbed_one(screen, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 1)
    fit = lambda path: run_fit("noprior", screen.files, screen.edges, SETTINGS, seed=0, cells=screen.stores, checkpoint=path)  # noqa: E731
    whole = fit(None)
    advance = training._Trainer.advance

    def dying(self):
        if self.step == 17:
            raise KeyboardInterrupt
        advance(self)

    monkeypatch.setattr(training._Trainer, "advance", dying)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "state.pt")
    monkeypatch.setattr(training._Trainer, "advance", advance)
    resumed = fit(tmp_path / "state.pt")
    np.testing.assert_array_equal(resumed.weight_C, whole.weight_C)
    assert resumed.metrics == whole.metrics


def test_cells_without_stores_and_stores_without_a_plate_are_told(screen):
    with pytest.raises(InputError, match="expected cell stores for `cells`, found none"):
        run_fit("main", screen.files, screen.edges, SETTINGS, seed=0)
    with pytest.raises(InputError, match=r"expected a cell store for every plate, found none for .*p1\.zarr"):
        run_fit("main", screen.files, screen.edges, SETTINGS, seed=0, cells=screen.stores[:1])
    assert run_fit("edgenull0", screen.files, screen.edges, SETTINGS, seed=0).metrics, "what an edge null permutes are effects"


@pytest.mark.slow
def test_cells_reach_the_optimum_of_conditions(screen):
    """Only regulators that a perturbation hits: what the data do not determine has no optimum to reach."""
    edges = screen.edges[screen.edges["regulator"].isin(screen.genes[:8])].reset_index(drop=True)
    settings = SETTINGS.model_copy(update={"num_steps": 2000, "batch_cells": 256, "nuisance_edges": False})
    of_cells, of_conditions = (
        run_fit("noprior", screen.files, edges, settings.model_copy(update={"training": kind}), seed=0, cells=screen.stores)
        for kind in ("cells", "conditions")
    )
    difference = np.linalg.norm(of_cells.weight_C - of_conditions.weight_C) / np.linalg.norm(of_conditions.weight_C)
    assert np.abs(of_conditions.weight_C).max() > 0.3
    assert difference < 1e-3
