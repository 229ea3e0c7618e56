"""What may happen to a guest, one function for each event.

To add an event, write its function and name it in one of the tables at the end.
Invariant: an event takes every chance of its from `life.random`, so that the same history has the
same one, whatever became of the events before.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable
from functools import partial

from heat_config_zaqar.deliver import posted
from tests.chaos.hostile import ENTRIES, NEIGHBOURS
from tests.chaos.life import ROUND, Life
from tests.chaos.surroundings import OUTAGES, REFUSALS

Event = Callable[[Life], None]

_TRANSPORTS = {
    "ZAQAR_SIGNAL": 10,
    "HEAT_SIGNAL": 4,
    "CFN_SIGNAL": 3,
    "TEMP_URL_SIGNAL": 2,
    "NO_SIGNAL": 2,
}
_HOUR = 3600
_PUSH_SECONDS = 30
# A service that relies on notifications looks by itself no longer than that after one.
_QUIET_SECONDS = 70
_PAUSE_SECONDS = 25
# A wake-up that never came costs a minute.
_LATEST_SECONDS = 75
_SERVICES = ("keystone", "zaqar", "heat")
_MOST_COPY_ROUNDS = 10


def create(life: Life, number: int = 0, hostile: Iterable[str] = ()) -> None:
    """Heat creates deployments, each with a transport of its own."""
    number = number or life.random.randint(1, 3)
    weights = list(_TRANSPORTS.values())
    transports = life.random.choices(list(_TRANSPORTS), weights, k=number)
    life.call("create", number, transports, list(hostile))


def hostile_neighbour(life: Life) -> None:
    """Heat creates a deployment that nobody meant so, and one beside it."""
    name = life.random.choice(
        [name for name, kind in NEIGHBOURS.items() if kind.fits_queue or life.source != "zaqar"]
    )
    life.result.events[f"neighbour: {name}"] += 1
    create(life, 2, [name])


def malformed_entries(life: Life) -> None:
    """The list holds what is no deployment, from now on."""
    life.call("put_entries", life.random.randint(0, len(ENTRIES)))


def update(life: Life) -> None:
    """Heat updates deployments that it does not wait for."""
    life.call("update", life.random.randint(1, 3))


def interrupt(life: Life) -> None:
    """Heat gives up on a deployment, and updates it."""
    life.call("update", 1, True)


def delete(life: Life) -> None:
    """Heat deletes deployments."""
    life.call("delete", life.random.randint(1, 3))


def repeat(life: Life) -> None:
    """A message of before comes late, or is there twice."""
    life.call("repeat")


def nothing(life: Life) -> None:
    """Heat changes nothing."""
    del life


def outage(life: Life) -> None:
    """A service is away, or answers some requests only halfway."""
    service = life.random.choice(["keystone", "zaqar", "zaqar", "heat"])
    kind = life.random.choice(OUTAGES)
    life.result.events[f"outage: {service} {kind}"] += 1
    life.call("outage", service, kind, life.random.randint(1, 3))


def refusal(life: Life) -> None:
    """Something between guest and service refuses in its place: some requests, or for a while."""
    service = life.random.choice(["keystone", "zaqar", "zaqar", "heat", "heat"])
    kind = life.random.choice(REFUSALS)
    life.result.events[f"refusal: {service} {kind}"] += 1
    life.call("outage", service, kind, life.random.choice([1, 2, 4, 1000]))


def heat_changes_its_mind(life: Life) -> None:
    """Heat gives up on a deployment and updates it while its hook runs."""

    def change(_: int) -> int:
        # What the last look found counts until then, which docs/reliability.md says.
        time.sleep(1.2 * posted._LOOK_SECONDS)
        interrupt(life)
        return 0

    life.run("collect")
    if life.interrupt_hook("apply", (), change):
        life.result.events["interrupt while the hook runs"] += 1


def clock_steps(life: Life) -> None:
    """The clock is wrong from now on, or right again; it may step while a program runs."""
    clock = life.guest.clock
    by = life.random.choice([0.0, -25 * _HOUR, -2 * _HOUR, 2 * _HOUR, 25 * _HOUR])
    if life.random.random() < 0.5:
        clock.steps = (by - clock.ahead, life.random.randint(1, 12))
        life.run(life.random.choice(["collect", "apply", "deliver"]))
        clock.steps = (0.0, 0)
    clock.ahead = by


def second_os_collect_config(life: Life) -> None:
    """Somebody types os-collect-config beside the service, while Heat posts."""
    entries = ["collect", life.random.choice(["print", "one-time"])]
    life.random.shuffle(entries)
    create(life, 1)
    life.run(*entries, between=partial(create, life))


def closed_terminal(life: Life) -> None:
    """An operator runs a deployment again, and closes the terminal while its hook runs."""
    states = sorted(life.guest.states())
    if not states:
        return
    config = life.random.choice(states)
    hang_up = life.random.random() < 0.7
    # Something to run beside what the terminal leaves behind.
    create(life, 1)
    life.run("collect")

    def close(pid: int) -> int:
        if hang_up:
            os.killpg(pid, signal.SIGHUP)
        return signal.SIGHUP if hang_up else 0

    life.reruns[config] += 1
    life.interrupt_hook("rerun", (config,), close)
    life.run("apply")


def lost_subscription(life: Life) -> None:
    """Zaqar has forgotten the service's subscription: the next deployment comes all the same."""
    if life.source != "zaqar":
        return
    life.call("open")
    pid = life.guest.start("service")
    life.wait_for(lambda: life.guest.connection() == "push", _PUSH_SECONDS)
    _create_and_wait(life)
    life.call("forget_subscriptions")
    # Right after a wake-up the service looks by itself.
    life.wait_for(partial(_is_quiet, life), _QUIET_SECONDS)
    _create_and_wait(life)
    os.kill(pid, signal.SIGTERM)
    life.guest.wait("service", pid, signal.SIGTERM)


