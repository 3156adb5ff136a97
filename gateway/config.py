"""Settings, declared once: name, type, default, help, environment names.

The structs below are the table. The file, the environment, the flags, `config.example.json`,
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
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import msgspec
from msgspec import Meta, Struct, field

from gateway import paths, private_file
from gateway.config_files import env_file, json_file, variables
from gateway.config_files.machine_zone import find_machine_zone
from gateway.domain.delivery import DELIVERY_RETRY_DELAYS_SECONDS, MAX_RETRY_DELAY_SECONDS
from gateway.domain.file import DEFAULT_FILE_QUOTA_BYTES
from gateway.domain.inbound import WebhookEndpointSettings
from gateway.errors import ConfigError
from gateway.paths import display_path
from gateway.validation import explain_error

#: the value of `cron.timezone` that means the zone of this machine
LOCAL_ZONE = "local"

#: the passwords in the URL of a database, also if they have characters that should be encoded
_PASSWORD_IN_URL = re.compile(r"(?P<before>://[^:/?#@]*:)(?P<user>.+)(?=@)|(?P<name>[?&]\w*password=)(?P<option>[^&]+)")

#: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
STORE_URL_REMEDY = "Write postgresql://user@host:5432/database, and encode special characters in it, such as @ as %40."

_Env = dict[str, tuple[str, ...]]


def _env_names(*names: str) -> _Env:
    return {"env": names}


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


class Auth(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    mode: Annotated[
        Literal["token", "none"],
        Meta(
            description="`token`: every caller needs a bearer token; `none` is allowed on loopback only.",
            extra=_env_names("MOONGATE_AUTH_MODE"),
        ),
    ] = "token"
    token: Annotated[
        str | None,
        Meta(
            description="The gateway's token. If it is not set, one is generated and kept in the file `token`.",
            extra=_env_names("MOONGATE_TOKEN", "XITTO_SERVER_TOKEN", "OPENCLAW_TOKEN"),
        ),
    ] = None


class Gateway(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    host: Annotated[
        str,
        Meta(
            min_length=1,
            description="Address to listen on.",
            extra=_env_names("MOONGATE_HOST", "XCCLAW_APP_HOST"),
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="Port to listen on; 0 means any free port.",
            extra=_env_names("MOONGATE_PORT", "XCCLAW_APP_PORT"),
        ),
    ] = 18790
    auth: Auth = field(default_factory=Auth)
    allowed_hosts: Annotated[
        list[str],
        Meta(
            description="Further host names that requests may use, in addition to localhost and this machine's names."
        ),
    ] = field(default_factory=list)
    cors_origins: Annotated[
        list[str],
        Meta(description="Origins of web pages that may call the gateway, exactly as the browser sends them."),
    ] = field(default_factory=list)
    trusted_proxies: Annotated[
        list[str], Meta(description="Addresses of proxies whose `X-Forwarded-For` is trusted.")
    ] = field(default_factory=list)
    stop_grace: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="Seconds that requests have to finish when the gateway stops.",
            extra=_env_names("MOONGATE_STOP_GRACE"),
        ),
    ] = 5.0

    drain_timeout: Annotated[
        float,
        Meta(
            ge=0,
            le=86_400,
            description="Seconds that runs and requests have to finish in the old process at a restart.",
            extra=_env_names("MOONGATE_DRAIN_TIMEOUT"),
        ),
    ] = 600.0
    hang_timeout: Annotated[
        float,
        Meta(
            gt=0,
            le=3600,
            description="Seconds without a heartbeat after which a serving process counts as hung and is replaced.",
            extra=_env_names("MOONGATE_HANG_TIMEOUT"),
        ),
    ] = 15.0
    ready_timeout: Annotated[
        float,
        Meta(
            gt=0,
            le=3600,
            description="Seconds that a new serving process has to become ready.",
            extra=_env_names("MOONGATE_READY_TIMEOUT"),
        ),
    ] = 30.0
    confined: Annotated[
        bool,
        Meta(
            description="Whether a login service prevents agents from gaining rights, for example with sudo;"
            " takes effect at the next `gateway install`.",
            extra=_env_names("MOONGATE_CONFINED"),
        ),
    ] = True


class Agents(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    default: Annotated[
        str | None,
        Meta(
            description="Id of the agent for requests that name none; if not set, the first enabled agent.",
            extra=_env_names("MOONGATE_AGENT"),
        ),
    ] = None
    model: Annotated[
        str | None,
        Meta(
            description="Model for agents that name none, as the backend names it.",
            extra=_env_names("MOONGATE_MODEL", "XITTO_MODEL"),
        ),
    ] = None
    entries: Annotated[
        list[dict[str, Any]],
        Meta(description="The agents. If the list is empty, the gateway uses an agent that it finds on this machine."),
    ] = field(default_factory=list, name="list")


class Opencode(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    host: Annotated[
        str | None,
        Meta(
            description="Host of a running opencode server to use instead of starting one.",
            extra=_env_names("XCCLAW_OPENCODE_HOST"),
        ),
    ] = None
    port: Annotated[
        Annotated[int, Meta(ge=1, le=65535)] | None,
        Meta(
            description="Port of that server; 4096 if only the host is set.",
            extra=_env_names("XCCLAW_OPENCODE_PORT"),
        ),
    ] = None
    password: Annotated[
        str | None,
        Meta(description="Password of that server.", extra=_env_names("XCCLAW_OPENCODE_PASSWORD")),
    ] = None


class Data(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    directory: Annotated[
        str | None,
        Meta(
            description="Directory of the database; if not set, `data` in the state directory.",
            extra=_env_names("MOONGATE_DATA_DIR", "XCCLAW_DATA_DIR"),
        ),
    ] = None


class Store(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: Annotated[
        str | None,
        Meta(
            description="URL of a PostgreSQL database that keeps everything, for several gateways and workers; if not"
            " set, a SQLite file in the data directory does.",
            extra=_env_names("MOONGATE_STORE_URL"),
        ),
    ] = None
    password_file: Annotated[
        str | None,
        Meta(
            description="File with the password of that database, for a URL without one.",
            extra=_env_names("MOONGATE_STORE_PASSWORD_FILE"),
        ),
    ] = None


class Fleet(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a process that shares a PostgreSQL database with others."""

    role: Annotated[
        Literal["gateway", "worker"],
        Meta(
            description="`gateway`: answers requests, and may lead; `worker`: only works on runs.",
            extra=_env_names("MOONGATE_ROLE"),
        ),
    ] = "gateway"
    host: Annotated[
        Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$(?!\n)")] | None,
        Meta(
            description="Name of this host, of which no other has the same; if not set, the machine's host name."
            " Sessions whose agents keep files are bound to it.",
            extra=_env_names("MOONGATE_FLEET_HOST"),
        ),
    ] = None
    slots: Annotated[
        Annotated[int, Meta(ge=0, le=4096)] | None,
        Meta(
            description="Runs that this process works on at the same time; 0: it only answers requests; if not set,"
            " `limits.runs`.",
            extra=_env_names("MOONGATE_FLEET_SLOTS"),
        ),
    ] = None
    agents: Annotated[
        list[str],
        Meta(
            description="Ids of the agents whose runs this process works on; if empty, all that are enabled.",
            extra=_env_names("MOONGATE_FLEET_AGENTS"),
        ),
    ] = field(default_factory=list)
    move_after: Annotated[
        float,
        Meta(
            ge=60,
            le=30 * 86_400,
            description="Seconds after which the sessions of a host that is gone go on elsewhere, without its files.",
            extra=_env_names("MOONGATE_FLEET_MOVE_AFTER"),
        ),
    ] = 600.0


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    runs: Annotated[
        int,
        Meta(
            ge=1,
            le=4096,
            description="Maximum number of runs at the same time, over all agents.",
            extra=_env_names("MOONGATE_MAX_RUNS"),
        ),
    ] = 64
    background: Annotated[
        int,
        Meta(
            ge=1,
            le=4096,
            description="How many of those runs may be background tasks (`/v1/tasks`).",
            extra=_env_names("MOONGATE_MAX_BACKGROUND", "XITTO_SERVER_CONCURRENCY"),
        ),
    ] = 2
    depth: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="How deeply agents may call each other through the gateway: a request from an agent's own"
            " commands is one level deeper than the agent's run.",
        ),
    ] = 5
    queue: Annotated[
        int,
        Meta(
            ge=1,
            description="Maximum number of waiting runs; a further run is refused with 503.",
            extra=_env_names("MOONGATE_QUEUE"),
        ),
    ] = 100_000
    connections: Annotated[int, Meta(ge=1, description="Maximum number of open connections, over all clients.")] = 1024
    per_client: Annotated[
        int,
        Meta(ge=1, description="Maximum number of open connections per address; not for loopback and trusted proxies."),
    ] = 64
    body: Annotated[int, Meta(ge=1024, le=64 << 20, description="Maximum size of a request's body in bytes.")] = (
        1_000_000
    )
    history: Annotated[
        int,
        Meta(
            ge=1024,
            le=64 << 20,
            description="Maximum size in bytes of a request to OpenAI's API without the files in it; its clients repeat"
            " the conversation each time. The text that the agent gets of it is limited by `limits.body`.",
        ),
    ] = 16_000_000
    header_seconds: Annotated[
        float, Meta(gt=0, description="Seconds that a client has to send a request's header.")
    ] = 10.0
    body_seconds: Annotated[float, Meta(gt=0, description="Seconds that a client has to send a request's body.")] = 30.0
    wait_seconds: Annotated[
        float,
        Meta(gt=0, description="Seconds that a synchronous call waits before it answers 504; the run continues."),
    ] = 600.0
    stall_seconds: Annotated[
        float, Meta(gt=0, description="Seconds after which a client is disconnected if it reads nothing of its answer.")
    ] = 20.0
    output: Annotated[
        int, Meta(ge=1024, description="Maximum size of an agent's answer in bytes; with a longer one, the run fails.")
    ] = 8 << 20


