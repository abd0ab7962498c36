"""The text of `causcade doctor`; its times are worked out from recorded benchmark files."""

import csv
from pathlib import Path

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

from causcade.config import Config, parse_config
from causcade.doctor import examination, examine
from causcade.doctor.probes import AllReduce, DiskRate
from causcade.doctor.sizes import sizes_of
from causcade.doctor.work import works_of
from causcade.errors import InputError
from causcade.files import write_json
from causcade.validation import merge, read_yaml

CONFIG = Path(__file__).parents[1] / "config"
COUNTS = sp.csr_matrix(np.array([[1, 0, 2], [0, 3, 0]], dtype=np.float32))
HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
BUSY_S = 649  # by the clock, of the demo of tests/data/demo_benchmarks.tsv
DEMO_S = 316  # by the clock on two idle cores, 5 min 16 s (README.md)


def write_run(folder, **keys):
    anndata.AnnData(COUNTS).write_h5ad(folder / "a.h5ad")
    (folder / "plates.tsv").write_text(
        f"plate\tcounts\tcells\np1\t{folder / 'a.h5ad'}\t\np2\t{folder / 'b.h5ad'}\t\np3\t{folder / 'c.h5ad'}\t9000000\n"
    )
    return Config(run="mine", results=str(folder), plates=str(folder / "plates.tsv"), **keys)


def record(folder, config, *, factor):
    """Benchmark files of a run whose every job took `factor` seconds, and its manifest."""
    for work in works_of(config, sizes_of(config)):
        for name in work.jobs:
            path = folder / "benchmarks" / (f"{name}.tsv" if name == work.rule else f"{work.rule}/{name}.tsv")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{HEAD}{factor}\t0:00:00\t100\t0\t0\t0\t0\t0\t0\t{factor}\n")
    write_json(folder / "manifest.json", {"config": config.model_dump(mode="json"), "device": {"kind": "cpu"}})


def row(text, stage):
    return next(line for line in text.splitlines() if line.split() and line.split()[0].rstrip("*") == stage)


def test_it_speaks_of_the_machine_and_of_the_run(tmp_path):
    text = examine(write_run(tmp_path))
    for part in [
        "processors:", "GPUs:", "disk:", "run mine: 3 plates (2 not there, the plate table tells the cells of 1), 9,000,002 cells, up to 3 genes",
        "warning: the size of 1 plate(s) is not known", "until the shards of plates above 2,000,000 cells are added up", "memory of a job",
        "assumed: as in Tahoe-100M",
    ]:  # fmt: skip
        assert part in text, part
    assert "per_line" not in text


def test_it_tells_the_price_of_cell_lines(tmp_path):
    config = write_run(tmp_path, coexpression={"per_line": True})
    assert "for 50 cell lines, since coexpression.per_line is on" in examine(config)
    (tmp_path / "mine").mkdir()
    looks = {"p1": {"lines": {"A": 1, "B": 2}, "labels": {"x": 3}}, "p2": {"lines": {"B": 2, "C": 1}}}
    write_json(tmp_path / "mine/check.json", {"plates": looks, "kinds": {"x": "drug", "y": "drug"}})
    assert "for 3 cell lines, since coexpression.per_line is on" in examine(config)


def test_the_atlas_is_priced_before_it_is_there(tmp_path):
    atlas = parse_config(merge(read_yaml(CONFIG / "config.yaml"), read_yaml(CONFIG / "tahoe100m.yaml")))
    table = {"plates": str(CONFIG / "plates/tahoe100m.tsv"), "results": str(tmp_path)}
    text = examine(atlas.model_copy(update=table), 300e12)
    assert "100,648,790 cells, up to 14142 genes in the panel" in text
    assert "14,142,00" not in text
    assert "1,414,100 edges" in row(text, "mask") or "1,414,200 edges" in row(text, "mask")
    assert "`embedding: {cells: controls}`:" in text
    assert "`embedding: {cells: all}`:" in text
    assert "hours at 300 TFLOP/s" in text


def test_beside_a_run_the_atlas_is_told(tmp_path):
    atlas = parse_config({"run": "atlas", "plates": str(CONFIG / "plates/tahoe100m.tsv")})
    text = examine(Config(results=str(tmp_path)), atlas=atlas)
    assert "the full atlas (100,648,790 cells, 14,142 genes) on processors alone, by the same rates; never run:" in text
    assert "  embedding of controls: " in text
    assert "  embedding of all: " in text


def test_the_prediction_for_the_demo_is_within_a_factor_of_two(tmp_path, monkeypatch):
    monkeypatch.setattr(examination.os, "cpu_count", lambda: 2)
    known = examination._what_was_measured(Config(results=str(tmp_path)), None, [])
    config = Config(results=str(tmp_path))
    found = examination.predict(works_of(config, sizes_of(config)), known.rates, examination.Machine(cores=2, num_jobs=2, has_gpus=False))
    assert found.unknown == []
    assert DEMO_S / 2 < found.wall_s < DEMO_S * 2


