"""The command line: reads arguments, calls the stage that does the work, shows what went wrong.

Exit codes: 0 fine, 1 the program or model is wrong, 2 the command line is, 130 Ctrl-C.
"""

from __future__ import annotations

import errno
import os
import sys

from tlc.options import Help, UsageError, parse
from tlc.runtime.errors import RunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from tlc.frontend.diagnostics import Diagnostic


def run(argv: list[str]) -> int:
    """Run one command; the exit code."""
    for stream, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, stream) is None:  # it was closed before we began
            setattr(sys, stream, open(os.devnull, mode))  # noqa: SIM115
    try:
        code = _run_command(argv)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        pass  # the reader of our output is gone; nothing can be told to it
    except OSError as problem:
        if problem.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise
        print(f"tlc: the output cannot be written: {problem.strerror}", file=sys.stderr)
    # what is left to write goes nowhere
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _run_command(argv: list[str]) -> int:
    """Run one command and show what is wrong; the exit code."""
    try:
        command, arguments, options = parse(argv)
    except Help as text:
        print(text)
        return 0
    except UsageError as problem:
        print(f"tlc: {problem}", file=sys.stderr)
        return 2
    try:
        return COMMANDS[command](*arguments, options)
    except RunError as problem:
        _show_run_error(problem, options)
    except KeyboardInterrupt:
        return 130
    except OSError:
        raise
    except Exception as problem:
        if not _show_compile_error(problem, options):
            raise
    return 1


# ---- commands -----------------------------------------------------------------------------------


def _build(path: str, options: dict[str, Any]) -> int:
    from tlc import driver

    if options["size"] and not options["report"]:
        raise RunError("E0504", "`--size` is for --report, which was not asked for")
    if options["range"]:
        return _range(path, options)
    if options["target"] == "coreml":
        return _export(path, options)
    built = driver.build(
        path,
        emit=options["emit"],
        profile=options["profile"],
        dump_after=tuple(options["dump-after"]),
        verify=bool(options["verify"]),
        min_macos=options["min-macos"],
        embed_weights=bool(options["embed-weights"]),
        hash_weights=bool(options["hash-weights"]),
        seed=int(options["seed"] or 0),
        store=options["store"] or "f16",
        engine=options["engine"] or "tlc",
        timings=_timings(options),
    )
    show_diagnostics(built.warnings, options)
    if built.shown is not None:
        sys.stdout.write(built.shown)
        return 0
    output = options["output"] or os.path.splitext(path)[0] + ".metallib"
    if options["selftest"]:
        from tlc.record import with_selftest

        built, missing = with_selftest(built, [os.path.dirname(path), ""])
        if missing:
            text = f"the self-test has no launch of {', '.join(missing)}"
            print(f"note: {text}", file=sys.stderr)
    library = b""
    if not options["source-only"]:
        library = driver.compiled(built, lambda text: sys.stderr.write(f"note: {text}\n"))
    driver.write(built, output, library)
    if options["report"]:
        from tlc.report import report

        print(report(built.manifest, options["size"]))
    return 0


def _export(path: str, options: dict[str, Any]) -> int:
    from tlc.export import export

    output = options["output"] or os.path.splitext(path)[0] + ".mlpackage"
    warnings = export(path, output, options["entry"], int(options["seed"] or 0))
    show_diagnostics(warnings, options)
    return 0


def _range(path: str, options: dict[str, Any]) -> int:
    from tlc import driver, ranges

    folders = [os.path.dirname(path), ""]
    store = options["store"] or "f16"
    if options["calibrate"]:
        built = driver.build(path, seed=int(options["seed"] or 0), store=store)
    else:
        built = driver.unfused(path, store=store)
    show_diagnostics(built.warnings, options)
    if options["calibrate"]:
        print(ranges.calibrated(built, options["entry"] or "main", options["calibrate"], folders))
    else:
        print(ranges.bounds(built, options["entry"] or "main", folders))
    return 0


def _run(path: str, options: dict[str, Any]) -> int:
    from tlc import runner

    return runner.run(
        path, options, _timings(options), lambda found: show_diagnostics(found, options)
    )


def _serve(path: str, options: dict[str, Any]) -> int:
    from tlc.serving.server import serve

    return serve(path, options, _timings(options), lambda found: show_diagnostics(found, options))


