"""Which pairs of genes a network is judged on, and by what.

The pairs are the candidate edges of the run of a configuration, if it has them; so the network stands on the same pairs as the run's own model.
Otherwise they are a table of the user, or all ordered pairs among the genes that occur in the network. Pairs that the network does not list are
judged too, with the score 0. References, priors and lists come from the run's tables of resources, else from the local files that the configuration
names.

Legend of axes: E judged pairs, G genes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.errors import InputError
from causcade.evaluation import EvaluationInputs, read_inputs
from causcade.files import read_json, read_parquet
from causcade.plates import condition_stores
from causcade.resource_catalogue import CATALOGUE
from causcade.resources import Resolver, ResourceFile, build_resources
from causcade.score.tables import read_edges, translate, without_repeats

if TYPE_CHECKING:
    from causcade.config import Config, ResourceConfig

__all__ = ["JUDGED", "MAX_PAIRS", "ScoreInputs", "gather"]

JUDGED = "causal"
"""Name under which the stage `evaluation` takes the ranking that it judges."""

MAX_PAIRS = 4_000_000  # of all ordered pairs; about 2,000 genes
FROM_RESPONSES = frozenset({"mean_shift", "ridge"})
NEEDS_RUN = FROM_RESPONSES | {"coexpression", "raw_coexpression", "partner_rank"}
TABLES = ("prior_edges", "reference_pairs", "reference_universe", "gene_sets", "drug_targets", "identifiers")
COLUMNS = {
    "prior_edges": ["regulator", "target", "sign", "sources", "confidence"],
    "reference_pairs": ["reference", "gene_a", "gene_b", "score"],
    "reference_universe": ["reference", "gene"],
    "gene_sets": ["collection", "gene_set", "gene"],
    "drug_targets": ["perturbation", "target", "sign", "source"],
    "identifiers": ["identifier", "namespace", "gene", "gene_id"],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreInputs:
    """A network beside everything that it is judged by.

    Parameters
    ----------
    evaluation
        Inputs of the stage `evaluation`, with the network in the place of the model.
    account
        What was read and what was left out, for the JSON.
    messages
        The same in sentences, where something was not plain.
    absent
        Baselines for which there are no data; their place in the tables is left out.
    run_metrics
        Metrics of the run's own evaluation on the same pairs, where there is one.
    """

    evaluation: EvaluationInputs
    account: dict[str, Any]
    messages: list[str]
    absent: frozenset[str] = frozenset()
    run_metrics: pd.DataFrame | None = None


@dataclass(slots=True)
class _Reader:
    """Reads tables of edges in the names of the run, and collects what was found on the way."""

    names: dict[str, str] = field(default_factory=dict)
    resolver: Resolver | None = None
    account: dict[str, Any] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def read(self, what: str, path: str | os.PathLike[str], *, number: str | None = None, is_optional: bool = False) -> pd.DataFrame:
        """Read a table, each pair once."""
        table = read_edges(path, number=number, is_optional=is_optional)
        table, about_names, first = translate(table, self.names, self.resolver)
        table, about_rows, second = without_repeats(table, number if number in table.columns else None)
        if table.empty:
            raise InputError(f"{path}: expected edges between two genes, found only edges of a gene to itself. Give the edges of a network.")
        self.account[what] = {"path": str(path), **about_rows, **about_names}
        self.messages += [f"{what}: {message}" for message in first + second]
        return table


def _empty(name: str) -> pd.DataFrame:
    return pd.DataFrame({column: pd.Series(dtype=object) for column in COLUMNS[name]})


def _entries(config: Config) -> dict[str, ResourceConfig | None]:
    return {name: getattr(config.resources, name) for name in CATALOGUE}


def _local_resources(config: Config, reader: _Reader) -> dict[str, pd.DataFrame]:
    """Tables of the resources that the configuration names by local path."""
    sources, remote = {}, []
    for name, entry in _entries(config).items():
        if entry is not None and entry.path is not None:
            sources[name] = ResourceFile(path=Path(entry.path), url=entry.url, version=entry.version, licence=entry.licence, sha256=entry.sha256)
        elif entry is not None:
            remote.append(name)
    if remote:
        reader.messages.append(f"resources: without a local path, and so not used: {', '.join(remote)}; the workflow fetches them")
    if not sources:
        return {name: _empty(name) for name in TABLES}
    tables = build_resources(sources, config.resources)
    reader.account["resources"] = {name: entry["sha256"] for name, entry in tables.manifest.items()}
    return {name: getattr(tables, name) for name in TABLES}


def _resources(config: Config | None, run: Path | None, reader: _Reader) -> dict[str, pd.DataFrame]:
    """Tables of curated resources: those of the run, else from local files, else empty."""
    if config is None or run is None:
        return {name: _empty(name) for name in TABLES}
    if (run / "resources" / "manifest.json").is_file():
        manifest = read_json(run / "resources" / "manifest.json")
        reader.account["resources"] = {name: entry["sha256"] for name, entry in manifest.items() if isinstance(entry, dict) and "sha256" in entry}
        return {name: read_parquet(run / "resources" / f"{name}.parquet") for name in TABLES}
    if config.is_simulated and not any(entry is not None and entry.path is not None for entry in _entries(config).values()):
        raise InputError(
            f"{run}: expected a run, or resources with a local path in the configuration, found neither. Run `make demo`, or name files "
            "under `resources`."
        )
    return _local_resources(config, reader)


def _own_panel(genes: npt.NDArray[np.object_], tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    sets = tables["gene_sets"]
    tfs = sets.loc[sets["collection"] == "tfs", "gene"]
    return pd.DataFrame({"gene": genes, "is_tf": np.isin(genes, tfs), "is_drug_target": np.isin(genes, tables["drug_targets"]["target"])})


def _all_pairs(network: pd.DataFrame) -> pd.DataFrame:
    """All ordered pairs among the genes of a network, by target and then by source."""
    genes = np.unique(np.concatenate([network["source"], network["target"]]).astype(str)).astype(object)
    num = len(genes)
    if num * (num - 1) > MAX_PAIRS:
        most = int((1 + np.sqrt(1 + 4 * MAX_PAIRS)) / 2)
        raise InputError(
            f"EDGES: expected at most {most:,} genes, of which all ordered pairs are judged, found {num:,}. Give the pairs to judge by --candidates."
        )
    target, source = np.divmod(np.arange(num * num), num)
    proper = target != source
    return pd.DataFrame({"source": genes[source[proper]], "target": genes[target[proper]]})


def _rows(pairs: pd.DataFrame, table: pd.DataFrame, genes: npt.NDArray[np.object_]) -> npt.NDArray[np.int64]:
    """Row among the pairs (unique) of each row of a table; -1 where it is none of them. Both have source and target."""
    index = pd.Index(genes)
    keys = []
    for one in (pairs, table):
        source, target = index.get_indexer(one["source"]), index.get_indexer(one["target"])
        keys.append(np.where((source < 0) | (target < 0), -1, source.astype(np.int64) * len(index) + target))
    order = np.argsort(keys[0], kind="stable")
    place = np.minimum(np.searchsorted(keys[0][order], keys[1]), len(order) - 1)
    found = order[place]
    return np.where((keys[1] >= 0) & (keys[0][found] == keys[1]), found, -1)


def _own_candidates(pairs: pd.DataFrame, genes: npt.NDArray[np.object_], priors: pd.DataFrame) -> pd.DataFrame:
    """Pairs in the form of `candidate_edges`, with what curated sources say of them and no coexpression."""
    priors = priors.rename(columns={"regulator": "source"})
    row = _rows(pairs, priors, genes)
    listed = row >= 0
    sources, confidence, sign = np.full(len(pairs), "", dtype=object), np.zeros(len(pairs)), np.zeros(len(pairs), dtype=np.int8)
    sources[row[listed]] = priors["sources"].to_numpy(dtype=object)[listed]
    confidence[row[listed]] = priors["confidence"].to_numpy(dtype=np.float64)[listed]
    sign[row[listed]] = priors["sign"].to_numpy()[listed].astype(np.int8)
    return pd.DataFrame({
        "regulator": pairs["source"].to_numpy(), "target": pairs["target"].to_numpy(), "coexpression": 0.0,
        "rank": pd.array(np.full(len(pairs), None), dtype="Int32"), "sources": sources, "prior_confidence": confidence, "prior_sign": sign,
    })  # fmt: skip


def _run_evaluation(config: Config, run: Path, reader: _Reader) -> tuple[EvaluationInputs, frozenset[str]]:
    """Take the inputs of the run's own evaluation without its fits; and the baselines that are absent since the run has no conditions yet."""
    paths = {
        "edges": run / "candidate_edges.parquet", "panel": run / "panel.parquet", "targets": run / "targets.parquet",
        "prior_edges": run / "resources" / "prior_edges.parquet", "pairs": run / "resources" / "reference_pairs.parquet",
        "universe": run / "resources" / "reference_universe.parquet", "coexpression": run / "coexpression.zarr",
    }  # fmt: skip
    missing = [path.name for path in paths.values() if not path.exists()]
    if missing:
        raise InputError(f"{run}: expected a run with candidate edges, found no {', '.join(missing)}. Rerun `snakemake`, or give --candidates.")
    truth = run / "simulation" / "truth" / "edges.parquet"
    if config.is_simulated and truth.is_file():
        paths["truth"] = truth
    conditions, baselines = condition_stores(config)
    if all(Path(path).exists() for path in conditions + baselines):
        return read_inputs({name: str(path) for name, path in paths.items()}, {}, {}, (conditions, baselines)), frozenset()
    reader.messages.append(f"{run}: the run has no conditions yet, so baselines from the responses are absent")
    tables = {name: read_parquet(path) for name, path in paths.items() if name != "coexpression"}
    found = EvaluationInputs(
        candidate_edges=tables["edges"], panel=tables["panel"], scores={}, reference_pairs=tables["pairs"], reference_universe=tables["universe"],
        drug_links=tables["targets"], prior_edges=tables["prior_edges"], truth_edges=tables.get("truth"),
    )  # fmt: skip
    return found, FROM_RESPONSES


