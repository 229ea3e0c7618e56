"""The body of a signal: what Heat reads in the signal queue, cut so that Zaqar accepts it.

Owns the format that `SoftwareDeployment.handle_signal` of Heat reads: a map in which
`deploy_stdout`, `deploy_stderr` and `deploy_status_code` are Heat's own and every other key is an
output of that name; Heat ignores keys it does not know. Pure: neither reads nor writes.
Invariant: a body is a map, fits, and always says the true status code.
"""

import json
import math
from typing import Any

from heat_config_zaqar.nesting import too_deep

STDOUT = "deploy_stdout"
STDERR = "deploy_stderr"
STATUS_CODE = "deploy_status_code"
# Heat ignores it; it lets us recognise our own message in a queue that all updates share.
CONFIG_ID = "deploy_config_id"

# What Heat's APIs take by default (`max_json_body_size`); a queue of Zaqar's says its own limit.
DEFAULT_LIMIT_BYTES = 1024 * 1024

Body = dict[str, Any]


def failure(reason: str, status_code: int = 1) -> Body:
    """Return the body for a deployment that failed without its hook saying so."""
    return {STDOUT: "", STDERR: reason, STATUS_CODE: status_code}


def unusable(body: Any) -> str:
    """Return why a signal cannot have this body; empty where it can."""
    if not isinstance(body, dict):
        return "is not a map"
    return too_deep(body)


def storable(value: Any) -> Any:
    """Return `value` as every store of Zaqar's and Heat's takes it.

    What is no Unicode in a text is escaped; a number that JSON or 64 bits do not hold becomes text.
    """
    if isinstance(value, dict):
        return {storable(str(key)): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    fits = isinstance(value, int) and -(2**63) <= value < 2**63
    return value if value is None or fits else str(value)


def fit(body: Body, limit: int) -> Body:
    """Return `body` so that its JSON takes at most `limit` bytes.

    The streams are cut first, from the front, since errors come last. Of the outputs only those go
    that do not fit, the largest first: texts are cut as well, anything else becomes a text that
    says how large it was. The streams keep a quarter of the room where they need it.

    :param limit: bytes for the body alone, without the envelope of Zaqar's request.
    """
    if _size(body) <= limit:
        return body
    streams = [key for key in (STDOUT, STDERR) if isinstance(body.get(key), str)]
    reserve = min(sum(_size(body[key]) for key in streams), limit // 4)
    fitted = {**body, **dict.fromkeys(streams, "")}
    _shrink_outputs(fitted, limit - reserve)
    fitted |= {key: body[key] for key in streams}
    _cut_texts(fitted, streams, limit)
    if _size(fitted) > limit:
        reason = f"[outputs of {_size(body)} bytes did not fit into a message of {limit} bytes]"
        kept = {key: body[key] for key in (STATUS_CODE, CONFIG_ID) if key in body}
        return {**failure(reason), **{key: kept[key] for key in kept if _size(kept[key]) < 200}}
    return fitted


def _shrink_outputs(body: Body, limit: int) -> None:
    """Shorten outputs until the body fits, the largest first."""
    excess = _size(body) - limit
    sizes = {key: _size(body[key]) for key in body if key not in (STATUS_CODE, CONFIG_ID)}
    for key in sorted(sizes, key=lambda key: sizes[key], reverse=True):
        if excess <= 0:
            return
        value, size = body[key], sizes[key]
        marker = f"[{size} bytes did not fit]"
        shorter = _keep_end(value, size - 2 - excess) if isinstance(value, str) else marker
        if _size(shorter) < size:
            body[key] = shorter
            excess -= size - _size(shorter)


def _cut_texts(body: Body, keys: list[str], limit: int) -> None:
    """Shorten the texts under `keys` until the body fits, the longest ones first."""
    original = {key: body[key] for key in keys}
    fixed = _size({**body, **dict.fromkeys(keys, "")})
    budget = max(limit - fixed, 0)
    for done, key in enumerate(sorted(keys, key=lambda key: _size(body[key]))):
        body[key] = _keep_end(original[key], budget // (len(keys) - done))
        budget -= min(_size(body[key]) - 2, budget)


def _keep_end(text: str, budget: int) -> str:
    """Return the longest end of `text` that takes `budget` bytes in JSON, its marker included."""
    if _size(text) - 2 <= budget:
        return text
    # Each character takes a byte at least: what lies further back cannot be kept.
    low, high = 0, min(len(text), max(budget, 0))
    while low < high:
        middle = (low + high + 1) // 2
        if _size(_marked(text, middle)) - 2 <= budget:
            low = middle
        else:
            high = middle - 1
    return _marked(text, low)


def _marked(text: str, kept: int) -> str:
    return f"[{len(text) - kept} characters cut]\n{text[len(text) - kept :]}"


def _size(value: Any) -> int:
    return len(json.dumps(value))
