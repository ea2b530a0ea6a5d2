"""What the tables of OAuth2 may say: every mistake at once, and no part of a value in any of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from archiver.config.load import load_account
from archiver.config.references import HOW_TO_REFER, KeyFile, SecretReference, TokenPlace
from archiver.errors import ConfigError

_START = """
[source]
host = "imap.example.org"
user = "alice@example.org"
"""
_END = """
[archive]
path = "/srv/mail/{account}"
"""
MICROSOFT = 'provider = "microsoft"\nclient_id = "app"\n'
TOKEN = 'token = { file = "tokens/{account}" }\n'


def write(folder: Path, table: str, *, auth: str = 'auth = "oauth2"\n', more: str = "") -> Path:
    file = folder / "alice.toml"
    file.write_text(f"{_START}{auth}[source.oauth2]\n{table}{_END}{more}")
    return file


def problems(folder: Path, table: str, *, auth: str = 'auth = "oauth2"\n', more: str = "") -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load_account(write(folder, table, auth=auth, more=more))
    return [problem.removeprefix("source.") for problem in raised.value.problems]


class TestATable:
    def test_with_a_provider_needs_little(self, tmp_path: Path) -> None:
        source = load_account(write(tmp_path, MICROSOFT + TOKEN)).source
        assert source.oauth2 is not None
        assert (source.auth, source.password, source.oauth2.flow, source.oauth2.token) == (
            "oauth2", None, "device", TokenPlace("file", str(tmp_path / "tokens" / "alice")),
        )  # fmt: skip

    def test_of_a_whole_tenant(self, tmp_path: Path) -> None:
        table = (
            MICROSOFT + 'tenant = "contoso.example"\nflow = "client_credentials"\nclient_secret = { file = "s" }\n'
        )
        found = load_account(write(tmp_path, table)).source.oauth2
        assert found is not None
        assert (found.client_secret, found.token) == (SecretReference("file", str(tmp_path / "s")), None)

    def test_of_a_whole_domain(self, tmp_path: Path) -> None:
        table = 'provider = "google"\nflow = "service_account"\nservice_account = { file = "sa.json" }\n'
        found = load_account(write(tmp_path, table)).source.oauth2
        assert found is not None
        assert (found.service_account, found.client_id) == (KeyFile(tmp_path / "sa.json"), None)

    def test_with_endpoints_needs_no_provider(self, tmp_path: Path) -> None:
        table = (
            'client_id = "app"\ntoken_url = "http://[::1]:8080/token"\ndevice_url = "https://login.example.org/d"\n'
        )
        assert load_account(write(tmp_path, table + TOKEN + 'scopes = ["mail"]\n')).source.oauth2

    def test_a_reference_of_the_account_replaces_the_one_in_the_defaults(self, tmp_path: Path) -> None:
        (tmp_path / "defaults.toml").write_text('[source.oauth2]\ntoken = { keyring = "mail" }\n')
        found = load_account(write(tmp_path, MICROSOFT + TOKEN)).source.oauth2
        assert found is not None
        assert found.token == TokenPlace("file", str(tmp_path / "tokens" / "alice"))


class TestMistakes:
    def test_are_reported_all_at_once(self, tmp_path: Path) -> None:
        table = 'provider = "google"\ntenant = "x"\nclient_secret = "s3cret"\ntoken_url = "http://example.org/t"\n'
        assert problems(tmp_path, table + "scope = 1\n") == [
            'oauth2.tenant: goes with provider = "microsoft" alone',
            'oauth2.flow: must be "browser" or "service_account": Google gives no access to mail by a device code',
            "oauth2.client_id: is missing; write the ID of the app that you registered with the provider",
            'oauth2.token: is missing; write token = { file = "tokens/{account}" }',
            f"oauth2.client_secret: is not a reference; {HOW_TO_REFER}",
            'oauth2.token_url: must begin with "https://", since secrets are sent there; http only on this machine',
            'oauth2.scope: is not a key; did you mean "scopes"?',
        ]

    @pytest.mark.parametrize(
        "url",
        ["http://192.0.2.1/token", "ftp://login.example.org", "https://", "https://u:s3cret@h/t",
         "https://h/ s3cret", "https://h/#s3cret", "https://h:s3cret/"],
    )  # fmt: skip
    def test_an_address_that_is_none_or_not_safe(self, tmp_path: Path, url: str) -> None:
        (line,) = problems(tmp_path, f'{MICROSOFT}{TOKEN}token_url = "{url}"\n')
        assert line.startswith("oauth2.token_url: must be")
        assert "s3cret" not in line

    @pytest.mark.parametrize("tenant", [None, "common", "organizations", "consumers"])
    def test_a_secret_for_no_tenant_in_particular(self, tmp_path: Path, tenant: str | None) -> None:
        table = MICROSOFT + 'flow = "client_credentials"\nclient_secret = { env = "S" }\n'
        table += f'tenant = "{tenant}"\n' if tenant else ""
        assert problems(tmp_path, table) == [
            'oauth2.tenant: must name the one tenant, as in tenant = "contoso.onmicrosoft.com"'
        ]

    @pytest.mark.parametrize(
        ("flow", "missing"), [("device", "device_url"), ("browser", "authorization_url"), ("refresh_token", None)]
    )
    def test_endpoints_that_nobody_knows(self, tmp_path: Path, flow: str, missing: str | None) -> None:
        found = problems(tmp_path, f'client_id = "app"\nflow = "{flow}"\n{TOKEN}')
        keys = [line.split(":")[0].removeprefix("oauth2.") for line in found]
        assert keys == ["token_url", *([missing, "scopes"] if missing else [])]

    @pytest.mark.parametrize(
        "table", ['flow = "service_account"\n' + MICROSOFT, 'service_account = { file = "x" }\n']
    )
    def test_a_service_account_elsewhere(self, tmp_path: Path, table: str) -> None:
        table = table if "provider" in table else table + MICROSOFT + TOKEN
        assert any("service_account" in line for line in problems(tmp_path, table))

    def test_a_token_and_a_password(self, tmp_path: Path) -> None:
        both = 'auth = "oauth2"\npassword = { env = "P" }\n'
        assert problems(tmp_path, MICROSOFT + TOKEN, auth=both) == [
            'password: contradicts auth = "oauth2", which sends a token; remove one of them'
        ]

    def test_a_table_without_auth(self, tmp_path: Path) -> None:
        assert problems(tmp_path, MICROSOFT + TOKEN, auth="") == [
            'auth: is missing; write auth = "oauth2", or remove the table oauth2'
        ]

    def test_auth_without_a_table(self, tmp_path: Path) -> None:
        (tmp_path / "alice.toml").write_text(f'{_START}auth = "oauth2"\n{_END}')
        with pytest.raises(ConfigError, match=r"source\.oauth2: is missing; write the table with provider"):
            load_account(tmp_path / "alice.toml")

    @pytest.mark.parametrize(
        "place", ['"tokens"', "{}", '{ env = "T" }', '{ file = "t", keyring = "s" }', '{ file = "" }']
    )
    def test_a_place_that_keeps_no_token(self, tmp_path: Path, place: str) -> None:
        (line,) = problems(tmp_path, f"{MICROSOFT}token = {place}\n")
        assert line.startswith("oauth2.token: must ")

    def test_one_place_for_the_tokens_of_both_sides(self, tmp_path: Path) -> None:
        there = '[destination]\nhost = "imap.example.net"\nuser = "alice"\nauth = "oauth2"\n[destination.oauth2]\n'
        assert problems(tmp_path, MICROSOFT + TOKEN, more=there + MICROSOFT + TOKEN) == [
            (
                "destination.oauth2.token: is where [source] keeps its token; give each its own, as in "
                '{ file = "tokens/{account}.new" }'
            )
        ]
