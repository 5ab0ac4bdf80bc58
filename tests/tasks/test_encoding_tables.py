"""Tables of fits: which layer is chosen."""

import numpy as np
import pandas as pd

from tasks.encoding_tables import choose_layers

KEYS = {"data": "tiny", "subject": "s1", "family": "", "region": "all units"}


def regions_of(layers, **names):
    """Measures of the layers of one model: `cv_score` and r."""
    keys = {**KEYS, "model": "m", **names}
    rows = [
        {**keys, "layer": layer, "n_units": 3, "measure": measure, "mean": value}
        for layer, (score, r) in layers.items()
        for measure, value in (("cv_score", score), ("r", r))
    ]
    return pd.DataFrame(rows).assign(untrained=False, simulated=False)


def chosen_of(regions):
    table = choose_layers(regions)
    return table.loc[table["chosen"], ["model", "layer"]].to_numpy().tolist()


def test_the_layer_with_the_largest_score_within_training_is_chosen():
    layers = {"a": (0.1, 0.9), "b": (0.3, 0.2), "c": (0.3, 0.5), "d": (np.nan, 1.0)}
    assert chosen_of(regions_of(layers)) == [["m", "b"]]


def test_a_layer_without_rivals_is_chosen_where_nothing_was_compared():
    alone = regions_of({"output": (np.nan, 0.4)}, model="alone")
    rivals = regions_of({"a": (np.nan, 0.4), "b": (np.nan, 0.5)}, model="rivals")
    assert chosen_of(alone) == [["alone", "output"]]
    # Of several, none is better as far as anybody knows.
    assert chosen_of(rivals) == []
    assert chosen_of(pd.concat([rivals, alone])) == [["alone", "output"]]
    table = choose_layers(alone)
    assert table["cv_score"].isna().all()
    assert table["r"].tolist() == [0.4]


def test_subjects_and_regions_choose_by_themselves():
    first = regions_of({"a": (0.1, 0.0), "b": (0.2, 0.0)})
    second = regions_of({"a": (0.2, 0.0), "b": (0.1, 0.0)}, subject="s2")
    third = regions_of({"a": (np.nan, 0.0)}, region="V1", family="prf")
    table = choose_layers(pd.concat([first, second, third]))
    chosen = table[table["chosen"]]
    assert chosen["layer"].tolist() == ["b", "a", "a"]
    assert chosen["subject"].tolist() == ["s1", "s2", "s1"]
