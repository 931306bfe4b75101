"""A real S3 server for tests of staging, which rclone speaks to over a socket; and the reasons to go without."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

needs_rclone = pytest.mark.skipif(shutil.which("rclone") is None, reason="no rclone: apt-get install rclone")

SECRET = "dhdoiqwjbcxsecret"


class ObjectStore:
    """An S3 server on a free port of this machine."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._log = open(folder / "moto.log", "wb")  # noqa: SIM115
        self.start()

    def start(self):
        """Start it, empty, and wait until it answers."""
        command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert time.monotonic() < deadline, "the S3 server does not answer"
                time.sleep(0.05)

    def stop(self):
        """End it; what it held is lost."""
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _tell(self, action, content):
        url = f"http://127.0.0.1:{self.port}/moto-api/{action}"
        request = urllib.request.Request(url, content, {"Content-Type": "text/plain"}, method="POST")
        urllib.request.urlopen(request, timeout=30).close()

    def refuse_all(self):
        """Answer every call from now on with 403."""
        self._tell("reset-auth", b"0")

    def reset(self):
        """Forget everything, and accept any key again."""
        self._tell("reset-auth", b"inf")
        self._tell("reset", b"")

    @property
    def environment(self):
        """What makes it the remote `ceph` of rclone."""
        return {
            "RCLONE_CONFIG_CEPH_TYPE": "s3",
            "RCLONE_CONFIG_CEPH_PROVIDER": "Other",
            "RCLONE_CONFIG_CEPH_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "RCLONE_CONFIG_CEPH_ACCESS_KEY_ID": "accesskeyid",
            "RCLONE_CONFIG_CEPH_SECRET_ACCESS_KEY": SECRET,
        }

    def rclone(self, *arguments):
        """Run rclone with it, and expect it to succeed."""
        environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **self.environment}
        return subprocess.run(
            ["rclone", "--config", "", *map(str, arguments)],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
