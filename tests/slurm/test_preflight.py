"""What the cluster cannot give is told before anything is submitted, within a minute and with what to change."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slurm

TIMEOUT_S = 60


@pytest.fixture(scope="module")
def fresh(slurm_checkout):
    """A checkout in which nothing has run, with a configuration that asks for GPUs."""
    checkout = slurm_checkout("preflight")
    screen = checkout.folder / "screen.yaml"
    screen.write_text(screen.read_text().replace("backend: cpu", "backend: auto"))
    return checkout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--default-resources", "slurm_partition=nowhere"), ["nowhere", "gpu", "urgent"]),
        (("--set-resources", "causal:gpu=9"), ["causal", "9", "8"]),
        (("--set-resources", "quality:mem_mb=900000"), ["quality", "900", "64"]),
    ],
    ids=["a partition that is not there", "more GPUs than a node has", "more memory than a node has"],
)
def test_what_the_cluster_does_not_have_is_told_before_any_job(fresh, arguments, told):
    done = fresh.snakemake(*arguments, timeout=TIMEOUT_S)
    message = [line for line in done.stderr.splitlines() if line.startswith("causcade:")]
    assert done.returncode == 2, done.stdout[-4000:] + done.stderr[-4000:]
    assert message, done.stderr[-4000:]
    for part in told:
        assert part in done.stderr, done.stderr[-4000:]
    assert "Traceback" not in done.stderr
    assert not fresh.records()
