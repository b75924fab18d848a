"""Tencent Cloud API 3.0 as the service `trtc` speaks it (contract A, B, C)."""
