"""The report of object search: what it says, and that its figures hold the tables."""

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from data_loaders.amazon_covers import lattice_centres
from neurovis.core.object_scanpaths import KNOWLEDGE
from stimuli.shelf_displays import make_shelves
from tasks import oat_looks, simulated_search
from tasks.object_search import run_object_search
from tasks.object_search_data import LEAKAGE_NOTE
from tasks.object_search_figures import (
    attention_figures,
    curve_figures,
    fold_figures,
    learning_figures,
    scanpath_figures,
    score_figures,
    shown_models,
)
from tasks.object_search_report import finish_object_search, write_object_report
from tasks.object_search_tables import (
    BEHAVIOUR,
    MULTIMATCH,
    SCANPATHS,
    SEARCH,
    SURPRISE,
    TOLD,
    difference_tables,
    fold_table,
    read_object_run,
    score_table,
    statistics_table,
)
from tasks.simulated_search import SimulatedSearch
from tests.undrawn import figures_not_drawn

# The run that is reported takes long; test_cli.py writes its report in small.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("one_set_of_looks"),
]

HEURISTICS = ("chance_uniform", "reading_order_oracle_stop", "human_nearest_target")
TOKENS = ("uniform_tokens", "displacement_tokens", "displacement_jump_tokens")
NETWORKS = ("oat-small", "oat-small-greedy")
SHELVES = SimulatedSearch(n_shelves=6, targets_per_shelf=2, n_observers=4, seed=3)


def write_covers(folder, n_collages=6, n_subjects=2):
    """Write an Amazon.json of random searches that end on their target."""
    draw = np.random.default_rng(0)
    centres = lattice_centres(2560, 1600)
    collages = {}
    for number in range(1, n_collages + 1):
        target = int(draw.integers(84))
        x, y = (round(v) for v in centres[target])
        collages[f"{number}.jpg"] = {
            "fixations": {
                str(who): np.rint(centres[[*draw.integers(84, size=6), target]])
                .astype(int)
                .tolist()
                for who in range(1, n_subjects + 1)
            },
            "ground_truth": [
                {"xmin": x - 70, "xmax": x + 70, "ymin": y - 100, "ymax": y + 100}
            ],
            "size": {"width": 2560, "height": 1600},
            "target": f"target_{number % 5}.jpg",
        }
    (folder / "Amazon.json").write_text(json.dumps(collages))
    return folder


class Page(HTMLParser):
    """Headings, text, warnings and tables of a report; the provenance is left out."""

    def __init__(self, html):
        super().__init__()
        self.headings, self.tables, self.texts, self.warning = [], [], [], ""
        self._tag, self._in_warning = "", False
        self.feed(html.split('id="provenance"')[0])
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attrs):
        self._tag = tag
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        if tag in ("th", "td"):
            self.tables[-1][-1].append("")
        if dict(attrs).get("role") == "note":
            self._in_warning = True
        if tag == "img":
            self.texts.append(dict(attrs)["alt"])

    def handle_endtag(self, tag):
        self._tag = ""
        if tag == "div":
            self._in_warning = False

    def handle_data(self, data):
        if self._tag == "style":
            return
        self.texts.append(data)
        if self._in_warning:
            self.warning += data
        if self._tag == "h2":
            self.headings.append(data)
        if self._tag in ("th", "td"):
            self.tables[-1][-1][-1] += data


