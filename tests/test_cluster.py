"""What Slurm answers, as recorded, and what is read from it."""

import pytest

from causcade import cluster
from causcade.cluster import look_at_cluster, read_cluster
from causcade.errors import ConfigError

# Of Slurm 22.05, shortened; the rest of each line is of no use here.
PARTITIONS = """PartitionName=gpu AllowGroups=ALL AllowAccounts=ALL Default=YES QoS=N/A MaxNodes=UNLIMITED MaxTime=2-00:00:00 State=UP
PartitionName=cpu AllowGroups=ALL Default=NO MaxTime=UNLIMITED Nodes=cpu[0-3] State=UP TotalCPUs=256 TotalNodes=4
PartitionName=old Default=NO MaxTime=12:00:00 State=DOWN
"""
NODES = """gpu|gpu0|32|64000|gpu:h200:8
gpu|gpu1|64+|128000|gpu:a100:4(S:0-1),shard:8
cpu|cpu0|64|256000|(null)
old|old0|16|32000|gpu:3090:2,gpu:1
"""
WITHOUT = "AccountingStorageEnforce = none\nAccountingStorageType   = accounting_storage/none\n"
WITH = "AccountingStorageEnforce = associations,limits\nAccountingStorageType   = accounting_storage/slurmdbd\n"


def test_partitions_and_nodes_are_read():
    found = read_cluster(PARTITIONS, NODES, WITHOUT, None)
    assert list(found.partitions) == ["gpu", "cpu", "old"]
    gpu, cpu, old = found.partitions.values()
    assert (gpu.is_default, gpu.is_up, gpu.max_minutes, gpu.most_gpus) == (True, True, 2880, 8)
    assert (cpu.is_default, cpu.max_minutes, cpu.most_gpus) == (False, None, 0)
    assert (old.is_up, old.max_minutes) == (False, 720)
    assert [(node.cpus, node.memory_mb, dict(node.gpus)) for node in gpu.nodes] == [(32, 64000, {"h200": 8}), (64, 128000, {"a100": 4})]
    assert gpu.nodes[1].num_gpus("h200") == 0
    assert dict(old.nodes[0].gpus) == {"3090": 2, "": 1}


def test_accounts_are_read_where_they_are_kept():
    found = read_cluster(PARTITIONS, NODES, WITHOUT, None)
    assert (found.has_accounting, found.accounts, found.insists) == (False, None, False)
    found = read_cluster(PARTITIONS, NODES, WITH, "lab\nlab\nother\n")
    assert (found.has_accounting, found.accounts, found.insists) == (True, ["lab", "other"], True)


@pytest.mark.parametrize(("text", "minutes"), [("1-12:30:00", 2190), ("00:45:00", 45), ("90", 90), ("UNLIMITED", None), ("2-12", 3600)])
def test_time_limits_of_slurm(text, minutes):
    found = read_cluster(f"PartitionName=a MaxTime={text} State=UP", "", WITHOUT, None)
    assert found.partitions["a"].max_minutes == minutes


def program(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_slurm_that_is_not_there_fails_or_hangs_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(cluster, "WAIT_S", 0.2)
    monkeypatch.setattr(cluster, "PARTITIONS", ("scontrol-of-nobody", "show"))
    with pytest.raises(ConfigError, match="found no `scontrol-of-nobody`"):
        look_at_cluster()
    program(tmp_path, "scontrol-of-nobody", "echo cannot contact controller >&2; exit 1")
    with pytest.raises(ConfigError, match=r"failing: cannot contact controller\. Run Snakemake where"):
        look_at_cluster()
    program(tmp_path, "scontrol-of-nobody", "exec sleep 20")
    with pytest.raises(ConfigError, match="found no answer of `scontrol-of-nobody` within"):
        look_at_cluster()


def test_accounting_that_does_not_answer_holds_nothing_back(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    program(tmp_path, "scontrol", f'test "$2" = config && printf "{WITH}" || printf "{PARTITIONS}"'.replace("\n", "\\n"))
    program(tmp_path, "sinfo", f'printf "{NODES}"'.replace("\n", "\\n"))
    program(tmp_path, "sacctmgr", "exit 1")
    found = look_at_cluster()
    assert (found.has_accounting, found.accounts) == (True, None)
    assert len(found.partitions) == 3
