"""Where buckets are (docs/wire.md, 9.1)."""

from pathlib import Path

import pytest

from cloudslice.settings.storage_settings import StorageSettings
from cloudslice.slices import Bucket, Vendor
from cloudslice.uploads.endpoints import (
    DirectoryEndpoint,
    S3Endpoint,
    encode_key,
    find_endpoint,
    object_url,
)
from helpers.stores import make_settings


def bucket(vendor: Vendor, region: str, name: str = "b-125") -> Bucket:
    return Bucket(vendor, region, name, "AK", "SK")


@pytest.mark.parametrize(
    ("where", "url", "virtual", "region", "object_"),
    [
        pytest.param(
            bucket(Vendor.COS, "ap-guangzhou"),
            "https://b-125.cos.ap-guangzhou.myqcloud.com", True, "ap-guangzhou",
            "https://b-125.cos.ap-guangzhou.myqcloud.com/a%2Bb", id="COS",
        ),
        pytest.param(
            bucket(Vendor.S3, "us-east-1"),
            "https://b-125.s3.us-east-1.amazonaws.com", True, "us-east-1",
            "https://b-125.s3.us-east-1.amazonaws.com/a%2Bb", id="S3",
        ),
        pytest.param(
            bucket(Vendor.S3, "cn-north-1"),
            "https://b-125.s3.cn-north-1.amazonaws.com.cn", True, "cn-north-1",
            "https://b-125.s3.cn-north-1.amazonaws.com.cn/a%2Bb", id="S3 in China",
        ),
        pytest.param(
            bucket(Vendor.S3, "eu-west-1", "my.bucket"),
            "https://s3.eu-west-1.amazonaws.com", False, "eu-west-1",
            "https://s3.eu-west-1.amazonaws.com/my.bucket/a%2Bb", id="S3, dot in the name",
        ),
        pytest.param(
            bucket(Vendor.OSS, "cn-hangzhou"),
            "https://b-125.s3.oss-cn-hangzhou.aliyuncs.com", True, "cn-hangzhou",
            "https://b-125.oss-cn-hangzhou.aliyuncs.com/a%2Bb", id="OSS",
        ),
        pytest.param(
            bucket(Vendor.OSS, "oss-cn-hangzhou"),
            "https://b-125.s3.oss-cn-hangzhou.aliyuncs.com", True, "cn-hangzhou",
            "https://b-125.oss-cn-hangzhou.aliyuncs.com/a%2Bb", id="OSS, region with oss-",
        ),
    ],
)  # fmt: skip
def test_vendors_public_endpoints(
    where: Bucket, url: str, virtual: bool, region: str, object_: str
) -> None:
    """Without an override a bucket is at its vendor's."""
    endpoint = find_endpoint(where, StorageSettings())
    assert isinstance(endpoint, S3Endpoint)
    assert (endpoint.url, endpoint.virtual_hosted, endpoint.region) == (url, virtual, region)
    assert endpoint.bucket == where.name
    assert object_url(endpoint, "a+b") == object_


@pytest.mark.parametrize(
    ("override", "url", "virtual", "object_"),
    [
        pytest.param("http://127.0.0.1:9000", "http://127.0.0.1:9000", False,
                     "http://127.0.0.1:9000/b-125/k", id="path style"),
        pytest.param("http://s3.local/{bucket}", "http://s3.local", False,
                     "http://s3.local/b-125/k", id="path style, spelled out"),
        pytest.param("https://{bucket}.{region}.s3.local/", "https://b-125.r-1.s3.local", True,
                     "https://b-125.r-1.s3.local/k", id="virtual-hosted"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("vendor", Vendor)
def test_overrides(vendor: Vendor, override: str, url: str, virtual: bool, object_: str) -> None:
    """The operator's endpoint takes the place of the vendor's, for its vendor."""
    endpoint = find_endpoint(bucket(vendor, "r-1"), make_settings(override))
    assert isinstance(endpoint, S3Endpoint)
    assert (endpoint.url, endpoint.virtual_hosted) == (url, virtual)
    assert object_url(endpoint, "k") == object_


@pytest.mark.parametrize(
    ("vendor", "addressing", "override", "url", "virtual"),
    [
        pytest.param(Vendor.COS, "path", "", "https://cos.r-1.myqcloud.com", False, id="COS"),
        pytest.param(Vendor.OSS, "path", "", "https://s3.oss-r-1.aliyuncs.com", False, id="OSS"),
        pytest.param(Vendor.S3, "virtual", "", "https://b.125.s3.r-1.amazonaws.com", True,
                     id="S3, dot in the name"),
        pytest.param(Vendor.S3, "virtual", "http://s3.local:9000/x", "http://b.125.s3.local:9000/x",
                     True, id="override"),
        pytest.param(Vendor.S3, "virtual", "http://s3.local/{bucket}", "http://b.125.s3.local",
                     True, id="override, spelled out"),
        pytest.param(Vendor.S3, "virtual", "http://{bucket}.s3.local", "http://b.125.s3.local",
                     True, id="override, as it says itself"),
        pytest.param(Vendor.S3, "path", "http://s3.local", "http://s3.local", False,
                     id="override, path style"),
    ],
)  # fmt: skip
def test_addressing(
    vendor: Vendor, addressing: str, override: str, url: str, virtual: bool
) -> None:
    """The settings choose it against what is usual."""
    settings = make_settings(override, addressing=addressing)
    endpoint = find_endpoint(bucket(vendor, "r-1", "b.125"), settings)
    assert isinstance(endpoint, S3Endpoint)
    assert (endpoint.url, endpoint.virtual_hosted) == (url, virtual)


def test_addressing_leaves_the_documented_url_of_an_object() -> None:
    endpoint = find_endpoint(bucket(Vendor.COS, "r-1"), make_settings("", addressing="path"))
    assert object_url(endpoint, "k") == "https://b-125.cos.r-1.myqcloud.com/k"


@pytest.mark.parametrize(
    ("override", "path"),
    [
        pytest.param("file:///data/buckets", "/data/buckets/b-125", id="directory of buckets"),
        pytest.param("file:///data/{region}/{bucket}/x", "/data/r-1/b-125/x", id="filled in"),
        pytest.param("file:///with%20space", "/with space/b-125", id="encoded"),
    ],
)
def test_directories(override: str, path: str) -> None:
    """file:// names a directory for each bucket, even if it does not say where."""
    endpoint = find_endpoint(bucket(Vendor.COS, "r-1"), make_settings(override))
    assert endpoint == DirectoryEndpoint(Path(path))


def test_url_of_a_file() -> None:
    assert object_url(DirectoryEndpoint(Path("/a b")), "c d") == "file:///a%20b/c%20d"


@pytest.mark.parametrize("name", ["", "a/b", "..", "."])
def test_names_that_would_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a bucket"):
        find_endpoint(bucket(Vendor.COS, "r-1", name), make_settings("file:///d"))


def test_keys_are_encoded_but_for_the_unreserved() -> None:
    """RFC 3986, 2.3, and the slash."""
    assert encode_key("aZ0-._~/+ ?#%&é") == "aZ0-._~/%2B%20%3F%23%25%26%C3%A9"
