"""What holds for the text of every kernel: the rules that Apple's compiler and GPUs ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.codegen.cases import EVERYTHING
from tests.codegen.running import fused
from tlc.codegen.kernels import Kernel, generate, module_text
from tlc.codegen.profiles import APPLE, CPU, Profile
from tlc.frontend.diagnostics import InternalError
from tlc.ir.core import Op
from tlc.ir.types import tensor


@dataclass(frozen=True)
class Made:
    """A kernel and the operation it was made for."""

    case: str
    op: Op
    kernel: Kernel


def _made(profile: Profile) -> Iterator[Made]:
    for cases in EVERYTHING:
        for case in cases():
            for variant in generate(case.op, profile, "sample", "a.tl:1 sample"):
                yield Made(case.name, case.op, variant.kernel)


@pytest.fixture(scope="module")
def apple() -> list[Made]:
    return list(_made(APPLE))


@pytest.fixture(scope="module")
def cpu() -> list[Made]:
    return list(_made(CPU))


def code(text: str) -> str:
    """A text without its comments."""
    return re.sub(r"//.*", "", text)


def parameters(kernel: Kernel) -> list[str]:
    found = re.search(r"kernel void \w+\((.*?)\)\n\{", code(kernel.text), re.DOTALL)
    assert found, kernel.text
    return [" ".join(p.split()) for p in re.split(r",\n", found[1])]


def test_floating_point_literals_have_a_suffix(apple: list[Made], cpu: list[Made]) -> None:
    for made in apple + cpu:
        bare = re.findall(r"(?<![\w.])\d+\.\d*(?:e-?\d+)?(?![\w.])", code(made.kernel.text))
        assert not bare, (made.case, bare)


def test_pointers_and_references_name_their_address_space(
    apple: list[Made], cpu: list[Made]
) -> None:
    types = r"(?:half|float|int|uint|uchar|char|ushort|atomic_uint|f8|i8|sample\w*)4?"
    for made in apple + cpu:
        text = code(made.kernel.text)
        for found in re.finditer(rf"([\w ]*?)\b{types}(?: ?[*&])(?= ?\w| ?\))", text):
            spaces = ("device", "constant", "threadgroup", "thread")
            assert any(word in spaces for word in found[1].split()), (made.case, found[0])


def test_nothing_beyond_metal_2_3(apple: list[Made]) -> None:
    words = (
        *("double", "template", "goto", "auto", "bfloat", "atomic_float", "recursion", "std"),
        *("NAN", "INFINITY", "isnan", "isinf", "simd_shuffle_and_fill_up", "static_cast"),
    )
    for made in apple:
        used = set(re.findall(r"\w+", code(made.kernel.text))).intersection(words)
        assert not used, (made.case, used)


def test_buffers_are_operands_result_status_and_sizes(apple: list[Made], cpu: list[Made]) -> None:
    for made in apple + cpu:
        kernel = made.kernel
        buffers = [p for p in parameters(kernel) if "[[buffer(" in p]
        numbers = [int(n) for p in buffers for n in re.findall(r"\[\[buffer\((\d+)\)", p)]
        assert numbers == list(range(len(buffers)))
        names = [p.split(" [[")[0].split()[-1] for p in buffers]
        operands = [f"in{k}" for k in range(len(made.op.operands))]
        extra = (["status"] if kernel.status else []) + (["dims"] if kernel.dims else [])
        count = len(made.op.results)
        results = ["out"] if count == 1 else [f"out{k}" for k in range(count)]
        assert names == [*operands, *results, *extra], made.case
        written = [p for p in buffers if p.startswith("device ") and " const " not in p]
        assert len(written) == count + kernel.status


def test_sizes_are_the_fields_of_the_struct(apple: list[Made], cpu: list[Made]) -> None:
    for made in apple + cpu:
        fields = re.findall(r"^    uint (d\d+);  // (.*)$", made.kernel.text, re.MULTILINE)
        assert fields == [(f"d{k}", str(dim)) for k, dim in enumerate(made.kernel.dims)]
        assert not any(dim.is_static for dim in made.kernel.dims)
        read = set(re.findall(r"dims\.(d\d+)", made.kernel.text))
        assert read == {name for name, _ in fields}, made.case


def test_threads_are_declared(apple: list[Made]) -> None:
    for made in apple:
        declared = re.findall(r"max_total_threads_per_threadgroup\((\d+)\)", made.kernel.text)
        assert declared == [str(made.kernel.threads)]
        assert made.kernel.threads in range(32, 1025, 32)


def test_positions_are_unsigned_scalars(apple: list[Made]) -> None:
    for made in apple:
        for parameter in parameters(made.kernel):
            assert "[[buffer(" in parameter or parameter.startswith("uint "), parameter


def test_threadgroup_memory_is_what_the_kernel_says(apple: list[Made]) -> None:
    sizes = {"half": 2, "int": 4, "float": 4, "uint": 4, "float4": 16}
    for made in apple:
        arrays = re.findall(r"threadgroup (\w+) \w+\[([\d *]+)\];", made.kernel.text)
        total = sum(sizes[element] * eval(count) for element, count in arrays)
        assert total == made.kernel.threadgroup_bytes <= 32768, made.case


def loops_around(text: str, at: int) -> Iterator[str]:
    """The bodies in braces that a place lies in, innermost first, without the kernel's own."""
    while text.count("{", 0, at) - text.count("}", 0, at) > 1:
        depth, start = 1, at
        while depth:
            start -= 1
            depth += {"}": 1, "{": -1}.get(text[start], 0)
        depth, end = 1, at
        while depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        yield text[start:end]
        at = start


