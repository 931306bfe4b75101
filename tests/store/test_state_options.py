"""Table [state] of survey.toml: URLs, passwords, and that a password appears nowhere."""

import logging
import traceback

import pytest

from mpidriver.drivers.config import config_text, load_config
from mpidriver.errors import ConfigError, MpidriverError, RepositoryError
from mpidriver.store import MongoState, Repository, SqliteState, StateOptions, open_state
from mpidriver.store._state._options import MongoUrl, read_password

SECRET = "s3cret-päss:w/rd@"


def config(tmp_path, *lines):
    path = tmp_path / "survey.toml"
    path.write_text("\n".join(["[state]", *lines]), encoding="utf-8")
    return path


def password_file(tmp_path, mode, text=SECRET + "\n"):
    path = tmp_path / "password"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def test_without_a_url_the_state_is_sqlite(tmp_path):
    with open_state(Repository.create(tmp_path, config='[state]\nurl = ""\n')) as state:
        assert isinstance(state, SqliteState)


@pytest.mark.parametrize(
    ("url", "place", "user"),
    [
        ("mongodb://me@h/survey", "mongodb://h/survey", "me"),
        ("mongodb://h1:27018,h2/survey?replicaSet=rs0", "mongodb://h1:27018,h2/survey", ""),
        ("mongodb+srv://a%40b@cluster.example.org/x?authSource=admin", "mongodb+srv://cluster.example.org/x", "a%40b"),
        ("mongodb://[::1]:27017/survey", "mongodb://[::1]:27017/survey", ""),
    ],
)
def test_urls_are_taken_apart(url, place, user):
    read = MongoUrl.read(url)
    assert (read.place, read.user) == (place, user)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        (f"mongodb://me:{SECRET}@h/db", "url holds a password"),
        (f"mongodb://me@h/db?tls=true&tlsCertificateKeyFilePassword={SECRET}", "url holds a password"),
        (f"mongodb://me@h/db?authMechanismProperties=AWS_SESSION_TOKEN:{SECRET}", "url holds a password"),
        (f"postgres://me:{SECRET}@h/db", "url must begin with mongodb://"),
        ("mongodb://me@h", "url names no"),
        ("mongodb://me@h/", "url names no database"),
    ],
)
def test_a_url_with_a_password_or_of_another_form_is_refused_and_not_shown(tmp_path, url, complaint):
    path = config(tmp_path, f'url = "{url}"')
    for read in (lambda: load_config(path), lambda: open_state(Repository(tmp_path))):
        with pytest.raises(ConfigError, match=rf"survey\.toml \[state\]: {complaint}") as raised:
            read()
        shown = "".join(traceback.format_exception(raised.value))
        assert SECRET not in shown


def test_the_password_comes_from_a_file_of_mode_600_or_from_the_environment(tmp_path, monkeypatch):
    options = StateOptions(url="mongodb://me@h/db", password_file="password", password_env="SURVEY_PASSWORD")
    monkeypatch.setenv("SURVEY_PASSWORD", "other")
    password_file(tmp_path, 0o600)
    assert read_password(options, tmp_path) == SECRET
    assert read_password(StateOptions(url=options.url, password_env="SURVEY_PASSWORD"), tmp_path) == "other"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o700])
def test_a_password_file_of_another_mode_is_refused(tmp_path, mode):
    path = password_file(tmp_path, mode)
    with pytest.raises(ConfigError, match=rf"password_file {path}: has mode {mode:o}, .*; chmod 600 {path}"):
        read_password(StateOptions(url="mongodb://me@h/db", password_file="password"), tmp_path)


def test_a_missing_or_empty_password_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("MPIDRIVER_MONGO_PASSWORD", raising=False)
    with pytest.raises(ConfigError, match="set the environment variable MPIDRIVER_MONGO_PASSWORD, or name a file"):
        read_password(StateOptions(url="mongodb://me@h/db"), tmp_path)
    absent = StateOptions(url="mongodb://me@h/db", password_file="absent")
    with pytest.raises(ConfigError, match="absent: cannot be read: No such file"):
        read_password(absent, tmp_path)
    password_file(tmp_path, 0o600, "\n")
    with pytest.raises(ConfigError, match="its first line must be the password"):
        read_password(StateOptions(url="mongodb://me@h/db", password_file="password"), tmp_path)


def unreachable(url, tmp_path):
    """Open a database whose user has a password, and return the error with all that it prints."""
    password_file(tmp_path, 0o600)
    options = StateOptions(url=url, password_file="password")
    with pytest.raises(MpidriverError) as raised:
        MongoState(options, tmp_path)
    return raised.value, "".join(traceback.format_exception(raised.value)) + repr(raised.value) + repr(options)


def test_the_password_is_not_in_what_errors_and_logs_show(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    away, shown = unreachable("mongodb://me@127.0.0.1:9/db?serverSelectionTimeoutMS=50", tmp_path)
    assert isinstance(away, RepositoryError)
    assert "mongodb://127.0.0.1:9/db: the database does not answer" in str(away)
    wrong, more = unreachable("mongodb://me@h/db?authMechanism=NONE", tmp_path)
    assert isinstance(wrong, ConfigError)
    for text in (shown, more, caplog.text):
        assert SECRET not in text
        assert SECRET[:6] not in text


def test_the_configuration_shows_where_the_password_is_and_not_what_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("MPIDRIVER_MONGO_PASSWORD", SECRET)
    text = config_text(load_config(config(tmp_path, 'url = "mongodb://me@h/db"')))
    assert 'password_env = "MPIDRIVER_MONGO_PASSWORD"' in text
    assert SECRET not in text
