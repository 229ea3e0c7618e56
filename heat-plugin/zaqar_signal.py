"""Heat plug-in: signal_transport AUTO, signal queues older than a day, and how far guests are.

Owns what OS::Heat::SoftwareDeployment, StructuredDeployment and their groups do otherwise than in
Heat 27; the engine loads it from heat.conf's `plugin_dirs`. Invariants: what AUTO became stays for
a deployment's life, whatever the catalog says later; the pre-signed URL that the engine reads a
signal queue by is valid whenever a resource has it read; a deployment whose transport Heat 27 knows
and that works there is the same here, whatever becomes of what its guest tells of its progress.
"""

import logging
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from heat.engine import constraints, properties, translation
from heat.engine.plugins import zaqar_progress
from heat.engine.resources.openstack.heat import software_deployment as software
from heat.engine.resources.openstack.heat import structured_config as structured
from oslo_config import cfg
from oslo_serialization import jsonutils
from oslo_utils import timeutils

_LOG = logging.getLogger(__name__)

AUTO = "AUTO"
# What the spec of this transport called it, and what a server's transport is called to this day.
ZAQAR_MESSAGE = "ZAQAR_MESSAGE"

# Zaqar's URLs live for a day. One that has half of it left outlasts an engine that stands still.
RENEW_BEFORE_EXPIRY = timedelta(hours=12)

QUEUE_NAME_LIMIT = 64

# Names in a resource's data; the second and third are Heat's (heat.engine.resources
# .signal_responder), and heat.engine.service_software_config reads the third.
_TRANSPORT = "signal_transport"
_QUEUE_ID = "zaqar_signal_queue_id"
_SIGNED_URL = "zaqar_queue_signed_url_data"
_PROGRESS_QUEUE = "progress_queue_id"


def _schema(stock: Mapping[str, Any]) -> dict[str, Any]:
    """Return a resource's properties schema with our two more values of signal_transport."""
    name = software.SoftwareDeployment.SIGNAL_TRANSPORT
    transports = software.SoftwareDeployment.SIGNAL_TRANSPORTS
    extended = properties.Schema(
        properties.Schema.STRING,
        f"{stock[name].description} AUTO will be ZAQAR_SIGNAL where the catalog has a messaging "
        "endpoint, else TEMP_URL_SIGNAL with an object store, else CFN_SIGNAL where Heat's CFN API "
        "is known, else HEAT_SIGNAL. ZAQAR_MESSAGE is another name for ZAQAR_SIGNAL.",
        default=stock[name].default,
        constraints=[constraints.AllowedValues([*transports, AUTO, ZAQAR_MESSAGE])],
    )
    return {**stock, name: extended}


def _queue_name(name: str, suffix: str = "") -> str:
    """Return a name that Zaqar takes for a queue; it keeps the end, which no other has."""
    allowed = re.sub(r"[^A-Za-z0-9_-]", "-", name)
    limit = QUEUE_NAME_LIMIT - len(suffix)
    reduced: str = software.SoftwareDeployment.reduce_physical_resource_name(allowed, limit)
    return reduced + suffix


