"""Settings of stores, and of the slices that wait for them."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator

from cloudslice.settings.section import Section
from cloudslice.settings.values import (
    CaFile,
    Endpoint,
    HeaderSecret,
    HeaderValue,
    check_addressing,
)
from cloudslice.slices import Vendor


class EndpointSettings(Section):
    """Where a vendor's buckets are, if not at the vendor's public endpoint."""

    cos: Endpoint = ""
    s3: Endpoint = ""
    oss: Endpoint = ""


class VendorSettings(Section):
    """What requests to a vendor's buckets are like."""

    addressing: Literal["auto", "path", "virtual"] = "auto"
    """Where requests name the bucket: in the path or in the host name."""
    checksum: Literal["Content-MD5", "x-amz-checksum-sha256", "none"] = "Content-MD5"
    """The header with a hash that the store compares; Object Lock wants one."""
    encryption: HeaderValue = ""
    """``x-amz-server-side-encryption``; not sent without it."""
    kms_key_id: HeaderValue = ""
    """``x-amz-server-side-encryption-aws-kms-key-id``; not sent without it."""
    acl: HeaderValue = ""
    """``x-amz-acl``; not sent without it."""
    ca_file: CaFile = ""
    """PEM certificates that stores' certificates must come from; without it, the system's."""
    session_token: HeaderSecret = SecretStr("")
    """``x-amz-security-token``, for tasks whose keys are temporary; not sent without it."""

    @model_validator(mode="after")
    def _check_encryption(self) -> "VendorSettings":
        if self.kms_key_id and not self.encryption:
            raise ValueError('kms_key_id needs encryption, such as "aws:kms"')
        return self


class StorageSettings(Section):
    endpoints: EndpointSettings = EndpointSettings()
    """``http(s)://`` of an S3 server or ``file://`` of a directory; {region} and {bucket} are
    filled in. With {bucket} in the host name, requests are virtual-hosted, else path style."""
    cos: VendorSettings = VendorSettings()
    s3: VendorSettings = VendorSettings()
    oss: VendorSettings = VendorSettings()
    upload_timeout_s: Annotated[float, Field(gt=0)] = 30
    retention_hours: Annotated[float, Field(gt=0)] = 24
    """How long the upload of a slice is tried."""
    spool_limit_gib: Annotated[float, Field(gt=0)] = 20
    """Slices that wait for their upload may take so much; at the limit no task starts."""
    sync_interval_s: Annotated[float, Field(ge=0, le=60)] = 1
    """So often growing slices reach the device; 0 leaves it to the kernel."""

    @model_validator(mode="after")
    def _check_addressing(self) -> "StorageSettings":
        for vendor in Vendor:
            check_addressing(
                vendor.name.lower(), self.of(vendor).addressing, self.endpoint_of(vendor)
            )
        return self

    def of(self, vendor: Vendor) -> VendorSettings:
        """What requests to a vendor's buckets are like."""
        return {Vendor.COS: self.cos, Vendor.S3: self.s3, Vendor.OSS: self.oss}[vendor]

    def endpoint_of(self, vendor: Vendor) -> str:
        """Where the vendor's buckets are; empty: at its public endpoint."""
        endpoints = self.endpoints
        return {Vendor.COS: endpoints.cos, Vendor.S3: endpoints.s3, Vendor.OSS: endpoints.oss}[
            vendor
        ]
