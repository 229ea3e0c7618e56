"""One seeded history: what happens to one guest, and whether its deployments came through.

The model: every deployment that Heat still wants was run and finished exactly once; Heat got
exactly one signal for it, with its own outputs; nothing superseded started after its successor;
no program ended with a traceback, hung, or left something on disk without fsync.
"""

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.chaos.guest import MAX_ATTEMPTS, Guest
from tests.chaos.steps import STEPS
from tests.chaos.surroundings import Surroundings, random_outage

_MOST_ROUNDS = 40
_CONVERGE_SECONDS = 120
# What the ids of configs begin with whose hooks ask for a reboot at their first start.
_REBOOTING = ("0", "1")
_HOOK = f"case $id/$HEAT_CONFIG_REBOOTS in [{''.join(_REBOOTING)}]*/0) exit 194 ;; esac"
_SLOW_HOOK = f"sleep 0.4; {_HOOK}"


@dataclass
class Result:
    """What one history came to.

    :ivar kills: how often the guest was killed at each step, by step and kind.
    :ivar troubles: each breach of the model, by kind and text.
    """

    seed: int
    seconds: float = 0
    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    troubles: list[str] = field(default_factory=list)


class History:
    """One guest's life.

    :param directory: for the guest.
    :param kills: how many kills to reach, within a number of rounds.
    """

    def __init__(self, seed: int, directory: Path, around: Surroundings, kills: int) -> None:
        self.result = Result(seed)
        self._random = Random(seed)  # noqa: S311
        self._around = around
        self._wanted_kills = kills
        directory.mkdir(parents=True)
        self._guest = Guest(directory, around.call("begin", seed), around.token)
        self._guest.set_hook(_HOOK)
        self._armed = ""
        self._kind = ""

    def run(self) -> Result:
        """Live through it; return what it came to."""
        began = time.monotonic()
        self._event("create", self._random.randint(1, 4))
        for _ in range(_MOST_ROUNDS):
            if self.result.kills.total() >= self._wanted_kills or self._guest.troubles:
                break
            self._round()
        self._converge()
        self._check(self._around.call("end"))
        self._guest.reboot()
        self.result.seconds = time.monotonic() - began
        return self.result

    def _round(self) -> None:
        chance = self._random.random
        # A new step each round: one that this guest never comes by must not stay armed for ever.
        self._arm()
        self._change()
        if chance() < 0.25:
            self._outage()
        if chance() < 0.15:
            self._run_while_heat_changes_its_mind()
        for _ in range(self._random.randint(1, 3)):
            self._step()
        self._around.call("open")
        if chance() < 0.1:
            self.result.events["reboot"] += 1
            self._guest.reboot()
            self._log_in_perhaps()
        # What the armed step waits for, and the way to the next change.
        for entry in ("collect", "apply", "deliver"):
            self._run(entry)

    def _change(self) -> None:
        """Let Heat's side change something."""
        what = self._random.choices(
            ["create", "update", "interrupt", "delete", "repeat", "nothing"], (3, 4, 2, 1, 2, 1)
        )[0]
        if what in ("create", "update", "delete"):
            self._event(what, self._random.randint(1, 3))
        elif what == "interrupt":
            self.result.events["interrupt"] += 1
            self._around.call("update", 1, True)
        elif what == "repeat":
            self._event("repeat")

    def _outage(self) -> None:
        service, kind, times = random_outage(self._random)
        self.result.events[f"outage: {service} {kind}"] += 1
        self._around.call("outage", service, kind, times)

    def _step(self) -> None:
        """Run one of the guest's programs, or two at the same time."""
        entries = self._random.choices(
            [("collect",), ("apply",), ("deliver",), ("collect", "deliver"), ("apply", "deliver")],
            (4, 4, 2, 1, 1),
        )[0]
        if len(entries) == 1:
            self._run(entries[0])
            return
        self.result.events["two at a time"] += 1
        self._run_all(list(entries))

    def _run_while_heat_changes_its_mind(self) -> None:
        """Let Heat give up on deployments and update them while their hooks run."""
        self._run("collect")
        self._guest.set_hook(_SLOW_HOOK)
        lines = len(self._guest.runs())
        pid = self._guest.start("apply", self._armed)
        deadline = time.monotonic() + 1
        while len(self._guest.runs()) == lines and time.monotonic() < deadline:
            time.sleep(0.01)
        self._guest.set_hook(_HOOK)
        if len(self._guest.runs()) > lines:
            self.result.events["interrupt while the hook runs"] += 1
            self._around.call("update", 1, True)
        self._killed(self._guest.wait("apply", pid))

    def _run(self, entry: str) -> None:
        self._killed(self._guest.run(entry, self._armed))

    def _run_all(self, entries: list[str]) -> None:
        pids = [(entry, self._guest.start(entry, self._armed)) for entry in entries]
        steps = [self._guest.wait(entry, pid) for entry, pid in pids]
        self._killed(next(filter(None, steps), ""))

    def _killed(self, step: str) -> None:
        self._poll_perhaps()
        if not step:
            self._reboot_if_wanted()
            return
        self.result.kills[step, self._kind] += 1
        if self._kind == "power cut":
            self.result.events["writes lost"] += self._guest.cut_power(self._random)
            self._log_in_perhaps()
        self._reboot_if_wanted()
        self._arm()

    def _reboot_if_wanted(self) -> None:
        if self._guest.wants_reboot:
            self.result.events["reboot that a hook asked for"] += 1
            self._guest.reboot()
            self._log_in_perhaps()

    def _arm(self) -> None:
        """Choose where and how the guest is killed next."""
        self._armed = self._random.choice(STEPS)
        self._kind = self._random.choice(["SIGKILL", "power cut"])

    def _log_in_perhaps(self) -> None:
        """Spare Keystone most logins after a restart: each costs it a third of a second."""
        if self._random.random() < 0.9:
            self._guest.give_token()

    def _poll_perhaps(self) -> None:
        """Let Heat look for signals, or not yet."""
        if self._random.random() < 0.5:
            self._around.call("poll")

    def _event(self, name: str, *arguments: Any) -> None:
        self.result.events[name] += 1
        self._around.call(name, *arguments)

    def _converge(self) -> None:
        """Let everything work again, until Heat waits for nothing."""
        self._around.call("open")
        deadline = time.monotonic() + _CONVERGE_SECONDS
        rounds = 0
        while rounds < 2 or (self._around.call("poll") and time.monotonic() < deadline):
            if self._guest.troubles:
                return
            rounds += 1
            for entry in ("collect", "apply", "deliver"):
                self._guest.run(entry)
                self._reboot_if_wanted()
        self.result.events["rounds to converge"] += rounds

    def _check(self, heat: dict[str, Any]) -> None:
        found = self.result.troubles
        found += self._guest.troubles
        found += heat["troubles"]
        found += [f"lost: Heat waits for {config}" for config in heat["lost"]]
        self._check_runs(heat["configs"])
        self._check_wanted(heat)
        self.result.events["deployments"] += sum(map(len, heat["configs"].values()))
        self.result.events["signals"] += len(heat["signals"])
        self.result.events["signals by Heat's API"] += sum(
            signal["way"] != "queue" for signal in heat["signals"]
        )
        self.result.events["Heat asked"] += heat["asked"]

    def _check_runs(self, configs: dict[str, list[str]]) -> None:
        runs = self._guest.runs()
        started = Counter(config for what, config, _ in runs if what == "start")
        self.result.events["hooks run"] += started.total()
        for name, generations in configs.items():
            newest = -1
            for what, config, _ in runs:
                if what != "start" or config not in generations:
                    continue
                number = generations.index(config)
                if number < newest:
                    text = f"stale: {name} ran {config} after {generations[newest]}"
                    self.result.troubles.append(text)
                newest = max(newest, number)
        for config, number in started.items():
            if number > MAX_ATTEMPTS + config.startswith(_REBOOTING):
                self.result.troubles.append(f"double: {config} was started {number} times")

    def _check_wanted(self, heat: dict[str, Any]) -> None:
        states = self._guest.states()
        signals = Counter(signal["config"] for signal in heat["signals"])
        ended = {config for what, config, _ in self._guest.runs() if what == "end"}
        given_up = {
            signal["config"]
            for signal in heat["signals"]
            if "interrupted" in str(signal["body"].get("deploy_stderr"))
        }
        for config in heat["wanted"]:
            if config not in ended | given_up:
                self.result.troubles.append(f"lost: {config} never ran to its end")
            if signals[config] > 1:
                self.result.troubles.append(f"double: {config} has {signals[config]} signals")
            # What a kill left in an earlier directory is overruled by a later one.
            where = set(states.get(config, [])) - {"running", "outbox"}
            if where != {"delivered"} and config not in heat["lost"]:
                self.result.troubles.append(f"lost: the state of {config} is {where}")
