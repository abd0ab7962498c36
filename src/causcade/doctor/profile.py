"""A Snakemake profile: where it stands, who runs the jobs, and what it would ask for.

Snakemake looks for a profile as a path first, then in its folders of the user and of the system; a path given to `--workflow-profile`, or
`profiles/default`, is laid over it key by key. Only what decides where and how jobs run is read here; Snakemake itself checks the rest.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from causcade.config import Config
from causcade.devices import gpus_of, nodes_of
from causcade.errors import InputError

__all__ = ["GPU_RULES", "Profile", "find_profile", "read_profile"]

FOLDERS = (Path("~/.config/snakemake"), Path("/etc/xdg/snakemake"))
OURS = Path("profiles")
OVERLAID = Path("profiles/default")
GPU_RULES = {
    "quality": "quality", "panel_votes": "panel", "coexpression_moments": "coexpression", "coexpression_moments_shard": "coexpression",
    "coexpression_lines_moments": "coexpression", "evidence_controls": "coexpression", "pretraining": "pretraining",
    "model_judging": "model_judging", "embedding": "embedding", "embedding_map": "embedding_map", "basal": "basal", "causal": "causal",
    "latent": "latent",
}  # fmt: skip
"""Rules that may ask for GPUs, and the stage that decides (:mod:`causcade.devices`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a profile says of running jobs.

    Attributes
    ----------
    path
        File that it was read from.
    executor
        Who runs the jobs: `local`, `slurm`, ...
    num_jobs, cores
        Most jobs at a time, and processors of a local run; None where the profile leaves it open.
    defaults
        Resources of a job unless its rule says otherwise.
    resources, threads
        Resources and threads that the profile sets by rule.
    partitions
        Largest number of GPUs of a node in each partition, where the profile names a file of them (`slurm-partition-config`).
    """

    path: Path
    executor: str
    num_jobs: int | None
    cores: int | None
    defaults: dict[str, Any] = field(default_factory=dict)
    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    threads: dict[str, int] = field(default_factory=dict)
    partitions: dict[str, int] = field(default_factory=dict)

    @property
    def is_cluster(self) -> bool:
        """Whether jobs leave this machine."""
        return self.executor not in ("local", "dryrun", "touch")

    def gpus(self, config: Config) -> dict[str, int]:
        """GPUs of a job of each rule that gets some, over all its nodes: as the profile says, else as the configuration does."""
        found = {}
        for rule, stage in GPU_RULES.items():
            value = self.resources.get(rule, {}).get("gpu", self.defaults.get("gpu"))
            nodes = nodes_of(config, stage)
            number = gpus_of(config, stage) * nodes if not isinstance(value, int) else value
            if number:
                found[rule] = number
        return found


def _file_of(path: Path) -> Path | None:
    """Find the file of a profile: it itself, or in a folder `profile.yaml`, `config.yaml`, or one named for a version."""
    if path.is_file():
        return path
    if not path.is_dir():
        return None
    named = [*sorted(path.glob("*.v9+.yaml")), path / "profile.yaml", path / "config.yaml"]
    return next((file for file in named if file.is_file()), None)


def find_profile(name: str) -> Path:
    """Find the file of a profile where Snakemake would, or in `profiles/`.

    Raises
    ------
    InputError
        If there is none.
    """
    places = [Path(name).expanduser(), *(folder.expanduser() / name for folder in FOLDERS), OURS / name]
    found = next((file for place in places if (file := _file_of(place)) is not None), None)
    if found is None:
        where = ", ".join(str(place) for place in places)
        raise InputError(f"profile: expected {name!r} as a path, or in a folder of profiles, found none of {where}. Give its path.")
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())
        raise InputError(f"{path}: expected a profile in YAML, found a file that cannot be read ({said}). Correct it.") from None
    if value is not None and not isinstance(value, dict):
        raise InputError(f"{path}: expected keys and values, found {type(value).__name__}. Write `executor: slurm`, for example.")
    return {str(key).replace("_", "-"): item for key, item in (value or {}).items() if not str(key).startswith("__")}


def _pairs(value: Any) -> dict[str, Any]:
    """Resources as a mapping; Snakemake also takes a list of `name=value`."""
    if isinstance(value, dict):
        return {str(key): item for key, item in value.items()}
    items = value if isinstance(value, list) else []
    return {key.strip(): _number(item.strip()) for key, _, item in (str(entry).partition("=") for entry in items)}


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _by_rule(value: Any) -> dict[str, dict[str, Any]]:
    if isinstance(value, dict):
        return {str(rule): {key: _number(item) for key, item in _pairs(given).items()} for rule, given in value.items()}
    found: dict[str, dict[str, Any]] = {}
    for entry in value if isinstance(value, list) else []:
        place, _, item = str(entry).partition("=")
        rule, _, key = place.partition(":")
        found.setdefault(rule.strip(), {})[key.strip()] = _number(item.strip())
    return found


def _whole(value: Any, key: str, path: Path) -> int | None:
    if value is None or value in ("all", "unlimited"):
        return None
    number = _number(value)
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise InputError(f"{path}: expected a whole number above 0 in {key}, found {value!r}. Correct it.")
    return number


def _partitions(named: Any, beside: Path) -> dict[str, int]:
    """Read the partitions and their GPUs; the file stands beside the profile, or where the path says."""
    if named is None:
        return {}
    path = next((place for place in (beside.parent / str(named), Path(str(named))) if place.is_file()), None)
    if path is None:
        raise InputError(f"{beside}: expected a file at slurm-partition-config, found none at {named}. Correct the path.")
    found = _read(path).get("partitions")
    if not isinstance(found, dict):
        raise InputError(
            f"{path}: expected `partitions` with a name and limits each, found {type(found).__name__}. See profiles/slurm-gpu/partitions.yaml."
        )
    return {str(partition): int(_number((limits or {}).get("max_gpu", 0))) for partition, limits in found.items()}


def read_profile(name: str) -> Profile:
    """Read a profile, and `profiles/default` over it as Snakemake does.

    Parameters
    ----------
    name
        Name or path.

    Raises
    ------
    InputError
        If there is none, or it cannot be read.
    """
    path = find_profile(name)
    values = _read(path)
    over = _file_of(OVERLAID)
    if over is not None and over.resolve() != path.resolve():
        values |= _read(over)
    executor = str(values.get("executor", "local"))
    set_threads = {rule: _number(number) for rule, number in _pairs(values.get("set-threads")).items()}
    return Profile(
        path=path,
        executor=executor,
        num_jobs=_whole(values.get("jobs"), "jobs", path),
        cores=_whole(values.get("cores"), "cores", path) or (os.cpu_count() if executor == "local" else None),
        defaults={key: _number(item) for key, item in _pairs(values.get("default-resources")).items()},
        resources=_by_rule(values.get("set-resources")),
        threads={rule: number for rule, number in set_threads.items() if isinstance(number, int)},
        partitions=_partitions(values.get("slurm-partition-config"), path),
    )
