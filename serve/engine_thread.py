"""The engine on a thread of its own, and the event loop's way to it."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence

from app.ensemble.engine import Engine, Load
from app.ensemble.remote_client import Unreachable
from app.ensemble.requests import Request, Update


class Subscription:
    """The updates of some requests, in order; made by ``EngineThread.submit`` and used by one task."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.numbers: list[int] = []
        self._loop = loop
        self._news: asyncio.Queue[list[Update] | BaseException] = asyncio.Queue()

    async def take(self) -> list[Update]:
        """All that is new; waits until there is something. Raises what stopped the engine."""
        news = [await self._news.get()]
        while not self._news.empty():
            news.append(self._news.get_nowait())
        updates: list[Update] = []
        for part in news:
            if isinstance(part, BaseException):
                raise part
            updates += part
        return updates

    def put(self, news: list[Update] | BaseException) -> None:
        """From the engine's thread. An event loop that has ended hears nothing more."""
        if not self._loop.is_closed():
            # asyncio's queues are not safe for other threads than their loop's.
            self._loop.call_soon_threadsafe(self._news.put_nowait, news)


class EngineThread:
    """Steps an engine while there is something to do. All methods are for the event loop's side."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._commands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._subscribed: dict[int, Subscription] = {}
        # Replaced as a whole and never changed, so the event loop reads it without a lock.
        self.load: Load = engine.load
        self.broken: BaseException | None = None
        # A daemon, because nobody calls close when a process of Serve ends.
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    async def submit(self, requests: Sequence[Request], may_refuse: bool = True) -> Subscription:
        """All of the requests, or none. Raises ServingError and Overloaded as ``Engine.submit`` does, Unreachable where
        the engine has stopped: these requests had no part in it, so another replica may take them.
        """
        loop = asyncio.get_running_loop()
        subscription, accepted = Subscription(loop), loop.create_future()
        self._commands.put(lambda: self._submit(requests, subscription, accepted, loop, may_refuse))
        if self.broken is not None:
            raise Unreachable("the engine of this replica has stopped") from self.broken
        try:
            await accepted
        except asyncio.CancelledError:
            # Commands keep their order: when this one's turn comes, the requests have their numbers.
            self.cancel(subscription)
            raise
        return subscription

    def cancel(self, subscription: Subscription) -> None:
        """Forget these requests before the next step; nothing happens to those that have ended."""
        self._commands.put(lambda: self._forget(subscription))

    def close(self) -> None:
        """End the thread after the step that it is in."""
        self._commands.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while self._obey():
                updates = self._engine.step()
                self.load = self._engine.load
                self._deliver(updates)
        except BaseException as error:  # a bug: whoever waits must hear of it, and the owner sees it in ``broken``
            self.broken = error
            try:
                # Put before ``broken`` could be seen: taken in as well, so that who waits for them hears of it below.
                while not self._commands.empty():
                    if command := self._commands.get():
                        command()
            finally:
                for subscription in set(self._subscribed.values()):
                    subscription.put(error)

    def _obey(self) -> bool:
        """Do what was asked for; wait for it while there is nothing else to do. False: it is to end."""
        while True:
            busy = self._engine.load.running or self._engine.load.waiting
            try:
                # Texts that run must not wait for the next command, and an idle engine must not turn in circles.
                command = self._commands.get(block=not busy)
            except queue.Empty:
                return True
            if command is None:
                return False
            command()
            self.load = self._engine.load

    def _submit(
        self,
        requests: Sequence[Request],
        subscription: Subscription,
        accepted: asyncio.Future[None],
        loop: asyncio.AbstractEventLoop,
        may_refuse: bool,
    ) -> None:
        try:
            for request in requests:
                number = self._engine.submit(request, may_refuse)
                subscription.numbers.append(number)
                self._subscribed[number] = subscription
        except Exception as error:  # also a bug: it is this job's alone, and the engine goes on
            # Those before the refused one are in already: a job is taken as a whole or not at all.
            self._forget(subscription)
            _settle(loop, accepted, error)
            return
        _settle(loop, accepted, None)

    def _forget(self, subscription: Subscription) -> None:
        for number in subscription.numbers:
            self._engine.cancel(number)
            self._subscribed.pop(number, None)

    def _deliver(self, updates: Sequence[Update]) -> None:
        by_subscription: dict[Subscription, list[Update]] = defaultdict(list)
        for update in updates:
            if update.request in self._subscribed:
                by_subscription[self._subscribed[update.request]].append(update)
        for subscription, news in by_subscription.items():
            subscription.put(news)


def _settle(loop: asyncio.AbstractEventLoop, future: asyncio.Future[None], error: Exception | None) -> None:
    # A future, like all of asyncio, belongs to its loop; and who waited may have been cancelled before this runs there.
    def settle() -> None:
        if future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    if not loop.is_closed():
        loop.call_soon_threadsafe(settle)
