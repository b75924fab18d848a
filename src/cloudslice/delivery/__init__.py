"""Delivery: from a finished slice on disk to the user's bucket and webhooks."""
