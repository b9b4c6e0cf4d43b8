"""The place that a run of Ray Train holds on the cluster, given back also where Ray Train forgets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback

if TYPE_CHECKING:
    from ray.train.v2._internal.execution.worker_group import WorkerGroup
    from ray.train.v2._internal.execution.worker_group.placement_group_handle import PlacementGroupHandle


class PlaceGivenBack(ControllerCallback, WorkerGroupCallback):
    """A callback of a run that removes its placement group when its controller ends.

    Ray Train 2.60 does so itself but for one case: a worker that is lost after its process has started and before it
    has its training function, which on a busy machine is most of a start. Then the controller gives up and leaves the
    group behind (``WorkerGroup._start`` clears only what has not started), and Ray keeps it until the job ends, on
    another node if its own has gone: a slot less for all other runs, and in the end none.
    """

    _place: PlacementGroupHandle | None = None

    def after_worker_group_start(self, worker_group: WorkerGroup) -> None:
        """Remember the group; called before the training function is sent."""
        self._place = worker_group.get_worker_group_state().placement_group_handle

    async def before_controller_shutdown(self) -> None:
        """Remove it; removing it twice does nothing."""
        if self._place is not None:
            self._place.shutdown()
