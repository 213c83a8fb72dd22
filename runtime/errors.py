"""Errors of running: a code, a message and what to do, for artifacts, model files and devices."""

from __future__ import annotations


class RunError(Exception):
    """The user's file, data or machine is not as it must be; `code` is a key of `CODES`."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        assert code in CODES, code
        self.code, self.message, self.hint = code, message, hint
        super().__init__(f"error[{code}]: {message}" + (f"\n  hint: {hint}" if hint else ""))


# code -> (title, explanation), shown by `tlc explain`; imports nothing, as `tlc run` loads it
CODES: dict[str, tuple[str, str]] = {
    "E0501": (
        "not a tlc artifact",
        "The file is missing, truncated or damaged, or is not a model.metallib written by tlc.",
    ),
    "E0502": (
        "artifact from another version",
        "The artifact was written in a format that this version of tlc does not read. Build it"
        " again from its source, or install the version that the message names.",
    ),
    "E0503": (
        "no such entry",
        "The artifact has no entry of this name; `tlc inspect` lists the entries it has.",
    ),
    "E0504": (
        "argument does not fit",
        "An argument of an entry has another shape, type or number than its signature says, or"
        " two arguments give one symbol different sizes.",
    ),
    "E0505": (
        "run-time check failed",
        "A condition that only running the program can decide does not hold, such as an index"
        " beyond its tensor or a dimension that does not divide.",
    ),
    "E0506": (
        "needs a newer macOS",
        "The kernels use features of Metal that this version of macOS does not have.",
    ),
    "E0507": (
        "assertion failed",
        "The program's own `assert`, `assert_eq` or `panic` stopped the run; the message is the"
        " program's, and the place is where it stands.",
    ),
    "E0508": (
        "not a finite number",
        "Asked for with --check-finite: an operation makes a NaN or an infinity of finite numbers."
        " The message names the operation, the element and the range of what it reads.",
    ),
    "E0509": (
        "does not answer prompts",
        '`tlc serve` and conversations take programs whose `main` reads `arg("prompt", ..)` and'
        " prints what follows with `detokenize_incremental`, as examples/llm/generate.tl does.",
    ),
    "E0510": (
        "prompt too long",
        "The prompt has more tokens than the model reads at once, or than `--context N` allows.",
    ),
    "E0601": (
        "model file cannot be read",
        "The model file is missing, truncated, damaged or of an unknown format.",
    ),
    "E0602": (
        "no such tensor",
        "The model has no tensor of this name; the nearest names are listed.",
    ),
    "E0603": (
        "tensor type not supported",
        "The tensor is stored as integers or in a quantised type that tlc does not read as a"
        " tensor. The rest of the file still loads; only touching this tensor fails.",
    ),
    "E0604": (
        "value beyond float16",
        "A weight is finite in the file and larger than 65504, the largest float16. Loaded as"
        " float16 it would become infinite; nothing is rounded silently.",
    ),
    "E0605": (
        "weights changed",
        "The model file differs from the one that the artifact was built from; the message says in"
        " what. Build again, or point to the right file. Changed numbers in the same layout are"
        " noticed when it was built with --hash-weights.",
    ),
    "E0606": (
        "cannot save",
        "The file cannot be written, or the model cannot be stored in that format. The old file,"
        " if there is one, is untouched.",
    ),
    "E0607": (
        "no usable tokenizer",
        "The file holds no vocabulary, or one of a kind that tlc does not read, or the vocabulary"
        " cannot write a text. The message says what is missing.",
    ),
    "E0608": (
        "no usable chat template",
        "A conversation is written as the model was trained to read it, by the Jinja template in"
        " its file or in that of --template. There is none, or it fails: the message says how.",
    ),
    "E0610": (
        "CoreML operation not supported",
        "The model uses an operation, or a form of one, that tlc does not compile; the message"
        " names it as Core ML does. `docs/coreml.md` lists the operations that it does.",
    ),
    "E0611": (
        "not for Core ML",
        "The function uses something that a Core ML package cannot hold, such as printing, random"
        " numbers or loops that run time ends. The message names it.",
    ),
    "E0612": (
        "coremltools is missing",
        "A Core ML package is written by Apple's Python package coremltools. Install it with"
        " `pip install 'tlc[coreml]'`; reading Core ML models needs nothing.",
    ),
    "E0613": (
        "uvicorn is missing",
        "`tlc serve` speaks HTTP through the Python package uvicorn. Install it with"
        " `pip install 'tlc[serve]'`.",
    ),
    "E0614": (
        "cannot listen",
        "The address or port that `tlc serve` was told to listen at is taken, not allowed or not"
        " of this machine.",
    ),
    "E0615": (
        "Core ML cannot be called",
        "`--engine coreml` runs models by Core ML itself, a part of macOS, through the Python"
        " package coremltools; or Core ML refused the model. Without the option, models are"
        " compiled like the rest of the program, for every device.",
    ),
    "E0701": (
        "no compiler for the cpu device",
        "The cpu device compiles the kernels once, with clang 15 or newer or with the Python"
        " package ziglang. `tlc doctor` shows what was looked for.",
    ),
    "E0702": (
        "device not available",
        "The device asked for does not exist on this machine or lacks its Python package.",
    ),
    "E0703": (
        "kernel does not compile",
        "The device's compiler refused the kernel text. This is a fault of tlc or of a damaged"
        " artifact; please report it with the message.",
    ),
    "E0704": (
        "kernel breaks the rules of the GPU",
        "The emulator saw a kernel do what is undefined on a GPU: read or write beyond a buffer,"
        " race with another thread, use what was never written, leave others waiting at a barrier."
        " In a program this is a fault of tlc; please report it with the message.",
    ),
    "E0705": (
        "kernel text breaks rules of Metal",
        "The lint found what Apple's compiler would refuse, or what tlc's own kernels avoid. After"
        " `tlc build --verify` this is a fault of tlc; please report it with the message.",
    ),
    "E0706": (
        "the GPU did not finish",
        "Metal ended the work with an error: a kernel that ran too long, or memory that could"
        " not be had. The message is Metal's own; what the run computed is lost.",
    ),
}
