"""Worker processes of any engine: what they need, how they are started and watched."""

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurovis.core.checks import check_between, check_whole
from neurovis.core.errors import MissingDependencyError
from neurovis.core.files import write_text

SCRATCH = "scratch"
"""Folder, inside that of the sweep, of what only running workers need."""

MEMORY_TAG, GPU_TAG = "MEMORY_GIB", "GPU"
"""Names under which workers tell what they have."""

DEATH_TIMEOUT_S = 60
"""A worker that finds no scheduler for so long ends by itself."""

_CERTIFICATE = """\
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = neurovis
[extensions]
basicConstraints = critical, CA:TRUE
keyUsage = critical, digitalSignature, keyCertSign
subjectKeyIdentifier = hash
"""


@dataclass(frozen=True)
class WorkerNeeds:
    """The largest that any job of a study needs.

    Parameters
    ----------
    threads : int, default 1
        Threads that a job computes with, >= 1.
    memory_gib : float, default 2.0
        Memory in GiB, > 0.
    gpus : int, default 0
        CUDA devices, >= 0.
    minutes : float, optional
        Time that a job takes, > 0; not known by default.

    Raises
    ------
    TypeError
        If a value is not a number.
    ValueError
        If a value is out of range.

    Examples
    --------
    >>> WorkerNeeds(threads=2, memory_gib=8).memory_gib
    8
    """

    threads: int = 1
    memory_gib: float = 2.0
    gpus: int = 0
    minutes: float | None = None

    def __post_init__(self) -> None:
        check_whole("threads", self.threads, low=1)
        check_between("memory_gib", self.memory_gib, low=2**-10)
        check_whole("gpus", self.gpus, low=0)
        if self.minutes is not None:
            check_between("minutes", self.minutes, low=2**-10)


@dataclass(frozen=True)
class Encryption:
    """Where a certificate and its key lie; who has both may connect.

    Parameters
    ----------
    certificate : Path
        PEM file, shown to others and trusted.
    key : Path
        PEM file that only its owner can read.
    """

    certificate: Path
    key: Path


def encryption_files(folder: Path) -> Encryption:
    """Return where the certificate of a sweep lies.

    Parameters
    ----------
    folder : Path
        Folder of the sweep.

    Returns
    -------
    Encryption
        Files, which need not exist.
    """
    private = folder / SCRATCH / "certificate"
    return Encryption(private / "certificate.pem", private / "key.pem")


def make_encryption(folder: Path) -> Encryption:
    """Make a certificate of its own for the connections of one sweep.

    Without one, whoever reaches the port of a scheduler can run code as its owner.

    Parameters
    ----------
    folder : Path
        Folder of the sweep; only its owner can read the files there.

    Returns
    -------
    Encryption
        Files of the certificate.

    Raises
    ------
    MissingDependencyError
        If there is no program ``openssl``.
    ChildProcessError
        If it fails.
    """
    made = encryption_files(folder)
    private = made.key.parent
    private.mkdir(parents=True, exist_ok=True)
    private.chmod(0o700)
    write_text(private / "openssl.cnf", _CERTIFICATE)
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-sha256"]
    command += ["-days", "365", "-config", str(private / "openssl.cnf")]
    command += ["-out", str(made.certificate), "-keyout", str(made.key)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            umask=0o077,
            timeout=60,
            check=False,
        )
    except FileNotFoundError as error:
        raise MissingDependencyError(
            "Connections to workers are encrypted with a certificate that the program "
            "`openssl` makes, and it is not on PATH. Install it (apt-get install "
            "openssl; module load openssl), then try again."
        ) from error
    if done.returncode != 0:
        raise ChildProcessError(f"openssl made no certificate: {done.stderr.strip()}")
    return made


