"""Table [state] of survey.toml: where the state of a survey is kept, and how the password of a server is found."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mpidriver.errors import ConfigError
from mpidriver.options import from_mapping, option, read_toml

__all__ = ["MongoUrl", "StateOptions", "read_password", "read_state_options"]

_SCHEMES = ("mongodb", "mongodb+srv")
_WITHOUT_PASSWORD = ("mongodb-x509", "mongodb-aws", "mongodb-oidc")
_FORM = "expected mongodb://user@host/database"


@dataclass(frozen=True)
class StateOptions:
    """Where the state of a survey is kept."""

    url: str = option(
        "", "MongoDB database, as mongodb://user@host/database?authSource=admin; empty: state.sqlite in the repository"
    )
    password_env: str = option("MPIDRIVER_MONGO_PASSWORD", "environment variable with the password of the url's user")
    password_file: str = option(
        "", "file with the password instead, of mode 600; a relative path starts from the repository"
    )
    tls: bool = option(False, "encrypt the connection")
    tls_ca_file: str = option("", "certificates that the server's is checked against; empty: those of the system")
    tls_certificate_key_file: str = option("", "certificate and key that this client shows; empty: none")
    patience_s: float = option(300.0, "how long a run waits for a database that does not answer", unit="s", minimum=0.0)
    expiry_s: float = option(
        180.0,
        "after so long without a sign of life a run counts as dead, and others take over what it holds",
        unit="s",
        minimum=1.0,
    )

    def __post_init__(self) -> None:
        if self.url:
            MongoUrl.read(self.url)


@dataclass(frozen=True)
class MongoUrl:
    """What a URL of a MongoDB database says."""

    user: str
    """The user, percent-encoded as in the URL; empty if it names none."""
    place: str
    """Hosts and database, for messages: the URL without user and options."""
    database: str
    """Name of the database."""
    options: str
    """The options behind the question mark."""

    @classmethod
    def read(cls, url: str) -> "MongoUrl":
        """Take a URL apart.

        Raises
        ------
        ConfigError
            If it is of another form or holds a password. The message does not show the URL, which may hold a secret.
        """
        scheme, separator, rest = url.partition("://")
        if not separator or scheme not in _SCHEMES:
            raise ConfigError(f"url must begin with mongodb:// or mongodb+srv://; {_FORM}")
        address, _, options = rest.partition("?")
        server, _, database = address.rpartition("/")
        user, _, hosts = server.rpartition("@")
        if ":" in user or any(word in options.lower() for word in ("password", "token", "secret")):
            raise ConfigError(
                f"url holds a password; {_FORM}, and the password in the environment variable that password_env names "
                f"or in password_file"
            )
        if not hosts or not database:
            raise ConfigError(f"url names no {'database' if hosts else 'host'}; {_FORM}")
        return cls(user, f"{scheme}://{hosts}/{database}", database, options)

    @property
    def needs_password(self) -> bool:
        """Whether its user is known by a password, and not by a certificate or the machine it is on."""
        return bool(self.user) and not any(
            f"authmechanism={name}" in self.options.lower() for name in _WITHOUT_PASSWORD
        )


def read_state_options(config_path: Path) -> StateOptions:
    """Read table [state] of a survey.toml; without a file or a table all is as it is by default.

    Raises
    ------
    ConfigError
        If the file is not TOML, or a key or value of the table is wrong.
    """
    table = read_toml(config_path).get("state", {}) if config_path.exists() else {}
    where = f"{config_path} [state]"
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where}: must be a table")
    options: StateOptions = from_mapping(StateOptions, table, where)
    return options


def read_password(options: StateOptions, root: Path) -> str:
    """Return the password of the url's user.

    Parameters
    ----------
    options
        Table [state].
    root
        Folder that a relative path of the password's file starts from.

    Raises
    ------
    ConfigError
        If there is none, or others than its owner may read the file.
    """
    if options.password_file:
        path = root / Path(options.password_file).expanduser()
        try:
            with open(path, encoding="utf-8") as file:
                return _password_of(file, path)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigError(f"[state] password_file {path}: cannot be read: {reason}") from None
    password = os.environ.get(options.password_env, "")
    if not password:
        raise ConfigError(
            f"no password for {MongoUrl.read(options.url).place}: set the environment variable {options.password_env}, "
            f"or name a file of mode 600 by [state] password_file"
        )
    return password


def _password_of(file: IO[str], path: Path) -> str:
    mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    if mode not in (0o600, 0o400):
        raise ConfigError(
            f"[state] password_file {path}: has mode {mode:o}, others must not read or change it; chmod 600 {path}"
        )
    password = file.readline().rstrip("\r\n")
    if not password:
        raise ConfigError(f"[state] password_file {path}: its first line must be the password, it is empty")
    return password
