"""What the command line offers, as one table, and the few lines that read arguments by it.

`tlc run` has to start in milliseconds, and importing argparse alone takes ten; this table also
writes the help texts.
"""

from __future__ import annotations

DEVICES = ("auto", "metal", "metal-objc", "cpu", "emulator", "emulator-fast", "reference")
STAGES = ("tokens", "ast", "ir", "plan", "msl")


class Option:
    """`--name VALUE`, or a switch when `value` is empty; `choices` limits the value, or each of
    several with commas between."""

    __slots__ = ("choices", "default", "help", "listed", "many", "name", "short", "value")

    def __init__(
        self,
        name: str,
        help: str,
        value: str = "",
        choices: tuple[str, ...] = (),
        default: str | None = None,
        short: str = "",
        many: bool = False,
        listed: bool = False,
    ) -> None:
        self.name, self.help, self.value, self.choices = name, help, value, choices
        self.default, self.short, self.many, self.listed = default, short, many, listed


class Command:
    """A sub-command: its arguments (`FILE`, `IN OUT`), a line of help, and its options."""

    __slots__ = ("argument", "help", "name", "options")

    def __init__(self, name: str, argument: str, help: str, options: tuple[Option, ...]) -> None:
        self.name, self.argument, self.help, self.options = name, argument, help, options


_COMMON = (
    Option("error-format", "how errors are written", "FORMAT", ("text", "json"), "text"),
    Option("color", "colored messages", "WHEN", ("auto", "always", "never"), "auto"),
)
_SEED = Option("seed", "of random numbers; that of the build, or 0, when left out", "N")
_STORE = Option(
    "store", "how computed float16 values are stored; f16 when left out", "DTYPE", ("f16", "f32")
)
_ENGINE = Option(
    "engine",
    "what runs Core ML models: kernels of tlc; or, on macOS, Core ML itself",
    "NAME",
    ("tlc", "coreml"),
)
_REPORT = Option("report", "show what each launch moves and computes, and how long GPUs need")
_SIZE = Option("size", "of a dimension, for --report; 1 when left out", "NAME=N", many=True)
_TIMINGS = Option("timings", "write the time of each stage to stderr")
_COMPILE = (
    Option("dump-after", "print the IR behind a pass, or behind `all`", "PASS", many=True),
    Option("verify", "check the IR behind every pass"),
    _TIMINGS,
)
_DEVICE = Option("device", "where to run", "DEVICE", DEVICES, "auto")
_FULL = Option("print-full", "print long tensors in full")
_RUN = (
    Option("device", "where to run; two with --diff", "DEVICE", DEVICES, "auto", listed=True),
    Option("entry", "what to run", "NAME", default="main"),
    Option("input", "an argument of the entry", "NAME=FILE.npy", many=True),
    Option("output", "write the entry's result to a file", "FILE.npy"),
    Option("arg", 'what `arg("NAME", ..)` of the program is', "NAME=VALUE", many=True),
    Option("prompt", "the same as --arg prompt=TEXT", "TEXT"),
    Option("max-tokens", "the same as --arg max_tokens=N", "N"),
    Option("temperature", "the same as --arg temperature=T", "T"),
    Option("stream", "write text as it is made, also where no terminal shows it"),
    Option("template", "a chat template in place of the model's: Jinja", "FILE"),
    Option("system", "the instruction that a conversation begins with", "TEXT"),
    Option("context", "tokens that a conversation may have; the model's when left out", "N"),
    Option("stats", "write to stderr how fast it loads, reads and writes tokens, and its memory"),
    _FULL,
    Option("check-finite", "stop at the first NaN or infinity; runs on the reference device"),
    Option("diff", "compare two devices, kernel by kernel: --device cpu,metal --diff"),
    Option("selftest", "try the kernels of an artifact that was built with --selftest"),
)

