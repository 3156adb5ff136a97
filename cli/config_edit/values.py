"""Reads the value of a setting as a user types it, and shows one without its secrets."""

from __future__ import annotations

import json
import re
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from cli.config_edit.keys import Key
from gateway.config import hide_password
from gateway.config_files.json_file import is_unicode
from gateway.config_files.variables import has_variable
from gateway.errors import ConfigError
from gateway.security.secret_file import mask_secret
from gateway.security.secret_names import SECRET_OBJECTS, hide_secrets_in_key, hide_secrets_in_url, is_secret_name
from gateway.validation import end_sentence, explain_value

#: names of objects all of whose values are secret
_HIDDEN_OBJECTS = SECRET_OBJECTS | {"env"}
#: names of objects whose values are secrets, whatever their own names are, such as `webhooks.secrets`
_OBJECT_OF_SECRETS = re.compile(r"(token|password|secret|api_?key|credential)s?$", re.IGNORECASE)


def parse_value(key: Key, text: str, *, is_json: bool = True) -> Any:
    """Return the value that a text means for a setting, as the config file has it.

    Args:
        is_json: whether the text of a setting that may be a text may be JSON; a secret is taken as it is.

    Raises:
        ConfigError: the setting cannot have it.
    """
    has_parts = _needs_object(key.type) or _is_list(key.type)
    given = _decode_json(text) if is_json or has_parts else text
    if "\0" in text or not is_unicode(text if given is msgspec.UNSET else json.dumps(given, ensure_ascii=False)):
        raise ConfigError(f"{key.name}: the value has a character that no text may have.")
    if _needs_object(key.type):
        if not isinstance(given, dict):
            raise ConfigError(f"{key.name}: takes a JSON object.", remedy=_describe_parts(key))
        return given
    if has_variable(text) and not isinstance(given, (dict, list)):
        return given if isinstance(given, str) else text
    if key.type is Any:
        return text if given is msgspec.UNSET else given
    if given is not msgspec.UNSET and _fits(given, key.type):
        return given
    if isinstance(given, (dict, list)):
        return _convert(key, given, strict=True)
    return _convert(key, _split_list(text) if _is_list(key.type) else text, strict=False)


def _fits(given: Any, kind: Any) -> bool:
    try:
        msgspec.convert(given, kind)
    except msgspec.ValidationError:
        return False
    return True


def _convert(key: Key, given: Any, *, strict: bool) -> Any:
    try:
        return msgspec.to_builtins(msgspec.convert(given, key.type, strict=strict))
    except msgspec.ValidationError as error:
        raise ConfigError(f"{key.name}: {end_sentence(explain_value(error, key.type))}") from error


def _decode_json(text: str) -> Any:
    """Return what a text means as JSON; UNSET if it is none."""
    try:
        return json.loads(text, parse_constant=float)
    except (ValueError, RecursionError):
        return msgspec.UNSET


def _split_list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _needs_object(kind: Any) -> bool:
    return get_origin(kind) is dict or kind is dict or (isinstance(kind, type) and issubclass(kind, msgspec.Struct))


def _is_list(kind: Any) -> bool:
    """Return whether a value is a list, and cannot be a text."""
    if get_origin(kind) is Annotated:
        return _is_list(get_args(kind)[0])
    if get_origin(kind) in (UnionType, Union):
        return any(map(_is_list, get_args(kind))) and str not in get_args(kind)
    return get_origin(kind) is list


def _describe_parts(key: Key) -> str:
    parts = getattr(key.type, "__struct_encode_fields__", ())
    return f"Set one of its parts: {key.name}.{parts[0]}, …" if parts else "Write it in JSON, such as '{}'."


def is_secret(key: Key) -> bool:
    """Return whether the value of a setting is a secret."""
    *outer, own = (str(step) for step in key.path)
    if key.type is bool:
        return False
    inner = {*outer, own} if key.agent is None else {*outer, own} - {*outer[:2]}
    if inner & _HIDDEN_OBJECTS or any(map(_OBJECT_OF_SECRETS.search, outer)):
        return True
    has_fields = isinstance(key.type, type) and issubclass(key.type, msgspec.Struct)
    return is_secret_name(own) and not has_fields


def find_bare_secret(key: Key, text: str) -> bool:
    """Return whether a text is or has a secret itself, and not `${NAME}`."""
    return (is_secret(key) or _hide_parts(str(key.path[-1]), text) != text) and not has_variable(text)


def hide_secrets(name: str, value: Any) -> Any:
    """Return a value with its secrets masked. In an agent's environment and in headers every value is masked."""
    own = name.rpartition(".")[2]
    if isinstance(value, dict):
        secret = own in _HIDDEN_OBJECTS or _OBJECT_OF_SECRETS.search(own)
        return {hide_secrets_in_key(key): hide_secrets("token" if secret else key, each) for key, each in value.items()}
    if isinstance(value, list):
        return [hide_secrets(name, each) for each in value]
    if value and not isinstance(value, bool) and is_secret_name(own):
        return mask_secret(str(value))
    return _hide_parts(own, value) if isinstance(value, str) else value


def _hide_parts(name: str, text: str) -> str:
    """Return a text without the passwords, keys and secret paths of URLs in it."""
    return hide_password(hide_secrets_in_url(name, text, any_path=True, keep=has_variable))


def format_value(value: Any) -> str:
    """Return a value for people."""
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def hide_value(key: Key, value: Any) -> Any:
    """Return a value of a setting without its secrets."""
    if value is not None and is_secret(key) and not isinstance(value, (dict, list)):
        return mask_secret(str(value))
    return hide_secrets("token" if is_secret(key) else str(key.path[-1]), value)
