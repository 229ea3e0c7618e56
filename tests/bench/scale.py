"""How much is measured: in full, or just enough to try the benchmark itself."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Numbers and times.

    :param guests: of each kind.
    :param deliveries: to each of them.
    :param idle_seconds: length of the idle window.
    :param patience: factor for the times in which backoff grows; below 1, latencies mean nothing.
    :param single_signals: how often one deployment alone is run.
    :param batches: numbers of deployments in one metadata update, each run once.
    :param simulated: idle simulated guests.
    :param simulated_seconds: for how long, after all of them are up.
    :param herd: simulated guests that come back at once.
    """

    guests: int
    deliveries: int
    idle_seconds: float
    patience: float
    single_signals: int
    batches: tuple[int, ...]
    simulated: int
    simulated_seconds: float
    herd: int


FULL = Scale(16, 2, 120, 1, 10, (1, 20, 100), 1000, 200, 200)
QUICK = Scale(2, 1, 15, 0.2, 2, (1, 5), 40, 20, 16)
