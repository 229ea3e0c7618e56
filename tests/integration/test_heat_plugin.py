"""heat-plugin/ in a real Heat 27: what AUTO becomes, and signal queues that outlive their URL.

A change of plug-ins restarts Heat, so the order of the tests saves time; each says what it needs.
"""

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from email import message_from_string
from email.utils import formatdate
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from keystoneauth1 import exceptions

from testbed.cloud import Cloud
from testbed.guest import wait_for
from testbed.heat import Heat, HeatError, Script, deployments_template
from tests.conftest import BUILD
from tests.integration.conftest import PLUGIN, Engine
from tests.integration.guest_process import GuestProcess
from tests.integration.test_cloud import Guest, inputs_of

STAND_INS = Path(__file__).with_name("heat_stand_ins")
URL_SECONDS = 30  # as in heat_stand_ins/short_life.py
DEFAULTS = {
    "default_software_config_transport": "ZAQAR_MESSAGE",
    "default_deployment_signal_transport": "ZAQAR_SIGNAL",
}

NewGuest = Callable[[], GuestProcess]


@pytest.fixture
def plugin(engine: Engine) -> None:
    """Heat with the plug-in, the stand-ins, and Zaqar as the default of both transports."""
    engine(PLUGIN, STAND_INS, **DEFAULTS)


@pytest.fixture(scope="module")
def new_guest(tmp_path_factory: pytest.TempPathFactory) -> NewGuest:
    """Make guests, whose metadata the tests fetch from Heat: Zaqar may be out of the catalog."""

    def make() -> GuestProcess:
        directory = tmp_path_factory.mktemp("guest")
        guest = GuestProcess(directory, {"os-collect-config": {"zaqar": {}}})
        hook = directory / "hooks" / "map"
        hook.write_text("#!/bin/sh\ncat >/dev/null; echo '{\"deploy_status_code\": 0}'\n")
        hook.chmod(0o755)
        return guest

    return make


@contextlib.contextmanager
def stack(heat: Heat, name: str, template: Mapping[str, Any]) -> Iterator[None]:
    heat.create_stack(name, template)
    try:
        yield
    finally:
        heat.delete_stack(name)


def script(text: str, signal_transport: str = "AUTO", **more: Any) -> Script:
    return Script(f"#!/bin/sh\necho {text}\n", signal_transport=signal_transport, **more)


def polled(scripts: Mapping[str, Script]) -> dict[str, Any]:
    """Return a template whose server needs no Zaqar."""
    return deployments_template(scripts, metadata_transport="POLL_SERVER_HEAT")


def run_deployments(heat: Heat, name: str, guest: GuestProcess, number: int = 1) -> dict[str, str]:
    """Run what the guest has not run yet, once that is `number`; return the transport of each."""
    waiting: list[dict[str, Any]] = []

    def posted() -> bool:
        with contextlib.suppress(exceptions.NotFound):
            found = heat.server_metadata(name).get("deployments", [])
            waiting[:] = [item for item in found if not guest.outbox.is_finished(item["id"])]
        return len(waiting) >= number

    wait_for(posted, 120, f"there are no {number} new deployments of {name}")
    (guest.directory / "heat-config").write_text(json.dumps(waiting))
    done = guest.apply()
    assert done.returncode == 0, done.stderr
    # A slow machine may let a request time out, after which a guest tries again.
    guest.settings.runtime_dir.mkdir(mode=0o700, exist_ok=True)
    guest.settings.collected_file.touch()
    wait_for(guest.has_delivered, 120, "the signals are not delivered")
    return {item["name"]: inputs_of(item)["deploy_signal_transport"] for item in waiting}


def every_kind() -> dict[str, Any]:
    """Return a template with each type of resource that the plug-in replaces."""
    template = deployments_template({"software": script("software", "ZAQAR_MESSAGE")})
    template["resources"]["map_config"] = {
        "type": "OS::Heat::StructuredConfig",
        "properties": {"group": "map", "config": {"key": "value"}},
    }
    servers = {"first member, of this group": {"get_resource": "server"}}
    for name, kind, config, server in (
        ("structured", "StructuredDeployment", "map", {"server": {"get_resource": "server"}}),
        ("software_group", "SoftwareDeploymentGroup", "software", {"servers": servers}),
        ("structured_group", "StructuredDeploymentGroup", "map", {"servers": servers}),
    ):
        template["resources"][name] = {
            "type": f"OS::Heat::{kind}",
            "properties": {
                "name": name,
                "signal_transport": "AUTO",
                "config": {"get_resource": f"{config}_config"},
                **server,
            },
        }
    return template