def report_of(folder):
    return Page(write_object_report(folder).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A run on simulated observers with networks; not to be changed."""
    out = tmp_path_factory.mktemp("simulated") / "run"
    run_object_search(
        SHELVES,
        out,
        models=[*HEURISTICS, *TOKENS, *NETWORKS],
        appearance="synthetic",
        n_splits=2,
        epochs=1,
        n_samples=2,
        n_bootstrap=20,
    )
    return out


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A run on scanpaths in the format of people, without networks."""
    folder = tmp_path_factory.mktemp("real")
    run_object_search(
        write_covers(folder),
        folder / "run",
        models=[*HEURISTICS, *TOKENS],
        appearance="synthetic",
        n_samples=2,
        n_bootstrap=20,
    )
    return folder / "run"


@pytest.fixture(scope="module")
def made(simulated):
    return read_object_run(simulated)


@pytest.fixture(scope="module")
def page(simulated):
    return report_of(simulated)


@pytest.fixture(scope="module")
def real_page(real):
    with figures_not_drawn():  # they are among those of the simulated run
        return report_of(real)


# ------------------------------------------------------------------------ texts


def test_sections_stand_in_their_order(page):
    assert page.headings == [
        "The question",
        "Models",
        "How soon the target is fixated",
        "Agreement with simulated observers",
        "Folds",
        "How each moves and stops",
        "How the networks learnt",
        "What the networks attend to",
        "Scanpaths",
        "Sources",
    ]


def test_sections_without_data_are_left_out(real_page):
    assert "How the networks learnt" not in real_page.headings
    assert "What the networks attend to" not in real_page.headings
    assert "Agreement with people" in real_page.headings
    assert "Folds" in real_page.headings


def test_simulated_observers_are_never_called_people(page):
    words = page.text.replace(simulated_search.NOTE, "")
    assert not re.search(r"\b(people|persons?|human)\b", words, re.IGNORECASE)
    assert "any object, as many as simulated observers looked at." in page.text
    assert "Scanpaths on grid_0000_t00: simulated observer sim0" in page.text
    assert "Sattar" not in page.text


def test_people_are_called_people_and_their_data_are_cited(real_page):
    assert "simulated" not in real_page.text
    assert "any object, as many as people looked at." in real_page.text
    assert "Sattar" in real_page.text
    assert "CC BY-NC-SA 4.0" in real_page.text


@pytest.mark.parametrize("which", ["page", "real_page"])
def test_oat_is_cited(which, request):
    text = request.getfixturevalue(which).text
    assert "OAT, behaviour and delta: Fang, Yu, Zhang, van der Lans & Shi" in text


def test_the_banner_holds_what_must_be_known_and_nothing_else(page, real_page):
    assert page.warning.strip() == simulated_search.NOTE
    assert real_page.warning.strip() == oat_looks.NOTE
    note = "Heuristics and token baselines learn from the validation fold too"
    assert note in page.text
    assert "0 of 12 trials with no fixation" in real_page.text


@pytest.fixture(scope="module")
def leaky(tmp_path_factory):
    """A small run on a split that leaks; not to be changed."""
    out = tmp_path_factory.mktemp("leaky") / "run"
    call = {"folds": "trial", "n_bootstrap": 5, "n_samples": 1}
    run_object_search(SHELVES, out, models=["chance_uniform"], **call)
    return out


def test_a_split_that_leaks_is_the_first_warning(leaky):
    found = report_of(leaky)
    assert found.warning.strip().startswith(LEAKAGE_NOTE)
    assert simulated_search.NOTE in found.warning
    assert "1 fold (trial)" in found.text
    assert "stay together" not in found.text
    assert "Folds" not in found.headings
    assert "uniform_tokens" not in [row[0] for t in found.tables for row in t]


@pytest.mark.usefixtures("undrawn_figures")
def test_what_models_must_not_know_and_what_foreign_ones_note_are_warnings(
    leaky, tmp_path
):
    copy = shutil.copytree(leaky, tmp_path / "copy")
    file = copy / "provenance.json"
    content = json.loads(file.read_text())
    oat = {"name": "oat-small", "model": "OAT", "knows": "position"}
    mine = {"name": "mine", "knows": "none"}
    content["call"]["models"] += [oat, mine, oat | {"name": "oat"}]
    content["notes"] += [
        "oat-small: OAT, a small architecture.",
        "mine: <b>has seen the test set</b>.",
        "oat: untrained weights (seed 0).",
    ]
    file.write_text(json.dumps(content))
    found = report_of(copy)
    assert "no models of search: oat-small, oat. Compare" in found.warning
    assert "mine: <b>has seen the test set</b>." in found.warning
    assert "oat: untrained weights (seed 0)." in found.warning
    assert "a small architecture" not in found.warning
    assert read_object_run(copy).label("oat") == "oat (untrained)"


def test_the_summary_tells_how_much_was_run(page, real_page):
    assert (
        "8 models, 4 displays, 16 trials of 4 simulated observers; left out in turn: "
        "2 of 6 folds (fold10); 2 scanpaths per display; appearance: synthetic; seed 0."
    ) in page.text
    assert "6 displays, 12 trials of 2 people" in real_page.text
    assert re.search(r"left out in turn: \d+ folds \(fold10\)", real_page.text)


def test_all_kinds_of_knowledge_have_words():
    assert tuple(TOLD) == KNOWLEDGE


def test_unequal_knowledge_is_pointed_out(page, real_page):
    for text in (page.text, real_page.text):
        assert "Compare only equals" in text
    assert "No heuristic is told what objects look like" in page.text
    assert "No heuristic is told what objects look like" not in real_page.text


def test_attention_is_said_to_prove_nothing(page):
    words = (
        "Attention is that of the last layer of the decoder, averaged over its heads"
    )
    assert words in page.text
    assert "It is no proof of what the network uses" in page.text
    assert "which it had not learnt from" in page.text


@pytest.mark.slow
def test_a_finished_run_is_told_in_words_and_reported_again_alike(page, simulated):
    before = (simulated / "report.html").read_bytes()
    lines = finish_object_search(simulated)
    assert (simulated / "report.html").read_bytes() == before
    assert lines[0].split() == ["knows", "SS", "ScanMatch", "delta", "nAUC30", "nats"]
    row = next(line.split() for line in lines if line.split()[0] == "oat-small")
    table = pd.read_csv(simulated / "models.csv").set_index("baseline")
    assert row[1] == "appearance"
    assert float(row[-1]) == round(table.loc["oat-small", "nats_per_token"], 3)
    assert lines[-1] == f"report {simulated / 'report.html'}"


# ----------------------------------------------------------------------- tables


def test_every_measure_is_told_of_observers_chance_and_all_models(page, simulated):
    table = pd.read_csv(simulated / "models.csv").set_index("baseline")
    printed = {}
    for rows in page.tables:
        for row in rows[1:]:
            printed.setdefault(row[0], set()).update(row[1:])
    measures = {**SCANPATHS, **MULTIMATCH, **SEARCH, **BEHAVIOUR}
    for name in (*HEURISTICS, *NETWORKS, "human_leave_one_out"):
        label = "simulated observers, leave one out" if "human_l" in name else name
        for metric, (_, digits) in measures.items():
            value, error = table.loc[name, [metric, f"{metric}_se"]]
            assert f"{value:.{digits}f} ± {error:.{digits}f}" in printed[label], metric
    for name in (*TOKENS, NETWORKS[0]):
        value, error = table.loc[name, ["nats_per_token", "nats_per_token_se"]]
        assert f"{value:.3f} ± {error:.3f}" in printed[name]


def test_nats_of_a_network_are_told_once(made, simulated):
    drawing, greedy = NETWORKS
    table = pd.read_csv(simulated / "models.csv").set_index("baseline")
    names = ["nats_per_token", "perplexity"]
    assert table.loc[drawing, names].notna().all()
    assert table.loc[greedy, names].isna().all()
    for rows in (made.run.scores, made.table("folds.csv")):
        told = rows[rows["metric"].isin(names)]["model"]
        assert drawing in set(told)
        assert greedy not in set(told)
        assert greedy in set(rows[rows["metric"] == "SS"]["model"])
    (axes,) = dict(score_figures(made))["bars_nats_per_token"].figure.axes
    labels = [t.get_text() for t in axes.get_yticklabels()]
    assert set(labels) == {*TOKENS, drawing}


def test_tables_are_in_order_of_what_is_told(made):
    table = score_table(made, SURPRISE, "Nats").table
    assert table["Model"].tolist() == [
        "uniform_tokens",
        "displacement_tokens",
        "oat-small",
        "displacement_jump_tokens",
    ]
    told = ["none", "recognition", "appearance", "position"]
    assert table["Told"].tolist() == told
    table = score_table(made, SCANPATHS, "Scanpaths").table
    assert table["Model"].tolist() == [
        "simulated observers, leave one out",
        "chance_uniform",
        "reading_order_oracle_stop",
        *NETWORKS,
        "human_nearest_target",
    ]


def test_where_people_looked_exactly_is_told_of_multimatch_only(real, made):
    exact = "people, where exactly they looked"
    people = read_object_run(real)
    assert exact in set(score_table(people, MULTIMATCH, "MM").table["Model"])
    assert exact not in set(score_table(people, SCANPATHS, "SS").table["Model"])
    assert len(score_table(made, MULTIMATCH, "MM").table) == 6


def test_folds_are_told_by_mean_spread_and_range(made, simulated):
    folds = pd.read_csv(simulated / "folds.csv")
    table = fold_table(made, folds).table.set_index("Model")
    part = folds[(folds["model"] == "oat-small") & (folds["metric"] == "ScanMatch")]
    one, other = part["value"]
    mean, spread = (one + other) / 2, abs(one - other) / np.sqrt(2)
    row = table.loc["oat-small"]
    assert row["ScanMatch"] == f"{mean:.3f} ± {spread:.3f}"
    low, high = sorted((one, other))
    assert row["ScanMatch, range"] == f"{low:.3f} to {high:.3f}"
    assert table.loc["uniform_tokens", ["SS", "SS, range"]].tolist() == ["–", "–"]
    assert table.loc["simulated observers, leave one out", "Nats"] == "–"


def test_networks_stand_beside_the_best_references_fold_by_fold(made):
    values = {"oat-small": [0.2, 0.1, 0.4], "human_nearest_target": [0.1, 0.2, 0.2]}
    nats = {"oat-small": [3.0, 3.5, 3.0], "displacement_jump_tokens": [3.2, 3.4, 3.1]}
    folds = pd.DataFrame(
        [
            (model, f"fold {k}", metric, value, 9)
            for metric, table in (("SS", values), ("nats_per_token", nats))
            for model, column in table.items()
            for k, value in enumerate(column)
        ],
        columns=["model", "split", "metric", "value", "n"],
    )
    (table,) = difference_tables(made, folds)
    first, second = table.table.to_dict("records")
    assert first == {
        "Model": "oat-small",
        "Less": "human_nearest_target",
        "Measure": "SS",
        "Mean": "0.067 ± 0.153",
        "Better in": "2 of 3",
        "fold 0": "0.100",
        "fold 1": "−0.100",
        "fold 2": "0.200",
    }
    assert (second["Less"], second["Better in"]) == (TOKENS[-1], "2 of 3")
    assert difference_tables(made, folds[folds["model"] == "oat-small"]) == []


def test_many_folds_are_counted_and_not_listed(made):
    folds = pd.DataFrame(
        [
            (model, f"fold {k}", "SS", value + k, 9)
            for model, value in (("oat-small", 0.2), ("human_nearest_target", 0.1))
            for k in range(60)
        ],
        columns=["model", "split", "metric", "value", "n"],
    )
    (table,) = difference_tables(made, folds)
    assert "fold 0" not in table.table
    assert table.table["Better in"].tolist() == ["60 of 60"]


def test_models_and_observers_move_side_by_side(made, simulated):
    table = statistics_table(made).table.set_index("")
    assert list(table.columns) == [
        *("simulated observers", *NETWORKS, "human_nearest_target")
    ]
    assert len(table) == 15
    stated = pd.read_csv(simulated / "statistics.csv").set_index(["statistic", "model"])
    value, error = stated.loc[("saccade", "human"), ["value", "standard_error"]]
    found = table.loc["Saccade (cells)", "simulated observers"]
    assert found == f"{value:.2f} ± {error:.2f}"


# ---------------------------------------------------------------------- figures


def test_every_figure_lies_beside_the_report(page, simulated):
    names = {path.name for path in (simulated / "figures").iterdir()}
    assert names - {"attention_1_2.png"} == {
        *(f"curves_{knows}.png" for knows in KNOWLEDGE),
        *("bars_SS.png", "bars_ScanMatch.png", "bars_nats_per_token.png"),
        *("folds_SS.png", "folds_ScanMatch.png", "folds_nats_per_token.png"),
        *("learning.png", "attention_1_1.png"),
        *(f"scanpaths_{k}.png" for k in (1, 2, 3)),
    }


def test_models_stand_only_beside_their_equals(made):
    for name, item in curve_figures(made):
        knows = name.removeprefix("curves_")
        shown = {t.get_text() for t in item.figure.legends[0].get_texts()}
        models = made.models[made.models["knows"] == knows]["baseline"]
        equals = {m for m in models if m not in TOKENS}
        assert shown == equals | {"simulated observers"}


def test_the_best_is_on_top(made):
    for name, item in score_figures(made):
        (axes,) = item.figure.axes
        labels = [t.get_text() for t in axes.get_yticklabels()]
        if axes.yaxis_inverted():
            labels = labels[::-1]
        rows = made.run.scores[made.run.scores["metric"] == name.removeprefix("bars_")]
        values = rows.set_index("model")["value"].rename(
            {"human_leave_one_out": "simulated observers"}
        )
        up = name != "bars_nats_per_token"
        upwards = values[labels] if up else -values[labels]
        assert upwards.is_monotonic_increasing
        assert ("simulated observers" in labels) == up


def test_folds_have_a_dot_each_around_the_mean_of_all_trials(made, simulated):
    folds = pd.read_csv(simulated / "folds.csv")
    figures = dict(fold_figures(made, folds))
    (axes,) = figures["folds_ScanMatch"].figure.axes
    labels = [t.get_text() for t in axes.get_yticklabels()]
    assert set(labels) == {"simulated observers", *NETWORKS, "human_nearest_target"}
    dots = [line for line in axes.lines if line.get_alpha() == 0.45]
    own = folds[folds["metric"] == "ScanMatch"].set_index("model")["value"]
    for label, line in zip(labels, dots, strict=True):
        name = "human_leave_one_out" if label == "simulated observers" else label
        assert sorted(line.get_xdata()) == sorted(own[name])
    one = folds[folds["split"] == folds["split"].iloc[0]]
    assert fold_figures(made, one) == []


def test_learning_is_drawn_by_fold_beside_simple_models(made):
    ((name, item),) = learning_figures(made)
    assert name == "learning"
    texts = [t.get_text() for t in item.figure.axes[0].texts]
    assert [t.split()[0] for t in texts] == [*TOKENS[:0:-1]]
    stated = made.models.set_index("baseline").loc[TOKENS[-1], "nats_per_token"]
    assert texts[0] == f"{TOKENS[-1]} {stated:.2f}"


def test_attention_is_drawn_along_a_scanpath_of_the_table(made):
    table = made.table("attention.parquet")
    figures = attention_figures(made)
    assert 1 <= len(figures) <= 2
    stimulus = table["stimulus_id"].iloc[0]
    part = table[(table["stimulus_id"] == stimulus) & (table["token"] == 0)]
    values = part.sort_values("cell")["attention"].to_numpy()[:-1]
    axes = figures[0][1].figure.axes[0]
    boxes = next(c for c in axes.collections if c.get_array() is not None)
    np.testing.assert_allclose(boxes.get_array(), values)
    assert stimulus in figures[0][1].caption
    provenance = made.run.provenance
    call = dict(provenance.call) | {"folds": "trial"}
    leaky = replace(made.run, provenance=replace(provenance, call=call))
    assert "had not learnt" in figures[0][1].caption
    _, item = attention_figures(replace(made, run=leaky))[0]
    assert "had not learnt" not in item.caption


def test_networks_come_first_among_scanpaths(made):
    chosen = ["oat-small", "oat-small-greedy", "human_nearest_target"]
    assert shown_models(made) == [*chosen, "chance_uniform"]


def test_each_display_shows_two_observers_and_four_models_at_most(made, real):
    figures = scanpath_figures(made)
    assert [name for name, _ in figures] == [f"scanpaths_{k}" for k in (1, 2, 3)]
    fixations = made.run.fixations
    tested = set(fixations.loc[fixations["model"] == "oat-small", "stimulus_id"])
    for _, item in figures:
        stimulus = item.alt.removeprefix("Scanpaths on ").split(":")[0]
        assert stimulus in tested
        titles = [axes.get_title(loc="left") for axes in item.figure.axes]
        assert len(titles) == 6
        assert titles[0].startswith("simulated observer sim0 (")
        own = fixations[fixations["stimulus_id"] == stimulus]
        first = own[(own["model"] == "oat-small") & (own["trial"] == 0)]
        assert titles[2] == f"oat-small ({len(first)})"
        assert item.image_format == "png"
        assert all(axes.images for axes in item.figure.axes)
    people = scanpath_figures(read_object_run(real))
    for _, item in people:
        assert not any(axes.images for axes in item.figure.axes)
        assert item.figure.axes[0].get_title(loc="left") == "person 1 (7)"
        colour = item.figure.axes[0].lines[0].get_color()
        assert to_hex(colour) == "#1a1a1a"


def test_shelves_are_those_that_were_searched(made, real):
    stimuli = make_shelves(6, rows=6, cols=14, targets_per_shelf=2, seed=3)
    name = stimuli.table["stimulus_id"].iloc[3]
    assert (made.picture(name) == stimuli.load(3)).all()
    display = made.displays[name]
    assert display.target_cell == stimuli.table["target_cell"].iloc[3]
    assert read_object_run(real).picture("1.jpg") is None
