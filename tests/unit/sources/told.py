# SPDX-License-Identifier: Apache-2.0
"""What a source has told so far, as its consumer would know it."""

from kproxy.objects.events import Broken, Delete, Event, Host, Kind, Synced, Upsert


class Told:
    """An ``Emit`` that keeps the present and the past."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.versions: dict[str, str] = {}

    def __call__(self, event: Event) -> None:
        """Take one event."""
        self.events.append(event)
        match event:
            case Upsert():
                self.versions[event.object.metadata.key] = event.object.metadata.resource_version
            case Delete():
                self.versions.pop(event.key, None)

    def take(self) -> list[str]:
        """Return what was told since the last call, one short text an event."""
        events, self.events = self.events, []
        return [short(event) for event in events]


def short(event: Event) -> str:
    """Print an event for a comparison."""
    match event:
        case Upsert():
            return f"+{event.object.metadata.key}"
        case Delete():
            return f"-{event.key}"
        case Synced():
            return f"synced {event.kind}"
        case Broken():
            return f"{'broken' if event.mend else 'mended'} {event.key}"
        case Host():
            return " ".join(f"{item.interface}={item.address}/{item.prefix}" for item in event.addresses)


SYNCED = f"synced {Kind.SERVICE}"
