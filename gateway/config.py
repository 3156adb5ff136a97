"""Settings, declared once and read from everywhere.

The structs in `gateway.settings` are the table. The file, the environment, the flags, `config.example.json`,
`docs/settings.md` and `gateway config` are all made from it. Later sources win: defaults, the
file, `.env` in the state directory, the environment, flags.
"""

from __future__ import annotations

import contextlib
import ipaddress
import platform
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import msgspec
from msgspec import Meta, Struct, field

from gateway import paths, private_file
from gateway.config_files import env_file, json_file, variables
from gateway.config_files.machine_zone import find_machine_zone
from gateway.domain.inbound import WebhookEndpointSettings
from gateway.errors import ConfigError
from gateway.paths import display_path
from gateway.settings.agents import Agents, Opencode
from gateway.settings.alerts import Alerts
from gateway.settings.backup import Backup
from gateway.settings.cron import LOCAL_ZONE, Cron
from gateway.settings.files import Files
from gateway.settings.fleet import Fleet
from gateway.settings.gateway import Gateway, is_base_url
from gateway.settings.limits import Limits
from gateway.settings.log import Log
from gateway.settings.retention import Retention
from gateway.settings.store import Data, Store
from gateway.settings.tracing import Tracing
from gateway.settings.updates import Updates
from gateway.settings.webhooks import Hooks, Webhooks
from gateway.validation import explain_error

#: the passwords in the URL of a database, also if they have characters that should be encoded
_PASSWORD_IN_URL = re.compile(r"(?P<before>://[^:/?#@]*:)(?P<user>.+)(?=@)|(?P<name>[?&]\w*password=)(?P<option>[^&]+)")

#: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
STORE_URL_REMEDY = "Write postgresql://user@host:5432/database, and encode special characters in it, such as @ as %40."


def hide_password(url: str) -> str:
    """Return a URL with a mark in place of its password."""
    return _PASSWORD_IN_URL.sub(lambda found: f"{found['before'] or found['name']}***", url)


def find_passwords(url: str) -> list[str]:
    """Return the passwords in a URL, as they are written there and as they are meant."""
    from urllib.parse import unquote  # late: few gateways have a URL

    written = [found["user"] or found["option"] for found in _PASSWORD_IN_URL.finditer(url)]
    return list(dict.fromkeys(form for each in written for form in (each, unquote(each))))


