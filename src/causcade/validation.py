"""Checks of a configuration against the file system, before any job: all mistakes together.

:func:`load_config` is what the workflow and the command line start from. Checks that have to read cells are in :mod:`causcade.checks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causcade.config import Config, EmbeddingConfig, PretrainingConfig, ResourceConfig, parse_config
from causcade.config_tx1 import is_hub_name, path_of_plate
from causcade.errors import ConfigError, InputError
from causcade.files import sha256_of
from causcade.input_files import absent_table
from causcade.plates import scan_plate_table
from causcade.resource_catalogue import CATALOGUE, SIMULATED_FILES
from causcade.tx1.hub import DRUG_FILE, REQUIRED, find_folder

__all__ = ["load_config", "merge", "model_files", "read_yaml", "resource_files", "training_files"]

EMBEDDING_SUFFIXES = (".npy", ".parquet", ".h5ad", ".zarr")
MDS_INDEX = "index.json"
DEFAULT_SOURCE = EmbeddingConfig().source


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` on top, section by section, as Snakemake merges configuration files."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a configuration file.

    Raises
    ------
    ConfigError
        If it is absent, no YAML, or no mapping.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses a key that is written twice: YAML would keep the last one and lose the other without a word."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  (yaml's signature)
            seen = set()
            for key, _ in node.value:
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} twice in one section", key.start_mark)
                seen.add(key.value)
            return super().construct_mapping(node, deep=deep)

    path = Path(path)
    try:
        value = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: expected YAML in UTF-8, found another encoding ({error}). Save it as UTF-8."]) from None
    except OSError as error:
        raise ConfigError([f"{path}: expected a configuration file, found none ({error.strerror}). Correct the path."]) from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where is not None else ""
        raise ConfigError([f"{path}{line}: expected YAML, found {getattr(error, 'problem', error)}. Correct the line."]) from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError([f"{path}: expected keys and values, found {type(value).__name__}. Begin with `run: my_screen`."])
    return value


def resource_files(config: Config) -> dict[str, str]:
    """Local path or address of each resource in use, by name."""
    if config.is_simulated:
        return {name: f"{config.results}/{config.run}/simulation/resources/{file}" for name, file in SIMULATED_FILES.items()}
    found = {}
    for name in CATALOGUE:
        entry: ResourceConfig | None = getattr(config.resources, name)
        if entry is not None:
            found[name] = entry.path or str(entry.url)
    return found


def model_files(model: str | None) -> list[str]:
    """Files of a model in a local folder; none for a name on the hub, and for null."""
    if model is None or is_hub_name(model):
        return []
    folder = Path(model).expanduser()
    drugs = [DRUG_FILE] if (folder / DRUG_FILE).is_file() else []
    return [str(folder / name) for name in (*REQUIRED, *drugs)]


def training_files(settings: PretrainingConfig) -> list[str]:
    """Files from outside the run that decide what is trained: of the model to go on from, of structures, genes and further cells."""
    indices = [str(Path(folder).expanduser() / MDS_INDEX) for folder in settings.mds]
    return [*model_files(settings.initial), *filter(None, [settings.smiles, settings.vocabulary]), *indices]


def _file_mistakes(raw: Mapping[str, Any]) -> list[str]:
    """Mistakes that the file system tells, from an unvalidated mapping: what does not parse is skipped here."""
    mistakes: list[str] = []
    plates, perturbation, resources = raw.get("plates"), raw.get("perturbation"), raw.get("resources")
    if isinstance(plates, str):
        mistakes += scan_plate_table(plates, check_files=True)[1]
    table = raw.get("condition_table")
    mistakes += _table_mistakes(raw.get("input"), plates) + _condition_table_mistakes(table)
    mistakes += _model_mistakes("pretraining.initial", raw.get("pretraining")) + _model_mistakes("embedding.model", raw.get("embedding"))
    mistakes += _training_mistakes(raw.get("pretraining")) + _embedding_mistakes(raw.get("embedding"), plates)
    targets = perturbation.get("targets") if isinstance(perturbation, Mapping) else None
    if isinstance(targets, str) and not Path(targets).is_file():
        mistakes.append(f"perturbation.targets: expected a table at {targets}, found no file. Correct the path, or write null.")
    if (isinstance(plates, str) or isinstance(table, Mapping)) and isinstance(resources, Mapping):
        for name in CATALOGUE:
            mistakes += _resource_mistakes(name, resources.get(name))
    return mistakes


def _table_mistakes(section: object, plates: object) -> list[str]:
    """Absent tables of section `input`; each plate has its own where a path holds `{plate}`."""
    if not isinstance(section, Mapping):
        return []
    names = [plate.name for plate in scan_plate_table(plates, check_files=False)[0]] if isinstance(plates, str) else []
    tables, gene_table = section.get("tables"), section.get("gene_table")
    wanted: list[tuple[str, str]] = []
    for number, table in enumerate(tables if isinstance(tables, list) else []):
        path = table.get("path") if isinstance(table, Mapping) else None
        if isinstance(path, str):
            paths = [path.replace("{plate}", name) for name in names] if "{plate}" in path else [path]
            wanted += [(f"input.tables.{number}.path", each) for each in paths]
    if isinstance(gene_table, str):
        wanted.append(("input.gene_table", gene_table))
    return [absent_table(key, path) for key, path in wanted if not Path(path).is_file()]


def _condition_table_mistakes(section: object) -> list[str]:
    """Absent tables of section `condition_table`."""
    paths = {key: section.get(key) for key in ("path", "errors")} if isinstance(section, Mapping) else {}
    found = {key: path for key, path in paths.items() if isinstance(path, str)}
    return [absent_table(f"condition_table.{key}", path) for key, path in found.items() if not Path(path).is_file()]


def _model_mistakes(key: str, section: object) -> list[str]:
    """Absent files of a model in a local folder."""
    if not isinstance(section, Mapping):
        return []
    model = section.get(key.split(".")[1])
    if not isinstance(model, str) or (key == "embedding.model" and section.get("source", DEFAULT_SOURCE) != "tx1") or is_hub_name(model):
        return []
    try:
        find_folder(model)
    except InputError as error:
        return [f"{key}: {error}"]
    return []


def _training_mistakes(section: object) -> list[str]:
    """Absent tables of structures, vocabularies and folders of further cells."""
    if not isinstance(section, Mapping):
        return []
    mistakes: list[str] = []
    smiles, vocabulary, folders = section.get("smiles"), section.get("vocabulary"), section.get("mds")
    if isinstance(smiles, str) and not Path(smiles).is_file():
        mistakes.append(absent_table("pretraining.smiles", smiles))
    if isinstance(vocabulary, str) and not Path(vocabulary).is_file():
        mistakes.append(f"pretraining.vocabulary: expected a vocab.json at {vocabulary}, found no file. Correct the path, or write null.")
    for number, folder in enumerate(folders if isinstance(folders, list) else []):
        if isinstance(folder, str) and not (Path(folder).expanduser() / MDS_INDEX).is_file():
            remedy = "Name each folder of shards, such as `DATA/train`."
            mistakes.append(f"pretraining.mds.{number}: expected a folder with {MDS_INDEX} at {folder}, found none. {remedy}")
    return mistakes


def _embedding_mistakes(section: object, plates: object) -> list[str]:
    """Absent files of precomputed embeddings; each plate has its own where the path holds `{plate}`."""
    if not isinstance(section, Mapping) or section.get("source") != "precomputed" or not isinstance(path := section.get("path"), str):
        return []
    names = [plate.name for plate in scan_plate_table(plates, check_files=False)[0]] if isinstance(plates, str) else []
    paths = [path_of_plate(path, name) for name in names] if "{plate}" in path else [path]
    mistakes = [
        f"embedding.path: expected an embedding at {each}, found no file. Correct the path, or write null."
        for each in paths
        if not Path(each).exists()
    ]
    wrong = [each for each in paths if Path(each).suffix not in EMBEDDING_SUFFIXES]
    if wrong:
        mistakes.append(f"embedding.path: expected a file as npy, parquet, h5ad or zarr, found {wrong[0]}. Convert it, or correct its name.")
    return mistakes


def _resource_mistakes(name: str, entry: object) -> list[str]:
    path = entry.get("path") if isinstance(entry, Mapping) else None
    if not isinstance(entry, Mapping) or not isinstance(path, str):
        return []
    if not Path(path).is_file():
        remedy = "Correct the path, or remove it to fetch the resource from its address."
        return [f"resources.{name}.path: expected a file at {path}, found none. {remedy}"]
    expected = entry.get("sha256")
    if isinstance(expected, str) and (found := sha256_of(path)) != expected:
        return [f"resources.{name}.sha256: expected {expected}, found {found} for {path}. Fetch the file again, or correct the checksum."]
    return []


def load_config(raw: Mapping[str, Any], *, check_files: bool) -> Config:
    """Validate a configuration; with `check_files`, look at the files that it names too.

    Raises
    ------
    ConfigError
        With every mistake of both kinds.
    """
    mistakes: list[str] = []
    rest: Config | None = None
    wrong: frozenset[str] = frozenset()
    try:
        rest = parse_config(raw)
    except ConfigError as error:
        mistakes, rest, wrong = error.mistakes, error.rest, error.wrong
    if check_files:
        mistakes = mistakes + _file_mistakes(raw)
    if mistakes or rest is None:
        raise ConfigError(mistakes, rest=rest, wrong=wrong)
    return rest
