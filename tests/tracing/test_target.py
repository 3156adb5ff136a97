"""Where traces go: by the settings, and by the standard variables where the settings say nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway import config
from gateway.assembly.checks import check_settings
from gateway.assembly.secret_values import collect_secrets
from gateway.errors import ConfigError
from gateway.tracing import target
from gateway.tracing.target import Target, find_target


def load(home: Path, **tracing: Any) -> config.Config:
    home.mkdir(exist_ok=True)
    agents = {"list": [{"id": "main", "backend": "echo"}]}
    (home / "config.json").write_text(json.dumps({"agents": agents, "tracing": {"enabled": True, **tracing}}))
    return config.load({"MOONGATE_HOME": str(home), "TZ": "UTC"})


def test_without_any_word_traces_go_to_a_collector_on_this_machine(tmp_path: Path) -> None:
    assert find_target(load(tmp_path), {}) == Target(
        traces_url="http://localhost:4318/v1/traces",
        metrics_url="http://localhost:4318/v1/metrics",
        headers={},
        timeout=10.0,
        compression="none",
        certificate=None,
        client_certificate=None,
        client_key=None,
        service_name="moongate",
        resource={},
        ratio=1.0,
    )


@pytest.mark.parametrize(
    ("settings", "variables", "traces", "metrics"),
    [
        ({"endpoint": "https://c.example/otlp/"}, {}, "https://c.example/otlp/v1/traces", "https://c.example/otlp/v1/metrics"),
        ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1"}, "http://c:1/v1/traces", "http://c:1/v1/metrics"),
        (
            {},
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://d/own"},
            "http://d/own",
            "http://c:1/v1/metrics",
        ),
        (
            {"endpoint": "http://mine"},
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://d/own"},
            "http://mine/v1/traces",
            "http://mine/v1/metrics",
        ),
    ],
)  # fmt: skip
def test_a_setting_comes_before_a_variable_and_a_variable_of_one_signal_before_that_of_all(
    tmp_path: Path, settings: dict[str, str], variables: dict[str, str], traces: str, metrics: str
) -> None:
    found = find_target(load(tmp_path, **settings), variables)

    assert (found.traces_url, found.metrics_url) == (traces, metrics)


@pytest.mark.parametrize(
    ("settings", "variables", "ratio"),
    [
        ({"sampling": 0.25}, {"OTEL_TRACES_SAMPLER": "always_off"}, 0.25),
        ({}, {"OTEL_TRACES_SAMPLER": "always_off"}, 0.0),
        ({}, {"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, 0.0),
        ({}, {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}, 0.5),
        ({}, {"OTEL_TRACES_SAMPLER": "jaeger_remote", "OTEL_TRACES_SAMPLER_ARG": "endpoint=x"}, 1.0),
    ],
)
def test_the_share_of_traces_is_that_of_the_setting_or_of_the_standard_sampler(
    tmp_path: Path, settings: dict[str, float], variables: dict[str, str], ratio: float
) -> None:
    assert find_target(load(tmp_path, **settings), variables).ratio == ratio


@pytest.mark.parametrize(
    ("settings", "variables", "message"),
    [
        ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}, "tracing.endpoint: 'collector:4317/v1/traces' is not"),
        ({}, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "sends http/protobuf only"),
        ({}, {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, "2 is not between 0 and 1"),
        ({}, {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "x"}, "'x' is not a number"),
        ({}, {"OTEL_EXPORTER_OTLP_TIMEOUT": "0"}, "not more than 0"),
        ({}, {"OTEL_EXPORTER_OTLP_COMPRESSION": "brotli"}, "'brotli' is not gzip, deflate or none"),
        ({}, {"OTEL_EXPORTER_OTLP_HEADERS": "secret"}, "OTEL_EXPORTER_OTLP_HEADERS: 6 characters of it"),
        (
            {},
            {"OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere.pem"},
            "OTEL_EXPORTER_OTLP_CERTIFICATE: cannot read /nowhere",
        ),
        ({"headers": {"a b": "c"}}, {}, "tracing.headers: 'a b' is not a header field"),
        ({"headers": {"a": "c\r\nd: e"}}, {}, "tracing.headers: 'a' is not a header field, or its value"),
        ({"headers_file": "/nowhere/headers"}, {}, "tracing.headers_file: cannot read /nowhere/headers"),
    ],
)
def test_what_is_wrong_is_named_and_no_secret_is_repeated(
    tmp_path: Path, settings: dict[str, Any], variables: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        find_target(load(tmp_path, **settings), variables)

    assert message in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_check_of_the_config_says_that_the_extra_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "_is_installed", lambda name: False)

    with pytest.raises(ConfigError) as raised:
        check_settings(load(tmp_path), {})

    assert raised.value.exit_code == 78
    assert "tracing.enabled: traces need the package opentelemetry-sdk, which is not installed" in str(raised.value)
    assert "pip install 'moongate[otel]'" in str(raised.value)


def test_variables_alone_switch_nothing_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "_is_installed", lambda name: False)
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "grpc://nonsense", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}

    assert [agent.id for agent in check_settings(load(tmp_path, enabled=False), variables)] == ["main"]


def test_the_standard_switch_turns_off_what_the_settings_turned_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "_is_installed", lambda name: False)

    assert check_settings(load(tmp_path), {"OTEL_SDK_DISABLED": "true"})


def test_headers_are_secrets_that_no_log_shows(tmp_path: Path) -> None:
    settings = load(tmp_path, headers={"Authorization": "Bearer key-of-the-collector"})

    assert "Bearer key-of-the-collector" in collect_secrets(settings, [], {})
