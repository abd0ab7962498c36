"""A real Slurm with pretend GPUs on one Debian machine, for tests: `python tests/slurm/cluster.py up` and `... down`, as root.

Every node is a slurmd of its own on this host; a GPU is a twin of /dev/null, so that Slurm counts, binds and shows it as it does a real one. No
systemd, no cgroups and, unless asked for, no accounting. A Slurm that this file did not set up is never touched. Run again, it starts anew.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

MARK = "# written by tests/slurm/cluster.py of causcade"
CONFIGURATION = Path("/etc/slurm/slurm.conf")
BASE = Path("/var/lib/causcade-slurm")
MUNGE_KEY = Path("/etc/munge/munge.key")
PACKAGES = ["slurm-wlm", "munge"]
ACCOUNTING_PACKAGES = ["slurmdbd", "mariadb-server"]
DAEMONS = ("slurmd", "slurmctld", "slurmdbd", "munged")
FIRST_PORT = 17100
WAIT_S = 60

# What differs from the defaults of Slurm, and why:
# linuxproc, task/none     no cgroups in a container
# config_overrides         nodes may claim more processors and memory than the machine has
# OverMemoryKill           without cgroups, it is the accounting of each step that kills what is over its memory
# UsePss                   pages that processes share count once
# PreemptMode              a job of partition `urgent` takes the place of one of `gpu`, which is queued again
# cred_expire              a job that is queued again starts after ten seconds, not two minutes
# MinJobAge                records of finished jobs are kept for the tests to read
GENERAL = """{mark}
ClusterName=causcade
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
AuthInfo=cred_expire=10
ReturnToService=2
MinJobAge=3600
SchedulerParameters=bf_interval=5
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill,UsePss
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool/%n
SlurmctldPidFile={base}/run/slurmctld.pid
SlurmdPidFile={base}/run/slurmd-%n.pid
SlurmctldLogFile={base}/log/slurmctld.log
SlurmdLogFile={base}/log/slurmd-%n.log
"""
PARTITIONS = """PartitionName=gpu Nodes=ALL Default=YES PriorityTier=1 GraceTime=60 MaxTime=INFINITE State=UP
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE State=UP
"""
WITH_ACCOUNTING = """AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStorageEnforce=associations
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
"""
WITHOUT_ACCOUNTING = "AccountingStorageType=accounting_storage/none\n"
DATABASE = """CREATE DATABASE IF NOT EXISTS slurm_acct_db;
CREATE USER IF NOT EXISTS slurm@localhost IDENTIFIED BY 'slurm';
GRANT ALL ON slurm_acct_db.* TO slurm@localhost"""


class ClusterError(Exception):
    """The cluster did not come up; the message says why."""


class UnsuitableError(ClusterError):
    """The cluster cannot be set up on this machine; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Shape of the pretend cluster: nodes, and of each its GPUs, processors and memory in MB."""

    nodes: int = 2
    gpus: int = 8
    gpu_type: str = "h200"
    cpus: int = 32
    memory_mb: int = 64_000
    accounting: bool = False

    def names(self) -> list[str]:
        return [f"gpu{number}" for number in range(self.nodes)]

    def up(self) -> None:
        """Install what is missing, write the configuration, start everything, and wait until all nodes are idle.

        Raises
        ------
        UnsuitableError
            Where this machine is not Debian, the user is not root, a foreign Slurm is there or packages cannot be had.
        ClusterError
            Where a daemon does not start.
        """
        check_machine()
        install(PACKAGES + (ACCOUNTING_PACKAGES if self.accounting else []))
        down()
        self.write()
        start_munge()
        if self.accounting:
            start_accounting()
        run("slurmctld", "-c")
        for name in self.names():
            run("slurmd", "-c", "-N", name)
        if not waited_for(lambda: len(idle_nodes()) == self.nodes):
            logs = "\n".join(f"{path.name}: {line}" for path in sorted((BASE / "log").glob("*.log")) for line in path.read_text().splitlines()[-5:])
            raise ClusterError(f"expected {self.nodes} idle nodes within {WAIT_S} s, found {idle_nodes()}. The last lines of the logs:\n{logs}")

    def write(self) -> None:
        """Write the configuration of Slurm, and make the devices that it counts as GPUs."""
        for name in ("state", "run", "log", "dev"):
            (BASE / name).mkdir(parents=True, exist_ok=True)
        CONFIGURATION.parent.mkdir(parents=True, exist_ok=True)
        host = socket.gethostname().split(".")[0]
        make_known(host)
        text = GENERAL.format(mark=MARK, host=host, base=BASE) + (WITH_ACCOUNTING if self.accounting else WITHOUT_ACCOUNTING)
        for number, name in enumerate(self.names()):
            (BASE / "spool" / name).mkdir(parents=True, exist_ok=True)
            where = f"NodeHostname={host} NodeAddr=127.0.0.1 Port={FIRST_PORT + number}"
            text += f"NodeName={name} {where} CPUs={self.cpus} RealMemory={self.memory_mb}"
            text += f" Gres=gpu:{self.gpu_type}:{self.gpus}\n" if self.gpus else "\n"
        CONFIGURATION.write_text(text + PARTITIONS)
        for number in range(self.gpus):
            device = BASE / "dev" / f"gpu{number}"
            device.unlink(missing_ok=True)
            os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))  # Slurm insists on character devices
        gpus = f"Name=gpu Type={self.gpu_type} Flags=nvidia_gpu_env File={BASE}/dev/gpu[0-{self.gpus - 1}]"
        gres = f"NodeName=gpu[0-{self.nodes - 1}] {gpus}\n" if self.gpus else "\n"
        CONFIGURATION.with_name("gres.conf").write_text(gres)
        CONFIGURATION.with_name("cgroup.conf").write_text("CgroupMountpoint=/sys/fs/cgroup\n")  # not used, but must not be empty


def run(*command: str) -> str:
    """Output of a command that has to succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def waited_for(is_there) -> bool:
    """Whether something came true within a minute."""
    end = time.monotonic() + WAIT_S
    while not is_there():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def idle_nodes() -> list[str]:
    """Names of the nodes that could take a job; none where no Slurm answers."""
    if shutil.which("sinfo") is None:
        return []
    done = subprocess.run(
        ["sinfo", "--noheader", "--Node", "--states=idle", "--partition=gpu", "--format=%N"], capture_output=True, text=True, check=False
    )
    return done.stdout.split() if done.returncode == 0 else []


