"""Names of the fits of a run."""

from causcade.config import CausalConfig
from causcade.fits import fit_names


def test_all_fits_in_a_fixed_order():
    settings = CausalConfig(edge_nulls=2, label_nulls=1, bootstraps=1, drug_folds=2, held_out_lines=["A549", "T 47D"])
    assert fit_names(settings) == ["main", "noprior", "edgenull0", "edgenull1", "labelnull0", "boot0", "drugs0", "drugs1", "line_A549", "line_T 47D"]


def test_only_the_two_fits_that_are_always_made():
    assert fit_names(CausalConfig(edge_nulls=0, label_nulls=0, bootstraps=0, drug_folds=0)) == ["main", "noprior"]
