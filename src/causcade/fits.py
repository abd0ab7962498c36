"""Names of the causal fits of a run. Apart from :mod:`causcade.causal`, so that the Snakefile need not load torch."""

from __future__ import annotations

from causcade.config import CausalConfig

__all__ = ["fit_names"]


def fit_names(settings: CausalConfig) -> list[str]:
    """Names of all fits that the settings ask for, in a fixed order.

    main, noprior, edgenull0.., labelnull0.., boot0.., drugs0.. (folds of held-out perturbations), line_<name> (held-out lines).
    """
    numbered = {"edgenull": settings.edge_nulls, "labelnull": settings.label_nulls, "boot": settings.bootstraps, "drugs": settings.drug_folds}
    names = ["main", "noprior", *(f"{name}{i}" for name, num in numbered.items() for i in range(num))]
    return names + [f"line_{line}" for line in settings.held_out_lines]
