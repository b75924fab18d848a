"""A machine that is busy is no failure: hypothesis sets no deadline here."""

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
