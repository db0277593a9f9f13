"""The command ``msam`` itself, and how its commands report errors."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from MSAMLogic.errors import MSAMError
from MSAMLogic.version import __version__

app = typer.Typer(
    help="Click a lesion in a 3D scan and get its mask. For research use; not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def reports_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Turn the package's errors and file errors into one line on stderr and exit code 1."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except MSAMError as error:
            typer.echo(f"msam: {error}", err=True)
            raise typer.Exit(1) from None
        except OSError as error:
            typer.echo(f"msam: {error.strerror or error}: {error.filename or ''}".rstrip(": "), err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            typer.echo("msam: stopped", err=True)
            raise typer.Exit(130) from None

    return run


@app.callback(invoke_without_command=True)
def main(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Click a lesion in a 3D scan and get its mask. For research use; not a medical device."""
    if version:
        typer.echo(f"msam {__version__}")
        raise typer.Exit
