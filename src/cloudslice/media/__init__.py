"""The words between transports and slicing."""
