"""Tencent Cloud API 3.0 as the service `trtc` speaks it (docs/wire.md, 1 to 8)."""
