"""Requests that a cluster cannot meet, and the remedy that is named for each."""

import re

import pytest
from test_cluster import NODES, PARTITIONS, WITH, WITHOUT

from causcade import preflight
from causcade.cluster import SilentError, read_cluster
from causcade.errors import ConfigError
from causcade.preflight import Request, check_requests, mistakes_of, request_of

PLAIN = read_cluster(PARTITIONS, NODES, WITHOUT, None)
STRICT = read_cluster(PARTITIONS, NODES, WITH, "lab\n")


def ask(rule="quality", **wanted):
    return Request(rule=rule, **{"partition": "gpu", "cpus": 1, "memory_mb": 1000, "minutes": 60} | wanted)


def only(requests, cluster=PLAIN, **options):
    (mistake,) = mistakes_of(requests, cluster, **options)
    return mistake


def test_resources_of_a_job_are_read_as_the_plugin_reads_them():
    resources = {"slurm_partition": "gpu", "gpu": 4, "nodes": 1, "mem_mb": 5000, "runtime": 90, "slurm_account": 77, "disk_mb": "<TBD>"}
    found = Request(rule="causal", partition="gpu", account="77", gpus=4, cpus=8, memory_mb=5000, minutes=90)
    assert request_of("causal", resources, 8) == found
    several = request_of("causal", {"gpu": 0, "nodes": 2, "tasks": 2, "mpi": "srun", "slurm_extra": "--gpus-per-node=h200:8"}, 1)
    assert (several.gpus, several.nodes, several.over_nodes, several.partition, several.extra) == (8, 2, True, None, ())
    other = request_of("mask", {"slurm_extra": "--mail-user=me --gpus-per-node=2", "constraint": "a&b", "clusters": "far"}, 1)
    assert (other.extra, other.gpus, other.elsewhere) == (("--mail-user=me", "--constraint=a&b"), 2, True)


def test_what_fits_is_no_mistake():
    fitting = [ask(), ask(gpus=8), ask(gpus=8, gpu_model="h200"), ask(partition=None), ask(partition="cpu", cpus=64), ask(nodes=2, gpus=4)]
    assert mistakes_of(fitting, PLAIN) == []
    assert mistakes_of([ask(account="LAB"), ask()], STRICT) == []


def test_a_wrong_partition_is_named_once_with_those_there_are():
    found = only([ask(partition="gpux"), ask("mask", partition="gpux")])
    assert "expected one of cpu, gpu, old (with GPUs: gpu, old), found 'gpux' (2 rules, such as quality)" in found
    assert "slurm-gpu/profile.yaml" in found
    assert "which is down" in only([ask(partition="old")])
    none = read_cluster(PARTITIONS.replace("Default=YES", "Default=NO"), NODES, WITHOUT, None)
    assert "found none, and the cluster has no default" in only([ask(partition=None)], none)


def test_accounts():
    assert "expected none, since this cluster keeps no accounts, found 'lab'" in only([ask(account="lab")])
    assert "expected one of your accounts (lab), found labb" in only([ask(account="labb")], STRICT)
    nobody = read_cluster(PARTITIONS, NODES, WITH, "")
    assert "expected an account, without which this cluster takes no job" in only([ask()], nobody)
    silent = read_cluster(PARTITIONS, NODES, WITH, None)
    assert mistakes_of([ask(account="lab"), ask()], silent) == []


def test_more_gpus_than_a_node_has():
    found = only([ask("causal", gpus=16)])
    assert "causal: expected at most 8 GPUs on a node of partition gpu, found 16 GPUs asked for" in found
    assert "`causal: {processes: 8}`" in found
    assert "`set-resources: {embedding: {gpu: 8}}`" in only([ask("embedding", gpus=9)])
    assert "expected at most 4 GPUs" in only([ask(gpus=8, gpu_model="a100")])
    assert "one of the models a100, h200, found 1 GPU of model v100" in only([ask(gpus=1, gpu_model="v100")])
    found = only([ask(partition="cpu", gpus=1)])
    assert "no GPU in partition cpu, which has none" in found
    assert "(gpu, old)" in found
    assert "backend: cpu" in found


