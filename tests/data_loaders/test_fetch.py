"""Downloads against a real server with real faults."""

import hashlib
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from data_loaders.fetch import (
    RemoteFile,
    _Refused,
    _SafeRedirects,
    fetch_file,
    is_complete,
)
from neurovis.core.errors import DataCorruptError
from neurovis.core.store import lock

DATA = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(DATA).hexdigest()
QUICK = (0.0, 0.0, 0.0)


class Server(ThreadingHTTPServer):
    """Answers each request as the next entry of `faults` says; then faultlessly."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.etag, self.faults, self.seen = DATA, '"one"', [], []
        self.go_on = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/set/data.bin"

    def handle_error(self, request, client_address):
        """Say nothing of connections that the tests cut."""


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        """Say nothing."""

    def do_GET(self):
        server = self.server
        server.seen.append(dict(self.headers))
        fault = server.faults.pop(0) if server.faults else "none"
        getattr(self, fault.replace(" ", "_"))(server.data)

    def head(self, status, length=None, **headers):
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def start(self, data):
        wanted = self.headers.get("Range")
        same = self.headers.get("If-Range") in (None, self.server.etag)
        if wanted is None or not same:
            self.head(200, len(data), ETag=self.server.etag)
            return data
        first = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
        span = f"bytes {first}-{len(data) - 1}/{len(data)}"
        self.head(206, len(data) - first, ETag=self.server.etag, Content_Range=span)
        return data[first:]

    def none(self, data):
        self.wfile.write(self.start(data))

    def cut(self, data):
        rest = self.start(data)
        self.wfile.write(rest[: len(rest) // 3])

    def cut_without_length(self, data):
        self.head(200)
        self.wfile.write(data[: len(data) // 3])

    def hang(self, data):
        rest = self.start(data)
        self.wfile.write(rest[: len(rest) // 3])
        self.wfile.flush()
        self.server.go_on.wait(10)

    def trickle(self, data):
        rest = self.start(data)
        for first in range(0, len(rest), 100_000):
            self.wfile.write(rest[first : first + 100_000])
            self.wfile.flush()
            time.sleep(0.01)

    def no_range(self, data):
        self.head(200, len(data))
        self.wfile.write(data)

    def other_range(self, data):
        self.head(206, len(data), Content_Range=f"bytes 0-{len(data) - 1}/{len(data)}")
        self.wfile.write(data)

    def other_total(self, data):
        first = int(re.fullmatch(r"bytes=(\d+)-", self.headers["Range"])[1])
        self.head(206, 5, Content_Range=f"bytes {first}-{first + 4}/{first + 5}")
        self.wfile.write(data[:5])

    def unsatisfiable(self, data):
        self.head(416, 0, Content_Range=f"bytes */{len(data)}")

    def busy(self, data):
        self.head(503, 0, Retry_After="0")

    def patient(self, data):
        self.head(429, 0, Retry_After="1")

    def missing(self, data):
        self.head(404, 0)

    def page(self, data):
        text = b"<!DOCTYPE html><title>Please log in</title>" + b" " * 100
        self.head(200, len(text), Content_Type="text/html")
        self.wfile.write(text)

    def page_without_length(self, data):
        self.head(200, Content_Type="text/html; charset=utf-8")
        self.wfile.write(b"\n<html><body>404</body></html>")

    def page_of_right_length(self, data):
        self.head(200, len(data))
        self.wfile.write(b"<html>".ljust(len(data)))

    def other_bytes(self, data):
        self.head(200, len(data))
        self.wfile.write(data[::-1])

    def longer(self, data):
        self.head(200, len(data) + 1)
        self.wfile.write(data + b"!")

    def endless(self, data):
        self.head(200)
        self.wfile.write(data + b"!")

    def redirect(self, data):
        self.head(302, 0, Location="/elsewhere/data.bin")

    def redirect_out(self, data):
        self.head(302, 0, Location="http://example.org/data.bin")

    def redirect_to_file(self, data):
        self.head(302, 0, Location="file:///etc/passwd")

    def redirect_with_password(self, data):
        self.head(302, 0, Location="http://me:secret@127.0.0.1/data.bin")


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.go_on.set()
        server.shutdown()
        thread.join()


def remote_of(server, **changes):
    fields = {
        "url": server.url,
        "sha256": SHA256,
        "n_bytes": len(DATA),
        "name": "raw/data.bin",
    }
    return RemoteFile(**(fields | changes))


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.*"))


def assert_whole(folder):
    assert (folder / "raw" / "data.bin").read_bytes() == DATA
    assert names(folder) == ["raw/data.bin"]


# ------------------------------------------------------------------ it works


def test_a_file_is_downloaded_whole_and_alone(server, tmp_path):
    remote = remote_of(server)
    assert not is_complete(remote, tmp_path)
    path = fetch_file(remote, tmp_path)
    assert path == tmp_path / "raw" / "data.bin"
    assert is_complete(remote, tmp_path)
    assert_whole(tmp_path)
    assert server.seen[0]["User-Agent"] == "neurovis"
    assert "Range" not in server.seen[0]


def test_a_complete_file_is_not_downloaded_again_and_is_said_to_be(
    server, tmp_path, caplog
):
    remote = remote_of(server, terms="Only on Sundays.")
    fetch_file(remote, tmp_path, accept_terms=True)
    caplog.set_level(logging.INFO, "data_loaders.fetch")
    fetch_file(remote, tmp_path)
    assert len(server.seen) == 1
    assert "complete: nothing to download" in caplog.text


def test_an_empty_file_is_downloaded(server, tmp_path):
    server.data = b""
    empty = hashlib.sha256(b"").hexdigest()
    path = fetch_file(remote_of(server, sha256=empty, n_bytes=0), tmp_path)
    assert path.read_bytes() == b""


def test_progress_is_shown_on_request(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NEUROVIS_PROGRESS", "1")
    fetch_file(remote_of(server), tmp_path)
    assert "data.bin: 100%" in capsys.readouterr().err


@pytest.mark.parametrize(
    "faults",
    [
        ["busy"],
        ["busy", "busy", "busy"],
        ["cut"],
        ["cut", "cut", "cut"],
        ["cut without length"],
        ["trickle"],
        ["redirect"],
        ["cut", "redirect"],
        ["cut", "no range"],
        ["cut", "other range"],
        ["cut", "other total"],
        ["cut", "unsatisfiable"],
        ["cut", "busy", "no range"],
    ],
    ids=" then ".join,
)
def test_passing_faults_end_in_a_whole_file(server, tmp_path, faults):
    server.faults = list(faults)
    fetch_file(remote_of(server), tmp_path, waits_s=QUICK)
    assert_whole(tmp_path)
    assert server.faults == []


def test_a_silent_server_is_left_and_asked_for_the_rest(server, tmp_path):
    server.faults = ["hang"]
    fetch_file(remote_of(server), tmp_path, waits_s=QUICK, timeout_s=0.5)
    assert_whole(tmp_path)
    assert server.seen[1]["Range"] == f"bytes={len(DATA) // 3}-"


def test_a_cut_download_goes_on_where_it_stopped(server, tmp_path):
    server.faults = ["cut"]
    with pytest.raises(ConnectionError, match=r"1 attempts.*fetch again"):
        fetch_file(remote_of(server), tmp_path, waits_s=[])
    third = len(DATA) // 3
    assert (tmp_path / "raw" / "data.bin.part").read_bytes() == DATA[:third]
    assert not (tmp_path / "raw" / "data.bin").exists()
    fetch_file(remote_of(server), tmp_path, waits_s=[])
    assert server.seen[1]["Range"] == f"bytes={third}-"
    assert server.seen[1]["If-Range"] == '"one"'
    assert_whole(tmp_path)


def test_a_part_that_was_whole_needs_no_server(server, tmp_path):
    server.faults = ["cut"]
    with pytest.raises(ConnectionError):
        fetch_file(remote_of(server), tmp_path, waits_s=[])
    (tmp_path / "raw" / "data.bin.part").write_bytes(DATA)
    fetch_file(remote_of(server), tmp_path, waits_s=[])
    assert len(server.seen) == 1
    assert_whole(tmp_path)


def test_pieces_of_two_versions_are_never_mixed(server, tmp_path):
    old = DATA[::-1]
    server.data, server.faults = old, ["cut"]
    with pytest.raises(ConnectionError):
        fetch_file(remote_of(server), tmp_path, waits_s=[])
    server.data, server.etag = DATA, '"two"'
    fetch_file(remote_of(server), tmp_path, waits_s=[])
    assert server.seen[1]["If-Range"] == '"one"'
    assert len(server.seen) == 2  # the tag was enough to tell
    assert_whole(tmp_path)


def test_a_weak_tag_is_no_guard_but_the_hash_is(server, tmp_path):
    server.data, server.etag, server.faults = DATA[::-1], 'W/"one"', ["cut"]
    with pytest.raises(ConnectionError):
        fetch_file(remote_of(server), tmp_path, waits_s=[])
    server.data = DATA
    fetch_file(remote_of(server), tmp_path, waits_s=[])
    assert "If-Range" not in server.seen[1]
    assert "Range" not in server.seen[2]  # the pieces did not fit: once more, in one
    assert_whole(tmp_path)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "[]",
        "{",
        json.dumps({"url": "https://a.org", "sha256": "0", "validator": ""}),
    ],
)
def test_a_part_of_unknown_origin_is_not_continued(server, tmp_path, note):
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "data.bin.part").write_bytes(b"something else")
    (folder / "data.bin.part.json").write_text(note)
    fetch_file(remote_of(server), tmp_path)
    assert "Range" not in server.seen[0]
    assert_whole(tmp_path)


# ----------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("fault", "match"),
    [
        ("page", "web page titled 'Please log in'; a log-in"),
        ("page without length", "web page; a log-in"),
        ("page of right length", "web page"),
        ("longer", f"has {len(DATA) + 1} bytes, but {len(DATA)} are expected"),
        ("endless", "more than the expected"),
    ],
)
def test_another_file_is_refused_and_deleted(server, tmp_path, fault, match):
    server.faults = [fault]
    with pytest.raises(DataCorruptError, match=match):
        fetch_file(remote_of(server), tmp_path, waits_s=QUICK)
    assert len(server.seen) == 1
    assert names(tmp_path) == []


def test_a_wrong_hash_is_told_with_both_hashes_and_the_address(server, tmp_path):
    server.faults = ["other bytes"]
    with pytest.raises(DataCorruptError) as error:
        fetch_file(remote_of(server), tmp_path, waits_s=QUICK)
    message = str(error.value)
    assert server.url in message
    assert SHA256 in message
    assert hashlib.sha256(DATA[::-1]).hexdigest() in message
    assert len(server.seen) == 1
    assert names(tmp_path) == []


def test_a_file_that_changed_for_good_is_tried_afresh_once(server, tmp_path):
    server.faults = ["cut"]
    with pytest.raises(ConnectionError):
        fetch_file(remote_of(server), tmp_path, waits_s=[])
    server.data = DATA[::-1]
    with pytest.raises(DataCorruptError, match=SHA256):
        fetch_file(remote_of(server), tmp_path, waits_s=QUICK)
    assert len(server.seen) == 3
    assert names(tmp_path) == []


@pytest.mark.parametrize("fault", ["busy", "cut without length"])
def test_attempts_are_limited(server, tmp_path, fault):
    server.faults = [fault] * 9
    with pytest.raises(ConnectionError, match="in 4 attempts"):
        fetch_file(remote_of(server), tmp_path, waits_s=QUICK)
    assert len(server.seen) == 4


def test_a_server_that_asks_for_a_pause_gets_it(server, tmp_path, caplog):
    server.faults = ["patient"]
    caplog.set_level(logging.INFO, "data_loaders.fetch")
    fetch_file(remote_of(server), tmp_path, waits_s=QUICK)
    assert "data.bin (the server answered 429): again in 1 s" in caplog.text
    assert_whole(tmp_path)


def test_a_name_that_nobody_knows_is_not_asked_for_twice(server, tmp_path, monkeypatch):
    asked = []

    def no_answer(host, *arguments, **options):
        asked.append(host)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_answer)
    url = "https://example.org/data.bin"
    with pytest.raises(ConnectionError, match=r"cannot be reached .*Check the network"):
        fetch_file(remote_of(server, url=url), tmp_path, waits_s=QUICK)
    assert asked == ["example.org"]


def test_a_missing_file_is_not_asked_for_twice(server, tmp_path):
    server.faults = ["missing"]
    with pytest.raises(ConnectionError, match="answered 404"):
        fetch_file(remote_of(server), tmp_path, waits_s=QUICK)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("fault", "match"),
    [
        ("redirect out", "must start with https"),
        ("redirect to file", "not allowed"),
        ("redirect with password", "must have no user name or password"),
    ],
)
def test_redirects_to_open_or_strange_addresses_are_refused(
    server, tmp_path, fault, match
):
    server.faults = [fault]
    with pytest.raises(ConnectionError, match=match) as error:
        fetch_file(remote_of(server), tmp_path, waits_s=[])
    assert "secret" not in str(error.value)
    assert names(tmp_path) == []


def test_a_redirect_from_https_to_http_is_refused_even_on_this_machine(tmp_path):
    request = urllib.request.Request("https://localhost/data.bin")
    with (
        (tmp_path / "body").open("wb") as body,
        pytest.raises(_Refused, match="from https to the open address"),
    ):
        _SafeRedirects().redirect_request(
            request, body, 302, "Found", Message(), "http://localhost/data.bin"
        )


def test_a_server_that_is_not_there_is_told(server, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/data.bin"
    with pytest.raises(ConnectionError, match=r"refused.*in 2 attempts"):
        fetch_file(remote_of(server, url=url), tmp_path, waits_s=[0])


def test_offline_means_no_request(server, tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROVIS_OFFLINE", "1")
    with pytest.raises(ConnectionError, match="NEUROVIS_OFFLINE is set"):
        fetch_file(remote_of(server), tmp_path)
    assert server.seen == []
    assert names(tmp_path) == []


def test_terms_are_shown_and_must_be_accepted(server, tmp_path):
    remote = remote_of(server, terms="Non-commercial use only.")
    with pytest.raises(
        PermissionError, match=r"Non-commercial use only\. .*accept_terms=True"
    ):
        fetch_file(remote, tmp_path)
    assert server.seen == []
    fetch_file(remote, tmp_path, accept_terms=True)
    assert_whole(tmp_path)


@pytest.mark.parametrize("content", [b"mine", DATA[::-1]])
def test_another_file_under_the_name_is_left_alone(server, tmp_path, content):
    path = tmp_path / "raw" / "data.bin"
    path.parent.mkdir()
    path.write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    with pytest.raises(FileExistsError, match=f"{found}.*{SHA256}"):
        fetch_file(remote_of(server), tmp_path)
    assert path.read_bytes() == content
    assert server.seen == []


def test_a_folder_that_cannot_be_made_is_told(server, tmp_path):
    (tmp_path / "raw").write_text("a file")
    with pytest.raises(NotADirectoryError, match="is a file"):
        fetch_file(remote_of(server), tmp_path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"url": "http://example.org/data.bin"}, "must start with https"),
        ({"url": "ftp://example.org/data.bin"}, "must start with https"),
        ({"url": "file:///etc/passwd"}, "must start with https"),
        ({"url": "https:///data.bin"}, "must start with https"),
        ({"url": "https://me:secret@example.org/a"}, "no user name or password"),
        ({"url": "https://token@example.org/a"}, "no user name or password"),
        ({"sha256": "abc"}, "64 hexadecimal digits"),
        ({"n_bytes": -1}, "`n_bytes` must be within"),
        ({"name": "../data.bin"}, "`name` must be a path inside"),
        ({"name": "/data.bin"}, "`name` must be a path inside"),
        ({"name": ""}, "`name` must be a path inside"),
        ({"unpack": "../out"}, "`unpack` must be a path inside"),
    ],
)
def test_a_remote_file_that_cannot_be_is_refused(change, match):
    fields = {
        "url": "https://example.org/a",
        "sha256": SHA256,
        "n_bytes": 1,
        "name": "a",
    }
    with pytest.raises(ValueError, match=match) as error:
        RemoteFile(**(fields | change))
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("bad", [{"timeout_s": 0}, {"waits_s": [-1]}])
def test_impossible_times_are_refused_before_any_request(server, tmp_path, bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        fetch_file(remote_of(server), tmp_path, **bad)
    assert server.seen == []


# ------------------------------------------------- killed, and two at a time


CHILD = """
import sys
from data_loaders.fetch import RemoteFile, fetch_file
url, sha256, n_bytes, folder = sys.argv[1:]
fetch_file(RemoteFile(url, sha256, int(n_bytes), "raw/data.bin"), folder)
"""


def test_a_killed_download_is_resumed_by_the_next_process(server, tmp_path):
    server.faults = ["hang"]
    call = [sys.executable, "-c", CHILD, server.url, SHA256, str(len(DATA)), tmp_path]
    part = tmp_path / "raw" / "data.bin.part"
    third = len(DATA) // 3
    with subprocess.Popen(call) as child:
        # The block buffer of the child holds back less than one block.
        while not (part.exists() and part.stat().st_size > third - (1 << 17)):
            assert child.poll() is None
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert not (tmp_path / "raw" / "data.bin").exists()
    kept = part.stat().st_size
    fetch_file(remote_of(server), tmp_path)
    assert server.seen[1]["Range"] == f"bytes={kept}-"
    assert (tmp_path / "raw" / "data.bin").read_bytes() == DATA
    assert not part.exists()


def test_a_second_writer_is_told_who_is_at_work(server, tmp_path):
    (tmp_path / "raw").mkdir()
    with (
        lock(tmp_path / "raw" / "data.bin"),
        pytest.raises(BlockingIOError, match=f'"pid": {os.getpid()}'),
    ):
        fetch_file(remote_of(server), tmp_path)
    assert server.seen == []
    fetch_file(remote_of(server), tmp_path)
    assert_whole(tmp_path)


def test_of_two_writers_at_once_one_downloads(server, tmp_path):
    server.faults = ["hang"]
    outcomes = []

    def work():
        try:
            path = fetch_file(remote_of(server), tmp_path, waits_s=QUICK)
            outcomes.append(path.name)
        except BlockingIOError:
            outcomes.append("blocked")
            server.go_on.set()

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(outcomes) == ["blocked", "data.bin"]
    assert_whole(tmp_path)
