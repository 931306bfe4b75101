"""rclone, asked and told: what lies on a remote, and copies of it.

rclone returns 0 when a file of its list is missing and when it has copied nothing at all, so that what it returns
decides nothing here: what lies where afterwards does.

Credentials come from the environment alone, as ``RCLONE_CONFIG_<NAME>_…``; no configuration file is read, and nothing
of what they hold gets into a message.
"""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mpidriver.errors import ConfigError, StagingError

__all__ = ["Remote", "StoredFile", "copy_files", "list_files", "remote_variables", "without_secrets"]

#: What is passed on to rclone beside RCLONE_CONFIG_<NAME>_…; other RCLONE_ variables could make it print headers, and
#: with AWS_CA_BUNDLE its S3 client refuses to work at all.
_PASSED = re.compile(
    r"PATH|HOME|USER|TMPDIR|LANG|LC_\w+|(HTTPS?|NO)_PROXY|(https?|no)_proxy|SSL_CERT_(FILE|DIR)"
    r"|AWS_(?!CA_BUNDLE)\w+|RCLONE_CONFIG_\w+_\w+"
)
_REMOTE = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.+@-]*):(.*)")
#: Settings of a remote that are no secret.
_OPEN_SETTINGS = re.compile(
    r".*_(TYPE|PROVIDER|REGION|ENV_AUTH|ACL|FORCE_PATH_STYLE|STORAGE_CLASS|LOCATION_CONSTRAINT)"
)

#: rclone's own retries are few: what failed is seen and tried again here, and a dead server is soon known to be dead.
_CAUTION = ("--retries", "1", "--low-level-retries", "2", "--contimeout", "10s", "--timeout", "60s")

#: What in rclone's complaints tells what is wrong, and what would do.
_CAUSES = (
    (r"didn't find section in config file", "rclone has no such remote; set RCLONE_CONFIG_{name}_TYPE and so on"),
    (
        r"status code: 40[13]|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|Forbidden|Unauthorized",
        "access was refused; check the keys in RCLONE_CONFIG_{name}_…",
    ),
    (
        r"connection refused|no such host|i/o timeout|network is unreachable|no route to host|connection reset|EOF",
        "the server cannot be reached; is it up, and RCLONE_CONFIG_{name}_ENDPOINT right?",
    ),
    (r"directory not found|NoSuchBucket", "there is no such bucket or folder"),
    (r"no space left on device|disk quota exceeded", "the disk is full"),
)


@dataclass(frozen=True)
class Remote:
    """A place that rclone knows."""

    name: str
    """Name of the remote, as in RCLONE_CONFIG_<NAME>_TYPE."""
    path: str
    """Bucket and folder there."""

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str] | None = None) -> "Remote":
        """Return the remote that ``NAME:PATH`` means.

        Raises
        ------
        ConfigError
            If the text is of another form, or the environment does not define the remote. Remotes with connection
            parameters (``:s3,secret_access_key=…:``) are refused: they would be in logs and scripts.
        """
        environment = os.environ if environment is None else environment
        match = _REMOTE.fullmatch(text)
        if match is None:
            shown = "a text with connection parameters" if text.startswith(":") or "," in text else repr(text)
            raise ConfigError(f"remote: expected NAME:PATH, as ceph:bucket/folder, got {shown}")
        remote = cls(match[1], match[2].strip("/"))
        if f"RCLONE_CONFIG_{remote.variable}_TYPE" not in environment:
            raise ConfigError(
                f"remote {text!r}: the environment does not define it; set RCLONE_CONFIG_{remote.variable}_TYPE and "
                "what rclone needs beside it"
            )
        return remote

    @property
    def variable(self) -> str:
        """The name as it stands in environment variables."""
        return re.sub(r"[^A-Z0-9]", "_", self.name.upper())

    def __str__(self) -> str:
        return f"{self.name}:{self.path}"


@dataclass(frozen=True)
class StoredFile:
    """A file on a remote."""

    size: int
    """Bytes."""
    hashes: Mapping[str, str]
    """Name of the hash to its hexadecimal value; empty where the remote keeps none."""


