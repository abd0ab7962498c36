"""What a cell line's basal expression says about its responses.

Axes: G genes.

With m the expected counts of a gene in 10^4, x = log(1 + m), and a change of log m by e moves x by e m / (1 + m) = e (1 - exp(-x)): a gene that a
line does not express cannot move there. A network that acts on log m is therefore, in x, C W C^-1 with C the ratio of that factor between the line
and the lines of the fit, and C^-1 d its direct effects: every response is multiplied by C, which needs nothing but control cells of the line.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["expression_context"]

FLOOR = 0.02  # of the factor: below it a measured mean is mostly noise


def expression_context(line_mean_G: npt.NDArray[np.float64], training_mean_G: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Factor on the responses of each gene in a line, float32 [G], from its mean of x in controls and that of the lines of the fit."""
    sensitivity_G, usual_G = (-np.expm1(-np.maximum(mean_G, 0)) + FLOOR for mean_G in (line_mean_G, training_mean_G))
    return np.asarray(sensitivity_G / usual_G, dtype=np.float32)
