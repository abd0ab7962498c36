import numpy as np
import pandas as pd
import scipy.sparse as sp

from causcade.model_judging import changed_most, most_dosed
from causcade.training_cells import Sample
from causcade.tx1.sources import Cells
from causcade.tx1.vocabulary import Vocabulary


class Store:
    def __init__(self, **obs):
        self.obs = pd.DataFrame(obs)


def test_the_highest_dose_is_that_over_all_plates():
    stores = [
        Store(perturbation=["A", "A", "B", "control"], dose=[0.5, 5.0, 1.0, 0.0]),
        Store(perturbation=["B", "A", "C"], dose=[10.0, 5.0, np.nan]),
    ]
    assert [found.tolist() for found in most_dosed(stores)] == [[False, True, False, True], [True, True, True]]
    assert most_dosed([Store(perturbation=["A", "B"])])[0].all()  # no doses: all cells


def test_the_wells_that_changed_most_are_found_within_plate_and_line():
    rng = np.random.default_rng(0)
    vocabulary = Vocabulary.from_genes([f"ENSG{number:011d}" for number in range(1, 31)])
    well, line = np.repeat(np.arange(10), 60), np.tile(["A", "B"], 300)
    rate = np.where((line == "A")[:, None], 2.0, 9.0) * np.ones((600, 30))
    rate[well == 4, :10] *= 3.0  # the only changed ones of the treated wells 2 to 9
    rate[well == 7, 20:] *= 0.2
    counts = np.zeros((600, vocabulary.size))
    counts[:, vocabulary.gene_tokens] = rng.poisson(rate)
    obs = pd.DataFrame({"plate": "p1", "well": [f"w{number}" for number in well], "cell_line": line, "is_control": well < 2})
    sample = Sample(Cells(sp.csr_matrix(counts), np.arange(600, dtype=np.uint64), None), obs)

    class Model:
        pass

    Model.vocabulary = vocabulary
    assert changed_most(sample, Model()) == ["p1/w4", "p1/w7"]
    assert changed_most(sample._replace(obs=obs.assign(is_control=False)), Model()) == []  # no controls to differ from
