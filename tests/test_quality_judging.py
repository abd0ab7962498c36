"""Which cells are kept: bounds, outliers, reasons."""

import numpy as np
import pytest

from causcade.config import QualityConfig
from causcade.errors import InputError
from causcade.quality import REASONS, judge_cells, mad_outliers, measure_cells


def slow_outliers(values: list[float], num_mads: float) -> list[bool]:
    def median(numbers):
        ordered, half = sorted(numbers), len(numbers) // 2
        return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2

    centre = median(values)
    deviation = 1.4826 * median([abs(value - centre) for value in values])
    return [deviation > 0 and abs(value - centre) > num_mads * deviation for value in values]


@pytest.mark.parametrize("size", [1, 2, 9, 200])
def test_outliers_equal_a_slow_reference(size):
    values = np.random.default_rng(size).standard_cauchy(size)
    for num_mads in (0.5, 3.0):
        assert mad_outliers(values, num_mads).tolist() == slow_outliers(values.tolist(), num_mads)


def test_outliers_need_a_spread():
    assert mad_outliers(np.zeros(0), 3.0).tolist() == []
    assert not mad_outliers(np.array([1.0] * 9 + [1000.0]), 3.0).any()  # more than half are equal: no deviation
    assert mad_outliers(np.array([1.0, 2.0, 3.0, 4.0, 1000.0]), 3.0).tolist() == [False] * 4 + [True]


def test_reasons_are_named_and_joined_in_order(plate_of):
    counts = np.array([[60, 40, 0], [3, 0, 0], [10, 10, 80], [60, 39, 1], [50, 50, 0]])
    drug = ["DMSO_TF", "DMSO_TF", "DMSO_TF", "Bad", "DMSO_TF"]
    plate = plate_of(counts, ["G1", "G2", "MT-ND1"], columns={"drug": drug, "drugname_drugconc": "1"}, exclude=["Bad"])
    metrics, _ = measure_cells(plate)
    table = judge_cells(plate, metrics, QualityConfig(min_counts=10, min_genes=2, max_mito=0.25, mad=None), seed=0)
    assert table["reason"].tolist() == ["", "low_counts;low_genes", "high_mito", "excluded", ""]
    assert table.columns.tolist() == [
        "cell", "well", "cell_line", "perturbation", "total_counts", "num_genes", "mito_fraction", "doublet_score",
        "doublet_problem", "reason",
    ]  # fmt: skip
    assert table["doublet_score"].isna().all()
    assert (table["doublet_problem"] == "").all()


def test_bounds_are_inclusive(plate_of):
    plate = plate_of(np.array([[6, 3, 1]]), ["G1", "G2", "MT-ND1"])
    metrics, _ = measure_cells(plate)
    at = QualityConfig(min_counts=10, min_genes=3, max_mito=0.1, mad=None)
    assert judge_cells(plate, metrics, at, seed=0)["reason"].tolist() == [""]
    for key, value in (("min_counts", 11), ("min_genes", 4), ("max_mito", 0.099)):
        with pytest.raises(InputError):
            judge_cells(plate, metrics, at.model_copy(update={key: value}), seed=0)


def test_outliers_are_judged_among_usable_cells_only(plate_of):
    rng = np.random.default_rng(0)
    counts = rng.poisson(20, (60, 12))
    counts[0] *= 40  # an outlier
    counts[30:] = rng.poisson(0.5, (30, 12))  # half of the plate is empty droplets
    plate = plate_of(counts)
    metrics, _ = measure_cells(plate)
    table = judge_cells(plate, metrics, QualityConfig(min_counts=100, min_genes=1, mad=5.0), seed=0)
    assert table["reason"].iloc[0] == "outlier"
    assert table["reason"].iloc[30:].str.startswith("low_counts").all()
    expected = slow_outliers(np.log1p(metrics["total_counts"].to_numpy()[:30]).tolist(), 5.0)
    expected_genes = slow_outliers(np.log1p(metrics["num_genes"].to_numpy(dtype=float)[:30]).tolist(), 5.0)
    found = (table["reason"].iloc[:30] == "outlier").tolist()
    assert found == [a or b for a, b in zip(expected, expected_genes, strict=True)]


def test_no_cell_left_is_an_error_that_counts_the_reasons(plate_of):
    plate = plate_of(np.array([[5, 0], [2, 2], [0, 0]]))
    metrics, _ = measure_cells(plate)
    with pytest.raises(InputError) as error:
        judge_cells(plate, metrics, QualityConfig(min_counts=100, min_genes=2), seed=0)
    assert str(error.value) == (
        "plate p1: expected cells that pass quality control, found none of 3 (low_counts 3, low_genes 2). Loosen `quality` in the configuration."
    )


def test_every_removed_cell_has_its_reasons_and_no_kept_cell_has_one(plate_of):
    rng = np.random.default_rng(3)
    counts = np.column_stack([rng.poisson(rng.uniform(0, 12, (300, 1)), (300, 20)), rng.poisson(5, 300)])
    plate = plate_of(
        counts, [*(f"G{i}" for i in range(20)), "MT-ND1"], columns={"drug": rng.choice(["DMSO_TF", "Bad"], 300, p=[0.9, 0.1])}, exclude=["Bad"]
    )
    metrics, _ = measure_cells(plate)
    settings = QualityConfig(min_counts=40, min_genes=10, max_mito=0.1, mad=2.0)
    table = judge_cells(plate, metrics, settings, seed=0).set_index("cell")
    is_low = metrics["total_counts"] < 40
    is_poor = metrics["num_genes"] < 10
    is_dying = metrics["mito_fraction"] > 0.1
    is_bad = plate.obs["perturbation"].eq("Bad").to_numpy()
    expected = {"low_counts": is_low, "low_genes": is_poor, "high_mito": is_dying, "excluded": is_bad}
    for name, flag in expected.items():
        assert table["reason"].str.split(";").map(lambda names, name=name: name in names).tolist() == list(flag), name
    assert set(table["reason"].str.split(";").explode()) <= {*REASONS, ""}
    assert (table["reason"] == "outlier").any()
    usable = ~(is_low | is_poor | is_dying | is_bad)
    assert set(table.loc[usable.to_numpy(), "reason"]) == {"", "outlier"}
