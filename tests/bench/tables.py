"""The results as tables, and beside the goals. Pure: neither reads nor writes.

Invariant: every figure comes from the results' file; a part that did not run has no table.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Results = dict[str, Any]
_MIB = 1024**2


@dataclass(frozen=True)
class Table:
    """A table; the first column names the row, the others hold figures."""

    name: str
    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def plain(self) -> str:
        """Return it for a terminal."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.header))]
        text = [
            "  ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, "", *text, ""])

    def markdown(self) -> str:
        """Return it for a page."""
        rule = ("---", *["---:"] * (len(self.header) - 1))
        return "\n".join(f"| {' | '.join(line)} |" for line in (self.header, rule, *self.rows))


def all_tables(results: Results) -> list[Table]:
    """Return the tables of the parts that ran."""
    makers: tuple[tuple[str, Callable[[Results], Table]], ...] = (
        ("delivery", _latency),
        ("delivery", _idle),
        ("deployments", _seven),
        ("signals", _signal),
        ("signals", _batches),
        ("load", _load),
        ("load", _ten_thousand),
        ("herd", _herd),
    )
    tables = [make(results[part]) for part, make in makers if part in results]
    if all(part in results for part in ("delivery", "deployments", "signals")):
        tables.append(_goals(results))
    return tables


def _latency(delivery: Results) -> Table:
    return Table(
        "latency",
        "From the message's being in the queue to the command's start, seconds",
        ("", "n", "p50", "p90", "p99", "max"),
        [
            (
                kind,
                f"{found['latency']['n']}",
                *_seconds(found["latency"], "p50", "p90", "p99", "max"),
            )
            for kind, found in delivery["kinds"].items()
        ],
    )


def _idle(delivery: Results) -> Table:
    rows = []
    for kind in delivery["kinds"]:
        cost = idle_cost(delivery, kind)
        rows.append(
            (
                kind,
                f"{cost['keystone']:.0f}",
                f"{cost['token_checks']:.0f}",
                f"{cost['zaqar']:.0f}",
                f"{cost['frames']:.0f}",
                f"{cost['control_plane_cpu']:.2f}",
                f"{1000 * cost['cpu_per_poll']:.1f}" if cost["polls"] else "-",
                f"{cost['agent_cpu']:.2f}",
                f"{cost['agent_mib']:.1f}",
            )
        )
    header = (
        "one idle guest, per hour",
        "Keystone requests",
        "Zaqar's token checks",
        "Zaqar requests",
        "WebSocket requests",
        "control-plane CPU s",
        "ms of it per poll",
        "agent CPU s",
        "agent RSS MiB",
    )
    return Table("idle", "What an idle guest costs", header, rows)


def idle_cost(delivery: Results, kind: str) -> dict[str, float]:
    """Return the cost of one idle guest in an hour, its CPU beyond that of the cloud alone.

    `cpu_per_poll` is in seconds; `keystone` leaves out the token checks, which Zaqar makes.
    """
    idle, alone = delivery["kinds"][kind]["idle"], delivery["alone"]
    share = idle["seconds"] / alone["seconds"]
    hours = idle["guests"] * idle["seconds"] / 3600
    cpu = sum(idle["cpu_seconds"].values()) - share * sum(alone["cpu_seconds"].values())
    checks = _count(idle, "keystone token check")
    polls = _count(idle, "zaqar list") + _count(idle, "zaqar pop")
    return {
        "keystone": (_count(idle, "keystone") - checks) / hours,
        "token_checks": checks / hours,
        "zaqar": _count(idle, "zaqar") / hours,
        "frames": _count(idle, "zaqar-websocket") / hours,
        "polls": polls / hours,
        "control_plane_cpu": cpu / hours,
        "cpu_per_poll": cpu / polls if polls else 0,
        "agent_cpu": idle["agent_cpu_seconds"] / hours,
        "agent_mib": sum(idle["agent_bytes"]) / len(idle["agent_bytes"]) / _MIB,
    }


def _seven(deployments: Results) -> Table:
    return Table(
        "seven",
        "7 deployments that a stack update adds to a running guest, seconds after the update",
        ("", "Heat's last message", "last signal in its queue", "stack complete"),
        [
            (kind, *_seconds(found, "last_post", "last_signal", "complete"))
            for kind, found in deployments.items()
        ],
    )


def _signal(signals: Results) -> Table:
    return Table(
        "signal",
        "From the hook's end to the signal in its queue, seconds; requests of each",
        ("", "n", "p50", "p90", "max", "Keystone requests", "Zaqar requests"),
        [
            (
                _side(kind),
                f"{found['hook_end_to_queue']['n']}",
                *_seconds(found["hook_end_to_queue"], "p50", "p90", "max"),
                *_requests({"requests": found["requests_of_single"]}),
            )
            for kind, found in signals.items()
        ],
    )


def _batches(signals: Results) -> Table:
    rows = [
        (
            f"{batch['deployments']}, {_side(kind)}",
            f"{batch['wall_seconds']:.2f}",
            f"{batch['hooks_wall_seconds']:.2f}",
            f"{batch['cpu_seconds']:.2f}",
            f"{batch['hooks_cpu_seconds']:.2f}",
            f"{batch['control_plane_cpu_seconds']:.2f}",
            *_requests(batch),
        )
        for place in range(len(next(iter(signals.values()))["batches"]))
        for kind, found in signals.items()
        for batch in [found["batches"][place]]
    ]
    header = (
        "deployments in one update",
        "wall s",
        "of it hooks",
        "CPU s",
        "of it hooks",
        "control-plane CPU s",
        "Keystone requests",
        "Zaqar requests",
    )
    return Table("batches", "55-heat-config, each side's own script hook", header, rows)


def _load(load: Results) -> Table:
    runs = [load[size] for size in sorted(load, key=int)]
    costs = [guest_hour(run) for run in runs]
    states = [
        ", ".join(f"{n} {state}" for state, n in sorted(run["states"].items())) for run in runs
    ]
    services = list(runs[0]["cpu_seconds"])
    rows = [
        ("how they hear of metadata", *states),
        ("warnings and errors while idle", *(f"{sum(r['complaints'].values())}" for r in runs)),
        (
            "the same, while they came up",
            *(f"{sum(r['complaints_bringing_up'].values())}" for r in runs),
        ),
        ("Zaqar requests, a second", *(f"{_count(r, 'zaqar') / r['seconds']:.1f}" for r in runs)),
        (
            "WebSocket requests, a second",
            *(f"{_count(r, 'zaqar-websocket') / r['seconds']:.1f}" for r in runs),
        ),
        (
            "Keystone requests, a minute",
            *(f"{60 * _count(r, 'keystone') / r['seconds']:.1f}" for r in runs),
        ),
        *(
            (f"{name}, share of one core", *(_share(r["cpu_seconds"][name], r) for r in runs))
            for name in services
        ),
        ("all guests, share of one core", *(_share(r["agent_cpu_seconds"], r) for r in runs)),
        *(
            (f"{name}, resident MiB", *(f"{r['service_bytes'][name] / _MIB:.0f}" for r in runs))
            for name in services
        ),
        ("all guests, resident MiB", *(f"{r['agent_bytes'] / _MIB:.0f}" for r in runs)),
        *((what, *(f"{cost[key]:.{digits}f}" for cost in costs)) for what, key, digits in _COSTS),
    ]
    header = ("guests", *(f"{run['guests']:,}" for run in runs))
    return Table("load", "Idle simulated guests, all at the same time", header, rows)


_COSTS = (
    ("control-plane CPU s per guest-hour, WebSocket", "push", 3),
    ("the same, polling", "polling", 3),
    ("of a login", "login", 3),
    ("of a WebSocket's start", "connect", 3),
    ("guests that a core carries, WebSocket, tokens of an hour", "push_hour", 0),
    ("the same, tokens of a day", "push_day", 0),
    ("the same, polling, tokens of an hour", "polling_hour", 0),
    ("the same, polling, tokens of a day", "polling_day", 0),
)


def guest_hour(run: Results) -> dict[str, float]:
    """Return what a guest costs the control plane in an hour, in CPU seconds, by how it hears.

    Zaqar's API serves those that poll and its WebSocket server the others; the stores' part goes
    by requests. What the cloud takes alone is not in it. A token's end costs each guest a login,
    and one with a WebSocket a new connection. `*_hour` and `*_day`: how many guests a core carries
    with tokens of that life.
    """
    alone, share = run["alone"], run["seconds"] / run["alone"]["seconds"]
    cpu = {
        name: used - share * alone["cpu_seconds"][name] for name, used in run["cpu_seconds"].items()
    }
    frames = _count(run, "zaqar-websocket")
    asked = max(frames + _count(run, "zaqar"), 1)
    hours = run["seconds"] / 3600
    push, polling = run["by_websocket"], run["guests"] - run["by_websocket"]
    stores = cpu["redis"] + cpu["mariadb"] + cpu["keystone"]
    started, starting = run["bringing_up"], run["bringing_up"]["seconds"] / alone["seconds"]
    connect = sum(
        started["cpu_seconds"][name] - starting * alone["cpu_seconds"][name]
        for name in ("keystone", "mariadb", "zaqar-websocket")
    )
    cost = {
        "push": (cpu["zaqar-websocket"] + stores * frames / asked) / push / hours,
        "polling": (cpu["zaqar"] + stores * (1 - frames / asked)) / polling / hours,
        "login": run["login_cpu_seconds"],
        "connect": connect / push,
    }
    for name, life in (("hour", 1), ("day", 24)):
        cost[f"push_{name}"] = 3600 / (cost["push"] + (cost["login"] + cost["connect"]) / life)
        cost[f"polling_{name}"] = 3600 / (cost["polling"] + cost["login"] / life)
    return cost


def _ten_thousand(load: Results) -> Table:
    """Return what 10,000 guests would take if each cost what it did in a size that was run."""
    costs = {size: guest_hour(load[size]) for size in sorted(load, key=int)}
    rows = [
        (
            f"{how}, as {int(size):,} cost",
            f"{cost[kind] * 10_000 / 3600:.2f}",
            f"{10_000 / cost[f'{kind}_hour']:.2f}",
            f"{10_000 / cost[f'{kind}_day']:.2f}",
        )
        for kind, how in (("push", "by WebSocket"), ("polling", "polling"))
        for size, cost in costs.items()
    ]
    header = ("cores of 10,000 guests", "idle", "and tokens of an hour", "and tokens of a day")
    return Table("ten thousand", "10,000 guests, by calculation", header, rows)


def _herd(herd: Results) -> Table:
    rows = [
        (
            name,
            *_seconds(event["stored"], "p50", "p90", "max"),
            f"{event['lost']}",
            *_seconds(event["listen"], "p50", "max"),
            f"{event['deaf']}",
            f"{event['busiest']:.2f}",
            f"{event['busiest'] / herd['ordinary']:.1f}",
        )
        for name, event in herd["events"].items()
    ]
    header = (
        f"{herd['guests']} guests",
        "metadata has arrived, p50 s",
        "p90",
        "max",
        "never",
        "WebSocket is back, p50 s",
        "max",
        "never",
        "busiest second, CPU s",
        "of an ordinary busy one",
    )
    return Table("herd", "Guests that come back at once", header, rows)


def _share(cpu_seconds: float, run: Results) -> str:
    return f"{100 * cpu_seconds / run['seconds']:.1f} %"


def _goals(results: Results) -> Table:
    push, poll, theirs = "ours, WebSocket", "ours, polling", "upstream, polling"
    kinds = results["delivery"]["kinds"]
    idle = {kind: idle_cost(results["delivery"], kind) for kind in kinds}
    ratio = idle[poll]["control_plane_cpu"] / idle[theirs]["control_plane_cpu"]
    signals = results["signals"][poll]
    single = {"requests": signals["requests_of_single"]}
    twenty, hundred = signals["batches"][1], signals["batches"][-1]
    others = hundred["wall_seconds"] - hundred["hooks_wall_seconds"]
    beside = twenty["cpu_seconds"] - twenty["hooks_cpu_seconds"]
    rss = max(idle[push]["agent_mib"], idle[poll]["agent_mib"])
    seven = max(results["deployments"][kind]["last_signal"] for kind in (push, poll))
    goals: Iterable[tuple[str, float, float, str]] = (
        ("delivery by polling, median", kinds[poll]["latency"]["p50"], 5, "s"),
        ("control-plane CPU of polling, of upstream's", ratio, 1 / 20, ""),
        ("delivery by WebSocket, median", kinds[push]["latency"]["p50"], 0.02, "s"),
        ("delivery by WebSocket, p90", kinds[push]["latency"]["p90"], 0.06, "s"),
        ("delivery by WebSocket, p99", kinds[push]["latency"]["p99"], 0.15, "s"),
        ("7 deployments, last signal", seven, 10, "s"),
        ("hook end to queue, median", signals["hook_end_to_queue"]["p50"], 0.1, "s"),
        ("Keystone requests of a signal", _count(single, "keystone"), 0, ""),
        ("Zaqar requests of a signal", _count(single, "zaqar"), 1, ""),
        (f"{twenty['deployments']} deployments, wall", twenty["wall_seconds"], 3, "s"),
        (f"{twenty['deployments']} deployments, CPU beside the hooks'", beside, 2, "s"),
        (f"{hundred['deployments']} deployments, wall beside the hooks'", others, 5, "s"),
        ("Keystone requests of an idle guest, per hour, polling", idle[poll]["keystone"], 4, ""),
        ("Keystone requests of an idle guest, per hour, WebSocket", idle[push]["keystone"], 4, ""),
        ("polls while a WebSocket is up, per hour", idle[push]["polls"], 0, ""),
        ("control-plane CPU per poll", 1000 * idle[poll]["cpu_per_poll"], 3, "ms"),
        ("agent's memory", rss, 40, "MiB"),
    )
    rows = [
        (what, _figure(goal, unit), _figure(found, unit), "yes" if found <= goal else "no")
        for what, found, goal, unit in goals
    ]
    return Table("goals", "What was to be reached", ("", "goal", "measured", "reached"), rows)


def _figure(value: float, unit: str) -> str:
    return f"{value:.0f} {unit}".strip() if value >= 100 else f"{value:.3g} {unit}".strip()


def _side(kind: str) -> str:
    return kind.partition(",")[0]


def _seconds(found: Results, *names: str) -> list[str]:
    return ["never" if math.isinf(found[name]) else f"{found[name]:.2f}" for name in names]


def _requests(found: Results) -> tuple[str, str]:
    return str(_count(found, "keystone")), str(_count(found, "zaqar"))


def _count(found: Results, what: str) -> int:
    """Return the number of requests to a service, or of one kind of them."""
    return sum(
        number
        for name, number in found["requests"].items()
        if name == what or name.partition(" ")[0] == what
    )
