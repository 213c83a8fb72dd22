"""The whole flow, from the text of a program to an artifact: the stages in the order they run.

source ─ tokens ─ syntax tree ─ IR ─ optimised IR ─ plan ─ MSL ─ artifact
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tlc import __version__
from tlc.frontend.diagnostics import CompileError, Diagnostic, InternalError, error
from tlc.frontend.source import Source
from tlc.ir.core import Module
from tlc.ir.dims import SEED, Dim
from tlc.opening import importer, model_opener, read, tokenizer_opener
from tlc.runtime.errors import RunError
from tlc.runtime.seed import key_of

if TYPE_CHECKING:
    from tlc.ir.lower import Lowered

Timings = Callable[[str, float], None] | None


@dataclass(frozen=True, slots=True)
class Built:
    """A program that was compiled: the artifact's manifest and members, or the text of a stage."""

    warnings: tuple[Diagnostic, ...]
    shown: str | None = None
    manifest: dict[str, Any] = field(default_factory=dict)
    members: dict[str, Any] = field(default_factory=dict)  # bytes, or `metallib.Pieces` of weights
    module: Module | None = None

    def member(self, name: str) -> bytes:
        found = self.members[name]
        return found if isinstance(found, bytes) else b"".join(found.pieces())

    mapped = member

    def compiled(self) -> None:
        """No Metal library: Apple's compiler is called for what is written."""

    def text(self, name: str) -> str:
        return self.member(name).decode()

    def forget(self) -> None:
        """Nothing: the members are in no file."""


