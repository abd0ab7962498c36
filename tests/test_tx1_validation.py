from dataclasses import replace

import numpy as np
import pytest
import torch
from tx1_training_cases import COLLATION, VOCABULARY, make_model, make_sources

from causcade.tx1.objective import squared_errors
from causcade.tx1.parallel import Group
from causcade.tx1.sources import Cells
from causcade.tx1.stream import cut_batch
from causcade.tx1.validation import Validation, baseline_errors, sample_cells

ALONE = Group(0, 1, torch.device("cpu"), "ddp")


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    return make_sources(tmp_path_factory.mktemp("plates"), {"p1": 60, "p2": 30})


def test_a_sample_is_of_distinct_cells_from_all_sources(plates):
    whole = set(np.concatenate([source.read(0, source.num_cells).key_B for source in plates]).tolist())
    assert set(sample_cells(plates, 90, seed=0).key_B.tolist()) == whole
    some = sample_cells(plates, 20, seed=0).key_B.tolist()
    assert len(set(some)) == 20
    assert sample_cells(plates, 20, seed=0).key_B.tolist() == some
    assert sample_cells(plates, 20, seed=1).key_B.tolist() != some
    assert sample_cells([], 20, seed=0) is None


@pytest.mark.parametrize("scaled", [True, False])
def test_errors_are_in_bins_whether_outputs_are_scaled_or_not(plates, scaled):
    cells = sample_cells(plates, 30, seed=0)
    model = make_model(standard_scale_outputs=scaled).train()
    found = Validation(cells, replace(COLLATION, micro_cells=4), ALONE)(model)
    sums, num = [0.0, 0.0], 0
    from causcade.tx1.seeds import hashed

    for micro in cut_batch(cells, hashed(cells.key_B, 0), COLLATION):
        output = model.eval()(micro.batch, decode=True)
        told = [(part + 1) * 49 / 2 + 1 if scaled else part for part in (output.expression_BL, output.product_BL)]
        errors = squared_errors(output._replace(expression_BL=told[0], product_BL=told[1]), micro.target_BL, micro.batch.is_masked_BL)
        sums = [sums[0] + float(errors.expression.detach()), sums[1] + float(errors.product.detach())]
        num += micro.num_masked
    assert found["held_out_expression_mse"] == pytest.approx(sums[0] / num, rel=1e-4)
    assert found["held_out_product_mse"] == pytest.approx(sums[1] / num, rel=1e-4)


def test_the_mask_never_changes(plates):
    validation = Validation(sample_cells(plates, 30, seed=0), COLLATION, ALONE)
    model = make_model()
    assert validation(model) == validation(model)


def test_baselines_are_judged_on_the_masked_entries(plates):
    cells, training = plates[1].read(0, 30), plates[0].read(0, 60)
    validation = Validation(cells, COLLATION, ALONE, wells=np.arange(30) // 5)
    model = make_model(d_model=2, num_heads=1)
    found = baseline_errors(validation, model, training, COLLATION, num_tokens=VOCABULARY.size, seed=0, device=torch.device("cpu"))
    whole = replace(COLLATION, settings=replace(COLLATION.settings, mlm_probability=0.0))
    bins: dict[int, list[float]] = {}
    for micro in cut_batch(training, training.key_B, whole):
        for gene, bin_, real in zip(
            micro.batch.gene_BL[:, 1:].flatten(), micro.target_BL[:, 1:].flatten(), micro.batch.is_real_BL[:, 1:].flatten(), strict=True
        ):
            if real:
                bins.setdefault(int(gene), []).append(float(bin_))
    overall = np.mean([value for values in bins.values() for value in values])
    errors = []
    for micro in validation.micros:
        masked = micro.batch.is_masked_BL
        for gene, bin_ in zip(micro.batch.gene_BL[masked].tolist(), micro.target_BL[masked].tolist(), strict=True):
            values = bins.get(gene, [])
            errors.append(((sum(values) + overall) / (len(values) + 1) - bin_) ** 2)
    assert found["gene_mean_mse"] == pytest.approx(np.mean(errors), rel=1e-5)
    assert found["low_rank_mse"] < found["gene_mean_mse"]  # two lines differ in a third of the genes
    assert found["low_rank_dimensions"] == 2
    assert found["num_held_out_wells"] == 6
    for name in ("gene_mean", "low_rank"):
        over = found[f"over_{name}"]
        assert over["difference"] == pytest.approx(validation(model)["held_out_expression_mse"] - found[f"{name}_mse"], rel=1e-4)
        assert over["low"] < over["difference"] < over["high"]


def test_sums_by_well_are_those_of_the_cells_of_the_well(plates):
    cells, model, wells = sample_cells(plates, 30, seed=0), make_model(), np.arange(30) % 4
    validation = Validation(cells, replace(COLLATION, micro_cells=3), ALONE, wells=wells)
    for well, total in enumerate(validation.by_well(model)):
        at = np.flatnonzero(wells == well)
        alone = Validation(Cells(cells.counts[at], cells.key_B[at], None), COLLATION, ALONE)
        assert total == pytest.approx(alone(model)["held_out_expression_mse"] * alone.masked_W.sum(), rel=1e-4)
        assert validation.masked_W[well] == alone.masked_W.sum()
    whole = Validation(cells, COLLATION, ALONE)
    assert validation(model) == pytest.approx(whole(model), rel=1e-4)  # masks are the cells' own
    entries = np.arange(float(validation.masked_W.sum()))
    assert validation.entries_by_well(entries).sum() == entries.sum()


def test_without_masked_genes_there_is_nothing_to_compare(plates):
    nothing = replace(COLLATION, settings=replace(COLLATION.settings, mlm_probability=0.0))
    validation = Validation(plates[1].read(0, 5), nothing, ALONE)
    about = {"num_tokens": VOCABULARY.size, "seed": 0, "device": torch.device("cpu")}
    assert baseline_errors(validation, make_model(), plates[0].read(0, 5), nothing, **about) == {}
    assert validation(make_model()) == {"held_out_expression_mse": 0.0, "held_out_product_mse": 0.0}
