"""Names of regions: the API's own (docs/wire.md, 4) and those of the storage vendors (9.1).

A vendor's regions are known by the form of their names first and by a list second, so that a
region that the vendor opens tomorrow works.
"""

import re
from collections.abc import Collection

from cloudslice.api.errors import ApiError, Code, Phrase, out_of_range
from cloudslice.settings.storage_settings import EndpointSettings
from cloudslice.slices import Vendor

_TENCENT = frozenset(
    {
        "ap-bangkok",
        "ap-beijing",
        "ap-beijing-fsi",
        "ap-chengdu",
        "ap-chongqing",
        "ap-guangzhou",
        "ap-hongkong",
        "ap-jakarta",
        "ap-mumbai",
        "ap-nanjing",
        "ap-osaka",
        "ap-seoul",
        "ap-shanghai",
        "ap-shanghai-fsi",
        "ap-shenzhen",
        "ap-shenzhen-fsi",
        "ap-singapore",
        "ap-taipei",
        "ap-tianjin",
        "ap-tokyo",
        "eu-frankfurt",
        "eu-moscow",
        "me-saudi-arabia",
        "na-ashburn",
        "na-siliconvalley",
        "na-toronto",
        "sa-saopaulo",
    }
)

_COMPASS = r"(?:north|south|east|west|central|northeast|southeast|northwest|southwest)"
_FORMS = {
    Vendor.COS: re.compile(r"(?:ap|na|sa|eu|me|af)-[a-z]{3,}(?:-fsi|-ec)?", re.ASCII),
    Vendor.S3: re.compile(
        rf"(?:af|ap|ca|cn|eu|il|me|mx|sa|us)(?:-gov|-iso[a-z]?)?-{_COMPASS}-[0-9]", re.ASCII
    ),
    Vendor.OSS: re.compile(
        rf"cn-[a-z]{{3,}}(?:-[a-z0-9]+)*|(?:af|ap|eu|me|na|sa|us)-{_COMPASS}-[0-9](?:-[a-z0-9]+)*",
        re.ASCII,
    ),
}
_EXTRA = {
    Vendor.COS: _TENCENT | {"ap-beijing-1"},
    Vendor.S3: frozenset(),
    Vendor.OSS: frozenset({"na-south-1", "rg-china-mainland"}),
}
_HOST_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII | re.IGNORECASE)

_UNSUPPORTED = Phrase("The action not support this region.", "接口不支持所传地域。")
_NOT_A_REGION = Phrase(
    "A value specified in `X-TC-Region` is not valid, is unsupported, or cannot be used.",
    "`X-TC-Region` 的值无效、不支持或不可用。",
)
_REGION_RULES = {
    Vendor.COS: Phrase("a region of Tencent COS, such as ap-guangzhou", "腾讯云 COS 的地域"),
    Vendor.S3: Phrase("a region of AWS, such as us-east-1", " AWS 的地域"),
    Vendor.OSS: Phrase("a region of Alibaba Cloud OSS, such as cn-hangzhou", "阿里云 OSS 的地域"),
}


def check_api_region(region: str, served: Collection[str]) -> None:
    """Check a call's common parameter Region.

    Raises:
        ApiError: it is not among the `served` ones, or no region's name at all.
    """
    if region in served:
        return
    if region in _TENCENT:
        raise ApiError(Code.UNSUPPORTED_REGION, _UNSUPPORTED)
    raise ApiError(Code.INVALID_PARAMETER_VALUE, _NOT_A_REGION)


def storage_region(name: str, vendor: Vendor, region: str, endpoints: EndpointSettings) -> str:
    """The region that the parameter `name` means, as the vendor spells it in host names.

    Where the settings say at which endpoint a vendor's buckets are, any region will do that can be
    part of a host's name.

    Raises:
        ApiError: the vendor has no such region.
    """
    if vendor is Vendor.OSS:
        region = region.removeprefix("oss-")
    override = {Vendor.COS: endpoints.cos, Vendor.S3: endpoints.s3, Vendor.OSS: endpoints.oss}
    if override[vendor]:
        is_known = _HOST_LABEL.fullmatch(region) is not None
    else:
        is_known = _FORMS[vendor].fullmatch(region) is not None or region in _EXTRA[vendor]
    if not is_known:
        raise out_of_range(name, _REGION_RULES[vendor])
    return region
