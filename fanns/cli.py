"""The command `fanns`: its group, its errors and its exit codes."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from fanns import __version__
from fanns.bench.cli import bench
from fanns.cli_build import build, info, verify, warmup
from fanns.cli_dataset import dataset
from fanns.cli_demo import demo
from fanns.cli_export import export, import_
from fanns.cli_options import NOT_NEEDED
from fanns.cli_query import check, query
from fanns.cli_transform import transform
from fanns.cli_write import add, compact, delete, update, upsert
from fanns.errors import CorruptIndexError, FannsError, FilterError, NotAnIndexError

FAILED, USAGE, CORRUPT, INTERRUPTED = 1, 2, 3, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fanns")
def cli() -> None:
    """Filtered vector search: one embedded index for every filter.

    Data goes to stdout, talk and progress to stderr.

    \b
    Exit codes:
      0    ok
      1    failed
      2    usage: a wrong option, or a filter that cannot be evaluated
      3    corrupt: not an index, or one that is damaged
      4    check: recall is below --min-recall; bench: a ratio is below its floor, a bar is missed
      5    query: fewer than k hits under --strict
      130  interrupted

    \b
    Environment:
      NO_COLOR=1           no colours
      FANNS_CPU=portable   the kernels without processor-specific instructions
      FANNS_DEBUG=1        a traceback with every error
    """


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    For bash:  eval "$(fanns completion bash)"
    For zsh:   eval "$(fanns completion zsh)"
    For fish:  fanns completion fish | source
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(cli, {}, "fanns", "_FANNS_COMPLETE").source())


for _command in (
    build,
    query,
    add,
    upsert,
    update,
    delete,
    compact,
    export,
    import_,
    info,
    check,
    verify,
    warmup,
    demo,
    transform,
    dataset,
    bench,
):
    cli.add_command(_command)


def run(args: Sequence[str]) -> int:
    """Run one command line; the exit code. Errors become one line on stderr."""
    try:
        code: Any = cli.main(list(args), prog_name="fanns", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return USAGE
    except click.ClickException as error:
        return _fail(error, _usage_text(error), error.exit_code)
    except (KeyboardInterrupt, click.Abort) as error:
        return _fail(error, "interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output went away, as `head` does: nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except FannsError as error:
        return _fail(error, str(error), _code(error))
    except Exception as error:
        text = f"{type(error).__name__}: {error}".strip(": ")
        return _fail(error, f"{text} (FANNS_DEBUG=1 shows where)", FAILED)


def main() -> None:
    """The entry point of the command."""
    sys.meta_path.insert(0, NOT_NEEDED)
    code = run(sys.argv[1:])
    gc.freeze()  # the interpreter's last collection would take a third of a second
    sys.exit(code)


def _code(error: FannsError) -> int:
    if isinstance(error, FilterError):
        return USAGE
    return CORRUPT if isinstance(error, (CorruptIndexError, NotAnIndexError)) else FAILED


def _usage_text(error: click.ClickException) -> str:
    text = error.format_message()
    context = getattr(error, "ctx", None)
    return f"{text} (see {context.command_path} --help)" if context is not None else text


def _fail(error: BaseException, message: str, code: int) -> int:
    if os.environ.get("FANNS_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    click.echo(f"error: {' '.join(message.split())}", err=True)
    return code
