"""Evaluation: references, controls, hubs, held-out perturbations and lines, and what they say in plain sentences.

:func:`evaluate` judges every ranking on exactly the same candidate edges; :func:`write_evaluation` writes its tables.
"""

from causcade.evaluation.rankings import Responses, name_rankings
from causcade.evaluation.reading import read_inputs
from causcade.evaluation.stage import EvaluationInputs, EvaluationTables, evaluate, write_evaluation

__all__ = ["EvaluationInputs", "EvaluationTables", "Responses", "evaluate", "name_rankings", "read_inputs", "write_evaluation"]
