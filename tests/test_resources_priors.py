"""Prior edges: translation, losses, signs and confidences against a slow reference, and repaired dates."""

import numpy as np
import pandas as pd
import pytest

from causcade.resources import Resolver, combine_priors
from causcade.resources.priors import repair_dates

LEVELS = ("A", "B", "C")
NAMES = [
    ("MYC", "approved", "MYC"),
    ("TERT", "approved", "TERT"),
    ("TP53", "approved", "TP53"),
    ("CDKN1A", "approved", "CDKN1A"),
    ("p53", "alias", "TP53"),
    ("WAF1", "previous", "CDKN1A"),
    ("CLOCK", "approved", "CLOCK"),
    ("AR", "approved", "AR"),
    ("SEPT7", "previous", "SEPTIN7"),
    ("SEPTIN7", "approved", "SEPTIN7"),
    ("DEC1", "previous", "DELEC1"),
    ("DEC1", "alias", "BHLHE40"),
    ("SEPT2", "previous", "SEPTIN2"),
    ("SEP2", "alias", "SEPTIN6"),
    ("MARCH3", "previous", "MARCHF3"),
    ("BOTH", "alias", "TP53"),
    ("BOTH", "alias", "MYC"),
]


@pytest.fixture
def resolver():
    table = pd.DataFrame(NAMES, columns=["identifier", "namespace", "gene"])
    return Resolver.from_table(table.assign(gene_id="E-" + table["gene"]))


@pytest.fixture
def files(tmp_path):
    texts = {
        "collectri": "source,target,weight,PMID\nMYC,TERT,1,11;12\nAP1,TERT,1,1\nNFKB,TERT,1,1\nCOMPLEX:P1_P2,TERT,1,1\nMYC,MYC,1,2\np53,WAF1,1,\n"
        "TP53,hsa-miR-1,1,3\nBOTH,TERT,1,4\n",
        "dorothea": "tf\tconfidence\ttarget\tmor\nMYC\tA\tTERT\t1\nTP53\tB\tCDKN1A\t1\nMYC\tE\tTP53\t-1\nTP53\tC\tTERT\t-1\n",
        "trrust": "TP53\tCDKN1A\tActivation\t21;22\nTP53\tCDKN1A\tRepression\t22;23x\nTP53\tWAF1\tUnknown\t24\nCLOCK\t1-Dec\tActivation\t31\n"
        "AR\t7-Sep\tRepression\t41\n",
    }
    found = {}
    for name, text in texts.items():
        found[name] = tmp_path / name
        found[name].write_text(text)
    return found


def test_edges_signs_sources_and_confidences(files, resolver):
    edges, _ = combine_priors(files, resolver, LEVELS)
    columns = ["regulator", "target", "sign", "sources", "confidence", "literature", "num_positive", "num_negative"]
    assert list(edges.columns) == columns
    assert edges.to_numpy().tolist() == [
        ["AR", "SEPTIN7", -1, "trrust", 0.6, "41", 0, 1],
        ["MYC", "TERT", 1, "collectri;dorothea", 0.95, "11;12", 2, 0],
        # Contradicted by TRRUST itself, so no sign. DoRothEA B 0.7, TRRUST 0.65 and CollecTRI 0.5 (no literature): 0.7 + 2 x 0.05.
        ["TP53", "CDKN1A", 0, "collectri;dorothea;trrust", 0.8, "21;22;24", 3, 1],
        ["TP53", "TERT", -1, "dorothea", 0.5, "", 0, 1],
    ]
    assert edges["sign"].dtype == "int8"


def test_losses_are_told_by_reason(files, resolver):
    _, accounts = combine_priors(files, resolver, LEVELS)
    assert accounts["collectri"]["lost"] == {"pseudo_tf": 3, "unknown_id": 1, "ambiguous_id": 1, "self_loop": 1}
    assert accounts["collectri"]["ambiguous"] == ["BOTH"]
    assert accounts["dorothea"]["lost"] == {"below_cutoff": 1}
    assert accounts["trrust"]["lost"] == {"excel_damaged": 1, "duplicate": 2}
    for account in accounts.values():
        assert account["rows_read"] == account["rows_kept"] + sum(account["lost"].values())


def test_levels_decide_what_is_taken(files, resolver):
    everything, _ = combine_priors({"dorothea": files["dorothea"]}, resolver, ("A", "B", "C", "D", "E"))
    assert everything["confidence"].tolist() == [0.9, 0.1, 0.7, 0.5]
    none, accounts = combine_priors({"dorothea": files["dorothea"]}, resolver, ("D",))
    assert len(none) == 0
    assert accounts["dorothea"]["rows_kept"] == 0


def test_confidence_of_trrust_grows_with_publications(tmp_path):
    lines = [f"TF{num}\tG\tUnknown\t{';'.join(map(str, range(1, num + 1)))}\n" for num in (1, 2, 5, 9)]
    (tmp_path / "t").write_text("".join(lines))
    edges, _ = combine_priors({"trrust": tmp_path / "t"}, None, LEVELS)
    assert edges["confidence"].tolist() == [0.6, 0.65, 0.8, 0.8]


def test_without_files_the_table_is_empty_and_typed(files, resolver):
    empty, accounts = combine_priors({}, resolver, LEVELS)
    assert accounts == {}
    full, _ = combine_priors(files, resolver, LEVELS)
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()


