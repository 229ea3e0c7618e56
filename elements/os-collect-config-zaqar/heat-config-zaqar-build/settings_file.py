"""Write what was chosen at build time for the guest: settings.toml, ca.pem.

Arguments come in pairs, a setting and the text of its DIB_ variable. Only
settings with a text are written; the guest package knows the defaults.
"""

from __future__ import annotations

import json
import re
import shutil
import ssl
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

CA_IN_IMAGE = "/etc/heat-config-zaqar/ca.pem"
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class SettingError(Exception):
    """Why a text is not the value of a setting."""


def boolean(text: str) -> str:
    if text.lower() in TRUE:
        return "true"
    if text.lower() in FALSE:
        return "false"
    raise SettingError("is neither true nor false")


def whole_number(smallest: int, largest: int) -> Callable[[str], str]:
    def convert(text: str) -> str:
        digits = text.isascii() and text.isdigit()
        if not digits or not smallest <= int(text[:20]) <= largest:
            raise SettingError(f"is not a whole number from {smallest} to {largest}")
        return str(int(text))

    return convert


def address(text: str) -> str:
    if not re.fullmatch(r"https?://[!#-\[\]-~]+", text):
        raise SettingError("is not like http://proxy.example:3128")
    return json.dumps(text)


def device(text: str) -> str:
    if text.lower() in FALSE:
        return '""'
    if not re.fullmatch(r"/[!#-\[\]-~]+", text):
        raise SettingError("is neither like /dev/console nor off")
    return json.dumps(text)


def certificates(text: str) -> str:
    if not Path(text).is_file():
        raise SettingError("is no file on the build host")
    try:
        ssl.create_default_context(cafile=text)
    except (OSError, ssl.SSLError):
        raise SettingError("holds no certificate in PEM form") from None
    return f'"{CA_IN_IMAGE}"'


SETTINGS: dict[str, Callable[[str], str]] = {
    "ca_file": certificates,
    "console": device,
    "hook_timeout": whole_number(0, 315_360_000),
    "insecure": boolean,
    "max_attempts": whole_number(1, 1000),
    "no_proxy": json.dumps,
    "poll_interval": whole_number(1, 1800),
    "progress_line": boolean,
    "proxy": address,
    "push": boolean,
}


def settings_text(pairs: Sequence[tuple[str, str]]) -> str:
    lines = ["# Chosen when this image was built; see the element's README."]
    for name, text in pairs:
        if not text:
            continue
        try:
            lines.append(f"{name} = {SETTINGS[name](text)}")
        except SettingError as error:
            variable = f"DIB_HEAT_CONFIG_ZAQAR_{name.upper()}"
            raise SettingError(f"{variable} is {text!r}, which {error}") from None
    return "\n".join(lines) + "\n"


def main() -> int:
    output, *rest = sys.argv[1:]
    pairs = list(zip(rest[::2], rest[1::2], strict=True))
    try:
        text = settings_text(pairs)
    except SettingError as error:
        print(f"os-collect-config-zaqar: {error}", file=sys.stderr)
        return 1
    directory = Path(output)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "settings.toml").write_text(text)
    ca_file = dict(pairs).get("ca_file")
    if ca_file:
        shutil.copyfile(ca_file, directory / "ca.pem")
    return 0


if __name__ == "__main__":
    sys.exit(main())
