"""An S3-speaking server on loopback (moto's), for tests of what reads and writes objects."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.request import Request, urlopen

# Clients of S3 look for these; moto takes any.
_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "made-up",
    "AWS_SECRET_ACCESS_KEY": "made-up-too",
    "AWS_DEFAULT_REGION": "us-east-1",
    # Whatever this machine is: nobody may look for its role, or for somebody's own settings.
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}


@dataclass(frozen=True)
class ObjectStore:
    """A running server."""

    host: str
    port: int

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://{self.host}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process must have in its environment to find it as if it were S3."""
        return {**_CREDENTIALS, "AWS_ENDPOINT_URL": self.endpoint}

    def make_bucket(self, name: str) -> str:
        """Make an empty bucket, and return its URL."""
        with urlopen(Request(f"{self.endpoint}/{name}", method="PUT"), timeout=10):
            return f"s3://{name}"


def forget_clients() -> None:
    """Have fsspec make its next client anew, from the environment as it is then."""
    from s3fs import S3FileSystem  # noqa: PLC0415

    S3FileSystem.clear_instance_cache()


@contextmanager
def running_store() -> Iterator[ObjectStore]:
    """Start a server that ends with the context: a thread, so that nothing can be left behind."""
    # Takes a second to import, which only tests that need it shall wait for.
    from moto.server import ThreadedMotoServer  # noqa: PLC0415

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield ObjectStore(*server.get_host_and_port())
    finally:
        server.stop()
