"""Pinned stages: the gene panel, the axes of the embedding and the basal decoder stay as they are when plates come or change.

A pinned stage keeps a fingerprint of what it was made with: its settings, the code behind it, the curated resources, and the fingerprint of the
pinned stage before it. As long as that stands, the rules that collect per-plate results for the stage are not part of the workflow, so that nothing
can renew it; once it differs, or on request, they are, with ordinary dependencies. `ancient()` would not do: a job below a changed job that is linked
to it by such files only is not looked at for changes of its own.

This module is light, since the Snakefile uses it each time it is parsed.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from causcade.code_digest import code_digest
from causcade.config import Config
from causcade.files import read_json, sha256_of
from causcade.validation import resource_files

__all__ = ["PINNED_STAGES", "fingerprints", "is_pinned", "requested_rules"]


class PinnedStage(NamedTuple):
    """What decides a pinned stage: sections of the configuration (or keys, as `section.key`) and modules; and the rules that collect for it.

    Every setting that is a parameter of the stage's rule has to be among them: a rule that is rerun while its collecting rules are not defined would
    read per-plate stores that other jobs are about to replace.
    """

    sections: tuple[str, ...]
    modules: tuple[str, ...]
    collectors: tuple[str, ...]


# In order: a stage rests on those before it.
PINNED_STAGES: dict[str, PinnedStage] = {
    "panel": PinnedStage(
        ("panel", "resources", "seed", "perturbation.separator"), ("panel", "resources", "targets"), ("panel_votes", "panel_consensus")
    ),
    "embedding_basis": PinnedStage(("embedding",), ("embedding",), ("embedding_roll",)),
    "basal": PinnedStage(("embedding", "basal", "seed", "backend", "input.block_cells"), ("basal",), ("basal_roll",)),
}


def _resource_identities(config: Config) -> dict[str, str]:
    """Identify each resource: the checksum of a local file, the address of a remote one; the simulation where it makes them."""
    if config.is_simulated:
        return {"simulation": config.simulation.model_dump_json(exclude={"plates"}), "code": code_digest("simulation")}
    files = resource_files(config)
    return {name: sha256_of(where) if "://" not in where and Path(where).is_file() else where for name, where in files.items()}


def fingerprints(config: Config) -> dict[str, str]:
    """Fingerprint (16 hexadecimal digits) of each pinned stage of a run, in the order of the stages.

    Axes of the embedding are a stage of their own only where they are computed (`embedding.source: pca`).
    """
    settings = config.model_dump(mode="json")
    before: Any = _resource_identities(config)
    override = config.perturbation.targets
    if override is not None and Path(override).is_file():
        before = {**before, "perturbation.targets": sha256_of(override)}
    found: dict[str, str] = {}
    for stage, facts_of in PINNED_STAGES.items():
        if stage == "embedding_basis" and config.embedding.source != "pca":
            continue
        facts: Mapping[str, Any] = {
            "before": before,
            "settings": {name: functools.reduce(lambda value, key: value[key], name.split("."), settings) for name in facts_of.sections},
            "code": code_digest(*facts_of.modules),
        }
        found[stage] = before = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    return found


def is_pinned(stage: str, current: Mapping[str, str], folder: str | Path, requested: Collection[str]) -> bool:
    """Whether a stage stands as it is.

    Parameters
    ----------
    stage
        One of :data:`PINNED_STAGES`.
    current
        Result of :func:`fingerprints`.
    folder
        Folder `pins` of the run: `<stage>.json` holds the fingerprint that the stage was made with.
    requested
        Rules that are to be run in any case (`--forcerun`). Renewing a stage renews those that rest on it.
    """
    for name, fingerprint in current.items():
        path = Path(folder) / f"{name}.json"
        asked = not {name, *PINNED_STAGES[name].collectors}.isdisjoint(requested)
        if asked or not path.is_file() or read_json(path)["fingerprint"] != fingerprint:
            return False
        if name == stage:
            return True
    raise KeyError(stage)


def requested_rules(arguments: Sequence[str]) -> set[str]:
    """Return the rules that a snakemake command line asks to run in any case: those of `--forcerun`, all pinned stages with `--forceall`.

    Read off the command line, since Snakemake keeps them to itself while it parses the workflow.
    """
    found: set[str] = set()
    taking = False
    for argument in arguments[1:]:
        if argument in ("--forceall", "-F"):
            return set(PINNED_STAGES)
        if argument.startswith("-"):
            name, _, value = argument.partition("=")
            taking = name in ("--forcerun", "-R") and not value
            if name in ("--forcerun", "-R") and value:
                found.add(value)
        elif taking:
            found.add(argument)
    return found
