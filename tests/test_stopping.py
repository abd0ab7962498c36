"""A training that is asked to stop notes it; any other job ends at once and in order."""

import os
import signal
import threading

import pytest

from causcade import runtime
from causcade.files import replacing
from causcade.stopping import EXIT_ASKED, stop_requests


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
