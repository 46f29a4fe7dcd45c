"""Who must sign in, and who may enter; the pages themselves are tried in tests/e2e/test_security.py."""

import pytest
import streamlit as st
from streamlit import config
from streamlit.runtime.secrets import Secrets

from dqf.ui.shell import login

AUTH = '[auth]\nredirect_uri = "http://x/oauth2callback"\n'


@pytest.fixture
def secrets(tmp_path, monkeypatch):
    """Return a function that writes the secrets file."""
    before = config.get_option("secrets.files")
    path = tmp_path / "secrets.toml"
    config.set_option("secrets.files", [str(path)])
    monkeypatch.delenv("DQF_USERS", raising=False)
    monkeypatch.setattr(st, "secrets", Secrets())
    yield path.write_text
    config.set_option("secrets.files", before)


def test_without_secrets_nobody_must_sign_in(secrets):
    assert not login.required()


@pytest.mark.parametrize(("content", "expected"), [("a = 1\n", False), (AUTH, True), ("[auth\nbroken", True)])
def test_secrets_decide_and_broken_ones_lock(secrets, content, expected):
    secrets(content)
    assert login.required() is expected


@pytest.mark.parametrize("content", [None, "a = 1\n"])
def test_named_users_lock_even_where_auth_was_forgotten(secrets, content, monkeypatch):
    if content:
        secrets(content)
    monkeypatch.setenv("DQF_USERS", "ada@example.org")
    assert login.required()


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ({}, False),
        ({"is_logged_in": "yes", "email": "ada@example.org"}, False),
        ({"is_logged_in": True, "email": "Ada@Example.org"}, True),
        ({"is_logged_in": True, "email": "ada@example.org", "email_verified": False}, False),
        ({"is_logged_in": True, "email": "ada@example.org.evil.org"}, False),
        ({"is_logged_in": True}, False),
    ],
)
def test_only_named_and_verified_people_enter(monkeypatch, user, expected):
    monkeypatch.setenv("DQF_USERS", "bob@example.org, ada@example.org")
    assert login.may_enter(user) is expected
    monkeypatch.delenv("DQF_USERS")
    assert login.may_enter(user) is (user.get("is_logged_in") is True)
