"""A real Slurm, a small checkout that runs on it, and the records of its jobs."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from workflow.conftest import Checkout, make_checkout

from causcade.devices import has_gpu_device
from causcade.preflight import cpu_build_of_torch
from slurm.cluster import Cluster, UnsuitableError, check_machine, down, is_up

QUICK = Path(__file__).with_name("quick.py")
JOBS = 6
POLL_S = 0.1


@dataclass(frozen=True)
class Record:
    """What Slurm keeps of a job."""

    number: int
    rule: str
    wildcards: str
    state: str
    fields: dict[str, str]

    @property
    def gpus(self) -> int:
        found = re.search(r"gpu(?::\w+)?:(\d+)", self.fields.get("JOB_GRES", ""))
        return int(found.group(1)) if found else 0

    @property
    def memory_mb(self) -> int:
        return int(self.fields["MinMemoryNode"].removesuffix("M"))


@dataclass(frozen=True)
class SlurmCheckout(Checkout):
    """A copy of the workflow that runs on Slurm with the profile `slurm-gpu`."""

    def command(self, *arguments: str) -> list[str]:
        speed = ["--jobs", str(JOBS), "--latency-wait", "10"]
        return [sys.executable, str(QUICK), "--profile", "slurm-gpu", "--configfile", "screen.yaml", *speed, *arguments]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Run snakemake in the background; what it says goes to `snakemake.out`."""
        with (self.folder / "snakemake.out").open("w") as output:
            return subprocess.Popen(self.command(*arguments), cwd=self.folder, env=self.environment(), stdout=output, stderr=subprocess.STDOUT)

    def output(self) -> str:
        """Return what a snakemake in the background has said so far."""
        return (self.folder / "snakemake.out").read_text()

    def records(self, *, since: int = 0) -> list[Record]:
        """Jobs that Slurm knows of this checkout, in the order of their submission; only those after a number."""
        lines = subprocess.run(["scontrol", "show", "job", "--details", "--oneliner"], capture_output=True, text=True, check=True).stdout.splitlines()
        found = [as_record(line) for line in lines if f"WorkDir={self.folder} " in f"{line} "]
        return sorted((record for record in found if record.number > since), key=lambda record: record.number)

    def of_rule(self, rule: str, wildcards: str = "", *, since: int = 0) -> list[Record]:
        """Jobs of one rule, and of one set of wildcards (`plate1`) where they are given."""
        return [record for record in self.records(since=since) if record.rule == rule and wildcards in ("", record.wildcards)]


def as_record(line: str) -> Record:
    """Read a line of `scontrol show job --oneliner`; the plugin's comment names the rule."""
    fields = dict(part.split("=", 1) for part in line.split() if "=" in part)
    comment = re.search(r"Comment=(?:rule_)?(\w+?)(?:_wildcards_(\S+))?(?:\s|$)", line)
    rule, wildcards = comment.groups(default="") if comment else ("", "")
    return Record(int(fields["JobId"]), rule, wildcards, fields["JobState"], fields)


def wait_until(is_there: Callable[[], object], process: subprocess.Popen[str], timeout_s: float = 900) -> bool:
    """Wait until something is true; False where snakemake has ended, or the time is over, before."""
    end = time.monotonic() + timeout_s
    while not is_there():
        if process.poll() is not None or time.monotonic() > end:
            return False
        time.sleep(POLL_S)
    return True


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have the cluster of `cluster.py` up; one that is up already stays up."""
    if "slurm" not in request.config.getoption("markexpr"):
        pytest.skip("these tests install Slurm where it is not there: only on request, by `make test-slurm`")
    try:
        check_machine()
        was_up = is_up()
        if not was_up:
            Cluster().up()
    except UnsuitableError as error:
        pytest.skip(f"no Slurm can be set up here: {error}")
    yield
    if not was_up:
        down()


@pytest.fixture(scope="session")
def pretended_gpus() -> None:
    """Skip where torch is built for GPUs and there are none: it sees none of the pretended ones, and jobs that ask for them stop, as they should."""
    if cpu_build_of_torch() is None and not has_gpu_device():
        pytest.skip("pretended GPUs are believed only by a torch that is built for CPUs (README: PIP_EXTRA), and there are no others")


@pytest.fixture(scope="session")
def slurm_checkout(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], SlurmCheckout]:
    """Make small checkouts in which nothing has run, by name."""

    def make(name: str, plates: tuple[str, ...] = ("plate1", "plate2")) -> SlurmCheckout:
        folder = make_checkout(tmp_path_factory.mktemp(name) / "work", list(plates)).folder
        (folder / "slurm-gpu").symlink_to(Path("profiles") / "slurm-gpu")
        return SlurmCheckout(folder)

    return make
