"""The results for people: tables on a terminal, tables and a plot in docs/.

Invariant: a page's figures are written by this module alone, between the page's own marks; the
same results give the same files.
"""

import math
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from tests.bench.figures import distribution
from tests.bench.tables import Results, all_tables, guest_hour

_PAGE = "performance.md"
_PLOT = "delivery-latency.svg"
_LOAD_PLOT = "load.svg"
# Which marks of the page say when and where which parts were measured.
_RUNS = {
    "runs": ("delivery", "deployments", "signals"),
    "load run": ("load",),
    "herd run": ("herd",),
}
_STYLES = {
    "ours, WebSocket": {"color": "#0b6e4f", "linestyle": "-"},
    "ours, polling": {"color": "#0b6e4f", "linestyle": "--"},
    "upstream, WebSocket": {"color": "#b5400a", "linestyle": "-"},
    "upstream, polling": {"color": "#b5400a", "linestyle": "--"},
}
_DRAWN = {"svg.hashsalt": "bench", "svg.fonttype": "none", "font.size": 10}


def text(results: Results) -> str:
    """Return all tables for a terminal."""
    return "\n".join(table.plain() for table in all_tables(results))


def publish(results: Results, docs: Path) -> None:
    """Write what was measured into the pages of `docs`; of other parts leave what is there.

    :raises ValueError: the page has no place for one of them.
    """
    page = docs / _PAGE
    content = page.read_text(encoding="utf-8")
    for table in all_tables(results):
        content = _replaced(content, table.name, table.markdown())
    for mark, parts in _RUNS.items():
        runs = results["runs"]
        known = {name: runs[name] for name in runs if name.split()[0] in parts}
        if known:
            content = _replaced(content, mark, _runs(known))
    page.write_text(content, encoding="utf-8")
    if "delivery" in results:
        _plot(results["delivery"]["kinds"], docs / _PLOT)
    if "load" in results:
        _plot_load(results["load"], docs / _LOAD_PLOT)


def _replaced(page: str, name: str, content: str) -> str:
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    replaced, number = pattern.subn(lambda _: f"{begin}{content}\n{end}", page)
    if number != 1:
        raise ValueError(f"{_PAGE} has no place for {name}")
    return replaced


def _runs(runs: dict[str, Any]) -> str:
    machine = "; ".join(sorted({run["machine"] for run in runs.values()}))
    parts = ", ".join(
        f"{name} until {run['when']} ({run['seconds'] / 60:.0f} min)" for name, run in runs.items()
    )
    return f"Measured on {machine}: {parts}."


def _plot(kinds: dict[str, Any], path: Path) -> None:
    """Draw which share of the messages had arrived after how long."""
    with mpl.rc_context(_DRAWN):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.add_subplot()
        for kind, found in kinds.items():
            seconds, share = distribution(found["latencies"])
            label = f"{kind} (median {found['latency']['p50']:.2f} s)"
            arrived = [when for when in seconds if math.isfinite(when)]
            axes.step(
                arrived,
                share[: len(arrived)],
                where="post",
                label=label,
                linewidth=1.8,
                **_STYLES[kind],
            )
        axes.set(
            xscale="log",
            xlabel="seconds from the message in the queue to os-refresh-config's start",
            ylabel="share of the messages delivered",
            ylim=(0, 1.02),
        )
        axes.grid(True, which="major", color="#dddddd", linewidth=0.6)
        figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=9)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _plot_load(load: dict[str, Any], path: Path) -> None:
    """Draw what an idle guest costs the control plane, by how many there are."""
    with mpl.rc_context(_DRAWN):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.add_subplot()
        runs = [load[size] for size in sorted(load, key=int)]
        for kind, key in (("ours, WebSocket", "push"), ("ours, polling", "polling")):
            costs = [guest_hour(run)[key] for run in runs]
            axes.plot(
                [run["guests"] for run in runs], costs, marker="o", label=kind, **_STYLES[kind]
            )
        axes.set(
            xscale="log",
            xlabel="idle guests, half of them of each kind",
            ylabel="control-plane CPU s per guest-hour, logins left out",
            ylim=(0, None),
        )
        axes.grid(True, which="major", color="#dddddd", linewidth=0.6)
        figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=9)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
