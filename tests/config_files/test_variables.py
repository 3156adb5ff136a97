"""`${NAME}` in the texts of a config file."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config_files.variables import has_variable, substitute_variables
from gateway.errors import ConfigError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("${A}", "one"),
        ("x${A}y${B_2}z", "xoneytwoz"),
        ("$${A}", "${A}"),
        ("$A ${A:-x} ${1} ${} {A} $$", "$A ${A:-x} ${1} ${} {A} $$"),
        ({"${A}": ["${A}", {"deep": "${B_2}"}, 1, None]}, {"${A}": ["one", {"deep": "two"}, 1, None]}),
        ("${NESTED}", "${A}"),
    ],
)
def test_texts_get_the_values_of_the_variables_that_they_name(value: Any, expected: Any) -> None:
    assert substitute_variables(value, {"A": "one", "B_2": "two", "NESTED": "${A}"}, "c") == expected


@pytest.mark.parametrize("known", [{}, {"A": ""}])
def test_a_variable_that_is_not_set_is_an_error_that_names_it_and_its_place(known: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"c: agents\.list\[1\]\.model: the variable A is not set"):
        substitute_variables({"agents": {"list": [{}, {"model": "${A}"}]}}, known, "c")


def test_an_escaped_name_is_no_variable() -> None:
    assert has_variable("x${A}")
    assert not has_variable("$${A} ${A:-x}")
