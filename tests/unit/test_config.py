from pathlib import Path

import pytest
from pydantic import SecretStr

from dockwright.config import ALIASES, Config, DeliverySettings, Limits, ModelSettings, SandboxSettings
from dockwright.errors import ConfigError


def _file(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_file_everything_has_its_default(tmp_path: Path) -> None:
    assert Config.load(tmp_path / "none.toml") == Config()
    assert Config.load() == Config()


def test_the_file_sets_what_it_names(tmp_path: Path) -> None:
    text = """
        search = "ddgs"
        [model]
        name = "opus"
        effort = "high"
        headers = {x-team = "db"}
        [limits]
        turns = 40
        money_usd = 2.5
        [sandbox]
        memory = "512m"
        network = ["pkg.example", "10.0.0.1:443"]
        [deliver]
        trailers = false
    """
    assert Config.load(_file(tmp_path, text)) == Config(
        model=ModelSettings(name="opus", effort="high", headers={"x-team": "db"}),
        limits=Limits(turns=40, money_usd=2.5),
        sandbox=SandboxSettings(memory=512 << 20, network=("pkg.example", "10.0.0.1:443")),
        deliver=DeliverySettings(trailers=""),
        search="ddgs",
    )


def test_flags_win_over_the_file_and_absent_flags_do_not(tmp_path: Path) -> None:
    path = _file(tmp_path, "[limits]\nturns = 40\nseconds = 60\n")
    flags = {"limits.turns": 3, "limits.seconds": None, "model.name": "haiku"}
    assert Config.load(path, flags) == Config(limits=Limits(turns=3, seconds=60.0), model=ModelSettings(name="haiku"))


def test_each_unknown_key_and_bad_value_is_named_at_once(tmp_path: Path) -> None:
    path = _file(
        tmp_path, '[modle]\n[limits]\nturn = 1\nseconds = 0\n[sandbox]\nmemory = "4q"\n[deliver]\ntrailers = true\n'
    )
    with pytest.raises(ConfigError) as caught:
        Config.load(path)
    assert str(caught.value).splitlines() == [
        f"The settings of {path} cannot be used:",
        "  limits.seconds: Input should be greater than 0",
        "  limits.turn: there is no such key. Did you mean turns?",
        '  sandbox.memory: Value error, write a size as "512m" or "4g"',
        '  deliver.trailers: Value error, write lines as "Name: text", or false for none',
        "  modle: there is no such key. Did you mean model?",
    ]


def test_a_bad_flag_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"settings of the flags cannot be used:\n  limits.turns: .* greater than 0"):
        Config.load(_file(tmp_path, ""), {"limits.turns": 0})


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.toml cannot be read as TOML: "):
        Config.load(_file(tmp_path, "[model"))


def test_a_key_in_the_file_is_refused_without_showing_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="put the key into the environment variable ANTHROPIC_API_KEY") as caught:
        Config.load(_file(tmp_path, '[model]\napi_key = "sk-secret"\n'))
    assert "sk-secret" not in str(caught.value)


def test_keys_do_not_show_in_a_printed_configuration() -> None:
    assert "sk-secret" not in repr(ModelSettings.from_environment({"ANTHROPIC_API_KEY": "sk-secret"}))


def test_the_environment_is_understood_in_the_words_of_claude_code() -> None:
    env = {
        "ANTHROPIC_API_KEY": "k",
        "ANTHROPIC_AUTH_TOKEN": "t",
        "ANTHROPIC_BASE_URL": "http://localhost:8080",
        "ANTHROPIC_MODEL": "qwen",
        "ANTHROPIC_CUSTOM_HEADERS": "X-One: 1\nbroken\nX-Two: a:b",
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": "small",
        "SSL_CERT_FILE": "/etc/ca.pem",
    }
    assert ModelSettings.from_environment(env) == ModelSettings(
        name="qwen",
        base_url="http://localhost:8080",
        api_key=SecretStr("k"),
        auth_token=SecretStr("t"),
        headers={"X-One": "1", "X-Two": "a:b"},
        aliases={"haiku": "small"},
        ca_file=Path("/etc/ca.pem"),
    )


