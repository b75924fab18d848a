"""Codes and messages: both languages say everything."""

import importlib
import pkgutil
import re
from string import Formatter

import pytest

import cloudslice.api
from cloudslice.api.entry import _CHINESE_FAULTS
from cloudslice.api.errors import ApiError, Code, Language, Phrase, missing_parameter, out_of_range
from cloudslice.identity.user_sig import Fault


def all_phrases() -> dict[str, Phrase]:
    modules = [
        importlib.import_module(f"cloudslice.api.{module.name}")
        for module in pkgutil.iter_modules(cloudslice.api.__path__)
    ]
    return {
        f"{module.__name__}.{name}": value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, Phrase)
    }


def fields_of(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name is not None}


@pytest.mark.parametrize("phrase", [pytest.param(p, id=n) for n, p in all_phrases().items()])
def test_both_languages_have_the_same_fields(phrase: Phrase) -> None:
    assert fields_of(phrase.en) == fields_of(phrase.zh)
    assert re.search("[\u4e00-\u9fff]", phrase.zh)


def test_every_fault_of_a_token_is_described_in_chinese() -> None:
    assert _CHINESE_FAULTS.keys() == set(Fault)


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("zh-CN", Language.CHINESE),
        ("en-US", Language.ENGLISH),
        ("", Language.ENGLISH),
        ("fr-FR", Language.ENGLISH),
    ],
)
def test_english_is_spoken_unless_chinese_is_asked_for(name: str, language: Language) -> None:
    assert Language.of(name) is language


def test_a_phrase_within_a_phrase_is_in_the_same_language() -> None:
    error = out_of_range("X", Phrase("small", "小"))
    assert error.message(Language.ENGLISH) == (
        "The value of parameter `X` is out of range: it must be small."
    )
    assert error.message(Language.CHINESE) == "参数 `X` 的值超出范围：应为小。"


def test_what_fills_a_phrase_is_not_a_phrase() -> None:
    """Braces in what the caller sent stay braces."""
    error = missing_parameter("{name}{0}")
    assert error.message(Language.ENGLISH).endswith("`{name}{0}`.")


def test_an_error_reads_well_in_a_log() -> None:
    error = ApiError(Code.INVALID_ACTION, Phrase("No {action}.", "没有 {action}。"), action="A")
    assert "InvalidAction" in str(error)
    assert "No A." in str(error)
