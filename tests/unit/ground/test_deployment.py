import json
import re
from typing import Any

import pytest

from heat_config_zaqar import deployment as deployment_module
from heat_config_zaqar.deployment import (
    Transport,
    for_its_action,
    parse_credentials,
    parse_deployment,
)
from heat_config_zaqar.errors import InvalidMetadataError
from tests.unit.conftest import SECTION, Make, make_deployment


def test_reads_what_heat_sends(deployment: Make) -> None:
    parsed = parse_deployment(deployment("d0"))
    assert (parsed.id, parsed.group, parsed.action) == ("d0", "script", "CREATE")
    assert parsed.transport is Transport.ZAQAR
    assert parsed.credentials.password == "2jmF!%it4TDDQ5E4az3%%vXk&Z*cMw^2"


def test_the_password_is_not_in_the_repr(deployment: Make) -> None:
    parsed = parse_deployment(deployment("d0"))
    assert "2jmF" not in repr(parsed) + repr(parsed.credentials)


@pytest.mark.parametrize(
    "config_id", ["../../etc/x", ".", "a/b", "x" * 200, "a\0b", "a\n", "\ud800", "é"]
)
def test_any_id_becomes_one_that_is_a_file_name_and_stays_the_same(
    deployment: Make, config_id: str
) -> None:
    parsed = parse_deployment({**deployment("d0"), "id": config_id})
    assert re.fullmatch("[0-9a-f]{64}", parsed.id)
    # The hook reads the document, and the next program parses it again.
    assert parsed.document["id"] == parsed.id
    assert parse_deployment(parsed.document) == parsed
    assert parsed.problem == ""


def test_two_hostile_ids_are_two_deployments(deployment: Make) -> None:
    made = [parse_deployment({**deployment("d0"), "id": name}).id for name in ("a/b", "a/c")]
    assert made[0] != made[1]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"id": ""}, "has no id but ''"),
        ({"id": None}, "has no id but None"),
        ({"id": ["x"]}, "has no id"),
        ({"group": 3}, "has a group that is not a string but int"),
        ({"config": json.loads("[" * 95 + "]" * 95)}, "is nested over 90 levels deep"),
    ],
)
def test_what_cannot_be_run_can_still_be_signalled_and_says_why(
    deployment: Make, changes: dict[str, Any], problem: str
) -> None:
    parsed = parse_deployment({**deployment("d0"), **changes})
    assert parsed.problem.startswith(problem)
    assert (parsed.transport, parsed.text_input("deploy_queue_id")) == (
        Transport.ZAQAR,
        "t1-d0-mpmx6jwjdxiw",
    )
    with pytest.raises(InvalidMetadataError, match=f"{parsed.id}: {problem}"):
        for_its_action(parsed)
    again = parse_deployment(json.loads(json.dumps(parsed.document)))
    assert (again.id, again.problem) == (parsed.id, parsed.problem)


def test_a_deployment_with_neither_id_nor_address_is_an_error(deployment: Make) -> None:
    with pytest.raises(InvalidMetadataError, match="nowhere to signal"):
        parse_deployment({**deployment("d0", inputs=[]), "id": None})


@pytest.mark.parametrize("document", ["text", 3, None, [], ["id"]])
def test_rejects_what_is_not_a_map(document: object) -> None:
    with pytest.raises(InvalidMetadataError, match="not a map"):
        parse_deployment(document)


@pytest.mark.parametrize("inputs", ["text", 0, {"a": 1}, [1], [{"value": 1}], [{"name": 3}]])
def test_malformed_inputs_are_named_and_those_that_are_not_stay(
    deployment: Make, inputs: Any
) -> None:
    good = deployment("d0")["inputs"]
    mixed = [*good, *inputs] if isinstance(inputs, list) else inputs
    parsed = parse_deployment(deployment("d0", inputs=mixed))
    assert parsed.problem == "has inputs that are not a list of maps with a name"
    assert bool(parsed.text_input("deploy_queue_id")) == isinstance(inputs, list)


@pytest.mark.parametrize("name", ["app/install", ".setup", "x" * 201, "é界" * 90, "../x", "\0"])
def test_a_deployment_may_have_any_name(deployment: Make, name: str) -> None:
    parsed = parse_deployment(deployment("d0", name=name))
    assert (parsed.name, parsed.problem) == (name, "")


