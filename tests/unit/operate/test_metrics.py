import re
import stat
import time
from pathlib import Path

import yaml

from heat_config_zaqar.state import durable
from heat_config_zaqar.state.outbox import Settled
from tests.conftest import BUILD
from tests.unit.conftest import make_deployment
from tests.unit.operate.test_cli import Guest, Run
from tests.unit.operate.test_cli import guest as guest
from tests.unit.operate.test_cli import run as run

ALERTS = BUILD.parent / "examples" / "alerts.yaml"
SAMPLE = re.compile(r'heat_config_zaqar_(\w+(?:\{\w+="[\w .+-]+"\})?) ([\d.e+]+)')


def counted(text: str) -> dict[str, float]:
    """Return what each line of the text says, by its metric and labels."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found = [SAMPLE.fullmatch(line) for line in lines]
    assert all(found), lines
    return {match[1]: float(match[2]) for match in found if match}


def test_deployments_signals_and_what_waits_are_counted(guest: Guest, run: Run) -> None:
    guest.collect(*(make_deployment(name) for name in "abcd"))
    guest.finish(make_deployment("a"), 0)
    guest.settle("a", Settled.DELIVERED)
    guest.finish(make_deployment("b"), 1)
    guest.finish(make_deployment("c"), 0)
    guest.settle("c", Settled.FAILED)
    said = {"state": "push", "since": 1e9, "detail": "ws://nobody's business"}
    durable.write_json(guest.settings.connection_file, said)
    time.sleep(0.05)
    found = counted(run("metrics")[1])
    assert found['connection{state="push"}'] == 1
    assert found['connection{state="away"}'] == 0
    states = {name: found[f'deployments{{state="{name}"}}'] for name in ("complete", "failed")}
    assert states == {"complete": 2, "failed": 1}
    assert found['deployments{state="waiting"}'] == 1
    signals = {name: found[f'signals{{state="{name}"}}'] for name in ("delivered", "failed")}
    assert signals == {"delivered": 1, "failed": 1}
    assert 0 < found["pending_seconds"] < 60
    assert found["running_seconds"] == 0


def test_a_failure_that_a_newer_config_has_mended_is_not_counted(guest: Guest, run: Run) -> None:
    guest.collect(make_deployment("mended"))
    guest.finish(make_deployment("broken"), 1)
    guest.settle("broken", Settled.DELIVERED)
    guest.finish(make_deployment("mended"), 0)
    guest.settle("mended", Settled.DELIVERED)
    found = counted(run("metrics")[1])
    states = {name: found[f'deployments{{state="{name}"}}'] for name in ("complete", "failed")}
    assert states == {"complete": 1, "failed": 0}


def test_a_word_that_is_no_state_of_ours_is_no_label(guest: Guest, run: Run) -> None:
    guest.collect()
    said = {"state": 'x"} 1\nsecret', "since": 0, "detail": ""}
    durable.write_json(guest.settings.connection_file, said)
    text = run("metrics")[1]
    assert counted(text)['connection{state="unknown"}'] == 1
    assert "secret" not in text


def test_the_file_is_whole_and_everybody_may_read_it(
    guest: Guest, run: Run, tmp_path: Path
) -> None:
    guest.collect()
    target = tmp_path / "x.prom"
    target.write_text("old")
    assert run("metrics", str(target))[:2] == (0, "")
    assert counted(target.read_text())["pending_seconds"] == 0
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    code, _, error = run("metrics", str(tmp_path / "nowhere" / "x.prom"))
    assert (code, "name another FILE" in error) == (1, True)


def test_the_rules_for_alerts_name_what_there_is(guest: Guest, run: Run) -> None:
    guest.collect()
    there = set(counted(run("metrics")[1]))
    names = {name.partition("{")[0] for name in there}
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) >= 5
    for rule in rules:
        for name, words in re.findall(
            r'heat_config_zaqar_(\w+)(?:\{state=~?"([^"]*)"\})?', rule["expr"]
        ):
            assert name in names, rule
            for word in filter(None, words.split("|")):
                assert f'{name}{{state="{word}"}}' in there, rule