def _check(path: str, options: dict[str, Any]) -> int:
    from tlc import driver

    built = driver.build(
        path,
        emit="ir",
        verify=True,
        store=options["store"] or "f16",
        timings=_timings(options),
        blocks=True,
    )
    show_diagnostics(built.warnings, options)
    if options["emulate"]:
        from tlc.emulate import check_program

        check_program(path)
    return 0


def _test(path: str, options: dict[str, Any]) -> int:
    from tlc import testing

    return testing.test(path, options, lambda found: show_diagnostics(found, options))


def _bench(path: str, options: dict[str, Any]) -> int:
    from tlc import testing

    return testing.bench(path, options, lambda found: show_diagnostics(found, options))


def _inspect(path: str, options: dict[str, Any]) -> int:
    from tlc.inspect import inspect

    if options["size"] and not options["report"]:
        raise RunError("E0504", "`--size` is for --report, which was not asked for")
    sizes = options["size"] if options["report"] else None
    print(inspect(path, as_json=bool(options["json"]), kernel=options["kernel"], sizes=sizes))
    return 0


def _diff(first: str, second: str, options: dict[str, Any]) -> int:
    from tlc.diff import diff

    found = diff(first, second)
    print(found or "nothing differs")
    return 1 if found else 0


def _convert(source: str, target: str, options: dict[str, Any]) -> int:
    from tlc.convert import convert

    convert(source, target, options["dtype"])
    return 0


def _emulate(path: str, options: dict[str, Any]) -> int:
    from tlc.emulate import emulate

    return emulate(path, options)


def _lint(path: str, options: dict[str, Any]) -> int:
    from tlc import driver
    from tlc.runtime.msl.lint import lint

    found = lint(driver.read(path), version=options["metal"])
    for message in found:
        print(f"{path}:{message!r}")
    return 1 if found else 0


def _explain(code: str, options: dict[str, Any]) -> int:
    from tlc.explain import explain

    text = explain(code)
    if text is None:
        print(f"tlc: no error has the code `{code}`", file=sys.stderr)
        return 2
    print(text)
    return 0


def _selftest(options: dict[str, Any]) -> int:
    from tlc.selftest import selftest

    return selftest(options)


def _doctor(options: dict[str, Any]) -> int:
    from tlc.doctor import report

    print(report())
    return 0


COMMANDS: dict[str, Callable[..., int]] = {
    "build": _build,
    "run": _run,
    "serve": _serve,
    "check": _check,
    "test": _test,
    "bench": _bench,
    "inspect": _inspect,
    "convert": _convert,
    "diff": _diff,
    "emulate": _emulate,
    "lint": _lint,
    "explain": _explain,
    "selftest": _selftest,
    "doctor": _doctor,
}


def _timings(options: dict[str, Any]) -> Any:
    """What stages report their seconds to; None when nobody asks."""
    if not options["timings"]:
        return None
    return lambda stage, seconds: print(f"{stage:12} {seconds * 1e3:9.2f} ms", file=sys.stderr)


# ---- messages -----------------------------------------------------------------------------------


def _color(options: dict[str, Any]) -> bool:
    when = options["color"]
    if when == "auto":
        return sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    return bool(when == "always")


def show_diagnostics(found: Iterable[Diagnostic], options: dict[str, Any]) -> None:
    """Write diagnostics to stderr, as text or as one JSON object to a line."""
    found = list(found)
    if not found:
        return
    from tlc.frontend.diagnostics import render_json, render_text

    if options["error-format"] == "json":
        import json

        for diagnostic in found:
            print(json.dumps(render_json(diagnostic)), file=sys.stderr)
        return
    texts = [render_text(d, color=_color(options)) for d in found]
    print("\n\n".join(texts), file=sys.stderr)
    errors = sum(d.severity == "error" for d in found)
    if errors > 1:
        print(f"\n{errors} errors", file=sys.stderr)


def _show_run_error(problem: RunError, options: dict[str, Any]) -> None:
    if options["error-format"] == "json":
        import json

        data = {"severity": "error", "code": problem.code, "message": problem.message}
        print(
            json.dumps({**data, "place": None, "others": [], "hint": problem.hint}), file=sys.stderr
        )
    else:
        print(problem, file=sys.stderr)


def _show_compile_error(problem: Exception, options: dict[str, Any]) -> bool:
    """Show what a compiler stage raised; False for what is not its own kind of error."""
    from tlc.frontend.diagnostics import CompileError, InternalError

    if isinstance(problem, CompileError):
        show_diagnostics(problem.diagnostics, options)
    elif isinstance(problem, InternalError):
        print(problem, file=sys.stderr)
    else:
        return False
    return True
