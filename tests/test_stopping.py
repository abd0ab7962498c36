"""A training that is asked to stop notes it; any other job ends at once and in order."""

import os
import signal
import threading

import pytest

from causcade import runtime
from causcade.files import replacing
from causcade.stopping import EXIT_ASKED, Stopped, stop_requests


@pytest.fixture(autouse=True)
def same_handlers():
    """A test leaves the handlers as they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    yield
    assert {number: signal.getsignal(number) for number in before} == before


def ask(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_training_notes_that_it_is_asked_to_stop_and_goes_on_until_it_looks(number):
    with stop_requests() as is_asked:
        assert not is_asked()
        ask(number)
        assert is_asked()


def test_a_job_that_is_told_to_end_takes_away_what_it_was_writing_and_says_so(tmp_path, capsys):
    path = tmp_path / "table.parquet"

    def work():
        with runtime.job_log(tmp_path / "job.log"), replacing(path) as temporary:
            temporary.write_text("half")
            ask(signal.SIGTERM)
            pytest.fail("the job went on")

    with pytest.raises(SystemExit) as stop:
        work()
    assert stop.value.code == EXIT_ASKED == 143
    assert [found.name for found in tmp_path.iterdir()] == ["job.log"]
    assert "ERROR SIGTERM: the job was told to end: by its time limit" in (tmp_path / "job.log").read_text()
    assert capsys.readouterr().err.startswith("causcade: SIGTERM: the job was told to end")


def test_inside_a_job_a_training_is_asked_and_not_ended(tmp_path):
    with runtime.job_log(tmp_path / "job.log"):
        with stop_requests() as is_asked:
            ask(signal.SIGTERM)
            assert is_asked()
        with pytest.raises(SystemExit):
            ask(signal.SIGTERM)


def test_in_another_thread_no_signal_is_caught(tmp_path):
    found = []

    def work():
        with runtime.job_log(tmp_path / "job.log"), stop_requests() as is_asked:
            found.append((is_asked(), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(False, signal.getsignal(signal.SIGTERM))]


PREEMPTED = "JobState=RUNNING StartTime=2026-01-02T10:00:00 PreemptTime=2026-01-02T11:00:00"


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """Stand in for scontrol: answers with a record, and notes what it was asked for."""

    def make(record: str, *, requeue_status: int = 0):
        program = tmp_path / "bin" / "scontrol"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho $* >> {tmp_path}/asked\necho {record}\n[ $1 = requeue ] && exit {requeue_status}\nexit 0\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        monkeypatch.setenv("SLURM_JOB_ID", "77")
        with pytest.raises(SystemExit), runtime.job_log(tmp_path / "job.log"):
            raise Stopped("stopped at step 3")
        return (tmp_path / "asked").read_text().splitlines(), (tmp_path / "job.log").read_text()

    return make


def test_a_training_that_makes_room_for_another_job_is_queued_again(scontrol):
    asked, log = scontrol(PREEMPTED)
    assert asked == ["show job 77", "requeue 77"]
    assert "Slurm queues it again as job 77" in log


@pytest.mark.parametrize(
    "record",
    [
        PREEMPTED.replace("RUNNING", "CANCELLED"),
        PREEMPTED.replace("RUNNING", "TIMEOUT"),
        PREEMPTED.replace("T11", "T09"),  # before an earlier start of the same job
        PREEMPTED.replace("2026-01-02T11:00:00", "None"),
        "",
    ],
)
def test_a_training_that_ends_for_another_reason_is_not(scontrol, record):
    asked, _ = scontrol(record)
    assert asked == ["show job 77"]


def test_where_slurm_refuses_the_job_counts_as_failed(scontrol):
    _, log = scontrol(PREEMPTED, requeue_status=1)
    assert "Slurm does not queue job 77 again" in log
