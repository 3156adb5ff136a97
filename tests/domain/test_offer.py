"""What an agent offers: which models are certainly wrong, and which are near."""

from __future__ import annotations

import pytest

from gateway.domain.offer import MAX_CHOICE_CHARACTERS, MAX_CHOICES, Offer, OfferedChoice, OtherModels, make_choices


def offer(other: OtherModels, **models: str) -> Offer:
    choices = tuple(OfferedChoice(id=id_, name=name) for id_, name in models.items())
    return Offer(models=choices, other_models=other)


@pytest.mark.parametrize(
    ("other", "model", "takes"),
    [
        (OtherModels.NONE, "sonnet", True),
        (OtherModels.NONE, "Sonnet 5.5", True),
        (OtherModels.NONE, "SONNET", True),
        (OtherModels.NONE, "sonnet/high", True),
        (OtherModels.NONE, "Sonnet 5.5/high", False),
        (OtherModels.NONE, "sonnet-5", False),
        (OtherModels.NONE, "sonet", False),
        (OtherModels.SIMILAR, "claude-sonnet-5-5", True),
        (OtherModels.SIMILAR, "opus[1m]", True),
        (OtherModels.SIMILAR, "opusplan", True),
        (OtherModels.SIMILAR, "gpt-5", False),
        (OtherModels.ANY, "gpt-5", True),
    ],
)
def test_a_model_is_wrong_only_if_the_agent_certainly_does_not_take_it(
    other: OtherModels, model: str, takes: bool
) -> None:
    assert offer(other, sonnet="Sonnet 5.5", opus="Opus 5.5").takes_model(model) is takes


def test_no_model_is_wrong_for_an_agent_that_has_told_none() -> None:
    assert Offer(other_models=OtherModels.NONE).takes_model("anything")


def test_the_models_that_are_spelled_alike_come_first_and_else_the_first_ones() -> None:
    given = offer(OtherModels.NONE, sonnet="S", opus="O")

    assert given.find_near_models("sonet") == ["sonnet"]
    assert given.find_near_models("xyz") == ["sonnet", "opus"]


def test_choices_are_bounded_in_number_and_length() -> None:
    few, all_of_few = make_choices([("a", "n" * 1_000)])
    many, all_of_many = make_choices((str(number), "n") for number in range(MAX_CHOICES + 1))
    long, all_of_long = make_choices([("i" * (MAX_CHOICE_CHARACTERS + 1), "n")])

    assert (len(few[0].name), all_of_few) == (MAX_CHOICE_CHARACTERS, True)
    assert (len(many), all_of_many) == (MAX_CHOICES, False)
    assert (long, all_of_long) == ((), False)
