"""From pseudobulk conditions to the response of every perturbation, with standard errors, targets, nulls and resampling.

:func:`build_responses` subtracts the controls, :func:`aggregate` reduces the conditions of a perturbation to one effect per gene
(:class:`ScreenFiles` does both, one plate in memory at a time), and
:func:`edge_null`, :func:`label_null`, :func:`bootstrap`, :func:`hold_out_drugs` and :func:`hold_out_line` make the data of every further fit, which
:func:`responses_for_fit` gives by the name of the fit.
"""

from causcade.responses.conditions import Responses, build_responses
from causcade.responses.effects import DrugEffects, aggregate, as_effects
from causcade.responses.fits import responses_for_fit
from causcade.responses.held_out import HELD_OUT_COLUMNS, held_out_table, typical_effects
from causcade.responses.reading import read_responses
from causcade.responses.resampling import bootstrap, drug_folds, edge_null, hold_out_drugs, hold_out_line, label_null
from causcade.responses.shared import SharedResponse, fit_shared_response
from causcade.responses.streaming import PlateResponses, ScreenFiles
from causcade.responses.targets import gene_positions, list_targets
from causcade.responses.unmeasured import names_of_unmeasured, with_unmeasured

__all__ = [
    "HELD_OUT_COLUMNS", "DrugEffects", "PlateResponses", "Responses", "ScreenFiles", "SharedResponse", "aggregate", "as_effects", "bootstrap",
    "build_responses", "drug_folds", "edge_null", "fit_shared_response", "gene_positions", "held_out_table", "hold_out_drugs", "hold_out_line",
    "label_null", "list_targets", "names_of_unmeasured", "read_responses", "responses_for_fit", "typical_effects", "with_unmeasured",
]  # fmt: skip
