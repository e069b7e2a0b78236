"""What a lane plays: a run with its scripted world, a client of it, and what must be true of it at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Protocol

from tests.chaos.script import script
from tests.chaos.site import Client, Outcome, Site
from tests.e2e.models import Models
from tests.e2e.processes import Run, Service


class Scenario(Protocol):
    """One kind of run. The world that it talks to outlives the product's processes."""

    @property
    def name(self) -> str:
        """Return what the scenario is called."""
        ...

    @property
    def models(self) -> Models:
        """Return the model server."""
        ...

    @property
    def env(self) -> Mapping[str, str]:
        """Return the settings that the product's processes need."""
        ...

    def client(self, label: str) -> Client:
        """Return somebody who wants such a run."""
        ...

    def outcome(self, site: Site, run: Run) -> Outcome:
        """Return what a finished run left behind, to be compared with the undisturbed one."""
        ...

    def faults(self, client: Client, site: Site, service: Service) -> list[str]:
        """Return what is wrong with a finished run, whatever another one was like."""
        ...


OpenScenario = Callable[[], AbstractContextManager[Scenario]]


class Work:
    """Two rounds, two agents at once, a file, a program, a search and an answer: nobody is asked."""

    def __init__(self, models: Models) -> None:
        self.name = "work"
        self.models = models
        self.env: Mapping[str, str] = {}

    def client(self, label: str) -> Client:
        """Return somebody who follows the run."""
        return Client(label)

    def outcome(self, site: Site, run: Run) -> Outcome:
        """Return all that the run left behind."""
        return site.outcome(run)

    def faults(self, client: Client, site: Site, service: Service) -> list[str]:
        """Return what is wrong with what the client was told."""
        del service
        return client.complaints(site)


@contextmanager
def work() -> Iterator[Scenario]:
    """Open the scenario of mere work."""
    with closing(Models()) as models:
        script(models)
        yield Work(models)