def _own_evaluation(pairs: pd.DataFrame, tables: dict[str, pd.DataFrame]) -> EvaluationInputs:
    """Take the inputs of an evaluation on pairs of genes alone."""
    genes = np.unique(np.concatenate([pairs["source"], pairs["target"]]).astype(str)).astype(object)
    return EvaluationInputs(
        candidate_edges=_own_candidates(pairs, genes, tables["prior_edges"]), panel=_own_panel(genes, tables), scores={},
        reference_pairs=tables["reference_pairs"], reference_universe=tables["reference_universe"], drug_links=tables["drug_targets"],
        prior_edges=tables["prior_edges"],
    )  # fmt: skip


def _read_truth(path: str | os.PathLike[str], reader: _Reader) -> pd.DataFrame:
    """Read true edges in the form that the evaluation takes; without signs, all stand as positive."""
    truth = reader.read("truth", path, number="sign", is_optional=True)
    has_signs = "sign" in truth.columns
    weight = truth["sign"].to_numpy() if has_signs else np.ones(len(truth))
    wrong = weight[np.abs(weight) != 1]
    if len(wrong):
        raise InputError(
            f"{path}: expected signs -1 or 1, found {wrong[0]:g}. List true edges only; without the column `sign` their signs count as not known."
        )
    reader.account["truth"]["has_signs"] = has_signs
    return pd.DataFrame({"regulator": truth["source"], "target": truth["target"], "weight": weight})


