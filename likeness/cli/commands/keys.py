"""`keys ...`, `tenant`, `audit`: who may call, how much, and what administrators did."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from typing import Any

from rich.text import Text

from likeness import ApiKey, KeyScope, NewApiKey, TenantLimits, TenantState
from likeness._numbers import age_text
from likeness.cli.arguments import UsageError, command
from likeness.cli.bootstrap import first_admin_key
from likeness.cli.connection import connect
from likeness.cli.output import Output

_DEFAULT_TENANT = "default"
_RESET = "default"
_LIMITS = {
    "requests_per_second": "calls a second that each key may begin",
    "concurrent_calls": "calls that each key may have open",
    "images_per_day": "pictures that the tenant may ask for in a day",
    "megapixels_per_day": "megapixels that may be made for it in a day",
}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the commands."""
    summary = "API keys: create, list, rotate, revoke"
    group = commands.add_parser("keys", help=summary, description=summary)
    verbs = group.add_subparsers(title="commands", metavar="COMMAND", required=True)

    create = command(verbs, "create", _create, "create a key; its text is shown this once")
    create.add_argument("--tenant", default=_DEFAULT_TENANT, metavar="ID", help="tenant to act for (default: default)")
    create.add_argument("--scope", type=KeyScope, choices=list(KeyScope), help="what it may do (default: run)")
    create.add_argument("--name", default="", metavar="TEXT", help="name for people")
    create.add_argument(
        "--bootstrap",
        action="store_true",
        help="create an admin key in the database at LIKENESS_DATABASE_URL, without a gateway: the first key",
    )

    listing = command(verbs, "list", _list, "list keys, newest first")
    listing.add_argument("--tenant", default="", metavar="ID", help="only this tenant's")

    rotate = command(verbs, "rotate", _rotate, "create a key in the place of another, which works on for a while")
    rotate.add_argument("key", help="id of the key: what stands between lk_ and the next _")
    rotate.add_argument("--grace", type=float, metavar="SECONDS", help="how long the old key works on (default: a day)")

    revoke = command(verbs, "revoke", _revoke, "end keys at once")
    revoke.add_argument("keys", nargs="+", metavar="key", help="id of a key")

    tenant = command(commands, "tenant", _tenant, "show or set the limits of a tenant, and what it used today")
    tenant.add_argument("tenant", help="id of the tenant")
    for name, help_ in _LIMITS.items():
        option = f"--{name.replace('_', '-')}"
        tenant.add_argument(option, metavar="N", help=f"{help_}; 0: no limit, default: the deployment's")

    audit = command(commands, "audit", _audit, "list what administrators did, newest first")
    audit.add_argument("--limit", type=int, default=50, metavar="N", help="most entries (default: 50)")


def _create(args: argparse.Namespace, output: Output) -> int:
    if args.bootstrap:
        if args.scope not in (None, KeyScope.ADMIN):
            raise UsageError("--bootstrap creates a key of scope admin")
        made = first_admin_key(args.tenant, args.name)
        if output.json:
            output.value(made)
        _show_text(made["id"], f"tenant {made['tenant_id']}, scope {made['scope']}", made["key_text"], output)
        return 0
    with connect(args) as client:
        new = client.create_key(args.tenant, scope=args.scope or KeyScope.RUN, display_name=args.name)
    _show_new(new, output)
    return 0


def _list(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        keys = list(client.api_keys(tenant_id=args.tenant))
    if output.json:
        for key in keys:
            output.value(key)
    else:
        rows = [
            (key.id, key.tenant_id, key.scope or "?", _state(key), age_text(key.create_time), key.display_name)
            for key in keys
        ]
        output.table(("key", "tenant", "scope", "state", ">made", "name"), rows)
    return 0


def _rotate(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        new = client.rotate_key(args.key, grace_seconds=args.grace)
    _show_new(new, output)
    if new.replaced and new.replaced.expire_time:
        output.say(f"{new.replaced.id} works until {new.replaced.expire_time:%Y-%m-%d %H:%M:%S} UTC.")
    return 0


def _revoke(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        for key in args.keys:
            revoked = client.revoke_key(key)
            if output.json:
                output.value(revoked)
            output.say(f"{revoked.id} revoked")
    return 0


def _tenant(args: argparse.Namespace, output: Output) -> int:
    asked = {name: getattr(args, name) for name in _LIMITS if getattr(args, name) is not None}
    with connect(args) as client:
        if asked:
            changes: dict[str, Any] = {name: _limit(name, value) for name, value in asked.items()}
            client.set_tenant_limits(args.tenant, replace(client.tenant(args.tenant).limits, **changes))
        state = client.tenant(args.tenant)
    if output.json:
        output.value(state)
    else:
        _show_tenant(state, output)
    return 0


def _audit(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        entries = [entry for _, entry in zip(range(args.limit), client.audit_entries(), strict=False)]
    if output.json:
        for entry in entries:
            output.value(entry)
    else:
        rows = [
            (
                f"{entry.create_time:%Y-%m-%d %H:%M:%S}",
                entry.key_id or "-",
                entry.peer or "-",
                entry.action,
                entry.subject,
                ", ".join(f"{name} {value}" for name, value in sorted(entry.detail.items()) if value),
            )
            for entry in entries
        ]
        output.table(("time (UTC)", "key", "from", "act", "of", "detail"), rows)
    return 0


def _limit(name: str, text: str) -> float | int | None:
    if text == _RESET:
        return None
    try:
        return float(text) if name in ("requests_per_second", "megapixels_per_day") else int(text)
    except ValueError:
        option = f"--{name.replace('_', '-')}"
        raise UsageError(f"{option}: {text!r} is neither a number nor {_RESET!r}") from None


def _show_tenant(state: TenantState, output: Output) -> None:
    used = {"images_per_day": f"{state.images:,}", "megapixels_per_day": f"{state.megapixels:,.1f}"}
    own = asdict(state.limits)
    rows = [
        (
            name.replace("_", " "),
            _limit_text(state.effective, name),
            used.get(name, ""),
            "" if own[name] is None else "own",
        )
        for name in _LIMITS
    ]
    output.table(("limit", ">value", ">used today", ""), rows)


def _limit_text(limits: TenantLimits, name: str) -> str:
    value = getattr(limits, name)
    return f"{value:,g}" if value else "none"


def _show_new(new: NewApiKey, output: Output) -> None:
    if output.json:
        output.value(new)
    key = new.key
    _show_text(key.id, f"tenant {key.tenant_id}, scope {key.scope}", new.text, output)


def _show_text(key_id: str, what: str, text: str, output: Output) -> None:
    output.say(Text.assemble((text, "bold")))
    output.say(f"Key {key_id}: {what}. Keep it now: it is stored nowhere and shown this once.")
    output.say("Callers set LIKENESS_API_KEY to it.")


def _state(key: ApiKey) -> str:
    if key.revoke_time is not None:
        return "revoked"
    return f"until {key.expire_time:%Y-%m-%d %H:%M}" if key.expire_time else "works"
