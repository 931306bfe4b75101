"""Staging through a real rclone and a real S3 server, in which everything goes wrong that rclone says nothing of."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from object_store import SECRET, needs_rclone

from mpidriver.batch import Remote, check_names, files_of_folders, remote_variables, stage_in, stage_out
from mpidriver.batch._rclone import without_secrets
from mpidriver.errors import ConfigError, StagingError

pytestmark = needs_rclone

FILES = {"a.fits": b"a" * 5000, "night 1/b #2.fits": b"b" * 7000, "night 1/; c.fits": b"c" * 300}


@pytest.fixture
def remote(s3, tmp_path):
    """The remote with some files."""
    source = written(tmp_path / "source", FILES)
    s3.rclone("copy", source, "ceph:survey/raw")
    return Remote.parse("ceph:survey/raw")


def written(folder, files):
    """Write files below a folder and return it."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def contents(folder):
    """Return all files below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def at(s3, place, tmp_path):
    """Return what lies at a place of the server."""
    folder = tmp_path / "looked-at"
    s3.rclone("sync", place, folder)
    return contents(folder)


def lying_rclone(tmp_path, monkeypatch, does):
    """Put an rclone on PATH that tells the truth of what is there, but does something else than copying."""
    real = subprocess.run(["which", "rclone"], check=True, capture_output=True, text=True).stdout.strip()
    tool = tmp_path / "bin" / "rclone"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\ncase "$*" in *" copy "*) {does};; *) exec {real} "$@";; esac\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")


def test_all_files_come_in_and_a_second_time_none(remote, tmp_path):
    staged = stage_in(remote, tmp_path / "raw")
    assert (sorted(staged.copied), staged.present, staged.failures) == (sorted(FILES), [], {})
    assert staged.bytes_copied == sum(map(len, FILES.values()))
    assert contents(tmp_path / "raw") == FILES
    again = stage_in(remote, tmp_path / "raw", list(FILES))
    assert (again.copied, sorted(again.present)) == ([], sorted(FILES))


def test_all_files_go_out_and_a_second_time_none(s3, tmp_path):
    folder, place = written(tmp_path / "products", FILES), Remote.parse("ceph:new-bucket/out")
    assert sorted(stage_out(folder, place, list(FILES)).copied) == sorted(FILES)
    assert at(s3, "ceph:new-bucket/out", tmp_path) == FILES
    again = stage_out(folder, place, list(FILES))
    assert (again.copied, sorted(again.present), again.failures) == ([], sorted(FILES), {})


def test_a_listed_file_that_is_missing_is_named_and_the_others_come(remote, tmp_path):
    staged = stage_in(remote, tmp_path / "raw", ["a.fits", "absent.fits"])
    assert staged.copied == ["a.fits"]
    assert staged.failures == {"absent.fits": "not at ceph:survey/raw"}
    out = stage_out(tmp_path / "raw", remote, ["a.fits", "absent.fits"])
    assert list(out.failures) == ["absent.fits"]


@pytest.mark.parametrize("name", ["/data/a.fits", "../a.fits", "a/../../b.fits", "", "a//b.fits", "./a.fits", "a\nb"])
def test_a_name_that_rclone_would_pass_over_is_refused(remote, tmp_path, name):
    for stage in (lambda: stage_in(remote, tmp_path, [name]), lambda: stage_out(tmp_path, remote, [name])):
        with pytest.raises(ConfigError) as raised:
            stage()
        assert repr(name) in str(raised.value)


@pytest.mark.parametrize("harm", ["truncated", "other content"])
@pytest.mark.parametrize("way", ["in", "out"])
def test_what_only_seems_to_be_there_is_copied_again(s3, remote, tmp_path, harm, way):
    folder = tmp_path / "raw"
    stage_in(remote, folder)
    path = folder / "a.fits"
    times = path.stat().st_mtime_ns
    harmed = FILES["a.fits"][:-1] + b"x" if harm == "other content" else FILES["a.fits"][:100]
    path.write_bytes(harmed)
    os.utime(path, ns=(times, times))
    if way == "in":
        assert stage_in(remote, folder).copied == ["a.fits"]
        assert contents(folder) == FILES
    else:
        assert stage_out(folder, remote, list(FILES)).copied == ["a.fits"]
        assert at(s3, "ceph:survey/raw", tmp_path) == FILES | {"a.fits": harmed}


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("exit 0", "did not arrive"),
        (
            'for last; do :; done; mkdir -p "$last"; printf short > "$last/a.fits"; exit 0',
            "corrupt: 5 bytes here, 5,000",
        ),
        (
            f'for last; do :; done; mkdir -p "$last"; printf %05000d 1 > "$last/a.fits"; echo {SECRET}; exit 0',
            "corrupt: md5",
        ),
    ],
)
def test_the_word_of_rclone_is_not_taken(remote, tmp_path, monkeypatch, does, reason):
    lying_rclone(tmp_path, monkeypatch, does)
    staged = stage_in(remote, tmp_path / "raw", ["a.fits"])
    assert staged.copied == []
    assert reason in staged.failures["a.fits"]
    assert SECRET not in str(staged)
    assert contents(tmp_path / "raw") == {}


def test_what_did_not_go_out_is_named(s3, tmp_path, monkeypatch):
    folder = written(tmp_path / "products", FILES)
    s3.rclone("mkdir", "ceph:survey")
    lying_rclone(tmp_path, monkeypatch, "exit 0")
    staged = stage_out(folder, Remote.parse("ceph:survey/out"), list(FILES))
    assert set(staged.failures) == set(FILES)
    assert "did not arrive" in staged.failures["a.fits"]


def test_wrong_keys_are_named_and_shown_to_nobody(s3, remote, tmp_path):
    s3.refuse_all()
    folder = written(tmp_path / "products", FILES)
    for stage in (
        lambda: stage_in(remote, tmp_path / "raw"),
        lambda: stage_in(remote, tmp_path / "raw", ["a.fits"]),
        lambda: stage_out(folder, remote, ["a.fits"]),
    ):
        with pytest.raises(StagingError) as raised:
            stage()
        assert "access was refused" in str(raised.value)
        assert "RCLONE_CONFIG_CEPH_" in str(raised.value)
        assert SECRET not in str(raised.value)
        assert "accesskeyid" not in str(raised.value)


def test_a_server_that_is_down_is_named(monkeypatch, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in {"TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": f"http://127.0.0.1:{port}"}.items():
        monkeypatch.setenv(f"RCLONE_CONFIG_CEPH_{name}", value)
    with pytest.raises(StagingError, match="cannot be reached"):
        stage_in(Remote.parse("ceph:survey/raw"), tmp_path / "raw", ["a.fits"])
    (tmp_path / "a.fits").touch()
    with pytest.raises(StagingError, match="cannot be reached"):
        stage_out(tmp_path, Remote.parse("ceph:survey/raw"), ["a.fits"])


def test_a_bucket_that_is_not_there_is_named(s3, tmp_path):
    with pytest.raises(StagingError, match="no such bucket or folder"):
        stage_in(Remote.parse("ceph:nowhere/raw"), tmp_path / "raw")
    assert list(stage_in(Remote.parse("ceph:nowhere/raw"), tmp_path / "raw", ["a.fits"]).failures) == ["a.fits"]


KILLED = """
import sys
from pathlib import Path
from mpidriver.batch import Remote, stage_in
stage_in(Remote.parse("ceph:survey/big"), Path(sys.argv[1]), transfers=1)
"""


@pytest.mark.parametrize("until", ["begun", "half way"])
def test_killed_at_any_time_and_run_again_it_ends_right(s3, tmp_path, until):
    files = {f"{number}.fits": os.urandom(1 << 20) * 8 for number in range(4)}
    s3.rclone("copy", written(tmp_path / "source", files), "ceph:survey/big")
    folder = tmp_path / "raw"
    process = subprocess.Popen([sys.executable, "-c", KILLED, folder], start_new_session=True)
    wanted = 1 if until == "begun" else 20 << 20
    while process.poll() is None and sum(path.stat().st_size for path in sized(folder)) < wanted:
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert {name: files[name] for name in contents(folder) if "/" not in name} == {
        name: content for name, content in contents(folder).items() if "/" not in name
    }
    staged = stage_in(Remote.parse("ceph:survey/big"), folder)
    assert staged.failures == {}
    assert contents(folder) == files


def sized(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_a_killed_process_has_brought_in_is_not_copied_again(remote, tmp_path):
    process = subprocess.Popen(["true"])
    process.wait()
    left = tmp_path / "raw" / f".staging-{socket.gethostname()}-{process.pid}"
    written(left, {"a.fits": FILES["a.fits"], "night 1/b #2.fits": FILES["night 1/b #2.fits"][:50], "other": b"x"})
    staged = stage_in(remote, tmp_path / "raw")
    assert "a.fits" in staged.present
    assert sorted(staged.copied) == sorted(set(FILES) - {"a.fits"})
    assert contents(tmp_path / "raw") == FILES


def test_a_remote_without_hashes_is_verified_by_reading_it(tmp_path, monkeypatch):
    obscured = subprocess.run(
        ["rclone", "obscure", "password"], check=True, capture_output=True, text=True
    ).stdout.strip()
    for name, value in {"TYPE": "crypt", "REMOTE": str(tmp_path / "vault"), "PASSWORD": obscured}.items():
        monkeypatch.setenv(f"RCLONE_CONFIG_VAULT_{name}", value)
    folder, vault = written(tmp_path / "products", FILES), Remote.parse("vault:out")
    assert sorted(stage_out(folder, vault, list(FILES)).copied) == sorted(FILES)
    assert sorted(stage_out(folder, vault, list(FILES)).present) == sorted(FILES)
    stage_in(vault, tmp_path / "back")
    assert contents(tmp_path / "back") == FILES


def test_only_what_defines_remotes_reaches_rclone(tmp_path, monkeypatch, remote):
    monkeypatch.setenv("RCLONE_DUMP", "headers,auth")
    monkeypatch.setenv("SOME_PASSWORD", "hunter2")
    monkeypatch.setenv("AWS_CA_BUNDLE", "/etc/ssl/cert.pem")  # rclone: "unsupported transport"
    lying_rclone(tmp_path, monkeypatch, f"env > {tmp_path}/seen; exit 0")
    stage_in(remote, tmp_path / "raw", ["a.fits"])
    seen = (tmp_path / "seen").read_text()
    assert "RCLONE_CONFIG_CEPH_TYPE=s3" in seen
    assert "RCLONE_DUMP" not in seen
    assert "hunter2" not in seen
    assert "AWS_CA_BUNDLE" not in seen


@pytest.mark.parametrize(
    "text",
    [":s3,secret_access_key=hunter2:bucket", "bucket", "", "/data/raw", "ceph,key=hunter2:bucket", "absent:bucket"],
)
def test_a_remote_is_a_name_that_the_environment_defines(text, monkeypatch):
    monkeypatch.setenv("RCLONE_CONFIG_CEPH_TYPE", "s3")
    with pytest.raises(ConfigError) as raised:
        Remote.parse(text)
    assert "hunter2" not in str(raised.value)
    assert str(Remote.parse("ceph:bucket/a/")) == "ceph:bucket/a"


def test_secrets_are_cut_out_of_whatever_is_said():
    environment = {
        "RCLONE_CONFIG_CEPH_TYPE": "local",
        "RCLONE_CONFIG_CEPH_PASS": "hunter2",
        "AWS_SECRET_ACCESS_KEY": "abc/def",
    }
    assert without_secrets("a local disk, hunter2 and abc/def", environment) == "a local disk, … and …"
    assert remote_variables(environment | {"RCLONE_CONFIG": "x", "RCLONE_DUMP": "y"}) == [
        "RCLONE_CONFIG_CEPH_PASS",
        "RCLONE_CONFIG_CEPH_TYPE",
    ]


def test_folders_are_named_with_their_files_but_the_hidden_ones(tmp_path):
    written(tmp_path, {"coadds/1/r.fits": b"", "coadds/1/.partial-x-r.fits": b"", "coadds/.staging-x/a": b"", "b": b""})
    assert files_of_folders(tmp_path, ["coadds", "b", "absent"]) == ["coadds/1/r.fits", "b", "absent"]
    assert check_names(["a", "b/c", "a"]) == ["a", "b/c"]