def test_an_empty_environment_changes_nothing_of_the_file() -> None:
    base = ModelSettings(name="opus", base_url="https://proxy.example", headers={"a": "b"}, aliases={"opus": "x"})
    assert ModelSettings.from_environment({}, base) == base


def test_the_variable_that_holds_the_key_can_be_named() -> None:
    base = ModelSettings(api_key_env="TEAM_KEY")
    assert ModelSettings.from_environment({"TEAM_KEY": "k", "ANTHROPIC_API_KEY": "x"}, base).api_key == SecretStr("k")


@pytest.mark.parametrize(
    ("env", "settings"),
    [
        (
            {"CLAUDE_CODE_USE_BEDROCK": "1", "AWS_REGION": "eu-west-1", "ANTHROPIC_API_KEY": "not for bedrock"},
            ModelSettings(provider="bedrock", region="eu-west-1"),
        ),
        (
            {"CLAUDE_CODE_USE_BEDROCK": "true", "AWS_DEFAULT_REGION": "r", "AWS_BEARER_TOKEN_BEDROCK": "b"},
            ModelSettings(provider="bedrock", region="r", api_key=SecretStr("b")),
        ),
        (
            {"CLAUDE_CODE_USE_VERTEX": "1", "CLOUD_ML_REGION": "global", "ANTHROPIC_VERTEX_PROJECT_ID": "p"},
            ModelSettings(provider="vertex", region="global", project="p"),
        ),
        ({"CLAUDE_CODE_USE_VERTEX": "0"}, ModelSettings()),
    ],
)
def test_the_clouds_are_chosen_as_in_claude_code(env: dict[str, str], settings: ModelSettings) -> None:
    assert ModelSettings.from_environment(env) == settings


@pytest.mark.parametrize(
    ("env", "url", "proxy"),
    [
        ({"HTTPS_PROXY": "http://p:1"}, None, "http://p:1"),
        ({"https_proxy": "http://p:1", "HTTPS_PROXY": "http://q:1"}, None, "http://p:1"),
        ({"ALL_PROXY": "http://p:1"}, None, "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, None, None),
        ({"HTTP_PROXY": "http://p:1"}, "http://models.example:8080", "http://p:1"),
        ({"ALL_PROXY": "http://p:1"}, "http://127.0.0.1:8080", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "a.b, .anthropic.com"}, None, None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "notanthropic.com"}, None, "http://p:1"),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "*"}, None, None),
    ],
)
def test_the_proxy_is_the_one_the_environment_has_for_the_api(
    env: dict[str, str], url: str | None, proxy: str | None
) -> None:
    assert ModelSettings.from_environment(env, ModelSettings(base_url=url)).proxy == proxy


@pytest.mark.parametrize(
    ("wanted", "model"),
    [
        (None, "claude-opus-5-5"),
        ("", "claude-opus-5-5"),
        ("inherit", "claude-opus-5-5"),
        ("sonnet", ALIASES["sonnet"]),
        ("haiku", "small"),
        ("some-id", "some-id"),
    ],
)
def test_a_wanted_model_is_an_alias_an_id_or_inherited(wanted: str | None, model: str) -> None:
    assert ModelSettings(name="opus", aliases={"haiku": "small"}).model_id(wanted) == model


def test_an_alias_is_no_id_on_the_clouds_unless_it_was_given_one() -> None:
    with pytest.raises(
        ConfigError, match=r'alias "opus" has no known model id on bedrock.*ANTHROPIC_DEFAULT_OPUS_MODEL'
    ):
        ModelSettings(provider="bedrock", name="opus").model_id()
    assert ModelSettings(provider="bedrock", name="opus", aliases={"opus": "id"}).model_id() == "id"
