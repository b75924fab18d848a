"""Where a bucket is on the network, and what the URL of an object in it is (docs/wire.md, 9.1)."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from cloudslice.config import EndpointSettings
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


def find_endpoint(bucket: Bucket, overrides: EndpointSettings) -> Endpoint:
    """The place of a bucket: the operator's if there is one for its vendor, else the vendor's.

    Raises:
        ValueError: bucket or region cannot be part of an address.
    """
    for what, text in (("bucket", bucket.name), ("region", bucket.region)):
        if not text or "/" in text or text in (".", ".."):
            raise ValueError(f"{text!r} cannot be the name of a {what}")
    override = {
        Vendor.COS: overrides.cos,
        Vendor.S3: overrides.s3,
        Vendor.OSS: overrides.oss,
    }[bucket.vendor]
    region = bucket.region
    if bucket.vendor is Vendor.OSS:
        region = region.removeprefix("oss-")
    if override:
        return _overridden(override, bucket.name, region)
    return _VENDORS[bucket.vendor](bucket.name, region)


def object_url(endpoint: Endpoint, key: str) -> str:
    """The URL of an object, its key encoded (the URL in event 1004)."""
    return f"{endpoint.public_url}/{encode_key(key)}"


def encode_key(key: str) -> str:
    """The key with every byte encoded but the unreserved ones (RFC 3986, 2.3) and `/`."""
    return quote(key, safe="/")


def _overridden(template: str, bucket: str, region: str) -> Endpoint:
    scheme, _, rest = template.replace("{region}", region).rstrip("/").partition("://")
    if scheme == "file":
        filled = rest.replace("{bucket}", bucket)
        path = Path(unquote(filled))
        return DirectoryEndpoint(path if "{bucket}" in rest else path / bucket)
    if "{bucket}" in rest.partition("/")[0]:
        url = f"{scheme}://{rest.replace('{bucket}', bucket)}"
        return S3Endpoint(url, True, region, bucket, url)
    url = f"{scheme}://{rest}".removesuffix("/{bucket}")
    return S3Endpoint(url, False, region, bucket, f"{url}/{bucket}")


def _cos(bucket: str, region: str) -> S3Endpoint:
    # Virtual-hosted only: buckets since 2024 answer path style with PathStyleDomainForbidden.
    url = f"https://{bucket}.cos.{region}.myqcloud.com"
    return S3Endpoint(url, True, region, bucket, url)


def _s3(bucket: str, region: str) -> S3Endpoint:
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    host = f"s3.{region}.{domain}"
    if "." in bucket:
        # A certificate for *.s3.<region> does not cover a bucket name with a dot in it.
        return S3Endpoint(f"https://{host}", False, region, bucket, f"https://{host}/{bucket}")
    url = f"https://{bucket}.{host}"
    return S3Endpoint(url, True, region, bucket, url)


def _oss(bucket: str, region: str) -> S3Endpoint:
    # Uploads go to the S3 front, but the documented URL of an object is that of OSS itself.
    return S3Endpoint(
        url=f"https://{bucket}.s3.oss-{region}.aliyuncs.com",
        virtual_hosted=True,
        region=region,
        bucket=bucket,
        public_url=f"https://{bucket}.oss-{region}.aliyuncs.com",
    )


_VENDORS = {Vendor.COS: _cos, Vendor.S3: _s3, Vendor.OSS: _oss}


def is_plain_http(endpoint: S3Endpoint) -> bool:
    """Whether requests go unencrypted, which the client library must be told to allow."""
    return urlsplit(endpoint.url).scheme == "http"
