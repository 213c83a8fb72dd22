"""Every diagnostic code of the compiler, with the text of `tlc explain CODE`."""

from typing import NamedTuple


class Code(NamedTuple):
    """`title` is one line; `text` explains the mistake and shows a program that makes it."""

    title: str
    text: str


CODES: dict[str, Code] = {}


def _code(code: str, title: str, text: str) -> None:
    CODES[code] = Code(title, text.strip())


_code(
    "E0101",
    "syntax error",
    """
The text is not TensorLogic at the marked place. The message lists what could stand there.
""",
)
_code(
    "E0102",
    "nested too deeply",
    """
Brackets or blocks stand inside one another more than 200 deep. Give inner parts a name.
""",
)
_code(
    "E0103",
    "bad character or literal",
    """
A character, string, number or comment that is not well formed, such as a string without its
closing quote or a comment that never ends.
""",
)
_code(
    "E0104",
    "file cannot be read",
    """
The source file, or a file it imports, is missing, is not UTF-8 text or cannot be opened.
""",
)
_code(
    "E0201",
    "unknown name",
    """
No variable, function or builtin of this name is known at the marked place.
""",
)
_code(
    "E0202",
    "defined twice",
    """
Two functions or declarations of one program have the same name.
""",
)
_code(
    "E0203",
    "wrong arguments",
    """
A call has too many, too few, unknown or repeated arguments.
""",
)
_code(
    "E0204",
    "unknown member",
    """
The value has no property or method of this name.
""",
)
_code(
    "E0301",
    "shapes disagree",
    """
Two dimensions that must be equal are not. Both places are shown. For `@`, the last dimension of
the left operand and the second to last of the right one must agree:

    let x = zeros([4, 3])
    let w = zeros([2, 3])
    x @ w        // 3 and 2 differ; x @ w.T is what was meant
""",
)
_code(
    "E0302",
    "types disagree",
    """
A value has another type than the place it is used in wants, or the two branches of an `if` give
values of different types.
""",
)
_code(
    "E0303",
    "bad dimension, axis or index",
    """
An axis, index, slice or dimension is out of range, negative where it cannot be, or not a whole
number.
""",
)
_code(
    "E0304",
    "not known at build",
    """
A shape, axis, path or option has to be known when the program is built, and depends on something
that only running the program tells.
""",
)
_code(
    "E0305",
    "value out of range",
    """
A number does not fit the type it is stored in, or an operation such as an integer division by
zero has no result.
""",
)
_code(
    "E0401",
    "not supported yet",
    """
The construct is TensorLogic, and this version of tlc cannot compile it. Nothing is skipped
silently: the build stops here.
""",
)
_code(
    "W0001",
    "placement hint not available",
    """
`device:` asks for hardware this machine does not have. The program runs on the selected device.
""",
)
_code(
    "W0002",
    "storage is not kept packed",
    """
A block-quantised tensor is used by an operation that cannot read it packed; it is expanded to
float16 once, when it is loaded, and takes that much memory.
""",
)
_code(
    "W0003",
    "`main` is not called",
    """
A file has a function called `main`, and nothing calls it. A program is its statements at the top
level and the block `main { .. }`; a function runs where it is called.
""",
)
