import importlib.util
import json

import pytest
import torch

from causcade.errors import InputError
from causcade.tx1.training_log import TrainingLog, peak_flops, read_records


def test_records_are_lines_of_json_without_what_is_not_finite(tmp_path):
    with TrainingLog(tmp_path, 0) as log:
        log.add(1, {"loss": 2.0, "rate": float("inf")})
        log.add(2, {"loss": float("nan")})
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [{"step": 1, "loss": 2.0}, {"step": 2}]


def test_what_is_beyond_the_step_that_is_gone_on_from_is_dropped(tmp_path):
    with TrainingLog(tmp_path, 0) as log:
        for step in range(1, 6):
            log.add(step, {"loss": step})
    with (tmp_path / "metrics.jsonl").open("a") as handle:
        handle.write('{"step": 6, "lo')  # killed while it wrote
    with TrainingLog(tmp_path, 3) as log:
        log.add(4, {"loss": 40.0})
    assert [(record["step"], record["loss"]) for record in read_records(tmp_path / "metrics.jsonl")] == [(1, 1), (2, 2), (3, 3), (4, 40.0)]
    TrainingLog(tmp_path, 0)
    assert read_records(tmp_path / "metrics.jsonl") == []


def test_damage_within_the_records_is_told(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\nnonsense\n{"step": 3}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl: expected a JSON object in each line, found something else in line 2\."):
        read_records(tmp_path / "metrics.jsonl")
    assert read_records(tmp_path / "absent.jsonl") == []


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="TensorBoard is not installed")
def test_event_files_are_written_where_tensorboard_is_installed(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with TrainingLog(tmp_path, 0) as log:
        log.add(7, {"loss": 2.5})
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    (event,) = events.Scalars("loss")
    assert (event.step, event.value) == (7, 2.5)


@pytest.mark.parametrize(
    ("name", "peak"), [("NVIDIA H200", 989e12), ("NVIDIA H100 PCIe", 756e12), ("NVIDIA A100-SXM4-80GB", 312e12), ("Other", None)]
)
def test_the_peak_of_a_device_is_known_by_its_name(monkeypatch, name, peak):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: name)
    assert peak_flops(torch.device("cuda", 0)) == peak
    assert peak_flops(torch.device("cpu")) is None
