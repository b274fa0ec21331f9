"""Fetching from a server on this machine: nothing here uses the network."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

from invbgc import cli
from invbgc.errors import InputError
from invbgc.sources import cache as caching
from invbgc.sources import download
from invbgc.sources.cache import RECORD_NAME, cache_folder, fetch, is_offline, is_present, local_path, verify
from invbgc.sources.record import Source, SourceFile
from invbgc.sources.registry import SOURCES, cite, get_source, source_of

DATA = bytes(range(256)) * 4000  # 1,024,000 bytes: several blocks


class Server(ThreadingHTTPServer):
    """Serves `content` at /file; each request takes the next behaviour of `script`, then plain answers."""

    daemon_threads = True

    def __init__(self, ranges: bool = True, tag: str | None = '"one"'):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = DATA
        self.ranges = ranges
        self.tag = tag
        self.kind = "application/octet-stream"
        self.script: list[object] = []
        self.requests: list[dict[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/file"

    def handle_error(self, request, client_address):
        """A client that hangs up is part of the tests."""


class Handler(BaseHTTPRequestHandler):
    """A status number in the script fails so; ("cut", n) closes the connection after n bytes of the answer."""

    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self):
        server = self.server
        server.requests.append(dict(self.headers))
        step = server.script.pop(0) if server.script else None
        if isinstance(step, int):
            self.send_error(step)
            return
        start, asked = 0, self.headers.get("Range")
        fresh = self.headers.get("If-Range") in (None, server.tag)
        if server.ranges and asked and fresh:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(server.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(server.content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        else:
            self.send_response(200)
        body = server.content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", server.kind)
        if server.tag:
            self.send_header("ETag", server.tag)
        self.end_headers()
        self.wfile.write(body[: step[1]] if isinstance(step, tuple) else body)
        self.close_connection = True

    def log_message(self, format, *args):
        pass


@contextmanager
def serving(**options) -> Iterator[Server]:
    server = Server(**options)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def server():
    with serving() as running:
        yield running


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INVBGC_DATA", str(tmp_path / "cache"))
    monkeypatch.delenv("INVBGC_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "cache"


def sha256(data: bytes = DATA) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def source(url: str | None, checksum: str | None = None, mirrors: tuple[str, ...] = ()) -> Source:
    return Source(
        name="toy",
        version="1",
        title="A toy",
        files=(SourceFile("toy.bin", url, checksum, mirrors=mirrors),),
        licence="free",
        citation="Nobody (2000), doi 10.0/0",
        landing="https://example.org/toy",
        note="Ask nobody.",
    )


def get(record: Source, **options):
    (path,) = fetch(record, wait=0.0, timeout=10.0, **options)
    return path


def left_over(cache) -> list[str]:
    return sorted(path.name for path in (cache / "toy").iterdir())


# ---------------------------------------------------------------------- downloads


def test_plain_fetch_reports_progress_and_records_the_sum(server, cache):
    told = []
    path = get(source(server.url), progress=lambda *now: told.append(now))
    assert path == cache / "toy" / "toy.bin"
    assert path.read_bytes() == DATA
    assert left_over(cache) == [RECORD_NAME, "toy.bin"]
    assert told[-1] == ("toy.bin", len(DATA), len(DATA))
    assert [done for _, done, _ in told] == sorted({done for _, done, _ in told}) and len(told) > 2
    entry = json.loads((cache / "toy" / RECORD_NAME).read_text())["toy.bin"]
    assert "sha256:" + entry["sha256"] == sha256()
    assert entry["bytes"] == len(DATA) and entry["origin"] == server.url
    get(source(server.url))
    assert len(server.requests) == 1, "a file in the cache is not fetched again"


def test_a_cut_download_is_resumed_where_it_stopped(server, cache):
    server.script = [("cut", 400_000)]
    assert get(source(server.url, sha256())).read_bytes() == DATA
    assert server.requests[1]["Range"] == "bytes=400000-"
    assert server.requests[1]["If-Range"] == '"one"'
    assert left_over(cache) == [RECORD_NAME, "toy.bin"]


def test_a_download_is_resumed_by_the_next_call(server, cache):
    server.script = [("cut", 400_000), 404]
    with pytest.raises(InputError, match="HTTP 404"):
        get(source(server.url))
    assert left_over(cache) == ["toy.bin.part", "toy.bin.part.json"]
    assert get(source(server.url)).read_bytes() == DATA
    assert server.requests[2]["Range"] == "bytes=400000-"


def test_a_file_that_changed_on_the_server_is_fetched_from_the_beginning(server, cache):
    server.script = [("cut", 400_000), 404]
    with pytest.raises(InputError):
        get(source(server.url))
    server.content, server.tag = DATA[::-1], '"two"'
    assert get(source(server.url)).read_bytes() == DATA[::-1]


def test_without_version_and_checksum_nothing_is_resumed(cache):
    with serving(tag=None) as server:
        server.script = [("cut", 400_000)]
        assert get(source(server.url)).read_bytes() == DATA
        assert "Range" not in server.requests[1]
        (cache / "toy" / "toy.bin").unlink()
        server.script = [("cut", 400_000)]
        assert get(source(server.url, sha256())).read_bytes() == DATA
        assert server.requests[3]["Range"] == "bytes=400000-", "a published checksum makes resuming safe"


def test_a_server_without_ranges_starts_again(cache):
    with serving(ranges=False) as server:
        server.script = [("cut", 700_000), ("cut", 400_000)]
        assert get(source(server.url, sha256())).read_bytes() == DATA
        assert len(server.requests) == 3


def test_a_server_without_ranges_that_always_breaks_off_is_given_up(cache):
    with serving(ranges=False) as server:
        server.script = [("cut", 400_000)] * 50
        with pytest.raises(InputError, match=r"400000 of 1024000 bytes arrived \(3 attempts\)"):
            get(source(server.url), attempts=3)
        assert len(server.requests) == 4, "the first gained bytes, three gained none"
        assert not (cache / "toy" / "toy.bin").exists()


def test_a_complete_partial_file_is_not_fetched_again(server, cache):
    server.script = [("cut", 400_000), 404]
    with pytest.raises(InputError):
        get(source(server.url))
    (cache / "toy" / "toy.bin.part").write_bytes(DATA)
    told = []
    assert get(source(server.url), progress=lambda *now: told.append(now)).read_bytes() == DATA
    assert told == []


def test_retry_after_a_passing_failure(server):
    server.script = [500, 503]
    assert get(source(server.url)).read_bytes() == DATA
    assert len(server.requests) == 3


def test_attempts_are_limited_and_a_missing_file_is_not_asked_for_again(server, cache):
    server.script = [500] * 9
    with pytest.raises(InputError, match=r"HTTP 500 .*\(4 attempts\)") as caught:
        get(source(server.url))
    assert len(server.requests) == 4
    assert str(cache / "toy" / "toy.bin") in str(caught.value)
    server.script = [404]
    with pytest.raises(InputError, match="HTTP 404"):
        get(source(server.url))
    assert len(server.requests) == 5
    assert left_over(cache) == []


def test_the_wait_is_doubled(server, monkeypatch):
    server.script = [500] * 3
    waits = []
    monkeypatch.setattr(download.time, "sleep", waits.append)
    fetch(source(server.url), wait=1.5)
    assert waits == [1.5, 3.0, 6.0]


def test_a_wrong_checksum_leaves_no_file(server, cache):
    with pytest.raises(InputError) as caught:
        get(source(server.url, sha256(b"something else")))
    text = str(caught.value)
    for word in ("toy.bin", server.url, sha256().split(":")[1], sha256(b"something else").split(":")[1], "removed"):
        assert word in text
    assert left_over(cache) == []


def test_mirrors_and_md5(server):
    record = source("http://127.0.0.1:9/gone", "md5:" + hashlib.md5(DATA).hexdigest(), (server.url,))
    assert get(record, attempts=1).read_bytes() == DATA


def test_a_web_page_is_not_data(server, cache):
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(InputError, match="a web page, not the file"):
        get(source(server.url))
    assert left_over(cache) == []


def test_file_addresses(tmp_path, cache):
    (tmp_path / "mine.bin").write_bytes(DATA)
    assert get(source((tmp_path / "mine.bin").as_uri(), sha256())).read_bytes() == DATA
    with pytest.raises(InputError, match="No such file"):
        get(Source(**{**vars(source((tmp_path / "no.bin").as_uri())), "name": "other"}))


def test_a_folder_that_cannot_be_made(server, cache):
    cache.write_text("a file where the cache should be")
    with pytest.raises(InputError, match=r"cannot write .*toy\.bin"):
        get(source(server.url))


def test_one_process_at_a_time(server, cache):
    pytest.importorskip("fcntl")
    record = source(server.url)
    part = cache / "toy" / "toy.bin.part"
    part.parent.mkdir(parents=True)
    with caching._locked(part, record), pytest.raises(InputError, match="another process is downloading"):
        get(record)


# ---------------------------------------------------------------------- offline and by hand


@pytest.mark.parametrize("how", ["argument", "variable"])
def test_offline_says_what_is_missing_where_it_goes_and_how_to_get_it(how, server, cache, monkeypatch):
    if how == "variable":
        monkeypatch.setenv("INVBGC_OFFLINE", "1")
    with pytest.raises(InputError) as caught:
        get(source(server.url), **({"offline": True} if how == "argument" else {}))
    for word in ("toy.bin", str(cache / "toy" / "toy.bin"), server.url, "invbgc data fetch toy", "Ask nobody."):
        assert word in str(caught.value)
    assert server.requests == []


def test_offline_uses_what_is_there(server, cache):
    get(source(server.url))
    assert get(source(server.url), offline=True).read_bytes() == DATA


def test_values_of_the_variables(monkeypatch, tmp_path):
    for value, expected in (("1", True), ("yes", True), ("", False), ("0", False), ("False", False)):
        monkeypatch.setenv("INVBGC_OFFLINE", value)
        assert is_offline() is expected
    assert is_offline(False) is False
    monkeypatch.delenv("INVBGC_DATA")
    assert cache_folder().name == "invbgc"
    monkeypatch.setenv("INVBGC_DATA", str(tmp_path))
    assert cache_folder() == tmp_path


def test_a_file_without_address_can_be_put_in_place(cache):
    record = source(None, sha256())
    with pytest.raises(InputError, match="cannot be downloaded automatically") as caught:
        get(record)
    assert record.landing in str(caught.value) and str(cache / "toy" / "toy.bin") in str(caught.value)
    assert not is_present(record)
    (cache / "toy").mkdir(parents=True)
    (cache / "toy" / "toy.bin").write_bytes(DATA)
    assert get(record).read_bytes() == DATA and is_present(record)
    entry = json.loads((cache / "toy" / RECORD_NAME).read_text())["toy.bin"]
    assert entry["origin"] == "put in place by hand"


def test_a_wrong_file_put_in_place_is_refused_and_kept(cache):
    (cache / "toy").mkdir(parents=True)
    (cache / "toy" / "toy.bin").write_bytes(b"wrong")
    with pytest.raises(InputError, match="as published"):
        get(source(None, sha256()))
    assert (cache / "toy" / "toy.bin").read_bytes() == b"wrong"


def test_a_folder_put_in_place(cache):
    (cache / "tmm" / "MITgcm_2.8deg").mkdir(parents=True)
    assert fetch("tmm", offline=True) == [cache / "tmm" / "MITgcm_2.8deg"]
    assert [check.status for check in verify(["tmm"])] == ["ok"]


# ---------------------------------------------------------------------- verification


@pytest.fixture
def registered(monkeypatch):
    def register(record: Source) -> Source:
        monkeypatch.setitem(SOURCES, record.name, record)
        return record

    return register


def test_verify_finds_a_file_changed_after_it_was_recorded(server, cache, registered):
    path = get(registered(source(server.url)))
    assert [check.status for check in verify(["toy"])] == ["ok"]
    path.write_bytes(DATA[:-1] + b"!")  # same size
    (check,) = verify(["toy"])
    assert check.status == "failed"
    assert sha256().split(":")[1] in check.message and "recorded on" in check.message
    path.write_bytes(DATA[:-1])
    with pytest.raises(InputError, match="recorded on"):
        get(source(server.url))


def test_verify_absent_recorded_and_published(cache, registered):
    record = registered(source(None))
    assert [check.status for check in verify(["toy"])] == ["absent"]
    (cache / "toy").mkdir(parents=True)
    (cache / "toy" / "toy.bin").write_bytes(DATA)
    assert [check.status for check in verify(["toy"])] == ["recorded"]
    assert [check.status for check in verify(["toy"])] == ["ok"]
    registered(Source(**{**vars(record), "files": (SourceFile("toy.bin", None, sha256(b"")),)}))
    (check,) = verify(["toy"])
    assert check.status == "failed" and "as published" in check.message


def test_a_damaged_record_is_named(cache, registered):
    registered(source(None))
    (cache / "toy").mkdir(parents=True)
    (cache / "toy" / "toy.bin").write_bytes(DATA)
    (cache / "toy" / RECORD_NAME).write_text("{")
    with pytest.raises(InputError, match=RECORD_NAME):
        verify(["toy"])


# ---------------------------------------------------------------------- records


def test_records_are_complete():
    wanted = "ocim2_48l ocim1 ocim0 glodap_2021 glodap_2022 glodap_2023 hansell_doc woa18 woa23 nowicki2022_npp"
    wanted += " ocmip2_gas_exchange co2_cmip6 co2_mauna_loa graven2017 cfc_histories ersst_v5 tmm bats_flux"
    assert set(wanted.split()) <= set(SOURCES)
    assert sum(name.startswith("ocim2_k") or name.startswith("ocim2_c") for name in SOURCES) == 11
    for name, record in SOURCES.items():
        assert record.name == name and record.files and any(not file.optional for file in record.files)
        assert record.landing.startswith("http")
        assert record.licence and record.title and record.citation
        assert "doi 10." in record.citation or name == "woa18", name
        for file in record.files:
            assert file.url is not None or record.note, f"{name}: no address and no note"
            assert file.url is None or file.url.startswith(("https://", "ftp://"))
            if file.checksum:
                algorithm, value = file.checksum.split(":")
                assert len(value) == {"md5": 32, "sha256": 64}[algorithm] and int(value, 16)
    names = [file.name for record in SOURCES.values() for file in record.files]
    assert len(names) == len(set(names)), "source_of needs every file name once"


@pytest.mark.parametrize("reader", sorted({record.reader for record in SOURCES.values() if record.reader}))
def test_readers_exist(reader):
    module, function = reader.rsplit(".", 1)
    assert callable(getattr(import_module(module), function))


def test_the_page_names_every_source():
    page = (Path(__file__).resolve().parents[1] / "docs" / "get_the_data.md").read_text(encoding="utf-8")
    assert [name for name in SOURCES if f"`{name}`" not in page] == []


def test_lookups():
    assert get_source("woa23").version.startswith("2023")
    with pytest.raises(InputError, match="did you mean 'woa23'"):
        get_source("woa_23")
    with pytest.raises(InputError, match=r"expected one of woa18_decav_t00_01\.nc"):
        get_source("woa18").file("woa18.nc")
    found = source_of("/somewhere/else/OCIM2_CTL_He.jld2")
    assert found is not None and found.name == "ocim2_ctl_he"
    assert source_of("my_own.nc") is None
    assert local_path(found, found.files[0]).parts[-2:] == ("ocim2_ctl_he", "OCIM2_CTL_He.jld2")
    assert list(cite(["graven2017"])) == ["graven2017"] and len(cite()) == len(SOURCES)


# ---------------------------------------------------------------------- commands


def invoke(*words: object):
    return CliRunner().invoke(cli.app, ["data", *(str(word) for word in words)])


def test_commands(server, cache, registered):
    registered(source(server.url))
    lines = {line.split()[0]: line for line in invoke("list").output.splitlines() if line.strip()}
    assert "A toy" in lines["toy"] and "present" not in lines["toy"]
    assert "29 MB" in lines["ocim2_ctl_he"]
    offline = invoke("fetch", "toy", "--offline")
    assert offline.exit_code == 2 and "switched off" in offline.stderr
    done = invoke("fetch", "toy")
    assert done.exit_code == 0
    assert str(cache / "toy" / "toy.bin") in done.stdout and "Cite: Nobody (2000)" in done.stdout
    assert "toy.bin: 1 MB of 1 MB" in done.stderr
    assert "present" in next(line for line in invoke("list").output.splitlines() if line.startswith("  toy"))
    assert invoke("verify").output.startswith("ok")
    (cache / "toy" / "toy.bin").write_bytes(b"other")
    failed = invoke("verify", "toy")
    assert failed.exit_code == 1 and failed.output.startswith("failed   toy/toy.bin: its sha256 is")


def test_info_and_cite():
    info = invoke("info", "glodap_2021")
    assert info.exit_code == 0
    for word in ("licence:", "10.5194/essd-13-5565-2021", "not published; recorded on first download", "(absent)"):
        assert word in info.output
    assert "sha256:8329acd8" in info.output
    assert invoke("cite", "graven2017", "woa23").output.splitlines() == [
        f"{name}: {SOURCES[name].citation}" for name in ("graven2017", "woa23")
    ]
    assert len(invoke("cite").output.splitlines()) == len(SOURCES)
    assert "did you mean 'woa23'" in invoke("cite", "woa_23").stderr
    absent = invoke("verify", "ocim1")
    assert absent.exit_code == 1 and absent.output.startswith("absent")
    assert "No source is in the cache" in invoke("verify").output
