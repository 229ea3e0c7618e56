from pathlib import Path

import pytest

from heat_config_zaqar import settings
from heat_config_zaqar.errors import SettingsError


def test_a_missing_file_means_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.SETTINGS_VARIABLE, str(tmp_path / "missing"))
    assert settings.load() == settings.Settings()


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
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_key(text: str, names: str) -> None:
    with pytest.raises(SettingsError, match=names):
        settings.parse(text, "test")
