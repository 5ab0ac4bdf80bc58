"""The page of faults, written from what tests told."""

import re
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from neurovis.core.files import write_text

HEAD = """# What can go wrong, and what you see

Each line is a test that does the damage for real and looks at what the user gets. The
page is written by a run of them all:
`pytest tests/faults --reliability docs/reliability.md`. A test that fails leaves the
page as it was.
"""


@dataclass(frozen=True)
class Fault:
    """One line of the page: the test, what happened, what the user saw."""

    test: str
    happened: str
    saw: str

    @property
    def file(self):
        return self.test.split("::")[0]

    @property
    def name(self):
        return self.test.split("[")[0].split("::")[-1]


def write_page(path, faults):
    """Write one table per file of tests, in the order of names."""
    parts = [HEAD]
    for file, group in groupby(sorted(faults, key=_place), lambda fault: fault.file):
        parts.append(f"## {_title(file)}\n\n`{file}`\n")
        parts.append("| what happened | what the user saw | test |\n|---|---|---|")
        parts += [_row(fault) for fault in group]
        parts.append("")
    write_text(path, "\n".join(parts))


def named_tests(text):
    """Return the tests that a page names."""
    found, file = set(), ""
    for line in text.splitlines():
        if heading := re.fullmatch(r"`(tests/faults/test_\w+\.py)`", line):
            file = heading[1]
        elif name := re.search(r"<sub>(\S+)</sub> \|$", line):
            found.add(f"{file}::{name[1].replace('<wbr>', '')}")
    return found


def _place(fault):
    return fault.file, fault.test, fault.happened


def _title(file):
    text = Path(file).read_text(encoding="utf-8")
    return text.split('"""')[1].splitlines()[0].rstrip(".")


def _row(fault):
    # Long names may break at each word.
    test = fault.name.replace("_", "_<wbr>")
    return f"| {_cell(fault.happened)} | {_cell(fault.saw)} | <sub>{test}</sub> |"


def _cell(text):
    for sign, instead in (("&", "&amp;"), ("<", "&lt;"), ("|", "&#124;")):
        text = text.replace(sign, instead)
    return re.sub(r"([\\*_\[\]$`])", r"\\\1", text)