def _create_and_wait(life: Life) -> None:
    life.call("create", 1)
    newest = life.call("newest")
    if not life.wait_for(lambda: life.guest.has_received(newest), _LATEST_SECONDS):
        life.result.troubles.append(f"late: {newest} is not there after {_LATEST_SECONDS} s")


def _is_quiet(life: Life) -> bool:
    """Whether the guest says nothing to Zaqar for a while."""
    known = len(life.call("requests", "zaqar"))
    return not life.wait_for(lambda: len(life.call("requests", "zaqar")) > known, _PAUSE_SECONDS)


def reboot(life: Life) -> None:
    """The machine restarts in an orderly way."""
    life.reboot()


def disk_put_back(life: Life) -> None:
    """The disk is put back to where it was some changes ago."""
    # A disk from before the first message, or the first run, is a new machine's.
    if not (life.guest.has_received("") if life.source == "zaqar" else life.guest.states()):
        return
    kept = life.keep_disk()
    for _ in range(life.random.randint(1, 3)):
        life.random.choice([create, update, update, interrupt])(life)
        for entry in ROUND[: life.random.randint(0, len(ROUND))]:
            life.run(entry)
    life.put_disk_back(kept)


def copy_booted_as_another(life: Life) -> None:
    """A copy of the disk is booted as another guest, while messages may wait for this one."""
    if not (life.guest.state / "owner.json").exists():
        # It is of no machine yet.
        return
    life.random.choice([create, update, nothing])(life)
    handed = life.random.choice(["another's metadata", "the same metadata", "no metadata"])
    life.result.events[f"copy with {handed}"] += 1
    metadata, machine = life.call("begin_copy", life.random.getrandbits(32))
    is_anothers = handed == "another's metadata"
    if not is_anothers:
        metadata = life.call("first_metadata")[0] if handed == "the same metadata" else {}
    known = {service: len(life.call("requests", service)) for service in _SERVICES}
    copy = life.copy(metadata, machine)
    for _ in range(_MOST_COPY_ROUNDS):
        for entry in ROUND:
            copy.run(entry)
        if not (is_anothers and life.call("copy_waits")):
            break
    lines = [line for name in _SERVICES for line in life.call("requests", name)[known[name] :]]
    names = life.call("names")
    foreign = [line for line in lines if not is_anothers or any(name in line for name in names)]
    found = life.call("end_copy")
    starts = [config for what, config, _ in copy.runs() if what == "start"]
    own = [config for configs in found["configs"].values() for config in configs]
    life.result.troubles += [*copy.troubles, *found["troubles"]]
    life.result.troubles += [f"foreign: a copy with {handed} says {line}" for line in foreign]
    if starts != own * is_anothers:
        life.result.troubles.append(f"foreign: a copy with {handed} ran {starts}, has {own}")
    if is_anothers and found["lost"]:
        life.result.troubles.append(f"lost: a copy's Heat waits for {found['lost']}")
    copy.reboot()


def collect(life: Life) -> None:
    """os-collect-config runs."""
    life.run("collect")


def apply(life: Life) -> None:
    """55-heat-config runs."""
    life.run("apply")


def deliver(life: Life) -> None:
    """The timer delivers."""
    life.run("deliver")


def two_at_a_time(life: Life) -> None:
    """The timer delivers while something else runs."""
    life.run(life.random.choice(["collect", "apply"]), "deliver")


def services_back(life: Life) -> None:
    """All that was between guest and services is gone."""
    life.call("open")


# What Heat changes in a round, by weight.
CHANGES: dict[Event, float] = {
    create: 3,
    hostile_neighbour: 1.5,
    malformed_entries: 0.7,
    update: 4,
    interrupt: 2,
    delete: 1,
    repeat: 2,
    nothing: 1,
}
# What else happens in a round before its steps, by probability.
TROUBLES: dict[Event, float] = {
    outage: 0.2,
    refusal: 0.15,
    clock_steps: 0.1,
    heat_changes_its_mind: 0.15,
    second_os_collect_config: 0.15,
    closed_terminal: 0.05,
    lost_subscription: 0.002,
}
# The guest's own steps, one to three in a round, by weight.
STEPS: dict[Event, float] = {collect: 4, apply: 4, deliver: 2, two_at_a_time: 2}
# When the services are back, by probability.
RESTARTS: dict[Event, float] = {reboot: 0.1, disk_put_back: 0.05, copy_booted_as_another: 0.05}
