"""`sessile`: finds the plugins, lets them add their commands, and turns every failure into one clear line."""

from __future__ import annotations

import io
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Collection
from typing import Any

import click

from sessile.plugins import Blocking, Plugins, installed, parse_options, run, steer
from sessile_cli.failures import report, report_aborted


class Cli(click.Group):
    """A group whose commands the plugins add, when one is first asked for."""

    plugins: Plugins | None = None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        self._load(_early_options(args))
        return super().parse_args(ctx, args)

    def _load(self, options: list[str]) -> None:
        if self.plugins is None:
            steer(*parse_options(options))
            self.plugins = installed()
            run(self.plugins.call(Blocking(), "register_commands", {"cli": self}))


def _early_options(args: list[str]) -> list[str]:
    """The values of `-p`, which must be known before there are commands to parse."""
    found = []
    for index, argument in enumerate(args):
        if argument == "-p" and index + 1 < len(args):
            found.append(args[index + 1])
        elif argument.startswith("-p") and len(argument) > 2:
            found.append(argument[2:])
        elif not argument.startswith("-") and (index == 0 or args[index - 1] != "-p"):
            break
    return found


@click.group(cls=Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-p", "plugin", multiple=True, metavar="no:NAME|FILE", help="Block a plugin, or load one from a file.")
@click.option("--debug", is_flag=True, help="Show the traceback of a failure.")
@click.version_option(package_name="sessile-core", prog_name="sessile")
def cli(plugin: tuple[str, ...], debug: bool) -> None:
    """Durable conversations with LLM agents: chat, and manage stored sessions."""


def main(args: list[str] | None = None) -> Any:
    """The entry point. Returns the exit status (see `failures.py`); 130 for Ctrl-C, and for a question that was not answered."""
    arguments = sys.argv[1:] if args is None else args
    as_json = "--json" in arguments
    try:
        return cli.main(args=arguments, prog_name="sessile", standalone_mode=False) or 0
    except (click.Abort, KeyboardInterrupt):
        return report_aborted(as_json=as_json)
    except Exception as error:
        if "--debug" in arguments and not isinstance(error, click.ClickException):
            raise
        return report(error, as_json=as_json)


_AGAIN = 5  # seconds after which a signal that has not ended the process comes again


def entry() -> None:
    """`main` as the installed command: its result is the process's exit status."""
    _prepare_streams()
    sys.setrecursionlimit(20_000)  # JSON of a tree in which forks of forks lie deep
    _end_by_signals()
    try:
        sys.exit(main())
    finally:
        _drop_unwritten()


def _drop_unwritten() -> None:
    """Drop buffered output once standard output is closed. Otherwise Python reports a second error at exit."""
    try:
        sys.stdout.flush()
    except OSError:  # told of already, as whatever is printed is flushed at once
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _prepare_streams() -> None:
    """A stream that was closed is an empty one; what a terminal's encoding lacks is shown escaped, and is no failure."""
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115
        elif name != "stdin" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _end_by_signals() -> None:
    """SIGTERM and SIGHUP end the process as Ctrl-C does, so that what was shown is kept and no file is left in part."""
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    taken = {number for number in numbers if signal.getsignal(number) is signal.SIG_DFL}  # one that nohup ignores stays so
    for number in taken:
        signal.signal(number, _end)
    if hasattr(signal, "pthread_kill"):
        heard, told = socket.socketpair()
        told.setblocking(False)
        signal.set_wakeup_fd(told.detach(), warn_on_full_buffer=False)
        threading.Thread(target=_insist, args=(heard, taken), name="sessile-signals", daemon=True).start()


def _end(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def _insist(heard: socket.socket, numbers: Collection[int]) -> None:
    """Send a signal to the main thread again as long as it has not ended the process.

    Python can miss one: it does not look for signals between showing a prompt and waiting for the line, and an exception
    that comes in a destructor is dropped.
    """
    while (number := heard.recv(1)[0]) not in numbers:
        pass
    while True:
        time.sleep(_AGAIN)
        signal.pthread_kill(threading.main_thread().ident or 0, number)