class Webhooks(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    secret: Annotated[
        str | list[str] | None,
        Meta(
            description="Secret that signs webhooks: `whsec_` followed by base64; several during a rotation. If not"
            " set, the one in the file `webhook-secret` in the state directory, which the first start creates.",
            extra=_env_names("MOONGATE_WEBHOOK_SECRET"),
        ),
    ] = None
    secrets: Annotated[
        dict[str, str | list[str]],
        Meta(description="Secrets of single receivers, by the beginning of their URLs, from scheme to port."),
    ] = field(default_factory=dict)
    allow_private: Annotated[
        list[str],
        Meta(description="Hosts and networks, such as `10.0.0.0/8`, with private addresses that webhooks may use."),
    ] = field(default_factory=list)
    schedule: Annotated[
        list[Annotated[float, Meta(ge=0, le=MAX_RETRY_DELAY_SECONDS)]],
        Meta(
            min_length=1,
            max_length=50,
            description="Seconds to wait before each attempt; after the last one, the delivery is dead.",
        ),
    ] = field(default_factory=lambda: list(DELIVERY_RETRY_DELAYS_SECONDS))
    timeout: Annotated[float, Meta(gt=0, le=55, description="Seconds that a receiver has to answer.")] = 15.0


#: a time in days; null means without end
_Days = Annotated[float, Meta(ge=1, le=36_500)] | None


class Retention(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    events_days: Annotated[
        _Days,
        Meta(
            description="Days that the events of ended runs are kept; null keeps them. The result stays.",
            extra=_env_names("MOONGATE_RETENTION_EVENTS_DAYS"),
        ),
    ] = 30.0
    events_runs: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(
            description="Maximum number of ended runs whose events are kept, the newest first; null sets no maximum.",
            extra=_env_names("MOONGATE_RETENTION_EVENTS_RUNS"),
        ),
    ] = 100_000
    runs_days: Annotated[
        _Days,
        Meta(
            description="Days that ended runs are kept; null keeps them. Runs that something still needs stay.",
            extra=_env_names("MOONGATE_RETENTION_RUNS_DAYS"),
        ),
    ] = None
    dead_letters_days: Annotated[
        _Days,
        Meta(
            description="Days that dead deliveries and their runs are kept; null keeps them.",
            extra=_env_names("MOONGATE_RETENTION_DEAD_LETTERS_DAYS"),
        ),
    ] = 90.0
    sessions_days: Annotated[
        _Days,
        Meta(
            description="Days after its last use that a session is kept with its transcript; null keeps it.",
            extra=_env_names("MOONGATE_RETENTION_SESSIONS_DAYS"),
        ),
    ] = None
    workspaces_days: Annotated[
        _Days,
        Meta(
            description="Days after its last use that the directory of a session is kept, if its session is kept;"
            " null keeps it.",
            extra=_env_names("MOONGATE_RETENTION_WORKSPACES_DAYS"),
        ),
    ] = None

    unused_files_days: Annotated[
        _Days,
        Meta(
            description="Days that a file is kept to which no task, message or schedule refers, from when it was"
            " stored; null keeps it.",
            extra=_env_names("MOONGATE_RETENTION_UNUSED_FILES_DAYS"),
        ),
    ] = 1.0


class Files(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    size: Annotated[
        int,
        Meta(
            ge=1024,
            le=2 << 30,
            description="Maximum size of a file in bytes.",
            extra=_env_names("MOONGATE_MAX_FILE_SIZE"),
        ),
    ] = 25_000_000
    per_message: Annotated[int, Meta(ge=1, le=100, description="Maximum number of files of one message.")] = 10
    message_size: Annotated[
        int, Meta(ge=1024, le=2 << 30, description="Maximum size in bytes of the files of one message together.")
    ] = 50_000_000
    quota: Annotated[
        int,
        Meta(
            ge=1024,
            description="Maximum size in bytes of all stored files together; equal files count once. A further file is"
            " refused with 507.",
            extra=_env_names("MOONGATE_FILES_QUOTA"),
        ),
    ] = DEFAULT_FILE_QUOTA_BYTES
    fetch: Annotated[
        bool,
        Meta(
            description="Whether a picture that an OpenAI client names by its URL is fetched; `webhooks.allow_private`"
            " says which private addresses may be used."
        ),
    ] = False


class Cron(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    timezone: Annotated[
        str,
        Meta(
            description="IANA time zone of schedules that name none, and of the days of budgets; `local` is the zone"
            " of this machine.",
            extra=_env_names("MOONGATE_TIMEZONE"),
        ),
    ] = LOCAL_ZONE
    max_failures: Annotated[
        int,
        Meta(ge=0, le=1000, description="Failures in a row after which a new schedule is disabled; 0 means never."),
    ] = 10


class Log(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="Lowest level that is logged.", extra=_env_names("MOONGATE_LOG_LEVEL")),
    ] = "info"


class Hooks(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    callback_url: Annotated[
        Annotated[str, Meta(pattern=r"^https?://\S{1,2000}$(?!\n)")] | None,
        Meta(
            description="URL that is notified when a run ends that came through `/hooks/agent` or was assigned.",
            extra=_env_names("MOONGATE_HOOKS_CALLBACK_URL"),
        ),
    ] = field(default=None, name="callbackUrl")


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
    cron: Cron = field(default_factory=Cron)
    log: Log = field(default_factory=Log)


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

    @property
    def trusted_networks(self) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        """Return the proxies whose `X-Forwarded-For` is trusted.

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
    def data_directory(self) -> Path:
        given = self.data.directory
        return paths.expand_path(given, "data.directory") if given else self.home / "data"

    @property
    def database_path(self) -> Path:
        """The SQLite file, which is not used if `store.url` is set."""
        return self.data_directory / "moongate.db"

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
