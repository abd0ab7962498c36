"""What a change reruns: exactly what depends on it, with the panel, the model of the embedding and the basal decoder pinned."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from workflow.conftest import SIMULATION, write_plates

pytestmark = pytest.mark.workflow

NUM_FITS = 2 + 1 + 1 + 1 + 2
AFTER_MASK = {"causal": NUM_FITS, "latent_cells": 1, "latent": NUM_FITS - 1, "evidence_partial": 1, "evidence": NUM_FITS - 1}  # all but noprior
# Everything that follows from the cells of one plate, once the panel, the model and the basal decoder stand.
ONE_PLATE = {
    **dict.fromkeys(
        ["check_plate", "check", "check_settings", "targets", "quality", "quality_summary", "coexpression_moments", "coexpression", "mask"], 1
    ),
    **dict.fromkeys(["embedding", "embedding_map", "basal_baseline", "conditions", "network", "evaluation", "cascades", "manifest", "report"], 1),
    "basal_comparison": 1,
    "unmeasured": 1,
    "evidence_controls": 1,
    **AFTER_MASK,
}
# the pinned model is judged on the cells that it was trained on
CHANGED_PLATE = ONE_PLATE | {"model_judging": 1}
AFTER_NETWORK = {"network": 1, "evaluation": 1, "cascades": 1, "report": 1}


def test_a_second_run_does_nothing(finished):
    assert finished.jobs() == {}


def test_a_touched_file_reruns_nothing(finished):
    (finished.folder / "data" / "plate1.h5ad").touch()
    assert finished.jobs() == {}


def test_changed_counts_rerun_that_plate_and_the_sums(finished, changing):
    path = changing("data/plate1.h5ad")
    code = f"""