def is_ours() -> bool:
    """Whether the Slurm that this machine is configured for was set up by this file."""
    return CONFIGURATION.is_file() and CONFIGURATION.read_text().startswith(MARK)


def is_up() -> bool:
    """Whether the cluster of this file runs."""
    return is_ours() and bool(subprocess.run(["sinfo", "--noheader"], capture_output=True, text=True, check=False).stdout.strip())


def check_machine() -> None:
    """Refuse a machine that the cluster cannot be set up on."""
    if os.geteuid() != 0:
        raise UnsuitableError("expected to be root, who starts the daemons of Slurm")
    if not Path("/etc/debian_version").is_file():
        raise UnsuitableError("expected Debian, whose packages of Slurm are installed; found no /etc/debian_version")
    configured = os.environ.get("SLURM_CONF")
    if configured and Path(configured) != CONFIGURATION:
        raise UnsuitableError(f"SLURM_CONF names {configured}: that Slurm is somebody else's and is left alone")
    if CONFIGURATION.is_file() and CONFIGURATION.stat().st_size and not is_ours():
        raise UnsuitableError(f"{CONFIGURATION} is somebody else's and is left alone")


def install(packages: list[str]) -> None:
    """Install Debian packages that are not there."""
    if subprocess.run(["dpkg", "-s", *packages], capture_output=True, check=False).returncode == 0:
        return
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    try:
        run("apt-get", "update", "-qq")
        run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)
    except (ClusterError, FileNotFoundError) as error:
        raise UnsuitableError(f"expected to install {' '.join(packages)}: {error}") from None


def make_known(host: str) -> None:
    """Make this machine's own name resolve, which slurmctld needs."""
    try:
        socket.gethostbyname(host)
    except OSError:
        with Path("/etc/hosts").open("a") as hosts:
            hosts.write(f"127.0.0.1 {host}\n")


