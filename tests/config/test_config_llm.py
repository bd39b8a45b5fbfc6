"""The section `llm`: the key comes from the environment and shows nowhere, a provider gives what nobody has said."""

from __future__ import annotations

from pathlib import Path

import pytest

from praxis.config.load import load
from praxis.config.save import dump, save, secret_values
from praxis.config.schema import Config, Llm
from tests.config.reading import ENVIRON, Write, problems, read

KEY = "sk-s3cret"


def test_the_key_comes_from_the_environment_or_a_file_and_stays_a_reference(write: Write, tmp_path: Path) -> None:
    file = write(f"{KEY}\n", "key")
    for environ in ({"OPENAI_API_KEY": f" {KEY}"}, {"OPENAI_API_KEY_FILE": str(file)}):
        loaded = read(write("llm: {api_key: old}\n"), environ)
        assert loaded.config.llm.api_key == KEY
        assert loaded.sources["llm.api_key"] == f"environment {next(iter(environ))}"
        assert KEY not in repr(loaded)
        assert "api_key: ${OPENAI_API_KEY}\n" in dump(loaded.config, mask_secrets=True)
        saved = tmp_path / "saved.yaml"
        save(loaded, saved)
        assert KEY not in saved.read_text()
        assert load(saved, environ=ENVIRON | environ).config.llm.api_key == KEY


def test_a_key_in_a_file_is_masked() -> None:
    config = Config(llm=Llm(api_key=KEY))
    assert KEY not in repr(config)
    assert "api_key: '***'\n" in dump(config, mask_secrets=True)
    assert list(secret_values(config)) == [KEY]
    assert "api_key: ''\n" in dump(Config(), mask_secrets=False)


def test_wrong_keys_are_told_without_the_key() -> None:
    assert problems(None, {"OPENAI_API_KEY": KEY, "OPENAI_API_KEY_FILE": "/x"}) == [
        "environment: OPENAI_API_KEY and OPENAI_API_KEY_FILE are both set; only one can be meant"
    ]
    assert problems(None, {"OPENAI_API_KEY_FILE": "/none"}) == [
        "environment OPENAI_API_KEY_FILE: /none: No such file or directory"
    ]
    assert problems(None, {"OPENAI_API_KEY": f"{KEY}\nX-Other: 1"}) == [
        "environment OPENAI_API_KEY: llm.api_key: is not accepted"
    ]


@pytest.mark.parametrize("names", [("OPENAI_MODEL",), ("LLM_MODEL",), ("LLM_MODEL", "OPENAI_MODEL")])
def test_the_model_has_two_variables(names: tuple[str, ...]) -> None:
    assert read(None, {name: name for name in names}).config.llm.model == names[0]


def test_a_provider_gives_what_nobody_has_said() -> None:
    assert [Llm(provider=name).url for name in ("openai", "ollama", "vllm", "llamacpp")] == [
        "https://api.openai.com/v1",
        "http://127.0.0.1:11434/v1",
        "http://127.0.0.1:8000/v1",
        "http://127.0.0.1:8080/v1",
    ]
    assert Llm(base_url="http://a/v1/").url == "http://a/v1"
    assert (Llm().model_name, Llm(model="x").model_name) == ("gpt-4o-mini", "x")


def test_what_is_missing() -> None:
    assert Llm(api_key="x").lacks == "llm.enabled is false"
    assert Llm(enabled=True).lacks == "llm.api_key is not set"
    assert Llm(enabled=True, provider="ollama").lacks == "llm.model is not set"
    assert Llm(enabled=True, api_key="x").lacks == ""
    assert Llm(enabled=True, base_url="http://a/v1").lacks == "", "a server of one's own may need no key"
    assert Llm(enabled=True, provider="llamacpp").lacks == ""
    assert Llm(enabled=True, provider="vllm", model="x").lacks == ""
