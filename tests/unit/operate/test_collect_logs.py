import json
import os
import re
import resource
import signal
import socket
import stat
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, unquote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from heat_config_zaqar.operate import collect_logs
from heat_config_zaqar.operate.doctor import guest as examined
from heat_config_zaqar.operate.redaction import Redactor, _secrets_in
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.state import durable
from heat_config_zaqar.state.identity import Owner
from heat_config_zaqar.state.outbox import Settled
from tests.unit.conftest import SECTION, make_deployment, make_message
from tests.unit.operate.test_cli import NOBODY, PROGRAM, Guest, Run
from tests.unit.operate.test_cli import run as run

OURS = "deployment a (00-a): "
# What makes trouble in one or the other spelling.
AWKWARD = (
    "plain",
    'quo"te',
    "apo's",
    "per%25cent%",
    "new\nline of it",
    "ünï-κόσμε-日本",
    "back\\slash",
    "$HOME $$",
    "amp&=?#x",
    " lead and trail ",
    "tab\tbell\x07",
    "<b>;|`~",
    "/+slash==",
    "\U0001f511 key",
    "semi; colon,",
)
COUNT = 100


def secrets() -> list[str]:
    return [f"Zq{n:03}{AWKWARD[n % len(AWKWARD)]}{n * 7919:06x}!" for n in range(COUNT)]


class Supported(Guest):
    """A guest with all files that hold secrets, and a journal of its own."""

    def __init__(self, directory: Path, **more: Any) -> None:
        super().__init__(directory)
        self.settings = Settings(
            state_dir=directory / "state",
            runtime_dir=directory / "run",
            working_dir=directory / "work",
            conf_file=directory / "os-collect-config.conf",
            cache_dir=directory / "cache",
            first_metadata=directory / "cfn-init-data",
            request_timeout=2,
            **more,
        )
        names = ("state_dir", "runtime_dir", "conf_file", "cache_dir", "first_metadata", *more)
        self.settings_file = directory / "settings.toml"
        self.settings_file.write_text(
            "request_timeout = 2\n"
            + "".join(
                f"{name} = {json.dumps(str(getattr(self.settings, name)))}\n" for name in names
            )
        )
        self.bin = directory / "bin"
        self.bin.mkdir()
        (directory / "cache").mkdir()
        self.entries: list[dict[str, Any]] = []
        self.journalctl(f"exec tac {directory}/journal")
        self.environment["PATH"] = f"{self.bin}:{os.environ['PATH']}"

    def journalctl(self, script: str) -> None:
        """Put a journalctl before the machine's own."""
        path = self.bin / "journalctl"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def journal(
        self,
        *messages: Any,
        source: str = "os-collect-config",
        pid: str = "77",
        by: str = "journal",
    ) -> None:
        """Add entries as journalctl prints them, with --output=json.

        :param by: the way that they came: by the journal's own protocol, or as a line.
        """
        with (self.directory / "journal").open("a") as stream:
            for message in messages:
                fields = {"MESSAGE": message, "SYSLOG_IDENTIFIER": source, "_PID": pid}
                fields["_TRANSPORT"] = by
                entry = {"__REALTIME_TIMESTAMP": "1795480592000000", **fields}
                stream.write(json.dumps(entry) + "\n")


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Supported:
    made = Supported(tmp_path)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(examined, "FIRST_METADATA", made.settings.first_metadata)
    monkeypatch.setattr(examined, "CONFIG_FILE", made.settings.conf_file)
    monkeypatch.setattr(examined, "CACHE_DIRECTORY", made.settings.cache_dir)
    monkeypatch.setattr(collect_logs, "CLOUD_INIT", tmp_path / "cloud-init")
    # What is left out when the time is over is the installed command's test: `timed`.
    for name in ("_PARTS_SECONDS", "_JOURNAL_SECONDS"):
        monkeypatch.setattr(collect_logs, name, 60)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return made


def unpacked(path: str | Path) -> dict[str, str]:
    """Return the files of an archive by name."""
    found = {}
    with tarfile.open(path) as opened:
        for member in opened:
            assert member.isfile()
            assert member.mode == 0o600
            stream = opened.extractfile(member)
            assert stream is not None
            found[member.name.removeprefix("heat-config-zaqar/")] = stream.read().decode()
    return found


