"""Puts our collector and our command where os-collect-config's tests call upstream's.

The tests hand over mocks of client libraries that ours does not use: a server on loopback says
what these mocks say.
"""

import functools
import importlib.metadata
import logging
import sys
from types import SimpleNamespace
from typing import Any
from unittest import mock

from cloud_on_loopback import Cloud  # type: ignore[import-not-found]  # beside this file
from keystoneauth1.exceptions import ClientException
from os_collect_config import collect, zaqar
from oslo_config import cfg

_UPSTREAMS_MAIN = collect.main
# The tests set options as attributes, past which oslo.config reads an option by its name.
cfg.ConfigOpts.GroupAttr.__getitem__ = lambda group, name: getattr(group, name)


def put_in() -> None:
    """Make the next test begin with a collector that knows nothing.

    Our command puts it into upstream's table before it calls upstream's `main`.
    """
    # Ours lets a complaint pass once in ten minutes; each of the tests waits for its own.
    for name in list(logging.root.manager.loggerDict):
        logging.getLogger(name).filters.clear()
    with mock.patch.object(collect, "main", lambda *_: 0):
        _our_command()
    collector = functools.partial(_collector, collect.COLLECTORS["zaqar"].Collector, [])
    collect.COLLECTORS["zaqar"] = SimpleNamespace(Collector=collector, name="zaqar")
    zaqar.Collector = collector
    collect.main = _main


def _main(args: list[str], collector_kwargs_map: dict[str, Any] | None = None) -> int:
    """Stand for `collect.main`: run our command, which calls upstream's with the test's mocks."""
    fakes = {name: fake for name, fake in (collector_kwargs_map or {}).items() if name != "zaqar"}
    main = functools.partial(_UPSTREAMS_MAIN, collector_kwargs_map=fakes)
    with mock.patch.object(collect, "main", main), mock.patch.object(sys, "argv", args):
        return _our_command()


def _our_command() -> int:
    """Run the guest's `os-collect-config` in this process."""
    (script,) = importlib.metadata.entry_points(
        group="console_scripts", name="heat-config-zaqar-collect"
    )
    code: int = script.load()()
    return code


def _collector(ours: Any, clouds: list[Cloud], zaqarclient: Any = None, **fakes: Any) -> Any:
    """Stand for `zaqar.Collector`; one cloud serves all collectors of a test."""
    conf = cfg.CONF.zaqar
    if zaqarclient is not None:
        if not clouds:
            clouds.append(_cloud_of(conf, zaqarclient, **fakes))
        conf.auth_url, conf.ca_file = clouds[0].address, None
    return ours()


def _cloud_of(conf: Any, zaqarclient: Any, keystoneclient: Any, **_: Any) -> Cloud:
    """Return a cloud that says on the wire what the test's mocks say."""
    queue = zaqarclient.Client("http://192.0.2.1:8888/", conf={}, version=2).queue(conf.queue_id)
    messages = [message.body for message in queue.pop()]
    login = (conf.auth_url, conf.user_id, conf.password, conf.project_id)
    try:
        keystoneclient.Client(*login)
    except ClientException as refusal:
        return Cloud(messages, str(refusal))
    return Cloud(messages)