COMMANDS = (
    Command(
        "build",
        "FILE.tl",
        "compile a program to one artifact",
        (
            Option("output", "the artifact", "FILE", short="o"),
            Option("emit", "print a stage instead of writing the artifact", "STAGE", STAGES),
            Option(
                "target",
                "what is written: a Metal artifact, or a Core ML package (-o M.mlpackage)",
                "NAME",
                ("metal", "coreml"),
                "metal",
            ),
            Option("profile", "what --emit msl shows", "NAME", ("apple", "cpu"), "apple"),
            Option("min-macos", "fail if the kernels need a newer macOS", "VERSION"),
            Option("source-only", "do not call Apple's compiler where it is installed"),
            Option("embed-weights", "store the weights in the artifact, which then runs alone"),
            Option("selftest", "add a launch of each kernel, as the emulator ran it, to try again"),
            Option("hash-weights", "refuse changed numbers too, not only a changed file layout"),
            _REPORT,
            _SIZE,
            Option("range", "show how large the float16 values of each line can get"),
            Option("entry", "what --range looks at, or what is exported to Core ML", "NAME"),
            Option(
                "calibrate",
                "run --entry, and show what this argument gives; `run` where it has none",
                "NAME=FILE.npy",
                many=True,
            ),
            _SEED,
            _STORE,
            _ENGINE,
            *_COMPILE,
            *_COMMON,
        ),
    ),
    Command(
        "run",
        "FILE",
        "run an artifact, or build and run a .tl program",
        (*_RUN, _SEED, _STORE, _ENGINE, _TIMINGS, *_COMMON),
    ),
    Command(
        "serve",
        "FILE",
        "answer OpenAI's completions and chat endpoints with a program that generates text",
        (
            Option("host", "the address to listen at", "ADDRESS", default="127.0.0.1"),
            Option("port", "the port to listen at; 0 takes a free one", "N", default="8080"),
            Option("context", "tokens of prompt and answer; the model's when left out", "N"),
            Option("template", "a chat template in place of the model's: Jinja", "FILE"),
            Option("max-tokens", "the most tokens that an answer may have", "N"),
            Option("max-body", "the most bytes that a request may have", "N", default="1000000"),
            Option("max-waiting", "the most requests that wait for their turn", "N", default="64"),
            Option("timeout", "the seconds that a request may take", "N", default="600"),
            Option("seed", "of requests that name none; another for each when left out", "N"),
            Option("device", "where to run", "DEVICE", DEVICES, "auto"),
            _STORE,
            _TIMINGS,
            *_COMMON,
        ),
    ),
    Command(
        "check",
        "FILE.tl",
        "report what is wrong with a program",
        (
            _STORE,
            Option(
                "emulate", "also run it, its tests and functions on the emulator, in every order"
            ),
            _TIMINGS,
            *_COMMON,
        ),
    ),
    Command(
        "test",
        "FILE.tl",
        "run the `test` blocks of a program",
        (_DEVICE, _FULL, _STORE, *_COMMON),
    ),
    Command(
        "bench", "FILE.tl", "time the `bench` blocks of a program", (_DEVICE, _STORE, *_COMMON)
    ),
    Command(
        "inspect",
        "FILE",
        "show what is in an artifact or a model file",
        (
            Option("json", "as JSON"),
            _REPORT,
            _SIZE,
            Option("kernel", "show the text of a kernel", "NAME"),
            *_COMMON,
        ),
    ),
    Command(
        "convert",
        "IN OUT",
        "write a model as OUT.safetensors or OUT.gguf",
        (
            Option("dtype", "of all floats; as they are when left out", "TYPE", ("f16", "f32")),
            *_COMMON,
        ),
    ),
    Command("diff", "A.metallib B.metallib", "show what differs between two artifacts", _COMMON),
    Command(
        "emulate",
        "FILE.metal",
        "run a kernel of a Metal file with every access checked",
        (
            Option("entry", "the kernel; the first when left out", "NAME"),
            Option(
                "buffer",
                "a .npy file, zeros, or numbers: 1=float32:64, 2=int32[7]",
                "INDEX=DATA",
                many=True,
            ),
            Option("threadgroup", "room in threadgroup memory", "INDEX=BYTES", many=True),
            Option("groups", "threadgroups, up to three numbers", "X,Y,Z", default="1"),
            Option("threads", "threads of a threadgroup", "X,Y,Z", default="32"),
            Option("grid", "threads in all, instead of --groups", "X,Y,Z"),
            Option("constant", "a function constant", "INDEX=VALUE", many=True),
            Option("include", "where other files are that the text includes", "FOLDER", many=True),
            Option("output", "write a buffer", "INDEX=FILE.npy", many=True),
            Option("mode", "what to look at", "MODE", ("checked", "poison", "fast"), "checked"),
            Option("order", "of threads", "ORDER", ("forward", "reverse", "random"), "forward"),
            Option("metal", "the version of Metal", "VERSION", default="3.1"),
            *_COMMON,
        ),
    ),
    Command(
        "lint",
        "FILE.metal",
        "report what Apple's compiler would refuse in Metal text",
        (Option("metal", "the version of Metal", "VERSION", default="2.3"), *_COMMON),
    ),
    Command("explain", "CODE", "explain an error code, such as E0301", _COMMON),
    Command(
        "selftest",
        "",
        "run every kind of kernel on a device and compare with numpy in float64",
        (_DEVICE, Option("json", "as JSON"), *_COMMON),
    ),
    Command("doctor", "", "show the devices, compilers and caches of this machine", _COMMON),
)


