"""The causal module: every perturbation as a direct effect that a sparse directed network carries on.

Delta = sum_{k=0..K} W^k d + shared response. :func:`fit_causal` fits W and d, :func:`run_fit` any named fit of a run (nulls, bootstraps, held-out
perturbations or lines), :func:`write_fit` and :func:`read_fit` keep it.
"""

from causcade.causal.fit import CausalFit, EdgeWeights, Response, read_fit, read_weights, write_fit
from causcade.causal.fits import fit_causal, responses_for_fit, run_fit, settings_for_fit

__all__ = [
    "CausalFit", "EdgeWeights", "Response", "fit_causal", "read_fit", "read_weights", "responses_for_fit", "run_fit", "settings_for_fit",
    "write_fit",
]  # fmt: skip
