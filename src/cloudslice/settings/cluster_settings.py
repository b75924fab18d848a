"""Settings of a cluster: of `cloudslice api` and `cloudslice worker`."""

from typing import Annotated

from pydantic import Field

from cloudslice.settings.section import Section
from cloudslice.settings.values import BaseUrl


class ClusterSettings(Section):
    """What the nodes of a cluster have in common."""

    lease_s: Annotated[int, Field(ge=3, le=60)] = 5
    """A node that was not heard of for so long is gone: others take its rooms."""
    replicas: Annotated[int, Field(ge=1, le=5)] = 1
    """On how many NATS servers the registry is kept, when it is made."""
    tasks_per_node: Annotated[int, Field(ge=1)] = 500
    """A node with so many tasks takes no new ones."""
    drain_s: Annotated[float, Field(ge=0)] = 15
    """So long a worker that is stopped may take to hand over its rooms and deliver its slices."""
    url: BaseUrl = ""
    """By which anchors reach this worker, who come by WHIP to another node; empty: by `listen`."""