def _score_pairs(network: pd.DataFrame, base: EvaluationInputs, reader: _Reader) -> npt.NDArray[np.float64]:
    """Score [E] of each pair in the network; 0 where it is not listed."""
    pairs = base.candidate_edges[["regulator", "target"]].set_axis(["source", "target"], axis=1)
    row = _rows(pairs, network, base.panel["gene"].to_numpy(dtype=object))
    inside = row >= 0
    if not inside.any():
        first, one = network.iloc[0], pairs.iloc[0]
        raise InputError(
            f"EDGES: expected edges among the {len(pairs):,} pairs that are judged (such as {one['source']} to {one['target']}), found none of "
            f"{len(network):,} (such as {first['source']} to {first['target']}). Use the same names of genes, or give --candidates or --all-pairs."
        )
    score_E = np.zeros(len(pairs))
    score_E[row[inside]] = network["weight"].to_numpy()[inside]
    num_inside = int(inside.sum())
    counts = {"num_pairs": len(pairs), "num_genes": len(base.panel), "num_listed": num_inside, "num_outside": len(network) - num_inside}
    reader.account["pairs"] |= counts | {"num_scored": int(np.count_nonzero(score_E))}
    ending = "" if num_inside == len(pairs) else "; pairs that it does not list have the score 0"
    reader.messages.append(f"network: {num_inside:,} of {len(network):,} edges are among the {len(pairs):,} judged pairs{ending}")
    return score_E