class SoftwareDeployment(software.SoftwareDeployment):
    """OS::Heat::SoftwareDeployment."""

    properties_schema = _schema(software.SoftwareDeployment.properties_schema)
    _progress: Any = None
    _progress_queue = ""
    known_token = ""

    def translation_rules(self, properties: Any) -> list[Any]:
        """Let every reader of the property, and the guest, see a transport that Heat knows."""
        rule = translation.TranslationRule(
            properties,
            translation.TranslationRule.RESOLVE,
            [self.SIGNAL_TRANSPORT],
            client_plugin=self,
            finder="known_transport",
        )
        return [rule]

    def frozen_definition(self) -> Any:
        """Translate for SUSPEND and RESUME as well, which Heat leaves out."""
        definition = super().frozen_definition()
        definition.set_translation_rules(self.translation_rules(self.properties))
        return definition

    def known_transport(self, transport: str) -> str:
        """Return the transport of Heat's own that a template's value stands for."""
        if transport == ZAQAR_MESSAGE:
            return str(self.ZAQAR_SIGNAL)
        if transport != AUTO:
            return transport
        if _TRANSPORT not in self.data():
            self.data_set(_TRANSPORT, self._preferred_transport())
        return str(self.data()[_TRANSPORT])

    def _preferred_transport(self) -> Any:
        if self.client_plugin("zaqar").does_endpoint_exist("messaging", "zaqar"):
            return self.ZAQAR_SIGNAL
        if self.client_plugin("swift").does_endpoint_exist("object-store", "swift"):
            return self.TEMP_URL_SIGNAL
        if cfg.CONF.heat_waitcondition_server_url or self.client_plugin("heat").does_endpoint_exist(
            "cloudformation", "heat"
        ):
            return self.CFN_SIGNAL
        return self.HEAT_SIGNAL

    def physical_resource_name(self) -> Any:
        """Return a name that Zaqar takes for a queue as well, which Heat calls like the resource.

        The names of templates and stacks may be longer and hold other characters.
        """
        name = super().physical_resource_name()
        # Heat translates no properties where no action asks, as for a signal.
        transport = self.properties[self.SIGNAL_TRANSPORT]
        if name is None or self.known_transport(transport) != self.ZAQAR_SIGNAL:
            return name
        return _queue_name(name)

    def handle_update(self, json_snippet: Any, tmpl_diff: Any, prop_diff: Any) -> Any:
        """Renew the URL at each update: Zaqar may sign with another key by now."""
        self._keep_signed_url_valid(timedelta.max)
        return super().handle_update(json_snippet, tmpl_diff, prop_diff)

    def _get_derived_config_id(self) -> Any:
        # The engine looks into the queue whenever it shows a deployment that is in progress.
        self._keep_signed_url_valid()
        return super()._get_derived_config_id()

    def _check_complete(self) -> Any:
        self._keep_signed_url_valid()
        is_complete = super()._check_complete()
        if not is_complete and self._progress:
            self._progress.look()
        return is_complete

    def _build_derived_inputs(self, action: Any, source: Any) -> Any:
        """Add the progress queue; a template's own input of that name turns it off."""
        inputs = super()._build_derived_inputs(action, source)
        self._progress_queue = ""
        is_taken = zaqar_progress.INPUT in {item.name() for item in inputs}
        if not is_taken and zaqar_progress.is_possible(self):
            name = _queue_name(self.physical_resource_name(), zaqar_progress.QUEUE_SUFFIX)
            self._progress_queue = name
            self.data_set(_PROGRESS_QUEUE, name)
            inputs.append(zaqar_progress.guest_input(name))
        return inputs

    def _handle_action(self, *arguments: Any, **more: Any) -> Any:
        self._progress = None
        deployment = super()._handle_action(*arguments, **more)
        if deployment and (queue := self._progress_queue):
            self._progress = zaqar_progress.Progress(self, queue, deployment["config_id"])
        return deployment

    def user_token(self) -> str:
        """Return a token of the deployment's user; each login takes Keystone half a second."""
        return self.known_token or str(self._user_token())

    def _user_token(self) -> Any:
        self.known_token = super()._user_token()
        return self.known_token

    def _delete_signals(self) -> None:
        super()._delete_signals()
        if queue := self.data().get(_PROGRESS_QUEUE):
            zaqar_progress.delete(self, queue)
            self.data_delete(_PROGRESS_QUEUE)

    def _keep_signed_url_valid(self, least: timedelta = RENEW_BEFORE_EXPIRY) -> None:
        """Renew a URL that has less than `least` left; while it is valid that may fail."""
        known, queue_id = self.data().get(_SIGNED_URL), self.data().get(_QUEUE_ID)
        if known is None or queue_id is None:
            return
        expiry = timeutils.parse_isotime(jsonutils.loads(known)["expires"])
        left = timeutils.normalize_time(expiry) - timeutils.utcnow()
        if left >= least:
            return
        try:
            self._renew_signed_url(queue_id)
        except Exception:  # whatever Keystone and Zaqar do, Heat would have gone on waiting
            if left <= timedelta():
                raise
            _LOG.warning("the URL of signal queue %s was not renewed", queue_id, exc_info=True)

    def _renew_signed_url(self, queue_id: str) -> None:
        zaqar = self.client_plugin("zaqar").create_for_tenant(
            self.stack.stack_user_project_id, self._user_token()
        )
        signed = zaqar.queue(queue_id).signed_url(["messages"], methods=["GET", "DELETE"])
        self.data_set(_SIGNED_URL, jsonutils.dumps(signed))


class StructuredDeployment(SoftwareDeployment, structured.StructuredDeployment):
    """OS::Heat::StructuredDeployment."""

    properties_schema = _schema(structured.StructuredDeployment.properties_schema)


class SoftwareDeploymentGroup(software.SoftwareDeploymentGroup):
    """OS::Heat::SoftwareDeploymentGroup: makes a deployment for each server, which asks itself."""

    properties_schema = _schema(software.SoftwareDeploymentGroup.properties_schema)


class StructuredDeploymentGroup(structured.StructuredDeploymentGroup):
    """OS::Heat::StructuredDeploymentGroup."""

    properties_schema = _schema(structured.StructuredDeploymentGroup.properties_schema)


def resource_mapping() -> dict[str, type[Any]]:
    """Return our classes by resource type; Heat lets them replace its own."""
    return {
        "OS::Heat::SoftwareDeployment": SoftwareDeployment,
        "OS::Heat::SoftwareDeploymentGroup": SoftwareDeploymentGroup,
        "OS::Heat::StructuredDeployment": StructuredDeployment,
        "OS::Heat::StructuredDeploymentGroup": StructuredDeploymentGroup,
    }