def list_files(remote: Remote, names: Iterable[str] | None = None) -> dict[str, StoredFile]:
    """Return the files on a remote with size and hash, by their paths there.

    Parameters
    ----------
    remote
        The remote.
    names
        Files to look for; None: all there are. Those that are not there are absent from the result.

    Raises
    ------
    StagingError
        If the remote cannot be listed.
    """
    options = ["lsjson", "-R", "--files-only", "--hash", "--no-modtime", "--no-mimetype", *_CAUTION]
    done = _run(options, [str(remote)], None if names is None else list(names))
    if done.returncode != 0:
        if names is not None and "directory not found" in done.stderr:
            return {}
        raise StagingError(f"{remote}: {_cause(remote, done.stderr)}")
    found = {
        entry["Path"]: StoredFile(entry["Size"], _lower(entry.get("Hashes", {}))) for entry in json.loads(done.stdout)
    }
    unhashed = [name for name, file in found.items() if not file.hashes]
    return found | _hashed_by_reading(remote, unhashed, found) if unhashed else found


def _lower(hashes: Mapping[str, str]) -> dict[str, str]:
    return {kind.lower().replace("-", ""): value.lower() for kind, value in hashes.items() if value}


def _hashed_by_reading(remote: Remote, names: list[str], found: Mapping[str, StoredFile]) -> dict[str, StoredFile]:
    """Return files of which the remote keeps no hash with that of their content, which is read for it."""
    done = _run(["hashsum", "MD5", "--download", *_CAUTION], [str(remote)], names)
    lines = (line.partition("  ") for line in done.stdout.splitlines())
    sums = {name: value for value, _, name in lines if re.fullmatch(r"[0-9a-f]{32}", value)}
    return {name: StoredFile(found[name].size, {"md5": sums[name]}) for name in names if name in sums}


def copy_files(source: "Remote | Path", target: "Remote | Path", names: list[str], *, transfers: int) -> str:
    """Copy files, whether or not they seem to be there, and return what rclone says of failures.

    Whether they have arrived must be looked up: neither the return code nor silence tells.

    Parameters
    ----------
    source, target
        A remote and a folder, or the other way round.
    names
        Paths of the files below both.
    transfers
        Files copied at a time.
    """
    options = ["copy", "--ignore-times", "--transfers", str(transfers), "--checkers", str(transfers), *_CAUTION]
    done = _run(options, [str(source), str(target)], names)
    remote = source if isinstance(source, Remote) else target
    assert isinstance(remote, Remote)
    return _cause(remote, done.stderr) if done.returncode != 0 else ""


def _run(options: list[str], places: list[str], names: list[str] | None) -> "subprocess.CompletedProcess[str]":
    """Run rclone with its configuration from the environment alone."""
    with tempfile.TemporaryDirectory(prefix="mpidriver-") as folder:
        if names is not None:
            listed = Path(folder) / "names"
            listed.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
            options = [*options, "--no-traverse", "--files-from-raw", str(listed)]
        try:
            return subprocess.run(
                ["rclone", "--config", "", *options, "--", *places],
                env={name: value for name, value in os.environ.items() if _PASSED.fullmatch(name)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
            )
        except FileNotFoundError:
            raise StagingError("rclone is not on PATH; install it, as by `apt-get install rclone`") from None


def _cause(remote: Remote, complaint: str) -> str:
    """Return what rclone complains of in one line, with what would do, and without anything secret."""
    for pattern, advice in _CAUSES:
        if re.search(pattern, complaint):
            return advice.format(name=remote.variable)
    lines = [line for line in complaint.splitlines() if line.strip()]
    said = re.sub(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d *", "", lines[-1]) if lines else "rclone failed without a word"
    return without_secrets(said, os.environ)


def without_secrets(text: str, environment: Mapping[str, str]) -> str:
    """Return a text in which no value of a remote's settings stands, but for those that cannot be secret."""
    values = [
        value
        for name, value in environment.items()
        if name.startswith(("RCLONE_CONFIG_", "AWS_")) and len(value) > 3 and not _OPEN_SETTINGS.fullmatch(name)
    ]
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, "…")
    return text


def remote_variables(environment: Mapping[str, str]) -> list[str]:
    """Return the names of the variables that define remotes, for jobs that must be given them by name."""
    return sorted(name for name in environment if re.fullmatch(r"RCLONE_CONFIG_\w+_\w+", name))
