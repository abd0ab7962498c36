"""Which responses each fit of a run is made on, whatever estimator makes it; the names of fits are those of :mod:`causcade.fits`."""

from __future__ import annotations

import logging
import re
import zlib

import numpy as np

from causcade.config import CausalConfig
from causcade.errors import InputError
from causcade.responses.conditions import Responses
from causcade.responses.effects import DrugEffects, aggregate, as_effects
from causcade.responses.resampling import bootstrap, drug_folds, edge_null, hold_out_drugs, hold_out_line, label_null
from causcade.responses.streaming import ScreenFiles

__all__ = ["responses_for_fit"]

logger = logging.getLogger("causcade")

FIT_NAME = re.compile(r"main|noprior|(?:edgenull|labelnull|boot)\d+|drugs(?P<fold>\d+)|line_.+")


def responses_for_fit(
    name: str, responses: Responses | ScreenFiles | DrugEffects, settings: CausalConfig, *, seed: int
) -> tuple[DrugEffects, DrugEffects | None]:
    """Training effects of one fit, and the held-out ones (None where nothing is held out).

    Responses in memory and the files of a screen give the same; the files are read one plate at a time. Effects do for all fits but those that hold a
    line out.

    Raises
    ------
    InputError
        For a name that is no fit's, or a cell line that is not there.
    """
    match = FIT_NAME.fullmatch(name)
    if match is None or (match["fold"] is not None and int(match["fold"]) >= settings.drug_folds):
        raise InputError(
            f"fit: expected main, noprior, edgenull0.., labelnull0.., boot0.., drugs0.. or line_<name>, found {name!r}. Correct the name."
        )
    if name.startswith("line_"):
        if isinstance(responses, DrugEffects):
            raise InputError(f"fit {name}: expected responses of conditions, found effects over all lines. Give the responses.")
        return _hold_out_line(responses, name.removeprefix("line_"))
    effects = responses.effects() if isinstance(responses, ScreenFiles) else as_effects(responses)
    kind = name.rstrip("0123456789")
    rng = np.random.default_rng([seed, zlib.crc32((kind if kind == "drugs" else name).encode())])  # all folds come from one split
    match kind:
        case "edgenull":
            return edge_null(effects, rng), None
        case "labelnull":
            return label_null(effects, rng), None
        case "boot":
            return bootstrap(effects, rng), None
        case "drugs":
            num_listed = int((effects.num_targets_D > 0).sum())
            if num_listed < settings.drug_folds:
                # The fits are asked for before anybody knows the targets; a run of one drug must not end here.
                logger.warning("%d perturbations have a target, too few for %d folds: none is held out", num_listed, settings.drug_folds)
                return effects, None
            return hold_out_drugs(effects, drug_folds(effects, settings.drug_folds, rng)[int(name.removeprefix("drugs"))])
        case _:
            return effects, None


def _hold_out_line(responses: Responses | ScreenFiles, line: str) -> tuple[DrugEffects, DrugEffects]:
    if isinstance(responses, ScreenFiles):
        return responses.without_line(line)
    training, held_out = hold_out_line(responses, line)
    return aggregate(training), aggregate(held_out)
