"""Profiles of Snakemake: where they are found, what is read of them."""

import pytest

from causcade.config import Config, parse_config
from causcade.doctor import profile as module
from causcade.doctor.profile import find_profile, read_profile
from causcade.errors import InputError

SLURM = """
executor: slurm
jobs: 100
default-resources:
  slurm_partition: gpu
  mem_mb: 4000
set-resources:
  causal: { gpu: 4, nodes: 1 }
  basal: { gpu: 0 }
set-threads:
  embedding: 8
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "FOLDERS", (tmp_path / "user",))
    for place in ("profiles/slurm-gpu", "profiles/default", "user/mine"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "profiles/slurm-gpu/profile.yaml").write_text(SLURM)
    (tmp_path / "profiles/default/config.yaml").write_text("max-checksum-file-size: 1GB\n")
    (tmp_path / "user/mine/config.yaml").write_text("cores: 4\n")
    return tmp_path


def test_a_profile_is_found_by_path_then_by_name(checkout):
    assert find_profile("profiles/slurm-gpu").name == "profile.yaml"
    assert find_profile("profiles/slurm-gpu/profile.yaml").name == "profile.yaml"
    assert find_profile("slurm-gpu").parent.name == "slurm-gpu"
    assert find_profile("mine") == checkout / "user/mine/config.yaml"
    (checkout / "slurm-gpu").symlink_to("profiles/slurm-gpu")
    assert str(find_profile("slurm-gpu")) == "slurm-gpu/profile.yaml"


def test_what_a_cluster_profile_says(checkout):
    found = read_profile("slurm-gpu")
    assert (found.executor, found.num_jobs, found.cores, found.is_cluster) == ("slurm", 100, None, True)
    assert found.defaults == {"slurm_partition": "gpu", "mem_mb": 4000}
    assert found.threads == {"embedding": 8}
    gpus = found.gpus(Config(backend="gpu"))
    assert gpus["causal"] == 4  # as the profile says
    assert "basal" not in gpus
    assert gpus["embedding"] == 1  # as the configuration says
    assert "embedding" not in found.gpus(parse_config({"embedding": {"source": "pca"}}))


def test_the_workflow_profile_lies_over_it(checkout):
    (checkout / "profiles/default/config.yaml").write_text("set-resources: {causal: {gpu: 2}}\njobs: 7\n")
    found = read_profile("slurm-gpu")
    assert (found.num_jobs, found.resources) == (7, {"causal": {"gpu": 2}})


def test_partitions_and_their_gpus(checkout):
    (checkout / "parted.yaml").write_text("executor: slurm\nslurm-partition-config: parts.yaml\n")
    (checkout / "parts.yaml").write_text("partitions:\n  cpu: {max_threads: 8}\n  gpu: {max_gpu: 4}\n")
    assert read_profile("parted.yaml").partitions == {"cpu": 0, "gpu": 4}
    (checkout / "parts.yaml").write_text("cpu: {max_threads: 8}\n")
    with pytest.raises(InputError, match="expected `partitions` with a name and limits each, found NoneType"):
        read_profile("parted.yaml")
    (checkout / "parts.yaml").unlink()
    with pytest.raises(InputError, match=r"parted\.yaml: expected a file at slurm-partition-config, found none at parts\.yaml"):
        read_profile("parted.yaml")


def test_what_a_local_profile_says(checkout):
    found = read_profile("mine")
    assert (found.executor, found.cores, found.is_cluster) == ("local", 4, False)


def test_lists_are_read_as_snakemake_reads_them(checkout):
    (checkout / "flat.yaml").write_text("executor: slurm\ndefault_resources: [mem_mb=10, slurm_partition=gpu]\nset-resources: ['causal:gpu=3']\n")
    found = read_profile("flat.yaml")
    assert (found.defaults, found.resources) == ({"mem_mb": 10, "slurm_partition": "gpu"}, {"causal": {"gpu": 3}})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1", "expected a profile in YAML"),
        ("- a", "expected keys and values, found list"),
        ("jobs: few", "expected a whole number above 0 in jobs, found 'few'"),
    ],
)
def test_what_is_wrong_with_a_profile_is_said(checkout, text, said):
    (checkout / "bad.yaml").write_text(text)
    with pytest.raises(InputError, match=said):
        read_profile("bad.yaml")


def test_no_profile(checkout):
    with pytest.raises(InputError, match="profile: expected 'none' as a path, or in a folder of profiles, found none of none, "):
        find_profile("none")


def test_the_shipped_profiles_are_read():
    for name in ("slurm-gpu", "profiles/local"):
        assert read_profile(name).path.is_file()
