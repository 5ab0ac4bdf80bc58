"""Answers about metamers: reading, recovery, simulated observers, reports."""

import numpy as np
import pandas as pd
import pytest

from analysis.abx_discrimination import abx_proportion_correct
from analysis.stats import wilson_interval
from neurovis.core.files import read_table
from neurovis.core.pictures import write_png
from tasks.metamer_design import MetamerDesign
from tasks.metamer_discrimination import MEAN, read_abx_answers, run_metamers
from tasks.metamer_observers import (
    PooledObserver,
    answer_by_formula,
    answer_trials,
    pairs_of,
)
from tasks.metamers import make_metamers
from tasks.metamers_report import finish_metamers
from tasks.reports import finish_run

SCALES = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.8, 1.0)
TRUE = {"original-sample": 0.28, "sample-sample": 0.47}
QUICK = {"n_bootstrap": 100, "lapse": 0.02, "device": "cpu"}


def trials_of(n=60, comparisons=tuple(TRUE), scales=SCALES):
    rows = [(c, "sea", s) for c in comparisons for s in scales for _ in range(n)]
    return pd.DataFrame(rows, columns=["comparison", "image", "scale"])


def people(n, **options):
    found = [
        answer_by_formula(trials_of(), TRUE, f"p{i}", gain=4.0, **options)
        for i in range(n)
    ]
    return pd.concat(found, ignore_index=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A set of the energy model, which converges quickly."""
    root = tmp_path_factory.mktemp("metamers")
    for i in range(2):
        rng = np.random.default_rng(i)
        coarse = np.kron(rng.random((4, 4)), np.ones((8, 8)))
        grey = 255 * (0.6 * coarse + 0.4 * rng.random((32, 32)))
        picture = np.repeat(grey.round().astype(np.uint8)[..., None], 3, axis=2)
        write_png(root / "pictures" / f"{i}.png", picture)
    design = MetamerDesign(
        scales=(0.3, 0.6, 1.2), model="energy", size_px=32, n_steps=60, fovea_deg=2.0
    )
    return make_metamers(root / "pictures", root / "set", design, device="cpu")


@pytest.fixture(scope="module")
def finished(made, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    answers = answer_by_formula(pd.concat([made.trials] * 8), TRUE, "ann", gain=6.0)
    run_metamers(
        answers,
        out,
        stimuli=made,
        observers=(0.3, 1.0),
        noise=0.1,
        n_repeats=8,
        **QUICK,
    )
    return out, answers


# --------------------------------------------------------------------- answers


def test_all_forms_of_answers_give_one_table():
    base = pd.DataFrame(
        {"subject": ["7", "7"], "comparison": "sample-sample", "scale": [0.3, 0.5]}
    )
    forms = [
        base.assign(correct=[True, False]),
        base.assign(correct=[1, 0], image="sea"),
        base.assign(correct=["True", "false"]),
        base.assign(answer=["a", "a"], correct=["a", "b"]),
        base.assign(response=["1", "1"], correct_response=["1", "2"]),
        base.assign(**{"key_resp.keys": [1.0, np.nan], "corrAns": [1, 2]}),
        base.assign(subject=7, correct=[1.0, 0.0]),
    ]
    for form in forms:
        found = read_abx_answers(form)
        assert found["correct"].tolist() == [True, False]
        assert found["subject"].tolist() == ["7", "7"]
    assert read_abx_answers(forms[1])["image"].tolist() == ["sea", "sea"]


def test_exported_answers_are_read_from_files(tmp_path):
    table = pd.DataFrame(
        {
            "subject": "s1",
            "task": ["abx", "", "abx"],
            "comparison": ["sample-sample", None, "sample-sample"],
            "scale": [0.3, None, 0.4],
            "response": ["1", None, "2"],
            "correct_response": ["1", None, "1"],
        }
    )
    table.to_csv(tmp_path / "answers.csv", index=False)
    found = read_abx_answers(tmp_path / "answers.csv")
    assert found["scale"].tolist() == [0.3, 0.4]
    assert found["correct"].tolist() == [True, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": 0.0}, "`scale` of `responses` must be above 0"),
        ({"scale": "wide"}, "`scale` of `responses` must be above 0"),
        ({"comparison": "a-b"}, "`comparison of `responses`` must be one of"),
        ({"subject": None}, "`subject` of `responses` must name somebody"),
        ({"subject": MEAN}, "`subject` of `responses` must not be"),
        ({"correct": "maybe"}, "must tell whether answers were right"),
        ({"correct": None, "answer": "a"}, "`correct` of `responses` must be known"),
    ],
)
def test_answers_that_cannot_be_are_refused(change, message):
    base = {"subject": "s", "comparison": "sample-sample", "scale": 0.3, "correct": 1}
    table = pd.DataFrame([base | change])
    with pytest.raises(ValueError, match=message):
        read_abx_answers(table)
    with pytest.raises(ValueError, match="lacks the columns"):
        read_abx_answers(pd.DataFrame([base]).drop(columns="scale"))
    with pytest.raises(ValueError, match="`responses` has no answer"):
        read_abx_answers(pd.DataFrame([base])[:0])


# -------------------------------------------------------------------- recovery


def test_known_critical_scales_lie_within_their_intervals(tmp_path):
    score = run_metamers(people(6), tmp_path / "run", **QUICK)
    fits = score.table[score.table["metric"] == "critical_scale"]
    single = fits[fits["subject"] != MEAN]
    truth = single["condition"].map(TRUE)
    inside = (single["ci_low"] <= truth) & (truth <= single["ci_high"])
    assert len(single) == 12
    assert inside.sum() >= 10  # of 95 % intervals
    means = fits[fits["subject"] == MEAN].set_index("condition")
    for comparison, true in TRUE.items():
        row = means.loc[comparison]
        own = single[single["condition"] == comparison]["value"]
        assert row["value"] == pytest.approx(own.mean())
        assert row["value"] == pytest.approx(true, abs=0.03)
        assert row["ci_low"] < row["value"] < row["ci_high"]
        assert row["n"] == 6


def test_shares_are_counted_beside_the_fitted_ones(tmp_path):
    answers = people(1)
    run_metamers(answers, tmp_path / "run", **QUICK)
    table = read_table(tmp_path / "run" / "psychometric.parquet")
    assert len(table) == 2 * len(SCALES)
    for row in table.itertuples():
        cell = answers[
            (answers["comparison"] == row.comparison) & (answers["scale"] == row.scale)
        ]
        assert (row.n_correct, row.n_trials) == (cell["correct"].sum(), len(cell))
        low, high = wilson_interval(row.n_correct, row.n_trials)
        assert (row.ci_low, row.ci_high) == (low, high)
    far = (table["fitted"] - table["value"]).abs()
    assert far.max() < 0.15
    assert (table["chance"] == 0.5).all()


def test_people_at_chance_have_no_critical_scale(tmp_path):
    rng = np.random.default_rng(0)
    guesses = trials_of().assign(subject="guessing")
    guesses["correct"] = rng.random(len(guesses)) < 0.5
    score = run_metamers(guesses, tmp_path / "run", **QUICK)
    fits = score.table[score.table["metric"] == "critical_scale"]
    assert fits["value"].isna().all()
    notes = read_table(tmp_path / "run" / "fits.parquet")["note"]
    assert (notes == "answers are not better than chance").all()
    lines = finish_metamers(tmp_path / "run")
    assert "  guessing, sample-sample: undefined" in lines


# ------------------------------------------------------------------- observers


def test_simulated_answers_are_right_as_often_as_the_rule_says():
    trials = trials_of(20_000, ("sample-sample",), (0.5,))
    for d in (0.0, 1.0, 3.0):
        answers = answer_trials(trials, np.full(len(trials), d), "simulated", lapse=0.1)
        expected = 0.9 * abx_proportion_correct(d) + 0.05
        assert answers["correct"].mean() == pytest.approx(expected, abs=0.015)
    one, other = (
        answer_trials(trials, np.zeros(len(trials)), name)["correct"]
        for name in ("one", "other")
    )
    assert (one == other).mean() == pytest.approx(0.5, abs=0.02)


def test_pairs_come_once_whatever_their_order():
    trials = pd.DataFrame(
        {
            "comparison": "sample-sample",
            "image": ["b", "b", "a"],
            "scale": 0.3,
            "a": ["b2", "b1", "a1"],
            "b": ["b1", "b2", "a2"],
        }
    )
    found = pairs_of(trials)[["image", "a", "b"]].to_numpy().tolist()
    assert found == [["a", "a1", "a2"], ["b", "b1", "b2"]]


def test_windows_see_what_larger_windows_made_and_not_what_smaller_ones_made(made):
    pairs = pairs_of(made.trials)
    seen = {}
    for scale in (0.3, 1.2):
        observer = PooledObserver(scale, model="energy", design=made.design)
        pairs["d"] = observer.sensitivity(pairs, made.stimuli)
        seen[scale] = pairs.groupby("scale")["d"].mean()
    assert seen[0.3][1.2] > 4 * seen[0.3][0.3]
    assert seen[0.3][1.2] > 4 * seen[1.2][1.2]
    assert (np.diff(seen[0.3]) > 0).all()


def test_distances_are_symmetric_and_over_the_noise(made):
    pairs = pairs_of(made.trials).head(4)
    swapped = pairs.rename(columns={"a": "b", "b": "a"})
    quiet, loud = (
        PooledObserver(0.4, noise=noise, model="energy", design=made.design)
        for noise in (0.1, 0.2)
    )
    d = quiet.sensitivity(pairs, made.stimuli)
    np.testing.assert_allclose(quiet.sensitivity(swapped, made.stimuli), d)
    np.testing.assert_allclose(loud.sensitivity(pairs, made.stimuli), d / 2)
    same = pairs.assign(b=pairs["a"])
    assert quiet.sensitivity(same, made.stimuli).tolist() == [0.0] * 4


def test_observers_stand_beside_people(made, finished):
    out, answers = finished
    table = read_table(out / "trials.parquet")
    counts = table.groupby(["model", "subject"]).size().to_dict()
    n = 8 * len(made.trials)
    assert counts == {
        ("human", "ann"): n,
        ("simulated energy 0.3", "simulated energy 0.3"): n,
        ("simulated energy 1", "simulated energy 1"): n,
    }
    own = table[table["subject"] == "ann"].reset_index(drop=True)
    assert own["correct"].tolist() == answers["correct"].tolist()
    pairs = read_table(out / "pairs.parquet")
    assert len(pairs) == 2 * len(pairs_of(made.trials))
    assert read_table(out / "convergence.parquet")["n_samples"].tolist() == [4, 4, 4]


def test_the_report_shows_everything_and_names_what_is_simulated(finished):
    out, _ = finished
    lines = finish_run(out)
    assert lines[0] == "critical scale [95 % interval]"
    assert lines[1].startswith("  ann, original-sample: ")
    assert any("simulated energy 0.3, original-sample: " in line for line in lines)
    assert any("nobody was measured" in line for line in lines)
    assert any("samples are metamers of the energy model" in line for line in lines)
    assert lines[-1] == f"report {out / 'report.html'}"
    html = (out / "report.html").read_text(encoding="utf-8")
    for text in (
        "Critical scales",
        "Converged",
        "nobody was measured",
        "at every scale",
    ):
        assert text in html
    assert {path.stem for path in (out / "figures").glob("*.png")} == {
        "critical_scales",
        "psychometric_original-sample",
        "psychometric_sample-sample",
        "pictures",
        "descent",
    }


def test_the_same_run_again_gives_the_same_files(made, finished):
    out, answers = finished
    names = ("scores.parquet", "fits.parquet", "trials.parquet", "provenance.json")
    before = [(out / name).read_bytes() for name in names]
    shuffled = made.folder  # the set as it lies on disk
    run_metamers(
        answers,
        out,
        stimuli=shuffled,
        observers=(0.3, 1.0),
        noise=0.1,
        n_repeats=8,
        **QUICK,
    )
    assert [(out / name).read_bytes() for name in names] == before
    with pytest.raises(ValueError, match="holds a run with seed=0; now seed=1"):
        run_metamers(
            answers,
            out,
            stimuli=made,
            observers=(0.3, 1.0),
            noise=0.1,
            n_repeats=8,
            seed=1,
            **QUICK,
        )


def test_calls_that_cannot_be_are_refused_before_anything_is_written(made, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(ValueError, match="Nobody answers"):
        run_metamers(None, out)
    with pytest.raises(ValueError, match="`observers` need `stimuli`"):
        run_metamers(people(1), out, observers=(0.3,))
    one = people(1).query("scale == 0.3")
    with pytest.raises(ValueError, match="p0 in 'original-sample' have one scale only"):
        run_metamers(one, out)
    with pytest.raises(ValueError, match=r"at the scale 0\.2, but `stimuli` has 0\.3"):
        run_metamers(people(1), out, stimuli=made)
    with pytest.raises(ValueError, match=r"'simulated energy 0\.3' is there twice"):
        run_metamers(None, out, stimuli=made, observers=(0.3, 0.3))
    with pytest.raises(ValueError, match="`scale` must be within"):
        run_metamers(None, out, stimuli=made, observers=(5.0,))
    with pytest.raises(FileNotFoundError, match="holds no finished set of metamers"):
        run_metamers(None, out, stimuli=tmp_path, observers=(0.3,))
    with pytest.raises(ValueError, match="`critical_scales` lacks"):
        answer_by_formula(trials_of(1), {"sample-sample": 0.4}, "p")
    assert not out.exists()