def test_recorded_benchmark_files_give_the_time_of_their_run(tmp_path):
    """A demo on a busy machine, whose jobs waited far longer than they computed: the schedule of its recorded jobs is what the clock said."""
    with (Path(__file__).parent / "data/demo_benchmarks.tsv").open() as file:
        rows = list(csv.DictReader((line for line in file if not line.startswith("#")), delimiter="\t"))
    for row_ in rows:
        path = tmp_path / "simulated/benchmarks" / row_["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{HEAD}{row_['s']}\t0:00:00\t{row_['max_rss']}\t0\t0\t0\t0\t0\t0\t{row_['cpu_time']}\n")
    config = Config(results=str(tmp_path))
    known = examination._what_was_measured(config, None, works_of(config, sizes_of(config)))
    machine = examination.Machine(cores=2, num_jobs=2, has_gpus=False)
    found = examination.predict(works_of(config, sizes_of(config)), known.rates, machine, recorded=known.recorded, then=known.then)
    assert all(line.is_recorded for line in found.lines)
    assert BUSY_S / 1.25 < found.wall_s < BUSY_S * 1.25
    assert sum(float(row_["s"]) for row_ in rows) / 2 < found.wall_s


def test_benchmark_files_of_this_run_take_precedence(tmp_path, monkeypatch):
    monkeypatch.setattr(examination.os, "cpu_count", lambda: 1)
    config = Config(results=str(tmp_path))
    record(tmp_path / "simulated", config, factor=7.0)
    text = examine(config)
    assert f"as {tmp_path}/simulated took on this machine" in text
    assert row(text, "quality").split()[-9:-5] == ["28", "s", "30", "s"]  # four jobs of 7 s, and Snakemake's part
    assert row(text, "quality").startswith("quality*")
    # half the work of a fit is known to be less than all of it, and its start stays
    fewer = examine(parse_config({"results": str(tmp_path), "causal": {"num_steps": 30}}))
    assert row(fewer, "causal") != row(text, "causal")
    assert row(fewer, "quality") == row(text, "quality")


def test_another_run_can_be_named(tmp_path):
    record(tmp_path / "simulated", Config(results=str(tmp_path)), factor=1.0)
    other = Config(results=str(tmp_path / "elsewhere"))
    assert f"as {tmp_path}/simulated took on this machine" in examine(other, measured=tmp_path / "simulated")
    (tmp_path / "simulated/manifest.json").unlink()
    with pytest.raises(InputError, match="expected what the run was made from"):
        examine(other, measured=tmp_path / "simulated")
    with pytest.raises(InputError, match="expected a run with files benchmarks"):
        examine(other, measured=tmp_path / "nothing")


def test_with_a_profile_it_says_what_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(examination, "disk_rate", lambda folder: DiskRate(2e8, 1e9, is_cached=False))
    monkeypatch.setattr(examination, "all_reduce", lambda number: AllReduce("gloo", 2, 1e9))
    (tmp_path / "cluster.yaml").write_text("executor: slurm\njobs: 50\ndefault-resources: {slurm_partition: long, mem_mb: 4000}\n")
    text = examine(Config(results=str(tmp_path), backend="gpu"), profile=str(tmp_path / "cluster.yaml"))
    for part in [
        "disk rate: 200 MB/s written to the end, 1,000 MB/s read", "sums over processes (gloo, 2 processes on processors, since there is no GPU",
        "jobs go to slurm, 50 jobs at a time; each asks for slurm_partition long, mem_mb 4000", "it asks for GPUs for ", "causal (1)",
        "arithmetic and no prediction", "not measured",
    ]:  # fmt: skip
        assert part in text, part


def test_more_gpus_than_a_node_has_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(examination, "disk_rate", lambda folder: DiskRate(2e8, 1e9, is_cached=True))
    monkeypatch.setattr(examination, "all_reduce", lambda number: AllReduce("gloo", 2, 0.0, "no network between us"))
    (tmp_path / "cluster.yaml").write_text("executor: slurm\nslurm-partition-config: parts.yaml\n")
    (tmp_path / "parts.yaml").write_text("partitions:\n  cpu: {}\n  gpu: {max_gpu: 4}\n")
    text = examine(parse_config({"results": str(tmp_path), "backend": "gpu", "causal": {"processes": 8}}), profile=str(tmp_path / "cluster.yaml"))
    for part in [
        "it chooses among partitions: cpu (0 GPUs a node), gpu (4 GPUs a node)",
        "will not run there: causal asks for 8 GPUs of a node, which has 4 at most",
        "FAIL (no network between us); training on several GPUs will not run", "MB/s read from memory (100 MB, removed again)",
    ]:  # fmt: skip
        assert part in text, part


def test_the_processor_is_measured_on_request(tmp_path, monkeypatch):
    monkeypatch.setattr(examination, "processor_factor", lambda rates: (3.0, {"probe_start": 3.0}))
    slow, shipped = examine(Config(results=str(tmp_path)), measure=True), examine(Config(results=str(tmp_path)))
    assert "a processor of this machine takes 3.00 times as long as that of the shipped rates (start 3.00)" in slow
    assert row(slow, "causal") != row(shipped, "causal")
