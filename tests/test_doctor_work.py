"""Jobs of a run, their disk and memory, as array shapes and the Snakefile have them."""

import re
from pathlib import Path

import pytest

from causcade.config import Config, parse_config
from causcade.doctor.rates import memory_of, read_rates
from causcade.doctor.shapes import PlateShape
from causcade.doctor.sizes import Sizes, panel_genes, sizes_of
from causcade.doctor.work import works_of
from causcade.validation import merge

RULES = Path(__file__).parents[1] / "rules"
# small beside the others, or asked for rarely; or of runs on a table of conditions, which are not predicted
NOT_COUNTED = {"embedding_genes", "condition_table", "condition_table_genes"}
VARIANTS = [{}, {"embedding": {"source": "pca"}}, {"coexpression": {"per_line": True}}, {"coexpression": {"shard_cells": 1000}}]


def sizes(*shapes, **keys):
    values = {
        "num_genes": 0,
        "num_controls": 10.0,
        "num_lines": 2,
        "num_perturbations": 4,
        "num_conditions": 20.0,
        "num_targets": 3,
        "num_edges": 50.0,
    }
    return Sizes(shapes={f"p{number}": shape for number, shape in enumerate(shapes)}, **(values | keys))


def of_real(config, *shapes, **keys):
    genes = panel_genes(config, list(shapes))
    return {
        work.rule: work
        for work in works_of(config.model_copy(update={"plates": "plates.tsv", "run": "mine"}), sizes(*shapes, num_genes=genes, **keys))
    }


def test_every_rule_of_the_workflow_is_counted():
    written = {rule for path in RULES.glob("*.smk") for rule in re.findall(r"^ *rule (\w+):", path.read_text(), re.MULTILINE)}
    counted = {work.rule for variant in VARIANTS for work in works_of(parse_config(variant), sizes_of(parse_config(variant)))}
    assert written - counted <= NOT_COUNTED
    assert counted <= written


@pytest.mark.parametrize("variant", VARIANTS)
def test_rules_stand_after_what_they_wait_for_and_have_rates(variant):
    config, seen, rates = parse_config(variant), set(), read_rates()
    works = works_of(config, sizes_of(config))
    there = {work.rule for work in works}
    for work in works:
        assert there.intersection(work.after) <= seen, work.rule
        seen.add(work.rule)
        assert (work.rule, work.unit) in rates, work.rule


def test_the_demo_has_the_jobs_that_snakemake_counts():
    config = Config()
    assert sum(len(work.jobs) for work in works_of(config, sizes_of(config))) == 89  # and `all`


def test_disk_grows_as_the_arrays_do():
    one, two = (of_real(Config(), *[PlateShape(1000, 2000, 1e6)] * number) for number in (1, 2))
    assert one["coexpression_moments"].disk == 4 * 2000 * 2001
    assert one["coexpression"].disk == two["coexpression"].disk == 2 * 2000**2 * 4
    assert two["quality"].disk == 2 * one["quality"].disk
    assert two["coexpression_moments"].disk == 2 * one["coexpression_moments"].disk
    rates = read_rates()
    assert memory_of(two["coexpression_moments"], rates, {}) == memory_of(one["coexpression_moments"], rates, {})


def test_the_panel_bounds_the_genes():
    def num_genes(*shapes, **panel):
        return panel_genes(Config(panel=panel), list(shapes))

    whole = PlateShape(10, 62_710, 1e4)
    assert num_genes(whole) == 14_142
    assert num_genes(whole, num_genes=2000) == 2000
    assert num_genes(whole, num_genes=None, num_hvg=1000) == 8200
    assert num_genes(PlateShape(10, 0, 1e4)) == 14_142  # the genes of a plate that is not there are not known
    assert num_genes() == 0


def test_large_plates_are_cut_into_shards():
    shapes = [PlateShape(5_000_001, 100, 3e6), PlateShape(2_000_000, 100, 1e6)]
    works = of_real(Config(), *shapes)
    assert works["coexpression_moments_shard"].jobs == {f"p0_{shard}of3": 1e6 for shard in (1, 2, 3)}
    assert works["coexpression_moments"].jobs == {"p1": 1e6}
    assert works["coexpression_moments_sum"].jobs == {"p0": 3 * 100.0**2}


def test_matrices_of_cell_lines_have_their_price():
    config = Config(coexpression={"per_line": True})
    works = of_real(config, *[PlateShape(10, 100, 1.0)] * 3, num_lines=50)
    assert works["coexpression_lines_moments"].disk == 3 * 50 * 4 * 100 * 101
    assert works["coexpression_lines"].disk == 50 * 2 * 4 * 100**2


def test_the_choice_of_cells_decides_the_operations_of_the_embedding():
    shape = PlateShape(1000, 2000, 1e6)
    configs = [parse_config(merge({"embedding": {"cells": cells}}, {})) for cells in ("controls", "all")]
    controls, every = (of_real(config, shape, num_controls=100.0)["embedding"].flops for config in configs)
    assert every == pytest.approx(10 * controls)


def test_backend_cpu_asks_for_no_gpu():
    assert {work.gpus for work in of_real(Config(backend="cpu"), PlateShape(10, 100, 1e3)).values()} == {0}
    asked = {rule for rule, work in of_real(Config(backend="gpu"), PlateShape(10, 100, 1e3)).items() if work.gpus}
    assert {"quality", "coexpression_moments", "embedding", "basal", "causal", "latent"} <= asked


def test_nothing_is_counted_without_a_plate():
    assert works_of(Config(), sizes()) == []