class UsageError(Exception):
    """The command line is not one that tlc understands."""


class Help(Exception):
    """Help was asked for; the text is the argument."""


def parse(argv: list[str]) -> tuple[str, list[str], dict[str, object]]:
    """The command, its arguments and its options by name. Raises UsageError and Help."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        raise Help(overview())
    if argv[0] in ("-V", "--version"):
        from tlc import __version__

        raise Help(f"tlc {__version__}")
    command = next((c for c in COMMANDS if c.name == argv[0]), None)
    if command is None:
        raise UsageError(f"no command is called `{argv[0]}`; `tlc --help` lists them")
    found: dict[str, object] = {o.name: [] if o.many else o.default for o in command.options}
    arguments: list[str] = []
    words = iter(argv[1:])
    for word in words:
        if word in ("-h", "--help"):
            raise Help(usage(command))
        if word.startswith("-") and word != "-":
            _option(command, word, words, found)
        else:
            arguments.append(word)
    if len(arguments) != len(command.argument.split()):
        what = command.argument or "no argument"
        raise UsageError(f"`tlc {command.name}` takes {what}, and {len(arguments)} were given")
    return command.name, arguments, found


def _option(command: Command, word: str, words: object, found: dict[str, object]) -> None:
    name, has_value, value = word.lstrip("-").partition("=")
    option = next((o for o in command.options if name in (o.name, o.short or o.name)), None)
    if option is None:
        known = ", ".join(f"--{o.name}" for o in command.options)
        raise UsageError(
            f"`tlc {command.name}` has no option `{word.partition('=')[0]}`; it has {known}"
        )
    if not option.value:
        if has_value:
            raise UsageError(f"`--{option.name}` takes no value")
        found[option.name] = True
        return
    if not has_value:
        value = next(words, "")  # type: ignore[call-overload]
        if not value:
            raise UsageError(f"`--{option.name}` needs a value: --{option.name} {option.value}")
    values = value.split(",") if option.listed else [value]
    if option.choices and not set(values) <= set(option.choices):
        raise UsageError(f"`--{option.name}` is one of {', '.join(option.choices)}, not `{value}`")
    if option.value == "N" and not value.removeprefix("-").isdecimal():
        raise UsageError(f"`--{option.name}` is a whole number, not `{value}`")
    if option.value == "N" and len(value) > 20:
        raise UsageError(f"`--{option.name}` has more digits than a number of 64 bits")
    if option.many:
        found[option.name] = [*found[option.name], value]  # type: ignore[misc]
    else:
        found[option.name] = value


def overview() -> str:
    """The text of `tlc --help`."""
    lines = [
        "usage: tlc COMMAND [ARGUMENT] [OPTIONS]",
        "",
        "TensorLogic, compiled ahead of time to Metal.",
        "",
    ]
    width = max(len(f"{c.name} {c.argument}") for c in COMMANDS)
    lines += [f"  {f'{c.name} {c.argument}':{width}}  {c.help}" for c in COMMANDS]
    return "\n".join([*lines, "", "`tlc COMMAND --help` shows the options of a command."])


def usage(command: Command) -> str:
    """The text of `tlc COMMAND --help`."""
    lines = [
        f"usage: tlc {command.name} {command.argument} [OPTIONS]".replace("  ", " "),
        "",
        command.help,
        "",
    ]
    heads = [
        f"{f'-{o.short}, ' if o.short else ''}--{o.name}{f' {o.value}' if o.value else ''}"
        for o in command.options
    ]
    width = max(map(len, heads), default=0)
    for head, option in zip(heads, command.options, strict=True):
        choices = f" ({', '.join(option.choices)})" if option.choices else ""
        again = "; can be repeated" if option.many else ""
        lines.append(f"  {head:{width}}  {option.help}{choices}{again}")
    return "\n".join(lines)