def check_url_form(name: str, url: str) -> None:
    """Check that a text looks like the URL of a PostgreSQL database. What is in it is not repeated.

    Args:
        name: of the setting or option, for the message.

    Raises:
        ConfigError: it does not.
    """
    if re.match(r"postgres(ql)?://.", url) is None:
        raise ConfigError(f"{name}: this is not the URL of a PostgreSQL database.", remedy=STORE_URL_REMEDY)
    if url != "".join(url.split()):
        raise ConfigError(f"{name}: the URL has a blank or a line break.", remedy=STORE_URL_REMEDY)


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings that a config file may have."""

    gateway: Gateway = field(default_factory=Gateway)
    agents: Agents = field(default_factory=Agents)
    opencode: Opencode = field(default_factory=Opencode)
    data: Data = field(default_factory=Data)
    store: Store = field(default_factory=Store)
    fleet: Fleet = field(default_factory=Fleet)
    limits: Limits = field(default_factory=Limits)
    files: Files = field(default_factory=Files)
    channels: Annotated[
        dict[str, dict[str, Any]],
        Meta(
            description="Chat systems that send messages and get replies, by channel name; see [Channels](#channels)."
        ),
    ] = field(default_factory=dict)
    inbound: Annotated[
        dict[str, WebhookEndpointSettings],
        Meta(description="Endpoints of `POST /api/webhook/{name}`, by that name; see [Webhooks in](#webhooks-in)."),
    ] = field(default_factory=dict)
    hooks: Hooks = field(default_factory=Hooks)
    webhooks: Webhooks = field(default_factory=Webhooks)
    retention: Retention = field(default_factory=Retention)
    alerts: Alerts = field(default_factory=Alerts)
    cron: Cron = field(default_factory=Cron)
    backup: Backup = field(default_factory=Backup)
    log: Log = field(default_factory=Log)
    tracing: Tracing = field(default_factory=Tracing)
    updates: Updates = field(default_factory=Updates)


class ConfigSources(Struct, frozen=True):
    """What one reading of the files found. With the environment, it gives the settings.

    It goes from a supervisor to its generations, which may be a newer release: it may gain fields with
    a default, but none may change.
    """

    #: the content of the config file; None if there is none: all settings have their defaults
    content: bytes | None
    #: what `.env` in the state directory sets
    dotenv: dict[str, str] = field(default_factory=dict)


class Config(Settings, frozen=True, kw_only=True):
    """The settings in force, and their places on disk."""

    #: the state directory
    home: Path
    #: the config file, which need not exist
    path: Path
    #: what `.env` in the state directory set when the settings were read
    dotenv: dict[str, str] = field(default_factory=dict)
    #: where each setting that has not its default comes from, for messages: a file, or a variable
    origins: dict[str, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def name_origins(self, about: str = "") -> Iterator[None]:
        """Put where a setting comes from before an error about it, whose message begins with the setting's name.

        Args:
            about: setting that the other errors of the block are about.

        Raises:
            ConfigError: one was raised in the block.
        """
        try:
            yield
        except ConfigError as error:
            named = _find_named_setting(error.message)
            setting = named or about
            if setting not in self.origins:
                raise
            what = error.message if named else f"{about}: {error.message}"
            raise ConfigError(f"{self.origins[setting]}: {what}", remedy=error.remedy) from error

    def known_environment(self, environ: Mapping[str, str]) -> Mapping[str, str]:
        """Return the environment, with what `.env` in the state directory adds."""
        return {**self.dotenv, **environ}

    @property
    def trusted_networks(self) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        """Return the proxies whose words on a request are trusted.

        Raises:
            ConfigError: an entry is not an address or a network.
        """
        found = []
        for text in self.gateway.trusted_proxies:
            try:
                found.append(ipaddress.ip_network(text, strict=False))
            except ValueError as error:
                raise ConfigError(
                    f"gateway.trusted_proxies: {text!r} is not an address.",
                    remedy="Give addresses or networks, like 10.0.0.0/8.",
                ) from error
        return found

    @property
    def certificate_file(self) -> Path | None:
        """The file of the certificate for HTTPS; None if the gateway speaks plain HTTP."""
        given = self.gateway.tls.cert
        return paths.expand_path(given, "gateway.tls.cert") if given else None

    @property
    def key_file(self) -> Path | None:
        """The file of the certificate's private key."""
        given = self.gateway.tls.key
        return paths.expand_path(given, "gateway.tls.key") if given else self.certificate_file

    @property
    def public_url(self) -> str | None:
        """The address for others, without a slash at its end; None if the settings give none."""
        return self.gateway.public_url and self.gateway.public_url.rstrip("/")

    @property
    def is_exposed_without_tls(self) -> bool:
        """Whether others can reach the gateway, and nothing is known to encrypt what they send."""
        is_behind_tls = (self.gateway.public_url or "").startswith("https://")
        return not (is_loopback(self.gateway.host) or self.gateway.tls.cert or is_behind_tls)

    @property
    def data_directory(self) -> Path:
        given = self.data.directory
        return paths.expand_path(given, "data.directory") if given else self.home / "data"

    @property
    def database_path(self) -> Path:
        """The SQLite file, which is not used if `store.url` is set."""
        return paths.database_file(self.data_directory)

    @property
    def backup_directory(self) -> Path:
        """Where backups are made if no other place is named."""
        given = self.backup.directory
        return paths.expand_path(given, "backup.directory") if given else self.home / "backups"

    @property
    def fleet_host(self) -> str:
        """The name of this host in its fleet."""
        return self.fleet.host or re.sub(r"[^A-Za-z0-9_.-]", "-", platform.node())[:64] or "localhost"

    @property
    def shown_store(self) -> str:
        """Where everything is kept, for people: a path, or a URL without its password."""
        return display_path(self.database_path) if self.store.url is None else hide_password(self.store.url)


