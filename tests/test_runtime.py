"""Logs of jobs, how errors are told, progress lines."""

import logging
import os

import pytest

from causcade import __version__, runtime
from causcade.errors import InputError


def test_a_job_logs_its_versions_and_its_end(tmp_path):
    path = tmp_path / "logs" / "job.log"
    with runtime.job_log(path, threads=1) as log:
        log.info("half way")
    text = path.read_text()
    assert f"causcade {__version__}, python" in text
    assert "1 thread(s)" in text
    assert "half way" in text
    assert "finished in" in text
    assert os.environ["OMP_NUM_THREADS"] == "1"


def test_a_second_job_writes_its_log_anew_and_the_first_is_closed(tmp_path):
    for number in range(2):
        with runtime.job_log(tmp_path / "job.log") as log:
            log.info("run %d", number)
    text = (tmp_path / "job.log").read_text()
    assert "run 1" in text
    assert "run 0" not in text
    logging.getLogger("causcade").warning("afterwards")
    assert "afterwards" not in (tmp_path / "job.log").read_text()


def test_an_expected_error_is_one_message_and_status_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop, runtime.job_log(tmp_path / "job.log"):
        raise InputError("x.h5ad: expected A, found B. Do C.")
    assert stop.value.code == 2
    assert capsys.readouterr().err == "causcade: x.h5ad: expected A, found B. Do C.\n"
    text = (tmp_path / "job.log").read_text()
    assert "ERROR x.h5ad: expected A, found B. Do C." in text
    assert "Traceback" not in text
    assert "finished" not in text


def test_any_other_error_keeps_its_traceback(tmp_path):
    with pytest.raises(ZeroDivisionError), runtime.job_log(tmp_path / "job.log"):
        1 / 0  # noqa: B018
    text = (tmp_path / "job.log").read_text()
    assert "please report it" in text
    assert "ZeroDivisionError: division by zero" in text


def test_the_log_of_an_attempt_that_was_killed_is_kept_and_told(tmp_path):
    path = tmp_path / "job.log"
    path.write_text("2026-01-01 00:00:00,000 INFO causcade\n2026-01-01 00:00:01,000 INFO 3 of 9 cells\n")
    with runtime.job_log(path):
        pass
    kept = tmp_path / "job.log.killed"
    assert "3 of 9 cells" in kept.read_text()
    assert f"killed without a word, most often for its memory; its log is {kept}" in path.read_text()
    kept.unlink()
    with runtime.job_log(path):  # the one before finished
        pass
    assert not kept.exists()
    with pytest.raises(SystemExit), runtime.job_log(path):
        raise InputError("expected A")
    with runtime.job_log(path):  # the one before said why it failed
        pass
    assert not kept.exists()


def test_a_log_names_the_job_and_the_node_of_slurm(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURMD_NODENAME", "gpu1")
    with runtime.job_log(tmp_path / "job.log"):
        pass
    assert ", Slurm job 77 on gpu1\n" in (tmp_path / "job.log").read_text()


def test_threads_are_limited():
    from threadpoolctl import threadpool_info

    runtime.set_num_threads(1)
    assert {pool["num_threads"] for pool in threadpool_info()} <= {1}


@pytest.mark.parametrize(("given", "expected"), [("3", 3), ("", os.cpu_count()), ("4,2", os.cpu_count()), ("0", os.cpu_count())])
def test_number_of_threads(monkeypatch, given, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert runtime.num_threads() == expected


def test_progress_tells_rate_and_time_left(caplog, monkeypatch):
    caplog.set_level(logging.INFO, logger="causcade")
    clock = iter([0.0, 1.0, 20.0, 21.0, 40.0])
    monkeypatch.setattr(runtime.time, "monotonic", lambda: next(clock))
    progress = runtime.Progress(100, "cells", every_s=10)
    progress.advance(10)  # too early for a line
    progress.advance(40)
    progress.advance(10)  # too early again
    progress.advance(40)  # the last one is always told
    assert [record.getMessage() for record in caplog.records] == [
        "50 of 100 cells, 2.5 cells/s, 20 s left",
        "100 of 100 cells, 2.5 cells/s, 0 s left",
    ]
