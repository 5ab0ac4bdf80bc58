"""Beam search against an exhaustive search, a literal one, and by hand."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurovis.generation.beam_search import search_beams


def table_row(seed, item, prefix, n_tokens, coarse):
    """Log-probabilities after a prefix, as from a table of random numbers."""
    key = [seed, item, len(prefix), *prefix]
    draws = np.random.default_rng(key).gumbel(size=n_tokens)
    if coarse:  # so that ties are frequent
        draws = np.round(draws)
    draws = draws.astype(np.float64)
    return draws - np.log(np.exp(draws).sum())


class TableModel:
    """A model that reads its answers from a table; counts the rows it was shown."""

    def __init__(self, items, n_tokens, seed=0, *, coarse=False):
        self.items, self.n_tokens = list(items), n_tokens
        self.seed, self.coarse = seed, coarse

    def start(self):
        self.read = [(item, ()) for item in self.items]
        self.shown = [len(self.read)]
        return self._answer()

    def advance(self, rows, tokens):
        assert rows.dtype == tokens.dtype == torch.int64
        self.read = [
            (self.read[r][0], (*self.read[r][1], t))
            for r, t in zip(rows.tolist(), tokens.tolist(), strict=True)
        ]
        self.shown.append(len(self.read))
        return self._answer()

    def _answer(self):
        rows = [
            table_row(self.seed, item, prefix, self.n_tokens, self.coarse)
            for item, prefix in self.read
        ]
        return torch.from_numpy(np.stack(rows))


class ListedModel(TableModel):
    """Probabilities by prefix, for examples by hand; the rest is all stop (0)."""

    def __init__(self, table):
        super().__init__([0], len(table[()]))
        self.table = table

    def _answer(self):
        rest = [1.0] + [0.0] * (self.n_tokens - 1)
        rows = [self.table.get(prefix, rest) for _, prefix in self.read]
        return torch.tensor(rows, dtype=torch.float64).log()


def exhaustive(seed, item, n_tokens, stop, longest):
    """Every text there can be, and the best by its mean."""
    best = (-np.inf, ())
    for length in range(1, longest + 1):
        for text in itertools.product(range(n_tokens), repeat=length):
            whole = text[-1] == stop or length == longest
            if stop in text[:-1] or not whole:
                continue
            steps = [
                table_row(seed, item, text[:k], n_tokens, False)[text[k]]
                for k in range(length)
            ]
            best = max(best, (float(np.mean(steps)), text))
    return best


def literal(seed, item, n_tokens, stop, beam, longest):
    """The published algorithm, line by line with lists, one item at a time."""
    beams = [((), 0.0, 0, False)]  # tokens, sum, length, stopped
    for _ in range(longest):
        tried = []
        for text, total, length, stopped in beams:
            if stopped:
                tried.append((total / length, text, total, length, True))
                continue
            row = table_row(seed, item, text, n_tokens, False)
            for token in range(n_tokens):
                grown, longer = total + row[token], length + 1
                tried.append(
                    (grown / longer, (*text, token), grown, longer, token == stop)
                )
        tried.sort(key=lambda one: -one[0])
        beams = [one[1:] for one in tried[:beam]]
        if all(stopped for *_, stopped in beams):
            break
    text, total, length, stopped = max(beams, key=lambda one: one[1] / one[2])
    return text, total / length, stopped


def n_texts(n_tokens, longest):
    """How many texts end within a length, or reach it."""
    ended = sum((n_tokens - 1) ** k for k in range(longest))
    return ended + (n_tokens - 1) ** longest


@pytest.mark.parametrize(("n_tokens", "longest"), [(2, 5), (3, 4), (4, 3), (6, 2)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_beam_that_holds_every_text_finds_the_best_of_all(n_tokens, longest, seed):
    stop = seed % n_tokens
    model = TableModel(range(6), n_tokens, seed)
    beam = n_texts(n_tokens, longest)
    found = search_beams(model, stop_token=stop, beam=beam, max_tokens=longest)
    for item in range(6):
        log_prob, text = exhaustive(seed, item, n_tokens, stop, longest)
        assert found.tokens[item] == text
        assert found.log_prob[item] == pytest.approx(log_prob, abs=1e-12)
        assert found.finished[item] == (text[-1] == stop)


def test_a_narrow_beam_can_miss_the_best_text():
    wide = search_beams(TableModel(range(40), 4, 5), stop_token=0, beam=50)
    narrow = search_beams(TableModel(range(40), 4, 5), stop_token=0, beam=1)
    assert (wide.log_prob >= narrow.log_prob - 1e-12).mean() > 0.9
    assert (wide.log_prob > narrow.log_prob + 1e-6).any()


@pytest.mark.parametrize("beam", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("n_tokens", [3, 7])
def test_it_is_the_published_algorithm(beam, n_tokens):
    model = TableModel(range(25), n_tokens, seed=7)
    found = search_beams(model, stop_token=2, beam=beam, max_tokens=6)
    for item in range(25):
        text, log_prob, stopped = literal(7, item, n_tokens, 2, beam, 6)
        assert found.tokens[item] == text
        assert found.log_prob[item] == pytest.approx(log_prob, abs=1e-12)
        assert found.finished[item] == stopped
    assert np.array_equal(found.n_tokens, [len(text) for text in found.tokens])
    assert found.n_tokens.dtype == np.int64


@given(
    seed=st.integers(0, 10_000),
    n_tokens=st.integers(2, 6),
    beam=st.integers(1, 8),
    longest=st.integers(1, 6),
    n_items=st.integers(1, 5),
    coarse=st.booleans(),
)
def test_many_items_at_once_equal_each_alone(
    seed, n_tokens, beam, longest, n_items, coarse
):
    rule = {"stop_token": seed % n_tokens, "beam": beam, "max_tokens": longest}
    model = TableModel(range(n_items), n_tokens, seed, coarse=coarse)
    many = search_beams(model, **rule)
    for item in range(n_items):
        model = TableModel([item], n_tokens, seed, coarse=coarse)
        alone = search_beams(model, **rule)
        assert many.tokens[item] == alone.tokens[0]
        assert many.log_prob[item] == alone.log_prob[0]
        assert many.finished[item] == alone.finished[0]


@given(seed=st.integers(0, 10_000), n_tokens=st.integers(2, 6))
def test_a_beam_of_one_takes_the_likeliest_token_at_every_step(seed, n_tokens):
    found = search_beams(
        TableModel([0], n_tokens, seed), stop_token=1, beam=1, max_tokens=8
    )
    text = ()
    while len(text) < 8 and 1 not in text:
        text += (int(table_row(seed, 0, text, n_tokens, False).argmax()),)
    assert found.tokens == (text,)


def test_a_text_that_has_ended_keeps_its_length_and_its_score():
    # "0" has ended with log .5. "1 1 0" has log (.4 x .85 x .9), a mean of -.395. Were
    # "0" lengthened to three tokens, its mean of -.231 would win.
    model = ListedModel(
        {(): [0.5, 0.4, 0.1], (1,): [0.1, 0.85, 0.05], (1, 1): [0.9, 0.05, 0.05]}
    )
    found = search_beams(model, stop_token=0, beam=2, max_tokens=4)
    assert found.tokens == ((1, 1, 0),)
    assert found.log_prob[0] == pytest.approx(np.log(0.4 * 0.85 * 0.9) / 3)
    # After two tokens "1 1" is ahead (-.511); "1 1 0" then falls to -.700, and "0" at
    # -.693 is still there.
    model = ListedModel(
        {(): [0.5, 0.4, 0.1], (1,): [0.05, 0.9, 0.05], (1, 1): [0.34, 0.33, 0.33]}
    )
    found = search_beams(model, stop_token=0, beam=2, max_tokens=4)
    assert found.tokens == ((0,),)
    assert found.log_prob[0] == pytest.approx(np.log(0.5))
    assert found.n_tokens.tolist() == [1]


def test_the_mean_counts_the_stop_token_and_favours_long_texts():
    # Sums: log .6 for "0"; log .4 for "1 1 0". Means: -.51 and -.31.
    model = ListedModel({(): [0.6, 0.4], (1,): [0.0, 1.0], (1, 1): [1.0, 0.0]})
    found = search_beams(model, stop_token=0, beam=2, max_tokens=5)
    assert found.tokens == ((1, 1, 0),)
    assert found.log_prob[0] == pytest.approx(np.log(0.4) / 3)
    assert found.finished.tolist() == [True]


def test_a_text_that_does_not_end_is_cut_and_told():
    model = ListedModel({(): [0.1, 0.9], (1,): [0.1, 0.9], (1, 1): [0.1, 0.9]})
    found = search_beams(model, stop_token=0, beam=2, max_tokens=3)
    assert found.tokens == ((1, 1, 1),)
    assert found.finished.tolist() == [False]
    assert found.log_prob[0] == pytest.approx(np.log(0.9))


def test_ties_go_to_the_better_beam_and_then_to_the_lower_token():
    even = ListedModel({(): [0.25] * 4, (1,): [0.25] * 4, (2,): [0.25] * 4})
    found = search_beams(even, stop_token=3, beam=2, max_tokens=2)
    assert found.tokens == ((0, 0),)
    ended = search_beams(even, stop_token=0, beam=2, max_tokens=2)
    assert ended.tokens == ((0,),)


@pytest.mark.parametrize("most", [1, 3, 5])
def test_ties_at_the_edge_of_the_beam_are_the_lowest_tokens(most):
    class Flat:
        def start(self):
            return torch.zeros(2, 4000)

        def advance(self, rows, tokens):
            self.tokens = tokens.tolist()
            return torch.zeros(len(rows), 4000)

    model = Flat()
    search_beams(model, stop_token=3999, beam=most, max_tokens=2)
    assert model.tokens == [*range(most)] * 2


def test_a_beam_wider_than_the_vocabulary_is_filled_later():
    model = TableModel([0], 2, 3)
    search_beams(model, stop_token=1, beam=4, max_tokens=4)
    # Texts without a stop: one at first, and one that never ends.
    assert model.shown == [1, 1, 1, 1]
    three = TableModel([0], 3, 3)
    search_beams(three, stop_token=2, beam=100, max_tokens=4)
    assert three.shown == [1, 2, 4, 8]


def test_items_that_have_ended_are_no_longer_shown_to_the_model():
    class Steps:
        """Item k says token 1 k times and then stops (0)."""

        def start(self):
            self.left, self.shown = [0, 1, 2, 3], [4]
            return self._answer()

        def advance(self, rows, tokens):
            assert tokens.tolist() == [1] * len(rows)
            self.left = [self.left[r] - 1 for r in rows.tolist()]
            self.shown.append(len(rows))
            return self._answer()

        def _answer(self):
            rows = [[-np.inf, 0] if n else [0, -np.inf] for n in self.left]
            return torch.tensor(rows, dtype=torch.float32)

    model = Steps()
    found = search_beams(model, stop_token=0, beam=3, max_tokens=9)
    assert found.tokens == ((0,), (1, 0), (1, 1, 0), (1, 1, 1, 0))
    assert found.log_prob.tolist() == [0] * 4
    assert found.finished.all()
    assert model.shown == [4, 3, 2, 1]


def test_what_has_no_chance_is_never_taken():
    model = ListedModel({(): [0.5, 0.5, 0.0], (1,): [0.5, 0.5, 0.0]})
    found = search_beams(model, stop_token=2, beam=5, max_tokens=2)
    assert found.tokens == ((0, 0),)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beam": 0}, "`beam` must be within"),
        ({"beam": 1.5}, "`beam` must be a whole number"),
        ({"max_tokens": 0}, "`max_tokens` must be within"),
        ({"stop_token": 4}, r"`stop_token` must be within \[0, 3\]; got 4"),
        ({"stop_token": -1}, "`stop_token` must be within"),
    ],
)
def test_a_number_out_of_range_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        search_beams(TableModel([0], 4), **{"stop_token": 0} | change)


class Broken(TableModel):
    def __init__(self, answer):
        super().__init__([0, 1], 3)
        self.answer = answer

    def advance(self, rows, tokens):
        return self.answer


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (torch.full((2, 3), torch.nan), "are NaN, or leave no token"),
        (torch.tensor([[-1.0, torch.nan, -1], [-1, -1, -1]]), "are NaN, or leave no"),
        (torch.full((2, 3), -torch.inf), "are NaN, or leave no token"),
        (torch.zeros(5, 3), r"shape \(2, n_tokens\); the model gave \(5, 3\)"),
    ],
)
def test_log_probabilities_that_cannot_be_are_refused(answer, message):
    rows = TableModel([0, 1], 3)
    rows.start()
    firsts = rows._answer().argmax(1).tolist()
    stop = next(token for token in range(3) if token not in firsts)
    with pytest.raises(ValueError, match=message):
        search_beams(Broken(answer), stop_token=stop, beam=1)