class Setting(NamedTuple):
    """One row of the table."""

    #: dotted path, as in the file
    name: str
    type: Any
    default: Any
    help: str
    #: environment names: ours first, then those of the systems that Moongate replaces
    env: tuple[str, ...]


@cache
def list_settings() -> tuple[Setting, ...]:
    """Return all settings in the order of their declaration."""
    return tuple(_find_settings(Settings, ""))


def _find_settings(struct: type[Struct], prefix: str) -> Iterator[Setting]:
    for known in msgspec.structs.fields(struct):
        hint = known.type
        name = prefix + known.encode_name
        if isinstance(hint, type) and issubclass(hint, Struct):
            yield from _find_settings(hint, f"{name}.")
            continue
        default = known.default_factory() if known.default is msgspec.NODEFAULT else known.default
        meta = get_args(hint)[1]
        yield Setting(name, hint, default, meta.description or "", (meta.extra or {}).get("env", ()))


def load(env: Mapping[str, str], flags: Mapping[str, Any] | None = None) -> Config:
    """Read the settings in force.

    Args:
        env: the environment; `MOONGATE_HOME` and `MOONGATE_CONFIG` say where to look.
        flags: dotted setting names with values from the command line; None means not given.

    Raises:
        ConfigError: a source has an unknown name or an invalid value; the message names it.
    """
    return parse_config(read_sources(env), env, flags)


def read_sources(env: Mapping[str, str]) -> ConfigSources:
    """Read the config file and `.env`.

    Raises:
        ConfigError: one cannot be read, or `MOONGATE_CONFIG` names a file that does not exist.
    """
    content = _read_config_file(paths.config_file(env), named=bool(env.get("MOONGATE_CONFIG")))
    return ConfigSources(content, env_file.read_env_file(paths.env_file(paths.state_directory(env))))


def _read_config_file(file: Path, *, named: bool) -> bytes | None:
    try:
        return private_file.read_plain_file(file)
    except FileNotFoundError:
        if named:  # its defaults are not what was meant
            raise ConfigError(
                f"there is no config file {display_path(file)}.", remedy="Correct --config or MOONGATE_CONFIG."
            ) from None
        return None
    except OSError as error:
        raise ConfigError(
            f"cannot read {display_path(file)}: {error.strerror}.", remedy=private_file.REPAIR_HINT
        ) from error


def parse_config(given: ConfigSources, env: Mapping[str, str], flags: Mapping[str, Any] | None = None) -> Config:
    """Return the settings in force with what a reading found; see `load`.

    Raises:
        ConfigError: a source has an unknown name or an invalid value; the message names it.
    """
    home, file = paths.state_directory(env), paths.config_file(env)
    raw = _decode_file(given, env, file)
    settings_in_file = (each.name for each in list_settings() if json_file.get_nested(raw, each.name) is not None)
    origins = dict.fromkeys(settings_in_file, display_path(file))
    sources = (("", env), (f"{display_path(paths.env_file(home))}: ", given.dotenv))
    for setting in list_settings():
        for source, values in sources:
            name = next((name for name in setting.env if values.get(name)), None)
            if name is not None:
                _set_value(raw, setting.name, _parse_value(values[name], setting, source + name))
                origins[setting.name] = source + name
                break
    for name, value in (flags or {}).items():
        if value is not None:
            _set_value(raw, name, value)
            origins[name] = f"--{name.rpartition('.')[2]}"
    try:
        settings = msgspec.convert(raw, Settings)
    except msgspec.ValidationError as error:
        why = explain_error(error, Settings, "the file")
        raise ConfigError(f"{display_path(file)}: {why}") from error
    known = {name: getattr(settings, name) for name in Settings.__struct_fields__}
    if settings.cron.timezone == LOCAL_ZONE:
        known["cron"] = msgspec.structs.replace(settings.cron, timezone=find_machine_zone(env))
    config = Config(**known, home=home, path=file, dotenv=given.dotenv, origins=origins)
    with config.name_origins():
        paths.expand_path(str(config.data_directory), "data.directory")
        _check_exposure(config)
        _check_reach(config)
        _ = config.trusted_networks
        if config.store.url is not None:
            check_url_form("store.url", config.store.url)
    return config