import yaml
from causcade.config import SimulationConfig
from causcade.simulation import simulate_plate
simulate_plate(SimulationConfig(**yaml.safe_load({SIMULATION!r})), 1, "plate1", {str(path)!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=finished.environment())
    assert finished.jobs() == CHANGED_PLATE


def test_a_changed_table_of_a_plate_reruns_that_plate_and_the_sums(finished, changing):
    path = changing("data/plate1_wells.tsv")
    path.write_text(path.read_text().replace("\tA\n", "\tB\n", 1))
    assert finished.jobs() == CHANGED_PLATE


def test_an_added_plate_costs_itself_and_the_sums(finished, changing):
    changing("plates.tsv")
    write_plates(finished, ["plate1", "plate2", "plate3"])
    assert finished.jobs() == ONE_PLATE


def test_an_added_plate_leaves_the_plates_that_are_done_alone(finished, changing):
    changing("plates.tsv")
    write_plates(finished, ["plate1", "plate2", "plate3"])
    per_plate = [(rule, wildcards["plate"]) for rule, wildcards in finished.planned() if "plate" in wildcards]
    rules = ["basal_baseline", "check_plate", "coexpression_moments", "conditions", "embedding", "evidence_controls", "quality"]
    assert sorted(per_plate) == [(rule, "plate3") for rule in rules]


def test_the_size_of_shards_reruns_no_computation_where_no_plate_is_cut_anew(finished, changing):
    path = changing("screen.yaml")
    path.write_text(path.read_text() + "\ncoexpression: {shard_cells: 5000}\n")
    assert finished.jobs() == {"manifest": 1, "report": 1}


def test_matrices_per_line_are_made_on_request_from_sums_of_their_own(finished, changing):
    path = changing("screen.yaml")
    path.write_text(path.read_text() + "\ncoexpression: {per_line: true}\n")
    assert finished.jobs() == {"coexpression_lines_moments": 2, "coexpression_lines": 1, "check_settings": 1, "manifest": 1, "report": 1}
    done = finished.snakemake("--nolock", "results/small/coexpression_by_line")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    sums, matrices = (finished.folder / "results" / "small" / name for name in ("moments_by_line", "coexpression_by_line"))
    files = ["line1.parquet", "line1.zarr", "line2.parquet", "line2.zarr", "lines.parquet"]
    assert sorted(path.name for path in matrices.iterdir() if not path.name.startswith(".")) == files
    shutil.rmtree(sums)
    shutil.rmtree(matrices)


def test_what_a_killed_job_took_away_is_made_again_with_what_follows(finished, tmp_path):
    kept = [finished.folder / "results" / "small" / name for name in ("cells/plate1.zarr", "quality/plate1.parquet")]
    for path in kept:
        path.rename(tmp_path / path.name)
    jobs = finished.jobs()
    for path in kept:
        (tmp_path / path.name).rename(path)
    before = ["check_plate", "check", "check_settings", "targets", "unmeasured", "manifest"]
    assert jobs == {rule: number for rule, number in CHANGED_PLATE.items() if rule not in before}


def test_of_every_job_an_output_is_asked_for(finished):
    summary = [line.split("\t") for line in finished.snakemake("--summary").stdout.splitlines()[1:]]
    planned = finished.snakemake("--dry-run", "--forcerun", "all").stdout
    asked = set(re.search(r"rule all:\n +input: (.*)", planned).group(1).split(", "))
    assert {log for *_, log, _, _ in summary} == {log for file, *_, log, _, _ in summary if file in asked}


def test_a_changed_setting_reruns_its_stage_and_what_follows(finished, changing):
    path = changing("screen.yaml")
    path.write_text(path.read_text() + "\nnetwork: {num_export: 50}\n")
    assert finished.jobs() == AFTER_NETWORK | {"manifest": 1}


def test_an_edited_module_reruns_its_stage_and_what_follows(finished, changing):
    path = changing("src/causcade/mask.py")
    path.write_text(path.read_text() + "\nEDITED = 1\n")
    assert finished.jobs() == {"mask": 1, "manifest": 1} | AFTER_MASK | AFTER_NETWORK


def test_an_edited_comment_reruns_nothing(finished, changing):
    path = changing("src/causcade/mask.py")
    path.write_text(path.read_text() + "\n# a remark\n")
    assert finished.jobs() == {}


def test_a_changed_setting_is_seen_beside_an_added_plate(finished, changing):
    changing("plates.tsv")
    write_plates(finished, ["plate1", "plate2", "plate3"])
    path = changing("screen.yaml")
    path.write_text(path.read_text().replace("quality: {mad: null}", "quality: {mad: null, min_counts: 201}"))
    jobs = finished.jobs()
    assert jobs["quality"] == jobs["conditions"] == jobs["coexpression_moments"] == 3
    assert not {"panel", "basal", "pretraining", "pretraining_roll"} & set(jobs)


def test_the_pinned_panel_is_renewed_on_request(finished, changing):
    changing("plates.tsv")
    write_plates(finished, ["plate1", "plate2", "plate3"])
    jobs = finished.jobs("--forcerun", "panel")
    assert {"panel_consensus", "panel", "basal_roll", "basal"} <= set(jobs)
    assert jobs["panel_votes"] == 1
    assert jobs["coexpression_moments"] == 3
    assert "pretraining" not in jobs  # a model is dear, and knows all genes


def test_the_pinned_model_is_renewed_on_request(finished, changing):
    changing("plates.tsv")
    write_plates(finished, ["plate1", "plate2", "plate3"])
    jobs = finished.jobs("--forcerun", "pretraining")
    assert jobs["pretraining"] == jobs["pretraining_roll"] == jobs["model_judging"] == jobs["basal"] == jobs["basal_roll"] == 1
    assert jobs["embedding"] == jobs["basal_baseline"] == 3
    assert not {"panel", "panel_votes"} & set(jobs)


def test_a_setting_of_the_model_trains_it_anew_and_embeds_with_it(finished, changing):
    path = changing("screen.yaml")
    path.write_text(path.read_text().replace("pretraining: {d_model: 16", "pretraining: {d_model: 8"))
    jobs = finished.jobs()
    assert jobs["pretraining"] == jobs["basal"] == 1
    assert jobs["embedding"] == jobs["basal_baseline"] == 2
    assert not {"panel", "quality", "coexpression_moments"} & set(jobs)


def test_settings_for_speed_alone_compute_nothing_again(finished, changing):
    path = changing("screen.yaml")
    text = path.read_text().replace("embedding: {source: tx1", "embedding: {source: tx1, batch_tokens: 500, shard_cells: 50, workers: 2")
    text = text.replace("basal: {hidden: 8", "basal: {processes: 2, hidden: 8")
    path.write_text(text.replace("pretraining: {d_model: 16", "pretraining: {processes: 2, checkpoint_every: 3, d_model: 16"))
    assert finished.jobs() == {"manifest": 1, "report": 1}


def test_another_source_of_embeddings_is_embedded_alone(finished, changing):
    path = changing("screen.yaml")
    path.write_text(path.read_text().replace("embedding: {source: tx1", "embedding: {source: pca"))
    jobs = finished.jobs()
    assert jobs["embedding_roll"] == jobs["embedding_basis"] == jobs["basal"] == 1
    assert jobs["embedding"] == 2
    assert not {"pretraining", "panel", "quality", "coexpression"} & set(jobs)


def test_a_model_may_be_trained_that_the_run_does_not_use(finished, changing):
    path = changing("screen.yaml")
    path.write_text(path.read_text().replace("embedding: {source: tx1", "embedding: {source: pca"))
    assert finished.jobs("--nolock", "pretraining") == {}
    path.write_text(path.read_text().replace("pretraining: {d_model: 16", "pretraining: {name: other, d_model: 8"))
    assert finished.jobs("--nolock", "pretraining") == {"pretraining": 1}
    assert finished.jobs("--nolock", "model_judging") == {"pretraining": 1, "model_judging": 1}


def test_a_judgement_that_is_gone_waits_for_the_cells_that_it_reads(finished, changing):
    changing("results/small/pretraining/small/judging.json").unlink()
    path = changing("screen.yaml")
    path.write_text(path.read_text().replace("quality: {mad: null}", "quality: {mad: null, min_counts: 201}"))
    order = [rule for rule, _ in finished.planned()]
    assert "pretraining" not in order
    assert max(place for place, rule in enumerate(order) if rule == "quality") < order.index("model_judging")


@pytest.mark.parametrize(("setting", "voting"), [("num_genes: 100", 0), ("flavor: cell_ranger", 2)])
def test_another_size_of_the_panel_is_no_reason_to_vote_again(finished, changing, setting, voting):
    path = changing("screen.yaml")
    path.write_text(path.read_text().replace("panel: {min_cells: 5}", f"panel: {{min_cells: 5, {setting}}}"))
    jobs = finished.jobs()
    assert jobs["panel"] == jobs["basal"] == 1
    assert jobs.get("panel_votes", 0) == voting
    assert not {"quality", "check_plate"} & set(jobs)


def test_a_setting_of_the_basal_decoder_renews_it_and_not_the_panel(finished, changing):
    changing("plates.tsv")
    write_plates(finished, ["plate1", "plate2", "plate3"])
    path = changing("screen.yaml")
    path.write_text(path.read_text().replace("basal: {hidden: 8", "basal: {hidden: 9"))
    jobs = finished.jobs()
    assert jobs["basal"] == jobs["basal_roll"] == 1
    assert jobs["basal_baseline"] == 3
    assert not {"panel", "pretraining", "panel_votes"} & set(jobs)


@pytest.mark.parametrize(
    "name", ["report/index.html", "network/edges.parquet", "evaluation/summary.json", "cascades/summary.parquet", "manifest.json"]
)
def test_the_deliverables_are_there(finished, name):
    assert (finished.folder / "results" / "small" / name).stat().st_size > 0
