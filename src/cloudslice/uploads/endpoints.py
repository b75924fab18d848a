"""Where a bucket is on the network, and what the URL of an object in it is (docs/wire.md, 9.1)."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from cloudslice.settings.storage_settings import StorageSettings
from cloudslice.slices import Bucket, Vendor


@dataclass(frozen=True, slots=True)
class S3Endpoint:
    """A bucket behind an S3 server.

    Attributes:
        url: what requests go to; names the bucket if `virtual_hosted`.
        virtual_hosted: whether the bucket is in the host name, not in the path.
        region: the region in the scope of signatures.
        bucket: the bucket's name.
        public_url: what, with an encoded key behind it, is the URL of an object.
    """

    url: str
    virtual_hosted: bool
    region: str
    bucket: str
    public_url: str


@dataclass(frozen=True, slots=True)
class DirectoryEndpoint:
    """A bucket that is a directory of this machine."""

    path: Path

    @property
    def public_url(self) -> str:
        return f"file://{quote(str(self.path.absolute()))}"


Endpoint = S3Endpoint | DirectoryEndpoint


@dataclass(frozen=True, slots=True)
class _Front:
    """A vendor's public S3 server for a region."""

    host: str
    virtual_hosted: bool
    public_url: str


def find_endpoint(bucket: Bucket, settings: StorageSettings) -> Endpoint:
    """The place of a bucket: the operator's if there is one for its vendor, else the vendor's.

    Raises:
        ValueError: bucket or region cannot be part of an address.
    """
    for what, text in (("bucket", bucket.name), ("region", bucket.region)):
        if not text or "/" in text or text in (".", ".."):
            raise ValueError(f"{text!r} cannot be the name of a {what}")
    region = bucket.region
    if bucket.vendor is Vendor.OSS:
        region = region.removeprefix("oss-")
    addressing = settings.of(bucket.vendor).addressing
    if override := settings.endpoint_of(bucket.vendor):
        return _overridden(override, bucket.name, region, is_virtual=addressing == "virtual")
    front = _FRONTS[bucket.vendor](bucket.name, region)
    virtual_hosted = front.virtual_hosted if addressing == "auto" else addressing == "virtual"
    host = f"{bucket.name}.{front.host}" if virtual_hosted else front.host
    return S3Endpoint(f"https://{host}", virtual_hosted, region, bucket.name, front.public_url)


def object_url(endpoint: Endpoint, key: str) -> str:
    """The URL of an object, its key encoded (the URL in event 1004)."""
    return f"{endpoint.public_url}/{encode_key(key)}"


def encode_key(key: str) -> str:
    """The key with every byte encoded but the unreserved ones (RFC 3986, 2.3) and `/`."""
    return quote(key, safe="/")


def _overridden(template: str, bucket: str, region: str, *, is_virtual: bool) -> Endpoint:
    scheme, _, rest = template.replace("{region}", region).rstrip("/").partition("://")
    if scheme == "file":
        filled = rest.replace("{bucket}", bucket)
        path = Path(unquote(filled))
        return DirectoryEndpoint(path if "{bucket}" in rest else path / bucket)
    if "{bucket}" not in rest.partition("/")[0]:
        rest = rest.removesuffix("/{bucket}")
        if not is_virtual:
            url = f"{scheme}://{rest}"
            return S3Endpoint(url, False, region, bucket, f"{url}/{bucket}")
        rest = f"{{bucket}}.{rest}"
    url = f"{scheme}://{rest.replace('{bucket}', bucket)}"
    return S3Endpoint(url, True, region, bucket, url)


def _cos(bucket: str, region: str) -> _Front:
    # Virtual-hosted: buckets since 2024 answer path style with PathStyleDomainForbidden.
    host = f"cos.{region}.myqcloud.com"
    return _Front(host, True, f"https://{bucket}.{host}")


def _s3(bucket: str, region: str) -> _Front:
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    host = f"s3.{region}.{domain}"
    if "." in bucket:
        # A certificate for *.s3.<region> does not cover a bucket name with a dot in it.
        return _Front(host, False, f"https://{host}/{bucket}")
    return _Front(host, True, f"https://{bucket}.{host}")


def _oss(bucket: str, region: str) -> _Front:
    # Uploads go to the S3 front, but the documented URL of an object is that of OSS itself.
    return _Front(
        f"s3.oss-{region}.aliyuncs.com", True, f"https://{bucket}.oss-{region}.aliyuncs.com"
    )


_FRONTS = {Vendor.COS: _cos, Vendor.S3: _s3, Vendor.OSS: _oss}
