"""What /metrics says of a cluster, as a node sees it."""

from collections.abc import Iterator, Mapping

from prometheus_client.registry import Collector

from cloudslice.cluster.app_senders import AppSenders
from cloudslice.cluster.cluster_view import ClusterView
from cloudslice.cluster.node_lease import NodeLease
from cloudslice.cluster.room_ownership import RoomOwnership
from cloudslice.metrics import Metric, auto_task_counter, counter, gauge
from cloudslice.tasks.auto_tasks import AutoTasks


class ClusterMetrics(Collector):
    """The metrics of any node of a cluster.

    Args:
        view: what the node sees.
        refusals: of a node that takes calls: calls that were refused, by the reason.
    """

    def __init__(self, view: ClusterView, refusals: Mapping[str, int] | None = None) -> None:
        self._view = view
        self._refusals = refusals

    def collect(self) -> Iterator[Metric]:
        view = self._view
        open_nodes = sum(node.is_open for node in view.nodes.values())
        yield gauge(
            "cloudslice_cluster_nodes",
            "Nodes with a lease that goes on, by whether they take new tasks.",
            "state",
            {"open": open_nodes, "full": len(view.nodes) - open_nodes},
        )
        yield gauge(
            "cloudslice_cluster_tasks",
            "Unfinished tasks of the cluster, by whether a node has their room.",
            "state",
            self._count_tasks(),
        )
        if self._refusals is not None:
            yield counter(
                "cloudslice_cluster_refused",
                "Calls that were refused for want of a node, or of the registry.",
                "reason",
                self._refusals,
            )

    def _count_tasks(self) -> dict[str, int]:
        view, counts = self._view, {"owned": 0, "waiting": 0}
        for task in view.tasks.values():
            counts["waiting" if view.owner_of(task.room) is None else "owned"] += 1
        return counts


class RuleMetrics(Collector):
    """The metrics of a node that takes calls and has rules."""

    def __init__(self, rules: AutoTasks) -> None:
        self._rules = rules

    def collect(self) -> Iterator[Metric]:
        yield auto_task_counter(self._rules.counts)


class WorkerMetrics(Collector):
    """The metrics of a node that runs tasks."""

    def __init__(self, lease: NodeLease, ownership: RoomOwnership, senders: AppSenders) -> None:
        self._lease = lease
        self._ownership = ownership
        self._senders = senders

    def collect(self) -> Iterator[Metric]:
        lease, ownership = self._lease, self._ownership
        yield gauge(
            "cloudslice_cluster_own",
            "This node's rooms, apps that it sends for, and whether its lease is certain.",
            "what",
            {
                "rooms": ownership.count,
                "apps": self._senders.count,
                "lease": int(lease.is_valid),
            },
        )
        yield counter(
            "cloudslice_cluster_failovers",
            "Rooms taken from nodes that were gone, and leases of this node that ran out.",
            "what",
            {"rooms_taken": ownership.taken, "leases_lost": lease.losses},
        )