@dataclass(slots=True)
class _Flow:
    """One compilation: its warnings, its clock, the texts that were asked for on the way."""

    timings: Timings
    warnings: list[Diagnostic] = field(default_factory=list)
    dumped: list[str] = field(default_factory=list)
    models: dict[str, Any] = field(default_factory=dict)  # open model files by the path written
    module: Module | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; what it raises that no user caused becomes an InternalError."""
        start = time.perf_counter()
        try:
            yield
        except (CompileError, InternalError, RunError, OSError, MemoryError):
            raise
        except Exception as fault:
            import traceback

            at = traceback.extract_tb(fault.__traceback__)[-1]
            place = f"{os.path.basename(at.filename)}:{at.lineno}"
            text = f"{name}: {type(fault).__name__} at {place}: {fault}"
            raise InternalError(text, self.shown_module()) from fault
        if self.timings is not None:
            self.timings(name, time.perf_counter() - start)

    def shown_module(self) -> str:
        """The IR that a fault may have left half done, as far as it can be printed."""
        try:
            return "" if self.module is None else _show_ir(self.module)
        except Exception as problem:
            return f"(its IR cannot be printed: {problem})"


def build(
    path: str,
    *,
    text: str | None = None,
    lowered: Lowered | None = None,
    emit: str | None = None,
    profile: str = "apple",
    dump_after: tuple[str, ...] = (),
    verify: bool = False,
    min_macos: str | None = None,
    embed_weights: bool = False,
    hash_weights: bool = False,
    timings: Timings = None,
    blocks: bool = False,
    seed: int = 0,
    store: str = "f16",
    engine: str = "tlc",
) -> Built:
    """Compile the program of a file (or `text`, which then only has the file's name; or IR that was
    `lowered` from no program at all).

    `seed` is that of random numbers, where a run names no other. With `blocks`, its `test` and
    `bench` blocks are entries too.
    `store` is what computed float16 values are stored as, `f16` or `f32` (`ir/passes/widen.py`).
    `engine` is what runs Core ML models: `tlc`, by kernels, or `coreml`, by Core ML on a Mac.
    With `embed_weights`, the weights are stored in the artifact; with `hash_weights`, a run refuses
    other numbers of the same layout. Raises CompileError with everything that is wrong with the
    program, RunError E0604 for a weight that cannot be embedded, and InternalError, with the IR,
    for a fault of the compiler.
    """
    if store not in ("f16", "f32"):
        raise ValueError(f"float16 values are stored as f16 or f32, not as {store!r}")
    flow = _Flow(timings)
    if lowered is None:
        with flow.stage("read"):
            source = Source(path, read(path) if text is None else text)
        if emit == "tokens":
            return Built((), _tokens(source))
        with flow.stage("parse"):
            tree = _parse(source, flow)
        if emit == "ast":
            from tlc.frontend.dump import dump_tree

            return Built(tuple(flow.warnings), dump_tree(tree))
        with flow.stage("lower"):
            from tlc.ir.verify import verify as verify_ir

            lowered = _lowered(tree, path, flow, blocks, engine=engine)
            flow.warnings += lowered.warnings
            if verify:
                verify_ir(lowered.module)
    flow.module = lowered.module
    with flow.stage("optimise"):
        operations = _optimise(lowered.module, flow, store, dump_after, verify)
    if emit == "ir" or dump_after:
        return Built(tuple(flow.warnings), "\n".join(flow.dumped) or _show_ir(lowered.module))
    with flow.stage("plan"):
        from tlc.codegen.plan import plan
        from tlc.codegen.profiles import PROFILES

        planned = plan(lowered.module, list(PROFILES.values()), operations)
    with flow.stage("render"):
        from tlc.codegen.kernels import module_text

        name = os.path.basename(path).encode(errors="backslashreplace").decode()
        texts: dict[str, str] = {
            p.profile.name: module_text(p.kernels, p.profile, name) for p in planned.profiles
        }
    if verify:
        with flow.stage("lint"):
            from tlc.runtime.msl.lint import require

            require(texts["apple"], "apple.metal")
    if emit == "msl":
        return Built(tuple(flow.warnings), texts[profile])
    with flow.stage("pack"):
        from tlc.embed import weights_of

        weights = weights_of(
            lowered.module, planned.storage.weights, flow.models, embed_weights, hash_weights
        )
        manifest, members = _members(lowered, planned, texts, name, seed, store, min_macos, weights)
    if emit == "plan":
        return Built(tuple(flow.warnings), json.dumps(manifest, indent=1) + "\n")
    return Built(tuple(flow.warnings), None, manifest, members, lowered.module)


def unfused(path: str, *, store: str = "f16") -> Built:
    """The module of a program behind the passes that come before fusion, and nothing else.

    Raises CompileError as `build` does.
    """
    from tlc.ir.passes import BEFORE_FUSION, optimise

    flow = _Flow(None)
    tree = _parse(Source(path, read(path)), flow)
    lowered = _lowered(tree, path, flow)
    flow.warnings += lowered.warnings
    optimise(lowered.module, flow.warnings.append, passes=_stored(store) + BEFORE_FUSION)
    return Built(tuple(flow.warnings), module=lowered.module)


def whole(path: str, kept: frozenset[str], seed: int = 0) -> tuple[Built, dict[str, Any]]:
    """The module of a program as it is lowered, with some compositions kept as one operation and
    no loops where the build can follow them, and the open model files by the path that the program
    names. Raises CompileError as `build` does.
    """
    flow = _Flow(None)
    tree = _parse(Source(path, read(path)), flow)
    lowered = _lowered(tree, path, flow, kept=kept, seed=Dim.of(key_of(seed)), straight=True)
    flow.warnings += lowered.warnings
    return Built(tuple(flow.warnings), module=lowered.module), flow.models


def compiled(built: Built, note: Callable[[str], object]) -> bytes:
    """The kernels as a Metal library of Apple's compiler, empty where that is not installed.

    `note` is told why a compiler that is there gives none.
    """
    from tlc.apple_compiler import NotCompiled, compile_library, is_installed

    kernels = [kernel["name"] for kernel in built.manifest["profiles"]["apple"]["kernels"]]
    if not kernels or not is_installed():
        return b""
    try:
        return compile_library(built.text("apple.metal"), kernels, built.manifest["macos"])
    except NotCompiled as reason:
        note(f"the artifact holds its kernels as text alone: {reason}")
        return b""


def write(built: Built, path: str, library: bytes = b"") -> None:
    """Write the artifact; an older file of that name is replaced as a whole or not at all.

    `library` is what `compiled` gives.
    """
    from tlc.codegen.metallib import write_artifact

    system = _version(built.manifest["macos"])
    try:
        write_artifact(path, built.members, os_version=system, library=library)
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        raise error("E0104", f"{path} cannot be written: {reason}") from problem


# ---- stages -------------------------------------------------------------------------------------


def _tokens(source: Source) -> str:
    from tlc.frontend.dump import dump_tokens
    from tlc.frontend.parser import tokenize

    tokens, problems = tokenize(source)
    if problems:
        raise CompileError(problems)
    return dump_tokens(tokens)


def _parse(source: Source, flow: _Flow) -> Any:
    from tlc.frontend.parser import parse

    tree, problems = parse(source)
    if any(d.severity == "error" for d in problems):
        raise CompileError(problems)
    flow.warnings += problems
    return tree


def _lowered(
    tree: Any,
    path: str,
    flow: _Flow,
    blocks: bool = False,
    kept: frozenset[str] = frozenset(),
    seed: Dim = SEED,
    engine: str = "tlc",
    straight: bool = False,
) -> Lowered:
    from tlc.ir.lower import lower

    models = model_opener(path, flow.models)
    imports = importer(lambda source: _parse(source, flow))
    tokens = tokenizer_opener(flow.models)
    return lower(tree, models, imports, seed, blocks, kept, tokens, engine, straight)


def _optimise(
    module: Module,
    flow: _Flow,
    store: str,
    dump_after: tuple[str, ...],
    verify: bool,
) -> dict[str, int]:
    """Run the passes; the operations of each entry that fusion finds to merge."""
    from tlc.codegen.plan import count_operations
    from tlc.ir.passes import BEFORE_FUSION, FUSION, optimise

    ran = ["all"]

    def after(name: str, module: Module) -> None:
        ran.append(name)
        if name in dump_after or "all" in dump_after:
            flow.dumped.append(f"// after {name}\n{_show_ir(module)}")

    optimise(module, flow.warnings.append, after, verify, _stored(store) + BEFORE_FUSION)
    operations = {f.name: count_operations(f) for f in module.funcs}
    optimise(module, flow.warnings.append, after, verify, FUSION)
    for name in dump_after:
        if name not in ran:
            raise RunError("E0504", f"no pass is called `{name}`", f"there are {', '.join(ran)}")
    return operations


def _stored(store: str) -> tuple[Any, ...]:
    """What goes before the passes, so that computed values are stored as `store`."""
    from tlc.ir.passes import WIDEN

    return (WIDEN,) if store == "f32" else ()


def _show_ir(module: Module) -> str:
    from tlc.ir.printer import print_module

    return print_module(module)


def _members(
    lowered: Any,
    planned: Any,
    texts: dict[str, str],
    name: str,
    seed: int,
    store: str,
    min_macos: str | None,
    weights: Any,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The manifest and all members of the artifact."""
    from tlc.codegen.cost import registers
    from tlc.codegen.metallib import member_digests
    from tlc.codegen.requirements import macos_of
    from tlc.runtime.format import FORMAT_VERSION

    kernels = next(p.kernels for p in planned.profiles if p.profile.name == "apple")
    needed, reason = macos_of(kernels)
    if min_macos is not None and _version(needed) > _version(min_macos):
        raise error(
            "E0506", f"the kernels need macOS {needed}, because of {reason}, and not {min_macos}"
        )
    members: dict[str, Any] = {f"{profile}.metal": text.encode() for profile, text in texts.items()}
    members["program.tlir"] = _show_ir(lowered.module).encode()
    if planned.storage.places:
        members["constants.bin"] = bytes(planned.storage.constants)
    members.update(weights.members)
    manifest = {
        "format": FORMAT_VERSION,
        "tlc": __version__,
        "source": name,
        "seed": seed,
        "store": store,
        "macos": needed,
        "members": member_digests(members),
        "weights": planned.storage.weights,
        **weights.manifest,
        "constants": planned.storage.places,
        "hints": sorted(lowered.hints),
        "profiles": {
            p.profile.name: {
                "text": f"{p.profile.name}.metal",
                "kernels": [
                    {
                        "name": k.name,
                        "threads": k.threads,
                        "bytes": k.threadgroup_bytes,
                        "registers": registers(k.text),
                        "source": s,
                        **({"rounds": True} if k.rounds else {}),
                    }
                    for k, s in zip(p.kernels, p.sources, strict=True)
                ],
            }
            for p in planned.profiles
        },
        "entries": planned.entries,
        "skipped": lowered.skipped,
    }
    return manifest, {"tlc.json": manifest_member(manifest), **members}


def manifest_member(manifest: dict[str, Any]) -> bytes:
    """The manifest as an artifact holds it."""
    return json.dumps(manifest, separators=(",", ":"), sort_keys=True).encode()


def _version(text: str) -> tuple[int, int]:
    """ "13.0" as (13, 0). Raises CompileError for what is no version."""
    major, _, minor = text.partition(".")
    if not (major.isdigit() and (minor or "0").isdigit()):
        raise error("E0506", f"`{text}` is not a macOS version, such as 14.0")
    return int(major), int(minor or 0)


__all__ = ["Built", "build", "read", "unfused", "write"]
