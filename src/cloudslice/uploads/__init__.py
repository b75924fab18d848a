"""Puts objects into buckets."""