@pytest.mark.usefixtures("plugin")
def test_auto_and_zaqar_message_are_zaqar_signal_in_every_type_of_deployment(
    heat: Heat, new_guest: NewGuest
) -> None:
    # Zaqar would refuse a queue that is called like a group's member: too long, and the comma.
    name = "every-type-of-deployment-in-a-stack-with-a-long-name"
    with stack(heat, name, every_kind()):
        transports = run_deployments(heat, name, new_guest(), number=4)
        assert transports == dict.fromkeys(
            ("software", "structured", "software_group", "structured_group"), "ZAQAR_SIGNAL"
        )
        heat.wait_for(name, ["CREATE_COMPLETE"], 120)


@pytest.mark.usefixtures("plugin")
def test_a_moment_without_keystone_fails_no_deployment_while_its_url_is_valid(
    cloud: Cloud, heat: Heat, new_guest: NewGuest
) -> None:
    def failures() -> int:
        logs = cloud.log_directory.glob("heat-engine*")
        return sum(path.read_text(errors="replace").count("was not renewed") for path in logs)

    with stack(heat, "moment", deployments_template({"one": script("first")})):
        reader = Guest(heat.server_metadata_when_ready("moment", 120))
        wait_for(
            lambda: any(body["deployments"] for body in reader.messages()), 120, "no deployment"
        )
        # What Heat does after the post needs no Keystone but for a moment.
        time.sleep(3)
        before = failures()
        cloud.stop("keystone")
        try:
            wait_for(lambda: failures() > before, 60, "the plug-in did not try to renew the URL")
        finally:
            cloud.start("keystone")
        run_deployments(heat, "moment", new_guest())
        heat.wait_for("moment", ["CREATE_COMPLETE"], 120)


@pytest.mark.usefixtures("plugin")
def test_a_deployment_may_take_longer_than_its_url_lives_and_be_updated_later_still(
    heat: Heat, new_guest: NewGuest
) -> None:
    guest = new_guest()
    with stack(heat, "old", deployments_template({"one": script("first")})):
        wait_for(lambda: "one" in heat.resource_statuses("old"), 60, "no deployment")
        time.sleep(URL_SECONDS + 5)
        run_deployments(heat, "old", guest)
        heat.wait_for("old", ["CREATE_COMPLETE"], 120)
        before = heat.resource("old", "one").physical_id
        time.sleep(URL_SECONDS + 1)
        heat.update_stack("old", deployments_template({"one": script("second")}))
        run_deployments(heat, "old", guest)
        done = heat.wait_for("old", ["UPDATE_COMPLETE"], 120)
        assert done.outputs["one_deploy_stdout"] == "second\n"
        assert heat.resource("old", "one").physical_id == before


@pytest.mark.usefixtures("plugin")
def test_a_transport_that_a_template_names_stays_and_one_that_it_omits_is_that_of_heat_conf(
    heat: Heat, new_guest: NewGuest
) -> None:
    named = {"cfn": "CFN_SIGNAL", "heat": "HEAT_SIGNAL", "no": "NO_SIGNAL"}
    scripts = {name: script(name, transport) for name, transport in named.items()}
    template = deployments_template(scripts | {"omitted": script("omitted")})
    del template["resources"]["omitted"]["properties"]["signal_transport"]
    del template["resources"]["server"]["properties"]["software_config_transport"]
    with stack(heat, "named", template):
        assert heat.server_metadata_when_ready("named")
        transports = run_deployments(heat, "named", new_guest(), number=4)
        assert transports == {**named, "omitted": "ZAQAR_SIGNAL"}
        heat.wait_for("named", ["CREATE_COMPLETE"], 120)


