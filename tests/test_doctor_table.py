"""How predictions are written."""

import pytest

from causcade.config import Config
from causcade.doctor.prediction import Prediction, StageLine
from causcade.doctor.sizes import Sizes
from causcade.doctor.table import arithmetic, bytes_in_words, duration, table

SIZES = Sizes(shapes={}, num_genes=3, num_controls=1.0, num_lines=1, num_perturbations=1, num_conditions=1.0, num_targets=1, num_edges=1234.0)


def line(stage, **keys):
    values = {
        "num_jobs": 2, "amount": 3e12, "unit": "operations", "processor_s": 60.0, "wall_s": 30.0, "gpu_s": 0.0, "memory": 2**30, "disk": 0.0,
        "flops": 0.0, "is_recorded": False,
    }  # fmt: skip
    return StageLine(stage=stage, **(values | keys))


def of(*lines, **keys):
    values = {"processor_s": 60.0, "wall_s": 30.0, "gpu_s": 0.0, "memory": 2**30, "disk": 0.0, "unknown": []}
    return Prediction(lines=list(lines), **(values | keys))


@pytest.mark.parametrize(("seconds", "words"), [(None, "not measured"), (59.6, "60 s"), (600, "10 min"), (7200, "2.0 h"), (3.6e6, "1,000.0 h")])
def test_times(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(("size", "words"), [(None, "not measured"), (2**20, "1 MiB"), (2**30, "1.0 GiB"), (2**40, "1,024.0 GiB")])
def test_sizes(size, words):
    assert bytes_in_words(size) == words


def test_the_table_says_what_is_not_measured_and_what_was_recorded():
    unknown = line("embedding", processor_s=None, wall_s=None, gpu_s=None, flops=9.89e14)
    lines = table(of(line("causal", is_recorded=True), unknown, unknown=["embedding"]), SIZES)
    assert lines[0].split()[:3] == ["stage", "jobs", "size"]
    assert lines[1].split() == ["causal*", "2", "1,234", "edges", "60", "s", "30", "s", "-", "1.0", "GiB", "-"]
    assert lines[2].split()[2:] == ["3", "TFLOP", *["not", "measured"] * 3, "1.0", "GiB", "-"]
    assert "60 s + what is not measured" in lines[3]
    assert lines[4].startswith("* as an earlier run")


def test_arithmetic_is_called_arithmetic():
    unknown = line("embedding", gpu_s=None, flops=9.89e14)
    lines = arithmetic(of(unknown), Config(), [])
    assert lines[0].startswith("arithmetic and no prediction")
    assert lines[1] == "  embedding: 989 TFLOP, 1 s at 989 TFLOP/s (half)"
    precise = arithmetic(of(line("coexpression", gpu_s=None, flops=67e12)), Config(coexpression={"precision": "tf32"}), ["NVIDIA A100-SXM4"])
    assert precise[1] == "  coexpression: 67 TFLOP, 0 s at 156 TFLOP/s (tf32)"
    assert "is not known here" in arithmetic(of(unknown), Config(), ["Another GPU"])[0]
    assert arithmetic(of(line("causal", gpu_s=5.0, flops=1e12)), Config(), []) == []
