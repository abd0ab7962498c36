"""Names of the fits of a run."""

from causcade.config import CausalConfig
from causcade.fits import fit_names, latent_fit_names, settings_of_fit


def test_all_fits_in_a_fixed_order():
    settings = CausalConfig(edge_nulls=2, label_nulls=1, bootstraps=1, drug_folds=2, held_out_lines=["A549", "T 47D"])
    assert fit_names(settings) == ["main", "noprior", "edgenull0", "edgenull1", "labelnull0", "boot0", "drugs0", "drugs1", "line_A549", "line_T 47D"]


def test_only_the_two_fits_that_are_always_made():
    assert fit_names(CausalConfig(edge_nulls=0, label_nulls=0, bootstraps=0, drug_folds=0)) == ["main", "noprior"]


def test_the_latent_estimator_has_no_fit_without_prior():
    settings = CausalConfig(edge_nulls=1, label_nulls=0, bootstraps=1, drug_folds=2, held_out_lines=["A549"])
    assert latent_fit_names(settings) == ["main", "edgenull0", "boot0", "drugs0", "drugs1", "line_A549"]


def test_one_more_bootstrap_or_fold_changes_no_other_fit():
    few, many = (CausalConfig(bootstraps=num, edge_nulls=num, held_out_lines=["A549"] * num, drug_folds=num).model_dump() for num in (2, 5))
    assert settings_of_fit("boot0", few) == settings_of_fit("boot0", many)
    assert settings_of_fit("drugs0", few)["drug_folds"] == 2
    assert settings_of_fit("drugs0", few) != settings_of_fit("drugs0", many)
    assert settings_of_fit("main", few) != settings_of_fit("main", CausalConfig(l1=3.0).model_dump())
    assert settings_of_fit("main", few) == settings_of_fit("main", CausalConfig(processes=4).model_dump())
