"""What all commands share: consoles, clean messages for errors, progress on screen and in logs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TextIO

import typer

from opalign.errors import ConfigurationError, OpalignError, StorageError

if TYPE_CHECKING:
    from pydantic import ValidationError
    from rich.console import Console

#: Exit status after an error that the user can mend, as for a mistake on the command line.
USER_ERROR = 2
#: Exit status after Ctrl-C: 128 + SIGINT, as shells have it.
INTERRUPTED = 130
#: Seconds between lines of progress where there is no terminal to redraw one on.
LOG_INTERVAL = 10.0


def output_console() -> Console:
    """Console for results, on stdout; long lines are left whole, so that a path can be copied."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def message_console() -> Console:
    """Console for progress, warnings and errors, on stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def configuration_error(error: ValidationError) -> ConfigurationError:
    """Return the same as an error of Opalign's that names every key and what is wrong with it."""
    problems = []
    for detail in error.errors(include_url=False, include_context=False):
        key = ".".join(map(str, detail["loc"])) or error.title
        found = detail["input"]
        shown = f" (found {found!r})" if isinstance(found, str | int | float) else ""
        problems.append(f"{key}: {detail['msg']}{shown}")
    return ConfigurationError(
        "the configuration does not validate:\n    " + "\n    ".join(problems),
        where=error.title,
        cure="correct these keys",
    )


@contextlib.contextmanager
def clean_errors() -> Iterator[None]:
    """Turn what a user can mend into a message and an exit status; leave defects their traceback.

    A command that keeps something after Ctrl-C catches it itself and says what.
    """
    try:
        yield
    except OpalignError as error:
        _fail(error)
    except KeyboardInterrupt:
        message_console().print("Interrupted. Files that were finished are whole and kept.")
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        raise  # Who read our output has seen enough, as `head` has: typer ends quietly.
    except OSError as error:
        # What no part of Opalign could say better: a name too long, a missing right, a full disk.
        _fail(
            StorageError(
                f"cannot be used: {error.strerror or error}",
                where=None if error.filename is None else str(error.filename),
                cure="check the path, the right to use it, and the space that is left",
            )
        )
    except ValueError as error:
        from pydantic import ValidationError

        if not isinstance(error, ValidationError):
            raise
        _fail(configuration_error(error))


def _fail(error: OpalignError) -> None:
    console = message_console()
    console.print("Error", style="bold red", end=": ")
    console.print(str(error), markup=False)
    raise typer.Exit(USER_ERROR) from error


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Say what a library warns of, in place of ``warnings.showwarning``: without its source."""
    console = message_console()
    console.print("Warning", style="yellow", end=": ")
    console.print(str(message), markup=False)


@contextlib.contextmanager
def counting_progress(what: str) -> Iterator[Callable[[str], None]]:
    """Show how many are done, and the latest: redrawn on a terminal, line by line in a log.

    Yields the function to call with the name of each one done.
    """
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = message_console()
    done = 0
    if not console.is_terminal:
        last = time.monotonic()

        def log(name: str) -> None:
            nonlocal done, last
            done += 1
            if time.monotonic() - last >= LOG_INTERVAL:
                last = time.monotonic()
                console.print(f"{what}: {done} done, latest {name}", markup=False)

        yield log
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("[bold]{task.completed:.0f}[/]"),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[name]}[/]"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=None, name="")
        yield lambda name: progress.update(task, advance=1, name=name.replace("[", r"\["))
