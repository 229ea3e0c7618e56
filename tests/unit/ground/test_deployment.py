from typing import Any

import pytest

from heat_config_zaqar.deployment import (
    Transport,
    for_its_action,
    parse_credentials,
    parse_deployment,
)
from heat_config_zaqar.errors import InvalidMetadataError
from tests.unit.conftest import SECTION, Make, make_deployment, make_message


def test_reads_what_heat_sends(deployment: Make) -> None:
    parsed = parse_deployment(deployment("d0"))
    assert (parsed.id, parsed.group, parsed.action) == ("d0", "script", "CREATE")
    assert parsed.transport is Transport.ZAQAR
    assert parsed.queue == "t1-d0-mpmx6jwjdxiw"
    assert parsed.credentials.password == "2jmF!%it4TDDQ5E4az3%%vXk&Z*cMw^2"


def test_the_password_is_not_in_the_repr(deployment: Make) -> None:
    parsed = parse_deployment(deployment("d0"))
    assert "2jmF" not in repr(parsed) + repr(parsed.credentials)


@pytest.mark.parametrize(
    "config_id", ["../../etc/x", "", ".", "a/b", "x" * 200, 7, None, "a\0b", "a\n"]
)
def test_rejects_an_id_that_is_no_file_name(deployment: Make, config_id: object) -> None:
    document = deployment("d0")
    document["id"] = config_id
    with pytest.raises(InvalidMetadataError, match="deployment"):
        parse_deployment(document)


@pytest.mark.parametrize("document", ["text", 3, None, [], ["id"]])
def test_rejects_what_is_not_a_map(document: object) -> None:
    with pytest.raises(InvalidMetadataError, match="not a map"):
        parse_deployment(document)


@pytest.mark.parametrize("inputs", ["text", {"a": 1}, [1], [{"value": 1}], [{"name": 3}]])
def test_rejects_malformed_inputs_and_names_the_deployment(
    deployment: Make, inputs: object
) -> None:
    with pytest.raises(InvalidMetadataError, match="d0"):
        parse_deployment(deployment("d0", inputs=inputs))


@pytest.mark.parametrize("name", ["../x", ".hidden", "a/b", 5, ""])
def test_rejects_a_name_that_os_collect_config_would_take_for_a_path(
    deployment: Make, name: object
) -> None:
    with pytest.raises(InvalidMetadataError, match="d0"):
        parse_deployment(deployment("d0", name=name))


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
def test_incomplete_credentials_are_none(missing: str) -> None:
    section = dict(make_message()["os-collect-config"]["zaqar"])
    del section[missing]
    assert parse_credentials(section) is None


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
