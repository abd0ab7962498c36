"""The command line of the training of a model."""

import json

from causcade.config import PretrainingConfig
from causcade.training_job import read_arguments

SECTION = PretrainingConfig(optimiser="adamw")  # which fsdp needs
SETTINGS = json.dumps({"pretraining": SECTION.deciding(), "seed": 3, "backend": "cpu"})


def arguments(**changes):
    given = {
        "settings": SETTINGS, "parallel": "fsdp", "checkpoints": "c", "weights": "m/model.safetensors", "pin": "p.json", "fingerprint": "abc",
        "log": "a.log", "nodes": 1, "processes": 1, "gpus": 0, "micro-cells": 0, "checkpoint-every": 7, "threads": 4, **changes,
    }  # fmt: skip
    return ["roll.json", *(part for name, value in given.items() for part in (f"--{name}", str(value)))]


def test_settings_that_decide_and_those_for_speed_come_together(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    job = read_arguments(arguments())
    assert (str(job.roll), str(job.folder), str(job.checkpoints), job.fingerprint, job.threads) == ("roll.json", "m", "c", "abc", 4)
    assert (job.settings["seed"], job.settings["backend"], str(job.log)) == (3, "cpu", "a.log")
    found = PretrainingConfig(**job.settings["pretraining"])
    assert found == SECTION.model_copy(update={"parallel": "fsdp", "checkpoint_every": 7})
    assert PretrainingConfig(**read_arguments(arguments(**{"micro-cells": 5})).settings["pretraining"]).micro_cells == 5


def test_one_of_several_processes_has_its_part_of_the_threads_and_a_log_of_its_own(monkeypatch):
    for rank, log in (("0", "a.log"), ("2", "a.log.2")):
        monkeypatch.setenv("RANK", rank)
        job = read_arguments(arguments(processes=4, threads=8))
        assert (job.threads, str(job.log)) == (2, log)
    assert read_arguments(arguments(processes=8, threads=4)).threads == 1