def gather(
    edges: str | os.PathLike[str],
    config: Config | None = None,
    *,
    candidates: str | os.PathLike[str] | None = None,
    all_pairs: bool = False,
    truth: str | os.PathLike[str] | None = None,
) -> ScoreInputs:
    """Read a network and everything that it is judged by.

    Parameters
    ----------
    edges
        Table of the network: source, target, weight; pairs are ranked by |weight|, and its sign is the effect.
    config
        Names the run, or the local files of the references. None: no reference, the truth alone.
    candidates
        Table of the pairs to judge (source, target).
    all_pairs
        Judge all ordered pairs among the genes of the network, even if the run has candidate edges.
    truth
        Table of the true edges: source, target and, if known, sign (-1, 1).

    Raises
    ------
    InputError
        If a table is not as said, no edge of the network is among the pairs, there are too many pairs, or there is nothing to judge by.
    """
    reader = _Reader()
    run = None if config is None else Path(config.results) / config.run
    tables = _resources(config, run, reader)
    # Without a reference there is no vocabulary to translate to: the names of network and truth stand as they are.
    if len(tables["identifiers"]) and len(tables["reference_pairs"]):
        reader.resolver = Resolver.from_table(tables["identifiers"])
    base, absent, run_metrics = None, NEEDS_RUN, None
    if config is not None and run is not None and candidates is None and not all_pairs and (run / "candidate_edges.parquet").is_file():
        base, absent = _run_evaluation(config, run, reader)
        reader.names = dict(zip(base.panel["gene_id"], base.panel["gene"], strict=True)) | {gene: gene for gene in base.panel["gene"]}
        reader.account["pairs"] = {"from": f"{run}/candidate_edges.parquet"}
        metrics = run / "evaluation" / "metrics.parquet"
        run_metrics = read_parquet(metrics) if metrics.is_file() and truth is None else None
    network = reader.read("network", edges, number="weight")
    truth_edges = None if base is None else base.truth_edges
    truth_edges = truth_edges if truth is None else _read_truth(truth, reader)
    if truth_edges is None and tables["reference_pairs"].empty:
        raise InputError(
            "score: expected something to judge by, found neither references nor a truth. Give --truth TABLE, or a --config whose resources "
            "have been fetched or have local paths."
        )
    if base is None:
        pairs = _all_pairs(network) if candidates is None else reader.read("candidates", candidates)
        reader.account["pairs"] = {"from": "all ordered pairs among the genes of the network" if candidates is None else str(candidates)}
        base = _own_evaluation(pairs, tables)
        absent |= frozenset() if candidates is not None else frozenset({"mask"})  # all genes have all partners
    score_E = _score_pairs(network, base, reader)
    absent |= (frozenset() if len(tables["prior_edges"]) else {"prior"}) | (frozenset() if len(base.drug_links) else {"listed_target"})
    return ScoreInputs(
        evaluation=replace(base, scores={JUDGED: score_E}, truth_edges=truth_edges), account=reader.account, messages=reader.messages,
        absent=absent, run_metrics=run_metrics,
    )  # fmt: skip
