"""cloudslice: a self-hosted cloud slicing service for live audio and video rooms."""

__version__ = "0.1.0"
