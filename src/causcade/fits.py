"""Names of the causal fits of a run. Apart from :mod:`causcade.causal`, so that the Snakefile need not load torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from causcade.config import CausalConfig

__all__ = ["fit_names", "latent_fit_names", "settings_of_fit"]

WHICH_FITS = ("edge_nulls", "label_nulls", "bootstraps", "drug_folds", "held_out_lines")
SPEED = ("processes", "nodes")


def fit_names(settings: CausalConfig) -> list[str]:
    """Names of all fits that the settings ask for, in a fixed order.

    main, noprior, edgenull0.., labelnull0.., boot0.., drugs0.. (folds of held-out perturbations), line_<name> (held-out lines).
    """
    numbered = {"edgenull": settings.edge_nulls, "labelnull": settings.label_nulls, "boot": settings.bootstraps, "drugs": settings.drug_folds}
    names = ["main", "noprior", *(f"{name}{i}" for name, num in numbered.items() for i in range(num))]
    return names + [f"line_{line}" for line in settings.held_out_lines]


def latent_fit_names(settings: CausalConfig) -> list[str]:
    """Names of the fits of the latent estimator: those of the causal module, without `noprior`, since no prior enters any of them."""
    return [name for name in fit_names(settings) if name != "noprior"]


def settings_of_fit(name: str, section: Mapping[str, Any]) -> dict[str, Any]:
    """Section `causal` without the keys that only say which fits there are, so that one more bootstrap does not change the others, or how fast.

    The number of folds stays for a fit with a fold held out: it decides the fold.
    """
    left_out = (*WHICH_FITS, *SPEED)
    return {key: value for key, value in section.items() if key not in left_out or (key == "drug_folds" and name.startswith("drugs"))}