def test_without_a_resolver_symbols_are_taken_as_they_are(files):
    edges, accounts = combine_priors(files, None, LEVELS)
    pairs = set(zip(edges["regulator"], edges["target"], strict=True))
    assert ("p53", "WAF1") in pairs
    assert ("TP53", "hsa-miR-1") in pairs
    assert not {"AP1", "NFKB"} & set(edges["regulator"])
    assert accounts["trrust"]["lost"]["excel_damaged"] == 2


def test_order_of_rows_does_not_matter(files, resolver):
    expected, accounts = combine_priors(files, resolver, LEVELS)
    for name, path in files.items():
        lines = path.read_text().splitlines()
        head, body = ([], lines) if name == "trrust" else (lines[:1], lines[1:])
        path.write_text("\n".join([*head, *body[::-1]]) + "\n")
    again, accounts_again = combine_priors(files, resolver, LEVELS)
    pd.testing.assert_frame_equal(again, expected)
    assert accounts_again == accounts


def slow_merge(rows):
    """The documented rule, edge by edge."""
    merged = {}
    for (regulator, target), group in rows.groupby(["regulator", "target"]):
        positive = sum((part["sign"] > 0).any() for _, part in group.groupby("source"))
        negative = sum((part["sign"] < 0).any() for _, part in group.groupby("source"))
        sign = 1 if positive and not negative else -1 if negative and not positive else 0
        confidence = min(0.95, group["confidence"].max() + 0.05 * (group["source"].nunique() - 1))
        merged[regulator, target] = (sign, ";".join(sorted(set(group["source"]))), round(confidence, 6), positive, negative)
    return merged


def test_merging_equals_slow_reference(tmp_path):
    rng = np.random.default_rng(0)
    num = 300
    tfs, targets = rng.choice(list("ABCDE"), num), rng.choice(list("VWXYZ"), num)
    sign, level = rng.choice([-1, 1], num), rng.choice(list("ABCDE"), num)
    source = rng.choice(["collectri", "dorothea", "trrust"], num)
    frame = pd.DataFrame({"regulator": tfs, "target": targets, "sign": sign, "level": level, "source": source}).drop_duplicates()
    weights = {"A": 0.9, "B": 0.7, "C": 0.5, "D": 0.3, "E": 0.1}
    frame["confidence"] = np.select([frame["source"] == "collectri", frame["source"] == "trrust"], [0.7, 0.6], frame["level"].map(weights))
    (tmp_path / "collectri").write_text(
        "source,target,weight,PMID\n" + "".join(f"{r.regulator},{r.target},{r.sign},5\n" for r in frame[frame.source == "collectri"].itertuples())
    )
    (tmp_path / "dorothea").write_text(
        "tf\tconfidence\ttarget\tmor\n"
        + "".join(f"{r.regulator}\t{r.level}\t{r.target}\t{r.sign}\n" for r in frame[frame.source == "dorothea"].itertuples())
    )
    modes = {1: "Activation", -1: "Repression"}
    (tmp_path / "trrust").write_text(
        "".join(f"{r.regulator}\t{r.target}\t{modes[r.sign]}\t5\n" for r in frame[frame.source == "trrust"].itertuples())
    )
    edges, _ = combine_priors({name: tmp_path / name for name in ("collectri", "dorothea", "trrust")}, None, tuple("ABCDE"))
    rows = edges[["sign", "sources", "confidence", "num_positive", "num_negative"]].itertuples(index=False, name=None)
    found = dict(zip(zip(edges["regulator"], edges["target"], strict=True), rows, strict=True))
    assert found == slow_merge(frame)


@pytest.mark.parametrize(
    ("date", "gene"),
    [
        ("7-Sep", "SEPTIN7"),
        ("Sep-7", "SEPTIN7"),
        ("07-Sep", "SEPTIN7"),
        ("3-Mar", "MARCHF3"),
        ("1-Dec", None),
        ("2-Sep", None),
        ("9-Mar", None),
        ("4-Jul", None),
    ],
)
def test_a_date_is_repaired_only_where_one_gene_can_be_meant(resolver, date, gene):
    repaired, damaged = repair_dates(pd.Series([date, "HLA-A", "TP53"]), resolver)
    assert repaired.tolist()[1:] == ["HLA-A", "TP53"]
    assert damaged.tolist() == [gene is None, False, False]
    assert repaired[0] == (gene or date)


@pytest.mark.shared_data
def test_real_priors(shared_data):
    folder = shared_data / "references"
    resolver = Resolver.from_hgnc(folder / "idmap" / "hgnc_complete_set.txt.gz")
    priors = folder / "grn_priors"
    files = {"collectri": priors / "collectri.csv", "dorothea": priors / "dorothea_decoupler.csv", "trrust": priors / "trrust_rawdata.human.tsv"}
    plain, accounts = combine_priors(files, None, LEVELS)
    assert accounts["collectri"]["lost"] == {"pseudo_tf": 1_395, "self_loop": 462}
    edges, accounts = combine_priors(files, resolver, LEVELS)
    assert accounts["trrust"]["lost"]["excel_damaged"] == 3, "the three 1-Dec stay lost, 7-Sep is repaired"
    assert 66_000 < len(edges) <= len(plain) < 70_176
    known = edges.set_index(["regulator", "target"])
    assert "trrust" in known.loc[("AR", "SEPTIN7"), "sources"]
    p21 = known.loc[("TP53", "CDKN1A")]
    assert (p21["sign"], p21["sources"], p21["num_positive"], p21["num_negative"]) == (0, "collectri;dorothea;trrust", 3, 1)
    assert p21["confidence"] == 0.95
    assert edges["confidence"].between(0.5, 0.95).all()
    assert (edges["regulator"] != edges["target"]).all()
