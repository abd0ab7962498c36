"""The simulated screen: raw counts and curated resources of a drug screen whose directed network is known.

A few plates of pooled cell lines in the layout of Tahoe-100M, every curated resource in its upstream format, and, kept apart, the truth.
It is what a fresh clone runs, and what the method is judged by. A plate is drawn from the seed and its own name alone, so that
adding, removing or reordering plates never changes another one.

:mod:`~causcade.simulation.network` plants the network; :mod:`~causcade.simulation.screen` the genes, drugs and wells;
:mod:`~causcade.simulation.cells` draws counts; :mod:`~causcade.simulation.resources` writes the curated files, whose contents come from
:mod:`~causcade.simulation.identifiers`, :mod:`~causcade.simulation.priors` and :mod:`~causcade.simulation.interactions`.
"""

from causcade.simulation.cells import simulate_plate
from causcade.simulation.network import Network, propagate
from causcade.simulation.resources import write_resources
from causcade.simulation.screen import Drug, ScreenPlan, dose_response, simulate_plan, true_responses, write_truth

__all__ = [
    "Drug",
    "Network",
    "ScreenPlan",
    "dose_response",
    "propagate",
    "simulate_plan",
    "simulate_plate",
    "true_responses",
    "write_resources",
    "write_truth",
]