@pytest.mark.usefixtures("plugin")
def test_auto_signals_at_a_suspension_as_well(heat: Heat, new_guest: NewGuest) -> None:
    guest = new_guest()
    # Heat 27 cannot delete a suspended stack whose server's metadata is posted to a queue.
    template = polled({"one": script("one", actions=["CREATE", "SUSPEND"])})
    with stack(heat, "suspended", template):
        run_deployments(heat, "suspended", guest)
        heat.wait_for("suspended", ["CREATE_COMPLETE"], 120)
        heat.suspend_stack("suspended")
        assert run_deployments(heat, "suspended", guest) == {"one": "ZAQAR_SIGNAL"}
        heat.wait_for("suspended", ["SUSPEND_COMPLETE"], 120)


@pytest.mark.usefixtures("plugin")
def test_the_user_data_of_a_nova_server_leads_its_guest_to_the_queue(
    cloud: Cloud, heat: Heat, tmp_path: Path
) -> None:
    template = yaml.safe_load((BUILD.parent / "examples" / "server.yaml").read_text())
    # What Nova, Glance and Neutron would be asked about.
    for name in ("image", "flavor", "network"):
        del template["parameters"][name]
        template["resources"]["server"]["properties"].pop(f"{name}s" if name == "network" else name)
    user_data = cloud.layout.home / "user-data"
    user_data.unlink(missing_ok=True)
    with stack(heat, "nova", template):
        # Then it has posted the metadata as well.
        is_created = lambda: heat.resource_statuses("nova").get("server") == "CREATE_COMPLETE"  # noqa: E731
        wait_for(is_created, 120, "no server")
        (part,) = (
            part
            for part in message_from_string(user_data.read_text()).walk()
            if part.get_filename() == "cfn-init-data"
        )
        assert part.get_content_type() == "text/x-cfninitdata"
        metadata = json.loads(str(part.get_payload()))
        assert metadata["os-collect-config"]["collectors"] == ["ec2", "zaqar", "local"]
        guest = GuestProcess(tmp_path, metadata)
        wait_for(lambda: bool(guest.collect()["deployments"]), 90, "no deployment in the queue")
        assert guest.apply().returncode == 0
        outputs = heat.wait_for("nova", ["CREATE_COMPLETE"], 120).outputs
        assert outputs["said"].startswith("hello from ")


@pytest.mark.usefixtures("plugin")
def test_what_auto_became_stays_when_the_catalog_changes_and_may_be_named_without_a_replacement(
    cloud: Cloud, new_guest: NewGuest
) -> None:
    guest = new_guest()
    scripts = {"kept": script("first"), "named": script("first")}
    try:
        # Each client has the catalog of its own token.
        with cloud.changed_catalog({"messaging": None}):
            heat = Heat(cloud.admin_session())
            heat.create_stack("changed", polled(scripts))
            assert set(run_deployments(heat, "changed", guest, 2).values()) == {"CFN_SIGNAL"}
            heat.wait_for("changed", ["CREATE_COMPLETE"], 120)
        ids = {name: heat.resource("changed", name).physical_id for name in scripts}
        heat = Heat(cloud.admin_session())
        scripts = {"kept": script("second"), "named": script("second", "CFN_SIGNAL")}
        heat.update_stack("changed", polled(scripts | {"new": script("new")}))
        assert run_deployments(heat, "changed", guest, number=3) == {
            "kept": "CFN_SIGNAL",
            "named": "CFN_SIGNAL",
            "new": "ZAQAR_SIGNAL",
        }
        heat.wait_for("changed", ["UPDATE_COMPLETE"], 120)
        assert {name: heat.resource("changed", name).physical_id for name in ids} == ids
    finally:
        Heat(cloud.admin_session()).delete_stack("changed")


@pytest.mark.usefixtures("plugin")
def test_auto_is_heat_signal_without_messaging_object_store_and_cfn_api(
    cloud: Cloud, new_guest: NewGuest
) -> None:
    with cloud.changed_catalog({"messaging": None, "cloudformation": None}):
        heat = Heat(cloud.admin_session())
        with stack(heat, "last", polled({"one": script("one")})):
            assert run_deployments(heat, "last", new_guest()) == {"one": "HEAT_SIGNAL"}
            heat.wait_for("last", ["CREATE_COMPLETE"], 120)


