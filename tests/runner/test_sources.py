"""Models by purpose: in code, in the environment, in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.runner import ModelConfig, ModelSource, ModelSourceType

CODE_MODEL = ModelConfig("http://localhost:1/v1", "sk-1", "m", 0.3, 4096)


def test_a_model_is_set_for_a_purpose() -> None:
    source = ModelSource()
    source.set_model(ModelSourceType.CODE, "http://localhost:1/v1", "sk-1", "m", temperature=0.3, max_tokens=4096)

    assert source.get_model(ModelSourceType.CODE) == CODE_MODEL
    assert (source.has_model("code"), source.has_model("write")) == (True, False)
    assert source.get_model("write") == CODE_MODEL
    assert ModelSource().get_model("write") is None


def test_a_purpose_without_a_model_has_the_default_one() -> None:
    source = ModelSource.from_dict({"DEFAULT": {"baseurl": "http://localhost:1/v1", "apikey": "k", "model": "d"}})

    assert source.get_model(ModelSourceType.PLAN) == ModelConfig("http://localhost:1/v1", "k", "d")
    assert not source.has_model(ModelSourceType.PLAN)


def test_v1_is_added_to_a_server_without_a_path() -> None:
    source = ModelSource.from_dict({"code": {"baseurl": "http://localhost:1/", "apikey": "k", "model": "m"}})

    assert source.models[ModelSourceType.CODE].baseurl == "http://localhost:1/v1"


def test_models_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        "# models\nMODEL_CODE_BASEURL=http://localhost:1/v1\nMODEL_CODE_APIKEY='sk-1'\nMODEL_CODE_MODEL=m\n"
        "MODEL_CODE_TEMPERATURE=0.3\nMODEL_CODE_MAX_TOKENS=4096\nOTHER=1\n"
    )

    assert dict(ModelSource.from_env_file(file).models) == {ModelSourceType.CODE: CODE_MODEL}


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ModelSource.from_env_file(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"MODEL_CODE_MODEL": "m"}, "MODEL_CODE_BASEURL is missing"),
        ({"MODEL_CODE_BASEURL": "http://localhost"}, "MODEL_CODE_MODEL is missing"),
        ({"MODEL_CODE_BASEURL": "localhost", "MODEL_CODE_MODEL": "m"}, "baseurl must be"),
        ({"MODEL_CODE_BASEURL": "http://h", "MODEL_CODE_MODEL": "m", "MODEL_CODE_TEMPERATURE": "hot"}, "TEMPERATURE"),
        ({"MODEL_CODE_BASEURL": "http://h", "MODEL_CODE_MODEL": "m", "MODEL_CODE_TEMPERATURE": "3"}, "temperature"),
        ({"MODEL_CODE_BASEURL": "http://h", "MODEL_CODE_MODEL": "m", "MODEL_CODE_MAX_TOKENS": "0"}, "max_tokens"),
    ],
)
def test_a_value_that_is_not_valid_is_named(given: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ModelSource.from_env(given)


@pytest.mark.parametrize("data", [{"sing": {}}, {"code": {"url": "x"}}, {"code": {"baseurl": "http://h"}}])
def test_an_unknown_purpose_or_field_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        ModelSource.from_dict(data)
