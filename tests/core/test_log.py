"""Progress bars: shown where somebody looks."""

import io
import sys

import pytest

from neurovis.core.log import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "wish", "shown"),
    [
        (Terminal, "", True),
        (Terminal, "0", False),
        (Terminal, "1", True),
        (io.StringIO, "", False),
        (io.StringIO, "0", False),
        (io.StringIO, "1", True),
    ],
)
def test_the_bar_shows_on_a_terminal_unless_told_otherwise(
    monkeypatch, capsys, stream, wish, shown
):
    monkeypatch.setenv("NEUROVIS_PROGRESS", wish)
    monkeypatch.setattr(sys, "stderr", stream())
    assert list(progress([1, 2, 3], "searching")) == [1, 2, 3]
    text = sys.stderr.getvalue()
    assert ("searching: 100%" in text) == shown
    assert bool(text) == shown
    assert capsys.readouterr().out == ""


def test_a_number_is_a_total_that_the_caller_counts_up(monkeypatch):
    monkeypatch.setenv("NEUROVIS_PROGRESS", "1")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress(5_000_000, "weights", unit="B") as bar:
        bar.update(2_000_000)
        bar.update(3_000_000)
        assert bar.n == bar.total == 5_000_000
    assert "5.00M/5.00M" in sys.stderr.getvalue()


def test_another_wish_is_refused(monkeypatch):
    monkeypatch.setenv("NEUROVIS_PROGRESS", "yes")
    with pytest.raises(ValueError, match=r"NEUROVIS_PROGRESS.*'0', '1'"):
        progress([1], "work")
