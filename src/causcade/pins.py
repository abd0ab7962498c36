"""Pinned stages: the gene panel, the model or the axes of the embedding and the basal decoder stay as they are when plates come or change.

A pinned stage keeps a fingerprint of what it was made with: its settings, the code behind it, files from outside (curated resources, a model), and
the fingerprints of the pinned stages that it rests on. As long as that stands, the rules that collect per-plate results for the stage are not part of
the workflow, so that nothing can renew it; once it differs, or on request, they are, with ordinary dependencies. `ancient()` would not do: a job
below a changed job that is linked to it by such files only is not looked at for changes of its own.

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
from causcade.validation import model_files, resource_files, training_files

__all__ = ["PINNED_STAGES", "fingerprints", "is_pinned", "requested_rules", "stages_of"]

MAX_HASHED_BYTES = 1 << 26


class PinnedStage(NamedTuple):
    """What decides a pinned stage: sections of the configuration (or keys, as `section.key`), modules, rules that collect for it, and other stages.

    Every setting that is a parameter of the stage's rule has to be among them: a rule that is rerun while its collecting rules are not defined would
    read per-plate stores that other jobs are about to replace.
    """

    sections: tuple[str, ...]
    modules: tuple[str, ...]
    collectors: tuple[str, ...]
    rests_on: tuple[str, ...] = ()


# In order: a stage comes after those that it rests on. A model is dear, so that a new panel is no reason to train it again.
PINNED_STAGES: dict[str, PinnedStage] = {
    "panel": PinnedStage(
        ("panel", "resources", "seed", "perturbation.separator"), ("panel", "resources", "targets"), ("panel_votes", "panel_consensus")
    ),
    "pretraining": PinnedStage(("pretraining", "seed", "backend"), ("pretraining",), ("pretraining_roll",)),
    "embedding_basis": PinnedStage(("embedding",), ("embedding.pca",), ("embedding_roll",), ("panel",)),
    "basal": PinnedStage(("embedding", "basal", "seed", "backend"), ("basal.stage",), ("basal_roll",), ("panel", "pretraining", "embedding_basis")),
}


def _resource_identities(config: Config) -> dict[str, str]:
    """Identify each resource: the checksum of a local file, the address of a remote one; the simulation where it makes them."""
    if config.is_simulated:
        found = {"simulation": config.simulation.model_dump_json(exclude={"plates"}), "code": code_digest("simulation")}
    else:
        files = resource_files(config)
        found = {name: sha256_of(where) if "://" not in where and Path(where).is_file() else where for name, where in files.items()}
    override = config.perturbation.targets
    if override is not None and Path(override).is_file():
        found["perturbation.targets"] = sha256_of(override)
    return found


def _model_identities(files: Collection[str]) -> dict[str, str]:
    """Identify the files of a model: by their bytes, weights by their size and time of change."""
    found = {}
    for file in files:
        path = Path(file)
        if path.is_file():
            status = path.stat()
            found[file] = sha256_of(path) if status.st_size <= MAX_HASHED_BYTES else f"{status.st_size} {status.st_mtime_ns}"
    return found


def _from_outside(stage: str, config: Config) -> dict[str, str]:
    """Identify the files that decide a stage and come from outside."""
    match stage:
        case "panel":
            return _resource_identities(config)
        case "pretraining":
            return _model_identities(training_files(config.pretraining))
        case "basal" if config.embedding.source == "tx1":
            return _model_identities(model_files(config.embedding.model))
    return {}


def stages_of(config: Config) -> list[str]:
    """Pinned stages that results of the run rest on, in order: axes or a model of its own only where the embedding takes them; none without cells."""
    if not config.has_cells:
        return []
    unused = {"embedding_basis": config.embedding.source != "pca", "pretraining": not config.embedding.trains}
    return [stage for stage in PINNED_STAGES if not unused.get(stage, False)]


def fingerprints(config: Config, stages: Collection[str] | None = None) -> dict[str, str]:
    """Fingerprint (16 hexadecimal digits) of pinned stages, in their order.

    Parameters
    ----------
    config
        Configuration of the run.
    stages
        Stages to look at; by default those of the run (:func:`stages_of`). What a stage rests on counts if it is among them.
    """
    settings = {**config.model_dump(mode="json"), **config.deciding()}
    found: dict[str, str] = {}
    for stage in stages_of(config) if stages is None else stages:
        facts_of = PINNED_STAGES[stage]
        facts: Mapping[str, Any] = {
            "below": {name: found[name] for name in facts_of.rests_on if name in found},
            "outside": _from_outside(stage, config),
            "settings": {name: functools.reduce(lambda value, key: value[key], name.split("."), settings) for name in facts_of.sections},
            "code": code_digest(*facts_of.modules),
        }
        found[stage] = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
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
    path = Path(folder) / f"{stage}.json"
    facts_of = PINNED_STAGES[stage]
    if not {stage, *facts_of.collectors}.isdisjoint(requested) or not path.is_file() or read_json(path)["fingerprint"] != current[stage]:
        return False
    return all(is_pinned(name, current, folder, requested) for name in facts_of.rests_on if name in current)


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
