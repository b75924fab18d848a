"""Webhooks: from what happens in a node to the receivers that apps have named."""