def is_loopback(host: str) -> bool:
    """Return whether an address to listen on can be reached only from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _decode_file(given: ConfigSources, env: Mapping[str, str], file: Path) -> dict[str, Any]:
    """Return what the config file says, with the variables that it names replaced by their values."""
    if given.content is None:
        return {}
    shown = display_path(file)
    written = json_file.decode_config(given.content, shown)
    raw: dict[str, Any] = variables.substitute_variables(written, {**given.dotenv, **env}, shown)
    for setting in list_settings():  # a variable is text, also where the setting is a number
        text = json_file.get_nested(written, setting.name)
        if isinstance(text, str) and variables.has_variable(text):
            _set_value(raw, setting.name, _parse_value(json_file.get_nested(raw, setting.name), setting, shown))
    return raw


def _set_value(raw: dict[str, Any], name: str, value: Any) -> None:
    *parents, last = name.split(".")
    place = raw
    for parent in parents:
        inner = place.setdefault(parent, {})
        if not isinstance(inner, dict):
            return  # the file has another type there: the conversion of the whole refuses it
        place = inner
    place[last] = value


def _parse_value(text: str, setting: Setting, source: str) -> Any:
    if not json_file.is_unicode(text):
        raise ConfigError(f"{source}: not valid UTF-8 (sets {setting.name}).")
    is_list = get_origin(get_args(setting.type)[0]) is list
    given = [part.strip() for part in text.split(",") if part.strip()] if is_list else text
    try:
        return msgspec.convert(given, setting.type, strict=False)
    except msgspec.ValidationError as error:
        what = str(error).partition(" - at ")[0].replace("`", "")
        raise ConfigError(f"{source}: {what} (sets {setting.name}).") from error


def _find_named_setting(message: str) -> str:
    """Return the setting with whose name a message begins; empty if it begins with none."""
    names = (setting.name for setting in list_settings())
    fitting = (name for name in names if message.startswith(name) and message[len(name) : len(name) + 1] in set(":.["))
    return max(fitting, key=len, default="")


def _check_exposure(config: Config) -> None:
    if config.gateway.auth.mode == "none" and not is_loopback(config.gateway.host):
        raise ConfigError(
            f'gateway.auth.mode: "none" is allowed on a loopback address only, not on {config.gateway.host}.',
            remedy='Set gateway.host to 127.0.0.1, or auth.mode to "token".',
        )
    if config.gateway.auth.token is not None:
        _check_token(config.gateway.auth.token)
    host = config.gateway.host
    if not host.isprintable() or host != "".join(host.split()):
        raise ConfigError(
            f"gateway.host: {host[:64]!r} is no name or address of this machine.",
            remedy="Give one, such as 127.0.0.1, or 0.0.0.0 for all of its addresses.",
        )


def _check_reach(config: Config) -> None:
    """Refuse a public address that is not one, and half a pair of certificate and key."""
    url, tls = config.gateway.public_url, config.gateway.tls
    if url is not None and not is_base_url(url):
        raise ConfigError(
            f"gateway.public_url: {url[:64]!r} is not the address of a host.",
            remedy="Give one without a path, such as https://gate.example.",
        )
    if tls.key is not None and tls.cert is None:
        raise ConfigError("gateway.tls.key: there is no certificate.", remedy="Set gateway.tls.cert, too.")


def _check_token(token: str) -> None:
    """Refuse a token that no client could send in a header."""
    if token == "":
        raise ConfigError(
            "gateway.auth.token: an empty token protects nothing.", remedy="Remove the setting, or set a token."
        )
    if not token.isprintable() or token != token.strip():
        raise ConfigError(
            "gateway.auth.token: a token is one line of printable characters, without blanks around it.",
            remedy="Look for a line break at its end, which some editors and shells add.",
        )
