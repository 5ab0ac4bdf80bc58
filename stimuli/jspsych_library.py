"""The files of jsPsych that an exported experiment needs, verified, never run here.

They are packed by the user's own npm, so that its settings hold, and kept in the
cache. Every package must have the SHA-512 that is written below.
"""

import base64
import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from neurovis.core.checks import check_path
from neurovis.core.errors import DataCorruptError, MissingDependencyError
from neurovis.core.files import check_writable_folder, write_bytes

_LONGEST_WAIT_S = 300


@dataclass(frozen=True)
class Package:
    """One package of npm, and what of it is used.

    Parameters
    ----------
    name, version : str
        As npm knows them.
    integrity : str
        "sha512-" and the base64 of the SHA-512 of the packed file.
    author : str
        Who holds the copyright, as the package states it.
    files : mapping of str to str
        Path inside the package to name in the experiment.
    """

    name: str
    version: str
    integrity: str
    author: str
    files: Mapping[str, str]

    @property
    def file_name(self) -> str:
        """What npm calls the packed file."""
        return f"{self.name.replace('@', '').replace('/', '-')}-{self.version}.tgz"


PACKAGES = (
    Package(
        "jspsych",
        "8.3.0",
        "sha512-UrwSVG14v8oRX6WFQ1L6uuGT0G7KgRDSH48iKIVIQI+yMRGAlvg+tEUNFKe/1xZxgk3k"
        "ZiZ5xP0AnpPqPj1zkg==",
        "Joshua R. de Leeuw; with auto-bind (Sindre Sorhus), random-words (Apostrophe "
        "Technologies) and seedrandom (David Bau)",
        {
            "package/dist/index.browser.min.js": "jspsych.js",
            "package/css/jspsych.css": "jspsych.css",
        },
    ),
    Package(
        "@jspsych/plugin-browser-check",
        "2.1.0",
        "sha512-jjqtiz/4u5keORwCE1BnG/GNLAx4SbT9KuFCtZcGqY5LHCC+aSWm7ivjezoQvzLD5UHr"
        "l6SGJ8uYa7Y+ZYYUWQ==",
        "Joshua R. de Leeuw; with detect-browser (Damon Oehlman)",
        {"package/dist/index.browser.min.js": "plugin-browser-check.js"},
    ),
    Package(
        "@jspsych/plugin-html-keyboard-response",
        "2.2.0",
        "sha512-xuNbZH4QNuERMIg2+tHZ0KDpn/TZFXjmUa23zSl2iEmNGp1DNMhOZGlzR4lyavcFeq5q"
        "udpr3ZS4AlrlMS0Gdg==",
        "Joshua R. de Leeuw",
        {"package/dist/index.browser.min.js": "plugin-html-keyboard-response.js"},
    ),
    Package(
        "@jspsych/plugin-virtual-chinrest",
        "3.1.0",
        "sha512-5PQfCRruwosOliqaltjpYltIo1teypByz6Fa0RBFxj4vKeMTl3WUM2A0ogeBcV4pLDgM"
        "FbJTrBLLgtlOsPLHpQ==",
        "Qisheng Li, Gustavo Juantorena",
        {"package/dist/index.browser.min.js": "plugin-virtual-chinrest.js"},
    ),
)
"""What is vendored; all under the MIT licence."""

_LICENCE = """The files beside this one come from these packages, under the MIT licence:

{packages}

Comments that name the address of a source map were taken out, so that the page asks
nothing of other hosts.

The MIT License (MIT)

Permission is hereby granted, free of charge, to any person obtaining a copy of this
software and associated documentation files (the "Software"), to deal in the Software
without restriction, including without limitation the rights to use, copy, modify,
merge, publish, distribute, sublicense, and/or sell copies of the Software, and to
permit persons to whom the Software is furnished to do so, subject to the following
conditions:

The above copyright notice and this permission notice shall be included in all copies
or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED,
INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR
PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE
LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT
OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR
OTHER DEALINGS IN THE SOFTWARE.
"""


