"""A second real S3 server (versitygw); see `s3_server` for the first."""

import socket
import subprocess
import time
from pathlib import Path

import obstore
from obstore.store import S3Store

from helpers.s3_server import BucketObject

PROGRAM = Path(__file__).parents[1] / "go-s3" / "target" / "versitygw"
"""Built by `scripts/install-test-tools`."""
_START_TIMEOUT_S = 60


class VersityServer:
    """A server process with a directory of its own."""

    access_key = "AKIDTESTTASK"
    secret_key = "TaskSecretExample"
    region = "eu-test-1"

    def __init__(self, directory: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._buckets = directory / "buckets"
        self._buckets.mkdir(parents=True)
        self._log = directory / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The path-style endpoint."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def virtual_url(self) -> str:
        """The virtual-hosted endpoint; see `S3Server.virtual_url`."""
        return f"http://{{bucket}}.localhost:{self.port}"

    def start(self) -> None:
        """Start and wait until it answers."""
        options = [
            "--quiet",
            f"--port=127.0.0.1:{self.port}",
            f"--access={self.access_key}",
            f"--secret={self.secret_key}",
            f"--region={self.region}",
            f"--virtual-domain=localhost:{self.port}",
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, *options, "posix", self._buckets], stdout=log, stderr=log
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    text = self._log.read_text(errors="replace")
                    raise RuntimeError(f"versitygw does not start: {text[-4000:]}") from error
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """Kill the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def create_bucket(self, name: str) -> None:
        """Make a bucket: to this server it is a directory."""
        (self._buckets / name).mkdir(exist_ok=True)

    def keys(self, bucket: str) -> list[str]:
        """The keys of all objects in a bucket, sorted."""
        directory = self._buckets / bucket
        return sorted(
            str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()
        )

    def get(self, bucket: str, key: str) -> BucketObject:
        """An object; raises FileNotFoundError if it is not there."""
        store = S3Store(
            bucket,
            endpoint=self.url,
            region=self.region,
            access_key_id=self.access_key,
            secret_access_key=self.secret_key,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True, "timeout": "10s"},
            retry_config={"max_retries": 0},
        )
        result = obstore.get(store, key)
        attributes = {name: str(value) for name, value in result.attributes.items()}
        content_type = attributes.pop("Content-Type", "")
        return BucketObject(bytes(result.bytes()), content_type, attributes)
