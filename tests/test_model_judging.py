import numpy as np
import pandas as pd

from causcade.model_judging import most_dosed


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