def test_no_thread_leaves_where_others_wait_for_it(apple: list[Made]) -> None:
    together = re.compile(r"barrier|simd_|simdgroup_\w+\(|tlc_group")
    seen = 0
    for made in apple:
        text = code(made.kernel.text)
        assert not re.search(r"\b(return|break)\b", text), made.case
        for found in re.finditer(r"\bcontinue\b", text):
            skipped = next(loops_around(text, found.start()))
            assert not together.search(skipped), made.case
            seen += 1
    assert seen


def test_matrices_are_declared_as_a_feature(apple: list[Made]) -> None:
    for made in apple:
        assert ("simdgroup_matrix" in made.kernel.features) == ("8x8" in made.kernel.text)


def test_a_cpu_kernel_is_one_thread(cpu: list[Made]) -> None:
    position = (
        "uint group [[threadgroup_position_in_grid]]",
        "uint groups [[threadgroups_per_grid]]",
    )
    for made in cpu:
        assert tuple(parameters(made.kernel)[-2:]) == position
        assert made.kernel.threads == 1
        for word in ("barrier", "simd", "threadgroup ", "tid", "atomic"):
            assert word not in code(made.kernel.text), (made.case, word)


def test_private_arrays_fit_on_a_small_stack(cpu: list[Made]) -> None:
    for made in cpu:
        arrays = re.findall(r"^    float \w+\[([\d *]+)\];", made.kernel.text, re.MULTILINE)
        assert 4 * sum(eval(count) for count in arrays) <= 400_000, made.case


def test_names_are_all_that_two_equal_kernels_differ_in(apple: list[Made]) -> None:
    for made in apple[::7]:
        for other, again in zip(
            generate(made.op, APPLE, "other", "a.tl:1 sample"),
            generate(made.op, APPLE, "sample", "a.tl:1 sample"),
            strict=True,
        ):
            text = other.kernel.text.replace("other", "sample")
            assert text == again.kernel.text
            assert other.kernel.name in other.kernel.text


def test_a_comment_stays_a_comment() -> None:
    op = fused("elementwise", [tensor("f16", 8)], lambda b, x: b.emit("neg", x))
    (variant,) = generate(op, APPLE, "k", "a\nb \\")
    assert "// a b\n" in variant.kernel.text


def test_more_buffers_than_metal_has_are_refused() -> None:
    types = [tensor("f16", 8)] * 31
    op = fused("concat", types, lambda b, *x: b.emit("concat", *x, axis=0))
    with pytest.raises(InternalError, match="buffers"):
        generate(op, APPLE, "k", "a.tl:1 concat")


@pytest.mark.parametrize("profile", [APPLE, CPU], ids=lambda profile: profile.name)
def test_module_text_is_the_same_every_time(profile: Profile) -> None:
    op = fused("elementwise", [tensor("f16", 8)], lambda b, x: b.emit("neg", x))
    kernels = [generate(op, profile, name, "a.tl:1 -x")[0].kernel for name in ("one", "two")]
    text = module_text(kernels, profile, "a.tl")
    assert text == module_text(kernels, profile, "a.tl")
    assert text.startswith("// a.tl")
    assert text.index("kernel void one") < text.index("kernel void two")
    assert text.endswith("}\n")