class ObjectStore(http.server.BaseHTTPRequestHandler):
    """As much of Swift's API as a deployment's temporary URL needs; the test cloud has no Swift."""

    objects: ClassVar[dict[str, tuple[bytes, float]]] = {}

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.count("/") <= 2:
            self._answer(204, {"X-Account-Meta-Temp-URL-Key": "key"})
        elif path.count("/") == 3:
            inside = [{"name": name[len(path) + 1 :]} for name in self.objects if path in name]
            self._answer(
                200, {"X-Container-Object-Count": str(len(inside))}, json.dumps(inside).encode()
            )
        elif path in self.objects:
            body, changed = self.objects[path]
            self._answer(200, {"Last-Modified": formatdate(changed, usegmt=True)}, body)
        else:
            self._answer(404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        path = self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if path.count("/") > 3:
            # Swift rounds up to the second, and Heat takes only what is newer than the deployment.
            self.objects[path] = (body, time.time() + 1)
        self._answer(201)

    def do_DELETE(self) -> None:
        self.objects.pop(self.path, None)
        self._answer(204)

    def _answer(
        self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture
def object_store() -> Iterator[str]:
    """The URL of an empty object store, as a catalog has it."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), ObjectStore) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/AUTH_%(tenant_id)s"
        server.shutdown()


@pytest.mark.usefixtures("plugin")
def test_auto_is_temp_url_signal_without_messaging_and_with_an_object_store(
    cloud: Cloud, new_guest: NewGuest, object_store: str
) -> None:
    with cloud.changed_catalog({"messaging": None, "object-store": object_store}):
        heat = Heat(cloud.admin_session())
        with stack(heat, "stored", polled({"one": script("one")})):
            assert run_deployments(heat, "stored", new_guest()) == {"one": "TEMP_URL_SIGNAL"}
            done = heat.wait_for("stored", ["CREATE_COMPLETE"], 120)
            assert done.outputs["one_deploy_stdout"] == "one\n"


@pytest.fixture(scope="module")
def left_by_the_plugin(
    cloud: Cloud, engine: Engine, new_guest: NewGuest
) -> Iterator[dict[str, GuestProcess]]:
    """Stacks that were complete with the plug-in, and have guests; all their URLs have expired."""
    engine(PLUGIN, STAND_INS, **DEFAULTS)
    heat = Heat(cloud.admin_session())
    transports = {"yesterday": "ZAQAR_SIGNAL", "automatic": "AUTO"}
    guests = {name: new_guest() for name in transports}
    for name, transport in transports.items():
        heat.create_stack(name, deployments_template({"one": script("first", transport)}))
    for name, guest in guests.items():
        run_deployments(heat, name, guest)
        heat.wait_for(name, ["CREATE_COMPLETE"], 120)
    time.sleep(URL_SECONDS + 1)
    yield guests
    engine(PLUGIN)
    for name in guests:
        heat.delete_stack(name)


def test_without_the_plugin_an_update_fails_for_an_expired_url_and_with_it_the_stack_recovers(
    heat: Heat, engine: Engine, left_by_the_plugin: dict[str, GuestProcess]
) -> None:
    engine()
    template = deployments_template({"one": script("second", "ZAQAR_SIGNAL")})
    with pytest.raises(HeatError, match="UPDATE_FAILED.*404"):
        heat.update_stack("yesterday", template, wait=True, timeout=120)
    # The guest ran it, and Heat never looked.
    run_deployments(heat, "yesterday", left_by_the_plugin["yesterday"])
    engine(PLUGIN)
    heat.update_stack("yesterday", template)
    run_deployments(heat, "yesterday", left_by_the_plugin["yesterday"])
    done = heat.wait_for("yesterday", ["UPDATE_COMPLETE"], 120)
    assert done.outputs["one_deploy_stdout"] == "second\n"


def test_without_the_plugin_a_stack_takes_the_transport_by_name_only_and_can_be_deleted(
    heat: Heat, engine: Engine, left_by_the_plugin: dict[str, GuestProcess]
) -> None:
    engine()
    with pytest.raises(exceptions.BadRequest, match='"AUTO" is not an allowed value'):
        heat.update_stack("automatic", deployments_template({"one": script("second")}))
    template = deployments_template({"one": script("second", "ZAQAR_SIGNAL")})
    heat.update_stack("automatic", template)
    run_deployments(heat, "automatic", left_by_the_plugin["automatic"])
    heat.wait_for("automatic", ["UPDATE_COMPLETE"], 120)
    heat.delete_stack("automatic")