def security_of(encryption: Encryption | None) -> Any:
    """Return what `distributed` takes for encrypted connections.

    Parameters
    ----------
    encryption : Encryption or None
        Files; None for connections in clear.

    Returns
    -------
    distributed.Security
        Settings of scheduler, workers and clients.
    """
    import distributed

    security: Any = distributed.Security
    if encryption is None:
        return security(require_encryption=False)
    files: dict[str, Any] = {"tls_ca_file": str(encryption.certificate)}
    for role in ("scheduler", "worker", "client"):
        files[f"tls_{role}_cert"] = str(encryption.certificate)
        files[f"tls_{role}_key"] = str(encryption.key)
    return security(require_encryption=True, **files)


def worker_command(
    address: str,
    name: str,
    *,
    python: str,
    memory_gib: float,
    limit_gib: float,
    gpus: int,
    scratch: Path,
    encryption: Encryption | None,
    interface: str | None = None,
) -> list[str]:
    """Return the command that starts one worker: one process that does one job at once.

    Parameters
    ----------
    address : str
        Address of the scheduler.
    name : str
        Name of the worker.
    python : str
        Interpreter.
    memory_gib : float
        Memory in GiB that it says it has.
    limit_gib : float
        A worker that takes 95 % of so much is started again.
    gpus : int
        CUDA devices that are its own.
    scratch : Path
        Folder for what does not fit into its memory.
    encryption : Encryption or None
        Certificate for its connections.
    interface : str, optional
        Network interface to listen on; "lo" stays on this machine.

    Returns
    -------
    list of str
        Words of the command, not quoted.
    """
    # -P: a folder called `analysis` where the user stands must not hide ours.
    command = [python, "-P", "-m", "distributed.cli.dask_worker", address]
    command += ["--name", name, "--nthreads", "1", "--nanny", "--no-dashboard"]
    command += ["--memory-limit", f"{round(limit_gib * 1024)}MiB"]
    command += ["--resources", f"{MEMORY_TAG}={memory_gib:g},{GPU_TAG}={gpus}"]
    command += ["--local-directory", str(scratch)]
    command += ["--death-timeout", str(DEATH_TIMEOUT_S)]
    if interface:
        command += ["--interface", interface]
    if encryption is not None:
        command += ["--tls-ca-file", str(encryption.certificate)]
        command += ["--tls-cert", str(encryption.certificate)]
        command += ["--tls-key", str(encryption.key)]
    return command


def worker_variables(threads: int) -> dict[str, str]:
    """Return the environment that every worker has.

    Parameters
    ----------
    threads : int
        Threads of a job.

    Returns
    -------
    dict of str to str
        Variables.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {
        **dict.fromkeys(names, str(threads)),
        "NEUROVIS_PROGRESS": "0",
        # Dask would have memory returned at once, and numpy a third slower. These are
        # the bounds that glibc comes to by itself.
        "MALLOC_TRIM_THRESHOLD_": str(128 * 2**20),
        "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
        # Network file systems have no locks, or slow ones.
        "DASK_DISTRIBUTED__WORKER__USE_FILE_LOCKING": "False",
        "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    }


@contextmanager
def repeated(check: Callable[[], None], every_s: float) -> Iterator[None]:
    """Call a function again and again, in a thread, while the block runs.

    Parameters
    ----------
    check : callable
        What to call; it must not raise.
    every_s : float
        Pause between calls, in seconds.

    Yields
    ------
    None
        Nothing. When the block is left no call is under way.
    """
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(every_s):
            check()

    thread = threading.Thread(target=watch, name="neurovis-workers", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def last_lines(path: Path, n_lines: int = 5) -> str:
    """Return the end of a log.

    Parameters
    ----------
    path : Path
        Text file; it need not exist.
    n_lines : int, default 5
        Lines that are not empty.

    Returns
    -------
    str
        Lines with their ends, or "(empty)".
    """
    try:
        text = path.read_bytes()[-20_000:].decode(errors="replace")
    except OSError:
        text = ""
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-n_lines:]) or "(empty)"
