# SPDX-License-Identifier: Apache-2.0
"""``hotcalls serve``: one enclave for many processes."""

from __future__ import annotations

import logging
import os
import pwd
import socket
import sys
from contextlib import ExitStack, suppress
from typing import Any

import click

from hotcalls import pymodule
from hotcalls.launching import PYTHON_WINDOW, _identity, _say_what_root_means
from hotcalls.serving.broker import Broker, stop_at_signals
from hotcalls.serving.places import PLACES_MAX


def _secrets(values: tuple[str, ...], opened: ExitStack) -> dict[str, Any]:
    """Open ``NAME=FILE``, or take ``NAME=fd:N``: before anything else runs."""
    found: dict[str, Any] = {}
    for value in values:
        name, equals, source = value.partition("=")
        if not equals or not name or not source:
            raise click.BadParameter(
                f"{value!r} is not NAME=FILE or NAME=fd:N", param_hint="--secret"
            )
        if name in found:
            raise click.BadParameter(f"{name!r} is given twice", param_hint="--secret")
        if source.startswith("fd:"):
            try:
                descriptor = int(source[3:])
                os.fstat(descriptor)
            except (ValueError, OverflowError, OSError):
                raise click.BadParameter(
                    f"{value!r}: {source[3:]!r} is not an open descriptor", param_hint="--secret"
                ) from None
            # Not for anybody else that this process starts.
            os.set_inheritable(descriptor, False)
        else:
            descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        opened.callback(os.close, descriptor)
        found[name] = descriptor
    return found


def _users(values: tuple[str, ...]) -> list[int]:
    """Users by number or name; this process's own first."""
    uids = [os.geteuid()]
    for value in values:
        try:
            uid = int(value) if value.isdecimal() else pwd.getpwnam(value).pw_uid
        except KeyError:
            raise click.BadParameter(
                f"there is no user {value!r}", param_hint="--allow-uid"
            ) from None
        if uid not in uids:
            uids.append(uid)
    return uids


def tell_service_manager(state: str) -> None:
    """Tell systemd, if it asked to be told: sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to, suppress(OSError):
        to.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)


@click.command("serve", epilog="Exit codes: 0 ended by a signal, 1 it could not start, 2 wrong "
               "usage, 4 an enclave is not possible here, 5 the enclave was lost.")  # fmt: skip
@click.argument("module")
@click.option("--socket", "path", required=True, metavar="PATH", help="Where clients connect.")
@click.option("--secret", "secrets", multiple=True, metavar="NAME=FILE|NAME=fd:N",
              help="What @hotcalls.startup may read once, by this name. Repeatable.")  # fmt: skip
@click.option("--args", "arguments", metavar="JSON", help="What @hotcalls.startup is started with.")
@click.option("--preload", multiple=True, metavar="MODULE", help="Import it before the lock-down.")
@click.option("--threads", type=click.IntRange(1, 16), default=1, show_default=True,
              help="Calls that each client can have running at a time.")  # fmt: skip
@click.option("--clients", type=click.IntRange(1, PLACES_MAX), default=16, show_default=True,
              help="Processes that can be connected at a time, of each user.")  # fmt: skip
@click.option("--callers", type=click.IntRange(1, 128), default=16, show_default=True,
              help="Threads of each client that can call at a time.")  # fmt: skip
@click.option("--window", type=click.IntRange(4096, 1 << 30), default=PYTHON_WINDOW,
              show_default=True, help="Bytes that the arguments of a call may take.")  # fmt: skip
@click.option("--user", metavar="USER", help="Run the enclave as this user. Needs privileges.")
@click.option("--allow-uid", "allowed", multiple=True, metavar="USER",
              help="Another user whose processes may connect. Repeatable.")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(0, 3600, min_open=True), default=30.0,
              show_default=True, help="Seconds that the launch may take.")  # fmt: skip
@click.option("--debug", is_flag=True, help="Send tracebacks of exceptions to clients.")
@click.option("--verbose", is_flag=True, help="Say on stderr which clients come and go.")
@click.option("--insecure-user-namespace", is_flag=True,
              help="Accept a user namespace whose owner can read the enclave.")  # fmt: skip
def serve_command(
    module: str,
    path: str,
    secrets: tuple[str, ...],
    arguments: str | None,
    preload: tuple[str, ...],
    threads: int,
    clients: int,
    callers: int,
    window: int,
    user: str | None,
    allowed: tuple[str, ...],
    timeout: float,
    debug: bool,
    verbose: bool,
    insecure_user_namespace: bool,
) -> None:
    """Run MODULE (a .py file, or a dotted name) in an enclave that many processes call.

    Each calls hotcalls.connect(PATH). Ends with SIGTERM or SIGINT, and every client's calls with
    it. A process that is served alone needs none of this: hotcalls.launch() does it.
    """
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO if verbose else logging.WARNING,
        format="hotcalls serve: %(message)s",
    )
    uids = _users(allowed)
    if len(uids) * clients > PLACES_MAX:
        raise click.BadParameter(
            f"{clients} clients of each of {len(uids)} users are more than {PLACES_MAX}",
            param_hint="--clients",
        )
    uid, gid = _identity(int(user) if user is not None and user.isdecimal() else user)
    with ExitStack() as opened:
        start = pymodule.Start(
            preload=list(preload),
            secrets=_secrets(secrets, opened),
            arguments=_arguments(arguments),
            debug=debug,
            python=None,
        )
        found = pymodule.find(module)
        _say_what_root_means(uid)
        options = {
            "mode": "hot",
            "responders": threads,
            "ocall_responders": 1,
            "slots": callers,
            "enclave_slots": 8,
            "cells": 32,
            "window_size": window,
            "shared_size": 4 << 20,
            "timeout_ms": max(1, round(timeout * 1000)),
            "user": uid,
            "group": gid,
            "insecure_debug": False,
            "insecure_user_namespace": insecure_user_namespace,
        }
        broker = opened.enter_context(
            Broker(found, options, start, path=path, uids=uids, clients=clients)
        )
        stop_at_signals(broker)
        click.echo(f"serving {found.name} (pid {broker.served.native.pid}) at {path}", err=True)
        tell_service_manager("READY=1")
        broker.run()
        tell_service_manager("STOPPING=1")


def _arguments(text: str | None) -> Any:
    import json

    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="--args") from None