@pytest.mark.parametrize("name", [5, "", None, ["x"]])
def test_without_a_name_the_id_is_it(deployment: Make, name: object) -> None:
    assert parse_deployment(deployment("d0", name=name)).name == "d0"


def test_string_inputs_become_strings(deployment: Make) -> None:
    inputs = [
        {"name": "n", "type": "String", "value": 7},
        {"name": "m", "type": "Number", "value": 7},
    ]
    parsed = parse_deployment(deployment("d0", inputs=inputs))
    assert parsed.input("n") == "7"
    assert parsed.input("m") == 7


def test_an_unknown_transport_is_an_error_that_names_the_known_ones(deployment: Make) -> None:
    parsed = parse_deployment(deployment("d0", deploy_signal_transport="PIGEON"))
    with pytest.raises(InvalidMetadataError, match="PIGEON.*ZAQAR_SIGNAL"):
        _ = parsed.transport


@pytest.mark.parametrize(
    ("inputs", "transport"),
    [
        ({"deploy_signal_id": "http://127.0.0.1/x"}, Transport.CFN),
        ({"deploy_signal_id": "x", "deploy_signal_verb": "POST"}, Transport.CFN),
        ({"deploy_signal_id": "x", "deploy_signal_verb": "PUT"}, Transport.TEMP_URL),
        ({"deploy_queue_id": "q"}, Transport.ZAQAR),
        ({"deploy_auth_url": "http://127.0.0.1/v3"}, Transport.HEAT),
        ({}, Transport.NONE),
    ],
)
def test_without_a_named_transport_the_inputs_decide(
    deployment: Make, inputs: dict[str, str], transport: Transport
) -> None:
    listed = [{"name": name, "value": value} for name, value in inputs.items()]
    assert parse_deployment(deployment("d0", inputs=listed)).transport is transport


def test_a_component_becomes_the_config_of_its_action(deployment: Make) -> None:
    configs = [
        {"actions": ["CREATE", "UPDATE"], "config": "create me", "tool": "script"},
        {"actions": ["DELETE"], "config": "delete me", "tool": "ansible"},
    ]
    document = deployment(
        "d0", group="component", config={"configs": configs}, deploy_action="DELETE"
    )
    chosen = for_its_action(parse_deployment(document))
    assert (chosen.group, chosen.document["config"]) == ("ansible", "delete me")
    assert chosen.document["group"] == "ansible"


@pytest.mark.parametrize("config", [None, "text", {}, {"configs": "x"}, {"configs": [1, {}]}])
def test_a_component_without_a_config_for_its_action_is_an_error(
    deployment: Make, config: object
) -> None:
    parsed = parse_deployment(deployment("d0", group="component", config=config))
    with pytest.raises(InvalidMetadataError, match="d0.*CREATE"):
        for_its_action(parsed)


def test_credentials_come_with_the_queue() -> None:
    found = parse_credentials(SECTION["zaqar"])
    assert found is not None
    assert found[1] == "t1-server-aa4wl7xthqln"


@pytest.mark.parametrize("missing", ["user_id", "password", "auth_url", "project_id", "queue_id"])
def test_a_login_that_lacks_something_is_none_and_that_is_named_once(
    missing: str, caplog: pytest.LogCaptureFixture
) -> None:
    section = {**SECTION["zaqar"], missing: ""}
    deployment_module._warn_once.cache_clear()
    for _ in range(3):
        assert parse_credentials(section) is None
    (record,) = caplog.records
    assert f"[zaqar] has no usable {missing}" in record.getMessage()


def test_a_server_without_a_login_for_zaqar_is_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    assert parse_credentials(dict.fromkeys(SECTION["zaqar"], None)) is None
    assert parse_credentials(None) is None
    assert caplog.records == []


@pytest.mark.parametrize(
    ("value", "seconds"), [("1.5", 1.5), (7, 7.0), ("0", 0.0), ("", None), (None, None)]
)
def test_the_timeout_is_a_number_or_text_of_one(value: Any, seconds: float | None) -> None:
    assert parse_deployment(make_deployment("a", deploy_timeout=value)).timeout == seconds


@pytest.mark.parametrize("value", ["soon", "-1", "nan", "inf", True, [1], "1e99"])
def test_any_other_timeout_is_refused_and_named(value: Any) -> None:
    document = make_deployment("a")
    document["inputs"].append({"name": "deploy_timeout", "type": "Json", "value": value})
    with pytest.raises(InvalidMetadataError, match="deployment a: deploy_timeout is not"):
        _ = parse_deployment(document).timeout