def start_munge() -> None:
    """Start munge, by which the daemons know each other; one that runs already is used."""
    if subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode == 0:
        return
    user = pwd.getpwnam("munge")
    for path, mode in (("/run/munge", 0o755), ("/var/lib/munge", 0o700), ("/var/log/munge", 0o700), ("/etc/munge", 0o700)):
        Path(path).mkdir(exist_ok=True)
        Path(path).chmod(mode)
        os.chown(path, user.pw_uid, user.pw_gid)
    if not MUNGE_KEY.is_file() or not MUNGE_KEY.stat().st_size:
        MUNGE_KEY.write_bytes(os.urandom(1024))
    MUNGE_KEY.chmod(0o400)
    os.chown(MUNGE_KEY, user.pw_uid, user.pw_gid)
    run("setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", shutil.which("munged") or "/usr/sbin/munged")


def start_accounting() -> None:
    """Start a MariaDB where none answers, and slurmdbd on it."""
    if subprocess.run(["mariadb-admin", "ping"], capture_output=True, check=False).returncode:
        user = pwd.getpwnam("mysql")
        Path("/run/mysqld").mkdir(exist_ok=True)
        os.chown("/run/mysqld", user.pw_uid, user.pw_gid)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.Popen(["mariadbd-safe", "--user=mysql", "--bind-address=127.0.0.1"], start_new_session=True, **quiet)
        if not waited_for(lambda: subprocess.run(["mariadb-admin", "ping"], capture_output=True, check=False).returncode == 0):
            raise ClusterError(f"MariaDB did not answer within {WAIT_S} s")
    run("mariadb", "-e", DATABASE)
    configuration = CONFIGURATION.with_name("slurmdbd.conf")
    storage = "StorageType=accounting_storage/mysql\nStorageUser=slurm\nStoragePass=slurm"
    configuration.write_text(f"DbdHost=localhost\nSlurmUser=root\n{storage}\nPidFile={BASE}/run/slurmdbd.pid\nLogFile={BASE}/log/slurmdbd.log\n")
    configuration.chmod(0o600)
    run("slurmdbd")
    if not waited_for(lambda: subprocess.run(["sacctmgr", "-n", "list", "cluster"], capture_output=True, check=False).returncode == 0):
        raise ClusterError(f"slurmdbd did not answer within {WAIT_S} s")
    for what in ("cluster causcade", "account test", "user root account=test"):  # refused where it is there already
        subprocess.run(["sacctmgr", "-i", "add", *what.split()], capture_output=True, check=False)


def down() -> None:
    """End the daemons that this file started, and the jobs with them; MariaDB and munge stay.

    The configuration goes too: where one is left, every command of Slurm asks for a controller that is gone, and waits nine seconds for an answer,
    Snakemake's at each start among them.
    """
    if is_up():
        subprocess.run(["scancel", "--user=root"], capture_output=True, check=False)
    for path in sorted((BASE / "run").glob("*.pid")):
        with contextlib.suppress(OSError, ValueError):
            number = int(path.read_text())
            if Path(f"/proc/{number}/comm").read_text().strip() in DAEMONS:
                os.kill(number, signal.SIGTERM)
                waited_for(lambda number=number: not is_running(number))
        path.unlink(missing_ok=True)
    if is_ours():
        for name in ("gres.conf", "cgroup.conf", "slurmdbd.conf", "slurm.conf"):
            CONFIGURATION.with_name(name).unlink(missing_ok=True)


def is_running(number: int) -> bool:
    """Whether a process lives; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["up", "down"])
    default = Cluster()
    for name in ("nodes", "gpus", "cpus", "memory_mb"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(default, name), help="default %(default)s")
    parser.add_argument("--gpu-type", default=default.gpu_type, help="default %(default)s")
    parser.add_argument("--accounting", action="store_true", help="with slurmdbd and MariaDB")
    given = vars(parser.parse_args())
    try:
        if given.pop("what") == "down":
            check_machine()
            down()
        else:
            Cluster(**given).up()
            sys.stdout.write(run("sinfo", "-N", "-p", "gpu", "-o", "%N %T %c %m %G"))
    except ClusterError as error:
        sys.exit(f"cluster.py: {error}")


if __name__ == "__main__":
    main()