def library_files(library: str | Path | None = None) -> dict[str, bytes]:
    """Return the files of jsPsych for an experiment, and their licence.

    Parameters
    ----------
    library : str or Path, optional
        Folder with the packed files, as ``npm pack NAME@VERSION`` leaves them; by
        default the cache, filled by npm when something is missing.

    Returns
    -------
    dict of str to bytes
        Name to content: scripts, a style sheet and ``LICENCE.txt``.

    Raises
    ------
    FileNotFoundError
        If `library` lacks a packed file.
    DataCorruptError
        If a packed file has another SHA-512 than the pinned one.
    MissingDependencyError
        If npm is needed and not there.
    ConnectionError
        If npm cannot get a package.
    OSError
        If the cache cannot be written.
    """
    if library is None:
        home = cache_folder()
        missing = [p for p in PACKAGES if not _is_right(p, home / p.file_name)]
        if missing:
            _pack(missing, home)
    else:
        home = check_path("library", library, kind="folder")
        for package in PACKAGES:
            if not (home / package.file_name).is_file():
                raise FileNotFoundError(
                    f"`library` {home} has no {package.file_name}. Run `npm pack "
                    f"{package.name}@{package.version}` there."
                )
    files = {}
    for package in PACKAGES:
        files.update(_unpack(package, (home / package.file_name).read_bytes()))
    lines = [f"{p.name} {p.version}, (c) {p.author}" for p in PACKAGES]
    files["LICENCE.txt"] = _LICENCE.format(packages="\n".join(lines)).encode()
    return files


def cache_folder() -> Path:
    """Return where packed files are kept.

    Returns
    -------
    Path
        ``neurovis/jspsych`` in ``XDG_CACHE_HOME``, or in ``.cache`` of the user.
    """
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "neurovis" / "jspsych"


def _is_right(package: Package, path: Path) -> bool:
    return path.is_file() and _integrity(path.read_bytes()) == package.integrity


def _integrity(data: bytes) -> str:
    return f"sha512-{base64.b64encode(hashlib.sha512(data).digest()).decode()}"


def _pack(packages: list[Package], home: Path) -> None:
    """Let npm pack what is missing, and keep what has the pinned content."""
    wanted = [f"{p.name}@{p.version}" for p in packages]
    by_hand = (
        f"Or run `npm pack {' '.join(wanted)}` where it works, and name that folder: "
        "library=FOLDER (--library on the command line)."
    )
    npm = shutil.which("npm")
    if npm is None:
        raise MissingDependencyError(
            "npm is needed once to get jsPsych, and is not on PATH. Install Node.js, "
            f"which brings it. {by_hand}"
        )
    check_writable_folder(home)
    with tempfile.TemporaryDirectory() as folder:
        # Nothing of a package is run: packing only downloads.
        call = [npm, "pack", "--ignore-scripts", "--pack-destination", folder, *wanted]
        try:
            done = subprocess.run(
                call,
                cwd=folder,
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                timeout=_LONGEST_WAIT_S,
                check=False,
            )
            said = done.stderr if done.returncode else ""
        except subprocess.TimeoutExpired:
            said = f"it gave no answer in {_LONGEST_WAIT_S} s"
        if said:
            raise ConnectionError(
                f"npm could not get jsPsych ({_last_error(said)}). Check the network "
                f"and the settings of npm, then export again. {by_hand}"
            )
        for package in packages:
            data = check_path(package.name, Path(folder) / package.file_name)
            _check_content(package, content := data.read_bytes())
            write_bytes(home / package.file_name, content)


def _last_error(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if re.match("npm (error|ERR!)", line)]
    return "; ".join((errors or lines)[:2])[:300] or "no message"


def _check_content(package: Package, data: bytes) -> None:
    found = _integrity(data)
    if found != package.integrity:
        raise DataCorruptError(
            f"{package.file_name} is not {package.name} {package.version}: it has "
            f"{found[:20]}..., but {package.integrity[:20]}... is pinned. Delete it "
            "and get it again; do not use it."
        )


def _unpack(package: Package, data: bytes) -> dict[str, bytes]:
    """Return the wanted members; nothing is written, no other member is read."""
    _check_content(package, data)
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        for member, name in package.files.items():
            file = archive.extractfile(member)
            content = b"" if file is None else file.read()
            found[name] = re.sub(rb"\n//# sourceMappingURL=\S*", b"", content)
    return found
