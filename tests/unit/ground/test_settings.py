from pathlib import Path

import pytest

from heat_config_zaqar import settings
from heat_config_zaqar.errors import SettingsError

_NO_TIMES = ("0", "-1", "nan", "inf", "-inf", "1e9", "true", '"5"')


def test_a_missing_file_means_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.SETTINGS_VARIABLE, str(tmp_path / "missing"))
    assert settings.load() == settings.Settings()


def test_scripts_run_where_upstreams_hook_runs_them() -> None:
    assert settings.Settings().working_dir == Path("/var/lib/heat-config/heat-config-script")


def test_keys_are_read_in_their_types() -> None:
    text = 'ca_file = "/etc/ca.pem"\nmax_attempts = 5\nhook_timeout = 2.5\nstate_dir = "/x"\n'
    found = settings.parse(text, "test")
    assert (found.ca_file, found.max_attempts, found.hook_timeout) == ("/etc/ca.pem", 5, 2.5)
    assert found.metadata_file == Path("/x/metadata.json")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("colour = 1", "colour"),
        ('max_attempts = "3"', "max_attempts"),
        ("max_attempts = 0", "max_attempts"),
        ("max_attempts = true", "max_attempts"),
        ("insecure = 1", "insecure"),
        ("hook_timeout = -1", "hook_timeout"),
        ("not toml", "test is not TOML"),
        (f"x = {'[' * 100_000}", "test is not TOML"),
        *((f"request_timeout = {value}", "request_timeout") for value in _NO_TIMES),
        *((f"poll_interval = {value}", "poll_interval") for value in _NO_TIMES),
        ("hook_timeout = nan", "hook_timeout"),
        ("hook_timeout = 1e300", "hook_timeout"),
        ("max_attempts = 1000000", "max_attempts"),
        ('state_dir = ""', "state_dir must be an absolute path"),
        ('state_dir = "var/lib"', "state_dir must be an absolute path"),
        (r'ca_file = "/a\u0000b"', "ca_file"),
        ('proxy = "proxy.example:3128"', "proxy must be like"),
        ('console = "ttyS0"', "console must be like"),
        ("console = false", "console"),
        ('proxy = "http://[::1"', "proxy must be like"),
        ('proxy = "socks5://proxy.example:1080"', "proxy must be like"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_key(text: str, names: str) -> None:
    with pytest.raises(SettingsError, match=names) as caught:
        settings.parse(text, "test")
    assert "\n" not in str(caught.value)


def test_a_hook_that_hangs_is_ended_after_four_hours_where_nothing_says_otherwise() -> None:
    assert settings.Settings().hook_timeout == 4 * 3600


def test_the_console_may_be_another_device_or_none() -> None:
    assert settings.Settings().console == "/dev/console"
    for text in ("/dev/ttyS1", ""):
        assert settings.parse(f'console = "{text}"', "test").console == text
