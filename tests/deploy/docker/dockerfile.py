"""A Dockerfile as the rules look at it: stages of instructions, without what only a builder needs to know."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "deploy/docker"
BACKENDS = ("generator", "scorer", "refiner")
SERVICES = ("gateway", *BACKENDS)


@dataclass
class Stage:
    """From one FROM to the next; `base` as written, `instructions` as (name, rest)."""

    base: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """What follows each instruction of a name."""
        return [rest for instruction, rest in self.instructions if instruction == name]


@dataclass
class Dockerfile:
    """`arguments` are the defaults of ARG before the first FROM."""

    service: str
    text: str
    arguments: dict[str, str]
    stages: list[Stage]

    def inherited(self) -> list[Stage]:
        """The stages that make up the image, the last one first: it, what it is FROM, and so on."""
        named = {stage.name: stage for stage in self.stages if stage.name}
        chain = [self.stages[-1]]
        while chain[-1].base in named:
            chain.append(named[chain[-1].base])
        return chain

    def last(self, name: str) -> str:
        """The instruction of a name that counts in the image."""
        return next(found[-1] for stage in self.inherited() if (found := stage.all(name)))

    def command(self, name: str) -> list[str]:
        """CMD or HEALTHCHECK in exec form, without options."""
        command = json.loads(self.last(name)[self.last(name).index("[") :])
        assert isinstance(command, list)
        return command

    def environment(self) -> dict[str, str]:
        """ENV of the image."""
        pairs = [
            word.split("=", 1) for stage in self.inherited()[::-1] for rest in stage.all("ENV") for word in rest.split()
        ]
        return {name: value for name, value in pairs}

    def labels(self) -> dict[str, str]:
        """LABEL of the image."""
        words = [word for stage in self.inherited() for rest in stage.all("LABEL") for word in shlex.split(rest)]
        return dict(word.split("=", 1) for word in words)

    def ports(self) -> list[int]:
        """EXPOSE of the image."""
        return [int(port) for stage in self.inherited() for rest in stage.all("EXPOSE") for port in rest.split()]

    def copied(self) -> list[tuple[str, str]]:
        """What is copied from the checkout: (source, destination) as written."""
        found = []
        for rest in (rest for stage in self.stages for rest in stage.all("COPY")):
            if not rest.startswith("--from="):
                *sources, destination = rest.split()
                found += [(source, destination) for source in sources]
        return found


def read(service: str) -> Dockerfile:
    """The Dockerfile of a service."""
    text = (FOLDER / f"{service}.Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found = Dockerfile(service, text, {}, [])
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            base, _, alias = rest.partition(" AS ")
            found.stages.append(Stage(base, alias))
        elif found.stages:
            found.stages[-1].instructions.append((name, rest))
        elif name == "ARG":
            argument, _, default = rest.partition("=")
            found.arguments[argument] = default
    return found