def test_more_processors_memory_nodes_or_time_than_there_are():
    assert "expected at most 64 processors on a node of partition gpu, found 65" in only([ask(cpus=65)])
    assert "expected at most 32 processors on a node of partition gpu with 8 GPUs, found 33" in only([ask(cpus=33, gpus=8)])
    assert "expected at most 128000 MB on a node of partition gpu, found 200000" in only([ask(memory_mb=200_000)])
    mixed = read_cluster(PARTITIONS, "gpu|a|8|64000|\ngpu|b|32|16000|\n", WITHOUT, None)
    assert "expected 16 processors and 32000 MB together" in only([ask(cpus=16, memory_mb=32_000)], mixed)
    assert "expected at most 1 such nodes in partition gpu, found `nodes: 2`" in only([ask("causal", gpus=8, nodes=2)])
    found = only([ask(minutes=3000)])
    assert "expected at most 2880 minutes in partition gpu, found 3000" in found
    assert "`set-resources: {quality: {runtime: 2880}}`" in found


def test_as_many_gpus_as_processes():
    assert mistakes_of([ask("causal", gpus=4, processes=4), ask("causal", processes=4)], PLAIN) == []
    found = only([ask("causal", gpus=2, processes=4)])
    assert "causal: expected one GPU for each of its 4 processes, found 2 asked for" in found


def test_a_partition_file_chooses_where_no_partition_is_named():
    limits = {"cpu": {}, "gpu": {}}
    assert mistakes_of([ask(partition=None, gpus=99)], PLAIN, limits) == []
    assert "nowhere in the partition file" in only([ask(partition=None)], partition_file={"nowhere": {}})
    assert "causal: expected a named partition" in only([ask("causal", partition=None, nodes=2, over_nodes=True)], partition_file=limits)


def test_all_mistakes_are_told_together_and_only_then_slurm_is_asked(monkeypatch, tmp_path):
    asked = []

    def refuse(command):
        asked.append(" ".join(command))
        raise SilentError("found `sbatch` failing: Invalid qos specification")

    monkeypatch.setattr(preflight, "look_at_cluster", lambda: PLAIN)
    monkeypatch.setattr(preflight, "answer_of", refuse)
    with pytest.raises(ConfigError, match=r"(?s)2 mistakes in what the jobs ask of Slurm.*gpux.*16 GPUs"):
        check_requests([ask(partition="gpux"), ask("causal", gpus=16), ask("causal", gpus=16)])
    assert not asked
    with pytest.raises(ConfigError, match=re.escape("Invalid qos specification. Correct what it names")):
        check_requests([ask(gpus=2, gpu_model="h200", account=None), ask("mask")], options=["--qos=high"])
    (command,) = asked
    check_requests([ask(partition="gpux", elsewhere=True)])
    assert {"--test-only", "--qos=high", "--partition=gpu", "--gpus=h200:2", "--mem=1000", "--time=60"} <= set(command.split())
    (tmp_path / "partitions.yaml").write_text("partitions: {cpu: {max_threads: 4}, gpu: {max_gpu: 8}}\n")
    check_requests([ask(partition=None)], partition_file=tmp_path / "partitions.yaml")


def test_torch_that_is_built_for_cpus_is_known_without_loading_it(tmp_path, monkeypatch):
    torch = tmp_path / "torch"
    torch.mkdir()
    (torch / "__init__.py").write_text("raise ImportError\n")
    monkeypatch.setattr(preflight.importlib.util, "find_spec", lambda name: type("Spec", (), {"origin": str(torch / "__init__.py")}))
    assert preflight.cpu_build_of_torch() is None
    (torch / "version.py").write_text("__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\nhip: Optional[str] = None\n")
    assert preflight.cpu_build_of_torch() == "2.13.0+cpu"
    (torch / "version.py").write_text("__version__ = '2.13.0'\ncuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n")
    assert preflight.cpu_build_of_torch() is None