def collected(run: Run, *arguments: str) -> tuple[dict[str, str], str]:
    """Return the files of the archive that is made, and what was printed."""
    code, out, error = run("collect-logs", *arguments)
    assert code == 0, error
    return unpacked(out.splitlines()[0]), out


def contents(files: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files["contents.json"])
    return found


def texts_in(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        for key, value in document.items():
            yield key
            yield from texts_in(value)
    elif isinstance(document, list):
        for value in document:
            yield from texts_in(value)
    else:
        yield str(document)


def readings(text: str) -> Iterator[str]:
    """Yield a text as whoever looks for secrets in it would read it."""
    yield text
    yield from (unquote(text), unquote_plus(text), text.replace("\\", ""), " ".join(text.split()))
    for literal in re.findall(r'"((?:[^"\\]|\\.)*)"', text):
        try:
            yield json.loads(f'"{literal}"')
        except ValueError:
            continue


def assert_kept(planted: list[str], files: dict[str, str]) -> None:
    for name, text in files.items():
        whole = [text, *(texts_in(json.loads(text)) if name.endswith(".json") else [])]
        read = "\0".join(reading for one in whole for reading in readings(one))
        for secret in planted:
            for part in {secret, secret.strip(), secret[:12], *secret.split("\n")}:
                assert len(part) < 4 or part not in read, f"{part!r} of {secret!r} is in {name}"


def spellings(secret: str) -> Iterator[str]:
    """Yield how a secret may be told by a message, each in its surroundings."""
    yield f"said {secret} again"
    yield f"x{secret}x"
    yield json.dumps({"answer": secret})
    yield json.dumps({"inner": json.dumps([secret], ensure_ascii=False)})
    yield f"asked https://store.example/v1/a?x=1&y={quote(secret, safe='')}&z=2"
    yield f"asked https://store.example/{quote(secret)}/x"
    yield f"refused {secret!r}; is it right?"
    yield f"cut here {secret!r:.16}..."
    yield f"collapsed {' '.join(secret.split())}"


def plant(guest: Supported, planted: list[str]) -> None:
    """Put each secret where a guest has one of its kind, and where a message may tell it."""
    lines = [secret for secret in planted if "\n" not in secret][-7:]
    place, in_line = iter([secret for secret in planted if secret not in lines]), iter(lines)
    section = json.loads(json.dumps(SECTION))
    section["zaqar"] |= {"auth_url": NOBODY, "password": next(place)}
    section["heat"] = {"auth_url": NOBODY, "user_id": "u", "password": next(place)}
    section["cfn"] = {"access_key_id": next(place), "secret_access_key": next(place)}
    signature = f"https://swift.example/v1/AUTH_x/c/o?temp_url_sig={quote(next(place), safe='')}"
    section["request"] = {"metadata_url": f"{signature}&temp_url_expires=1795480592"}
    key = "\n".join(("-----BEGIN RSA PRIVATE KEY-----", next(place), next(place)))
    documents = [
        make_deployment(
            f"{n:08d}",
            deploy_password=next(place),
            deploy_signal_id=f"http://cfn.example/?Signature={quote(next(place))}&Timestamp=1",
            user_secret=next(place),
            as_json={"deployments": [{"name": next(place), "id": next(place)}]},
            as_text=json.dumps({"password": next(place)}),
            config=f"#!/bin/sh\nexport P={next(in_line)}\n# {'long ' * 80}\n",
            private_key=f"{key}\n-----END RSA PRIVATE KEY-----\n",
        )
        for n in range(4)
    ]
    guest.collect(*documents, section=section)
    cached = {"deployments": [make_deployment("b", secret=next(place))]}
    durable.write_json(guest.settings.cache_dir / "heat.json.last", cached)
    durable.write_json(guest.settings.cache_dir / "app.json", {"name": next(place)})
    first = {"os-collect-config": {"zaqar": {**section["zaqar"], "password": next(place)}}}
    guest.settings.first_metadata.write_text(json.dumps({**first, "db": {"id": next(place)}}))
    login, bare = next(in_line), next(in_line)
    guest.settings.conf_file.write_text(
        f'[zaqar]\npassword = {login.replace("$", "$$")}\n[cfn]\nsecret_access_key = "{bare}"\n'
    )
    for n, (document, where) in enumerate(zip(documents, [None, *Settled], strict=True)):
        more = {"answer": next(place), "list": [next(place), 4711], "deploy_stderr": next(place)}
        guest.finish(document, n, deploy_stdout=next(place), **more)
        if where:
            guest.settle(document["id"], where, f"refused: {more['answer']}")
    with guest.settings_file.open("a") as stream:
        stream.write(f'proxy = "http://me:{quote(next(in_line), safe="")}@127.0.0.1:9"\n')
    for secret in (next(place), next(place)):
        token = json.dumps({"auth_token": secret, "body": {"token": {"catalog": []}}})
        durable.write_json(guest.settings.token_dir / f"{len(secret)}-{hash(secret)}.json", token)
    damaged = guest.settings.state_dir / "outbox" / "damaged.json"
    damaged.write_text(f'{{"credentials": {{"password": {json.dumps(next(place))}, "body": {{')
    aside = guest.settings.state_dir.with_name("state.of-q") / "metadata.json"
    durable.write_json(aside, {"snapshot": make_message(make_deployment("c", was=next(place)))})
    rendered = [make_deployment("d", rendered=next(place))]
    (guest.directory / "heat-config").write_text(json.dumps(rendered))
    for secret in place:
        name = f"extra-{hash(secret)}"
        record = {"id": name, "transport": "NO_SIGNAL", "body": {"note": secret}, "note": secret}
        durable.write_json(guest.settings.state_dir / "delivered" / f"{name}.json", record)


@pytest.mark.parametrize("told", ["journal", "notes"])
def test_of_a_hundred_secrets_that_a_guest_holds_none_is_in_the_archive(
    guest: Supported, run: Run, told: str
) -> None:
    planted = secrets()
    plant(guest, planted)
    sayings = [saying for secret in planted for saying in spellings(secret)]
    if told == "journal":
        for saying in sayings:
            guest.journal(*(f"{OURS}{line}" for line in saying.split("\n")))
    else:
        said = {"state": "away", "since": 1e9, "detail": "\n".join(sayings[:15])}
        durable.write_json(guest.settings.connection_file, said)
        result = {"v1": {"datasource": "OpenStack", "errors": sayings}}
        durable.write_json(guest.directory / "cloud-init" / "result.json", result)
    files, out = collected(run)
    assert_kept(planted, {**files, "printed": out})
    assert set(files) >= {"status.json", "doctor.json", "settings.json", "versions.json"}
    if told == "journal":
        assert files["journal.txt"].count(OURS) >= len(sayings)
        assert files["journal.txt"].count("[redacted]") >= len(sayings)
    else:
        assert files["cloud-init.json"].count("[redacted]") >= len(sayings)


def test_what_nobody_knows_is_taken_out_by_the_names_that_it_bears(
    guest: Supported, run: Run
) -> None:
    guest.collect(section={})
    sayings = [
        "Authorization: Basic Zq1unknown=, more",
        "headers {'X-Auth-Token': 'Zq1unknown', 'Accept': '*/*'}",
        'curl -H "X-Subject-Token: Zq1unknown" http://x',
        "X-Account-Meta-Temp-URL-Key: Zq1unknown",
        "PUT https://s.example/o?temp_url_sig=Zq1unknown&temp_url_expires=1",
        "GET http://cfn/?AWSAccessKeyId=Zq1unknown&Signature=Zq1unknown%3D",
        "GET http://p.example/%3FSignature%3DZq1unknown",
        "proxy http://user:Zq1unknown@proxy.example:3128 refused",
        'login {"password": "Zq1unknown \\" with spaces", "user": "u"}',
        "secret_access_key = Zq1unknown",
        "pin password=Zq1",
        "-----BEGIN OPENSSH PRIVATE KEY----- Zq1unknown -----END OPENSSH PRIVATE KEY-----",
        "token gAAAAABnZq1unknown_abcdefghijklmnopqrstu",
    ]
    guest.journal(*(f"{OURS}{saying}" for saying in sayings))
    text = collected(run)[0]["journal.txt"]
    assert "Zq1" not in text
    assert text.count("[redacted]") >= len(sayings)
    assert text.count(OURS) == len(sayings)


def test_of_long_texts_each_line_is_a_secret(guest: Supported, run: Run) -> None:
    planted = secrets()
    lines = ["\n".join(part) for part in (planted[:30], planted[30:60], planted[60:])]
    guest.collect(make_deployment("a", config=lines[0]))
    guest.finish(make_deployment("a"), deploy_stdout=lines[1], deploy_stderr=lines[2])
    told = [line for secret in planted for line in secret.split("\n")]
    guest.journal(*(f"{OURS}{json.dumps(line)}, {line!r} and {line}" for line in told))
    files, _ = collected(run)
    assert_kept(told, files)
    assert files["journal.txt"].count("[redacted]") == 3 * len(told)


def test_a_value_that_is_short_is_taken_out_where_it_stands_alone(
    guest: Supported, run: Run
) -> None:
    guest.collect(make_deployment("a", one="Xy9z", two="p@5w", three="1", four="8080", five="true"))
    guest.journal(f"{OURS}Xy9z, (p@5w) and Xy9zzy; attempt 1 at 8080 is true, 12:01:15")
    text = collected(run)[0]["journal.txt"]
    assert f"{OURS}[redacted], ([redacted]) and Xy9zzy; attempt 1 at 8080 is true, 12:01:15" in text


def test_of_what_hooks_print_there_is_only_how_much_it_was(guest: Supported, run: Run) -> None:
    guest.collect(make_deployment("a"))
    guest.journal("Executing os-refresh-config")
    guest.journal(
        "[2026-11-24 00:36:41,123] (os-refresh-config) [INFO] Starting phase configure",
        "dib-run-parts Tue Nov 24 00:36:41 UTC 2026 Running 55-heat-config",
        by="stdout",
    )
    guest.journal(f"{OURS}hook script, attempt 1")
    guest.journal(
        "hook printed: my pin is 4711",
        "  dib-run-parts 4715, not ours, since something stands before it",
        list(b"not text: 4712"),
        by="stdout",
    )
    guest.journal("4713", source="a-hook-in-python")
    guest.journal(f"{OURS}status code 0")
    guest.journal("os-collect-config.service: Failed", source="systemd", pid="1")
    guest.journal("systemd says 4714", source="systemd", pid="78")
    text = collected(run)[0]["journal.txt"]
    assert "471" not in text
    assert [line.partition("]: ")[2] or line for line in text.splitlines()] == [
        "Executing os-refresh-config",
        "[2026-11-24 00:36:41,123] (os-refresh-config) [INFO] Starting phase configure",
        "dib-run-parts Tue Nov 24 00:36:41 UTC 2026 Running 55-heat-config",
        f"{OURS}hook script, attempt 1",
        "[4 lines of hooks and other programs]",
        f"{OURS}status code 0",
        "os-collect-config.service: Failed",
        "[1 lines of hooks and other programs]",
    ]


def test_the_archive_says_what_became_of_each_deployment(guest: Supported, run: Run) -> None:
    guest.collect(make_deployment("a"), make_deployment("b"))
    guest.finish(make_deployment("a"), 3)
    files, out = collected(run)
    first, second = json.loads(files["status.json"])["deployments"]
    assert (first["id"], first["status_code"], first["signal"]) == ("a", 3, "pending")
    assert (second["state"], second["status_code"]) == ("waiting", None)
    assert json.loads(files["versions.json"])["os-collect-config"] != "not installed"
    assert json.loads(files["settings.json"])["request_timeout"] == 2
    assert [item["check"] for item in json.loads(files["doctor.json"])][:2] == [
        "settings",
        "identity",
    ]
    assert out.splitlines()[1].startswith("in it: contents.json, settings.json, versions.json, ")
    assert "not in it: cloud-init.json (there is no result in " in out
    assert out.endswith("texts of configs, what hooks print\n")


def test_the_archive_lies_where_one_is_and_its_name_says_when(guest: Supported, run: Run) -> None:
    guest.collect()
    path = Path(run("collect-logs")[1].splitlines()[0])
    assert path.parent == guest.directory / "here"
    assert re.fullmatch(r"heat-config-zaqar-\d{8}T\d{6}Z\.tar\.gz", path.name)


def test_nobody_else_can_read_the_archive_at_any_moment(
    guest: Supported, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest.collect()
    here = guest.directory / "here"
    seen: list[tuple[str, int]] = []

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def look(*arguments: Any, **more: Any) -> Any:
            done = call(*arguments, **more)
            seen.extend((path.name, stat.S_IMODE(path.stat().st_mode)) for path in here.iterdir())
            return done

        return look

    for name in ("open", "fdopen", "fsync", "rename"):
        monkeypatch.setattr(os, name, watched(getattr(os, name)))
    before = os.umask(0)
    try:
        assert run("collect-logs", "x.tar.gz")[0] == 0
    finally:
        os.umask(before)
    assert {mode for _, mode in seen} == {0o600}
    assert stat.S_IMODE((here / "x.tar.gz").stat().st_mode) == 0o600
    # It has its name when it is whole: what came before had another.
    assert seen[0][0] != "x.tar.gz"
    assert seen[-1][0] == "x.tar.gz"


@pytest.mark.parametrize("kind", ["directory", "fifo", "symlink", "nowhere"])
def test_what_is_no_place_for_an_archive_is_refused_at_once(
    guest: Supported, run: Run, kind: str
) -> None:
    guest.collect()
    target = guest.directory / "x"
    if kind == "directory":
        target.mkdir()
    elif kind == "fifo":
        os.mkfifo(target)
    elif kind == "symlink":
        target.symlink_to("/dev/null")
    else:
        target = target / "y" / "z"
    began = time.monotonic()
    code, _, error = run("collect-logs", str(target))
    assert (code, "name another FILE" in error) == (1, True)
    assert time.monotonic() - began < 30
    assert kind == "nowhere" or not target.is_file()


def test_a_full_disk_leaves_the_older_archive_and_nothing_else(guest: Supported) -> None:
    guest.collect()
    target = guest.directory / "x.tar.gz"
    target.write_bytes(b"older")
    done = subprocess.run(
        ["prlimit", "--fsize=100", PROGRAM, "collect-logs", target],
        # Python would cut modules that it compiles as well, and take them for whole ever after.
        env={**os.environ, **guest.environment, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "name a FILE elsewhere" in done.stderr) == (1, True)
    assert target.read_bytes() == b"older"
    assert not list(guest.directory.glob(".heat-config-zaqar-*"))


def test_without_a_journal_the_rest_is_there(guest: Supported, run: Run) -> None:
    guest.collect()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(guest.directory / "nothing"))
        files, out = collected(run)
    assert contents(files)["not in it"]["journal.txt"] == "there is no journalctl here"
    assert "journal.txt (there is no journalctl here)" in out
    assert "status.json" in files


def test_a_journal_that_hangs_is_cut_and_what_it_said_counts(
    guest: Supported, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect_logs, "_JOURNAL_SECONDS", 5)
    guest.collect()
    guest.journal(f"{OURS}hook script, attempt 1")
    guest.journalctl(f"cat {guest.directory}/journal; exec sleep 60")
    began = time.monotonic()
    files, _ = collected(run)
    assert "attempt 1" in files["journal.txt"]
    assert "cut short by the time" in files["journal.txt"]
    assert time.monotonic() - began < 40


def timed(guest: Supported) -> tuple[dict[str, str], float]:
    """Return the files of the archive that the installed command makes, and how long it takes.

    Of a busy machine, which is slow to start anything, as long as `version` takes is no fault.
    """
    began = time.monotonic()
    guest.start("version").communicate(timeout=60)
    began = 2 * time.monotonic() - began
    process = guest.start("collect-logs", str(guest.directory / "x.tar.gz"))
    out, error = process.communicate(timeout=60)
    seconds = time.monotonic() - began
    assert (process.returncode, error) == (0, ""), out
    return unpacked(guest.directory / "x.tar.gz"), seconds


def test_a_keystone_that_never_answers_cuts_the_doctor_short(guest: Supported) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        section = json.loads(json.dumps(SECTION))
        section["zaqar"]["auth_url"] = f"http://127.0.0.1:{silent.getsockname()[1]}/v3"
        guest.collect(make_deployment("a"), section=section)
        guest.journal(f"{OURS}hook script, attempt 1")
        guest.settings_file.write_text(
            guest.settings_file.read_text().replace("request_timeout = 2", "request_timeout = 30")
        )
        files, seconds = timed(guest)
    assert seconds < 20
    found = json.loads(files["doctor.json"])
    assert (found[0]["result"], found[-1]["result"]) == ("ok", "not checked")
    assert "journal.txt" in files


@pytest.mark.parametrize("name", ["metadata.json", "delivered/a.json", "running/a.json"])
def test_a_damaged_file_of_the_state_is_named_and_its_secrets_are_kept(
    guest: Supported, run: Run, name: str
) -> None:
    path = guest.settings.state_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"snapshot": {"inputs": [{"name": "x", "value": "Zq1 in \\"it\\""}, ')
    guest.journal(f'{OURS}said Zq1 in "it"')
    files, _ = collected(run)
    assert "Zq1" not in "".join(files.values())
    assert f"{OURS}said [redacted]" in files["journal.txt"]
    assert path.name in files["doctor.json"] + files["status.json"]


def test_what_the_doctor_quotes_of_a_damaged_conf_is_a_secret(guest: Supported, run: Run) -> None:
    guest.collect()
    guest.settings.conf_file.write_text("[zaqar]\nuser_id = u\nZq1 password without a sign\n")
    found = collected(run)[0]["doctor.json"]
    assert re.search(r"\[line +3\]: '\[redacted\]", found)
    assert "Zq1" not in found


def test_a_settings_file_that_is_broken_hinders_nothing_and_its_secrets_are_kept(
    guest: Supported, run: Run
) -> None:
    with guest.settings_file.open("a") as stream:
        stream.write('proxy = "http://u:Zq2@p:1"\nmax_attempts = "Zq3secret"\n[[[\n')
    files, _ = collected(run)
    assert "Zq" not in "".join(files.values())
    assert json.loads(files["doctor.json"])[0]["result"] == "problem"


def test_without_all_secrets_nothing_is_told_that_others_said(guest: Supported, run: Run) -> None:
    guest.collect(make_deployment("a"))
    guest.journal(f"{OURS}said something")
    os.mkfifo(guest.settings.cache_dir / "heat.json")
    files, _ = collected(run)
    assert set(files) == {"contents.json", "settings.json", "versions.json"}
    why = "left out, since not all secrets could be read that may be in it"
    assert contents(files)["not in it"]["journal.txt"] == why


def test_a_secret_that_comes_or_goes_meanwhile_is_known_all_the_same(
    guest: Supported, run: Run
) -> None:
    guest.collect(make_deployment("a", user_secret="Zq1before"))
    new = guest.directory / "new.json"
    metadata = guest.settings.metadata_file
    durable.write_json(new, {"snapshot": make_message(make_deployment("a", x="Zq2after"))})
    guest.journal(f"{OURS}said Zq1before", f"{OURS}said Zq2after")
    guest.journalctl(f"sleep 0.5; cp {new} {metadata}; exec cat {guest.directory}/journal")
    text = collected(run)[0]["journal.txt"]
    assert text.count(f"{OURS}said [redacted]") == 2


def test_secrets_that_overlap_are_both_taken_out() -> None:
    redactor = Redactor(["user=hunter", "hunter2hunter2", "hunter2hunter2,and more"])
    assert redactor.clean("user=hunter2hunter2, x") == "[redacted], x"
    assert redactor.clean("hunter2hunter2,and more") == "[redacted]"


SECRET = st.text(st.characters(), min_size=8, max_size=30).filter(str.strip)


@given(secret=SECRET, before=st.text(max_size=5), after=st.text(max_size=5))
def test_whatever_a_secret_is_no_spelling_of_it_is_left(
    secret: str, before: str, after: str
) -> None:
    redactor = Redactor([secret])
    assume(secret.lower() not in "[redacted]" and "interrupted" not in secret.lower())
    for spelling in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1]):
        assert spelling not in redactor.clean(f"{before}{spelling}{after}")
        assert redactor.clean({"a": [spelling]}) == {"a": ["[redacted]"]}


def test_no_text_however_odd_takes_long() -> None:
    redactor = Redactor([f"aaaaaaaa{n:05}" for n in range(2000)])
    began = time.process_time()
    for odd in ("a-", "password", "eyJ-", "x-", "://", "Authorization: ", "?sig=", "-----BEGIN "):
        redactor.clean(odd * (4000 // len(odd)))
    for odd in ("\n", "=\n", "= ", "a=b:", "://a:", "?a=", '"a":"'):
        Redactor(_secrets_in(odd * (1_000_000 // len(odd)), False))
    assert time.process_time() - began < 10


def test_a_copy_of_another_machine_s_disk_is_looked_at_as_well(guest: Supported, run: Run) -> None:
    guest.collect(make_deployment("a"))
    other = Owner(("another", "another", "another"), "q of u")
    record = {"machine": list(other.machine), "first": other.first}
    durable.write_json(guest.settings.state_dir / "owner.json", record)
    files, _ = collected(run)
    found = {item["check"]: item["result"] for item in json.loads(files["doctor.json"])}
    assert found["identity"] == "problem"
    assert json.loads(files["status.json"])["deployments"][0]["id"] == "a"


@pytest.mark.usefixtures("guest")
def test_a_guest_that_was_never_used_has_an_archive_too(run: Run) -> None:
    files, _ = collected(run)
    assert json.loads(files["status.json"])["deployments"] == []


def test_the_archive_is_small_whatever_is_in_it(guest: Supported, run: Run) -> None:
    def noise(length: int) -> str:
        return "".join(
            chr(0x4E00 + number % 0x5000) for number in memoryview(os.urandom(2 * length)).cast("H")
        )

    names = ("name", "group", "deploy_action")
    documents = [
        make_deployment(f"{n:08d}", **{name: noise(1000) for name in names}) for n in range(600)
    ]
    guest.collect(*documents, section={})
    said = {"state": "away", "since": 1e9, "detail": noise(400_000)}
    durable.write_json(guest.settings.connection_file, said)
    guest.journal(*(f"{OURS}{noise(900)}" for _ in range(4000)))
    files, out = collected(run)
    assert Path(out.splitlines()[0]).stat().st_size <= 5_000_000
    assert len(files["journal.txt"].encode()) > 500_000, contents(files)


def test_many_deployments_with_long_outputs_take_no_five_seconds(guest: Supported) -> None:
    script = "#!/bin/sh\n" + "echo x\n" * 200
    documents = [make_deployment(f"{n:08d}", config=f"{script}{n}") for n in range(100)]
    guest.collect(*documents, section={})
    for n, document in enumerate(documents):
        lines = "\n".join(f"line {m} of {n} says hello" for m in range(300))
        guest.finish(document, answer="x" * 4000, deploy_stdout=lines)
    guest.journal(*(f"{OURS}hook script, attempt {n}" for n in range(20000)))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    files, _ = timed(guest)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # That others take the machine is no fault.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5
    assert {"journal.txt", "status.json", "doctor.json"} <= set(files)


def test_without_roots_rights_there_is_no_archive() -> None:
    if os.geteuid() != 0:
        pytest.skip("takes root, to become another user")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o777)
        made = Supported(directory)
        (directory / "cache").chmod(0o700)
        for is_used in (False, True):
            if is_used:
                made.collect(make_deployment("a"))
            try:
                done = subprocess.run(
                    [PROGRAM, "collect-logs", directory / "x.tar.gz"],
                    env={**os.environ, **made.environment},
                    user=65534,
                    capture_output=True,
                    text=True,
                    check=False,
                )
            except PermissionError:
                pytest.skip("takes a virtual environment that other users may read")
            assert done.returncode == 4, done
            assert "call it with sudo" in done.stderr
            assert "Traceback" not in done.stderr
            assert not list(directory.glob("*x.tar*"))


def test_ctrl_c_leaves_nothing(guest: Supported) -> None:
    guest.collect()
    guest.journalctl(f"touch {guest.directory}/began; exec sleep 60")
    process = guest.start("collect-logs", str(guest.directory / "x.tar.gz"))
    while not (guest.directory / "began").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 130
    assert not list(guest.directory.glob("*x.tar*"))
