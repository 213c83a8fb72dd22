"""What kernels share is cut to what they need."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

from tlc import driver
from tlc.codegen.prune import used

SHARED = dedent("""\
    // All about the vocabulary.

    #include <metal_stdlib>
    #if defined(CPU)
    typedef float f8 __attribute__((ext_vector_type(8)));
    TLC_LANE f8 twice(f8 x) { return add(x, x); }
    #else
    struct f8 { float4 a, b; };
    TLC_LANE f8 operator+(f8 x, f8 y) {
      return f8{x.a + y.a, x.b + y.b};
    }
    #define EACH(NAME, CALL) TLC_LANE f8 NAME##8(f8 x) { return CALL(x); }
    EACH(exp, exp) EACH(log, log)
    EACH(sin, sin)
    #endif

    // The sum of two.
    TLC_LANE f8 add(
        f8 a, f8 b) {
      return a + b;
    }
    struct w16 { int4 a; };
    TLC_LANE w16 operator^(w16 x, int j) { return w16{x.a ^ j}; }
    #if defined(CPU) && defined(WIDE)
    #define ROWS 12u
    #elif defined(CPU)
    #define ROWS 6u
    #else
    #define COLUMNS 3u
    #endif
    """)


def test_what_nobody_names_goes_with_the_branches_that_it_leaves_empty() -> None:
    assert used(SHARED, "out = value;") == "#include <metal_stdlib>"


def test_a_function_brings_what_it_calls_and_its_types() -> None:
    assert used(SHARED, "f8 y = twice(x);").splitlines() == [
        "#include <metal_stdlib>",
        "#if defined(CPU)",
        "typedef float f8 __attribute__((ext_vector_type(8)));",
        "TLC_LANE f8 twice(f8 x) { return add(x, x); }",
        "#else",
        "struct f8 { float4 a, b; };",
        "TLC_LANE f8 operator+(f8 x, f8 y) {",
        "  return f8{x.a + y.a, x.b + y.b};",
        "}",
        "#endif",
        "",
        "// The sum of two.",
        "TLC_LANE f8 add(",
        "    f8 a, f8 b) {",
        "  return a + b;",
        "}",
    ]


def test_functions_are_told_apart_by_the_type_of_their_first_parameter() -> None:
    shared = dedent("""\
        struct f8 { float4 a, b; };
        struct i8 { int4 a, b; };
        TLC_LANE f8 read(const half* p) { return f8{p[0]}; }
        TLC_LANE f8 read(const char* p) { return f8{convert(p[0])}; }
        TLC_LANE int lane(f8 v) { return v.a[0]; }
        TLC_LANE int lane(i8 v) { return v.a[0]; }""")
    lines = shared.splitlines()
    assert used(shared, "half* p; lane(read(p))").splitlines() == [lines[0], lines[2], lines[4]]


def test_comparisons_go_where_nothing_takes_what_they_give() -> None:
    shared = dedent("""\
        struct f8 { float4 a, b; };
        struct m8 { bool4 a, b; };
        TLC_LANE m8 operator<(f8 x, f8 y) { return m8{x.a < y.a, x.b < y.b}; }
        TLC_LANE f8 choose(f8 x, m8 m) { return m ? x : f8{}; }""")
    assert used(shared, "f8 x = y;") == shared.splitlines()[0]
    assert used(shared, "f8 x = choose(y, y < z);") == shared


def test_comments_stay_where_they_are_wanted() -> None:
    shared = dedent("""\
        // A header.
        #include <x>
        // A sum.
        TLC_LANE int add(int a) { return a; }  // of one""")
    assert used(shared, "add(x)") == shared
    assert used(shared, "add(x)", comments=False) == dedent("""\
        // A header.
        #include <x>
        TLC_LANE int add(int a) { return a; }""")


def test_a_call_of_a_macro_defines_what_it_expands_to() -> None:
    lines = used(SHARED, "f8 y = log8(x);").splitlines()
    assert "EACH(exp, exp) EACH(log, log)" in lines
    assert "EACH(sin, sin)" not in lines
    assert any(line.startswith("#define EACH") for line in lines)


def test_a_branch_before_one_that_stays_excludes_it() -> None:
    assert used(SHARED, "COLUMNS").splitlines()[1:] == [
        "#if defined(CPU) && defined(WIDE)",
        "#elif defined(CPU)",
        "#else",
        "#define COLUMNS 3u",
        "#endif",
    ]


def test_the_artifact_of_a_layer_is_small(tmp_path: Path) -> None:
    path = tmp_path / "linear.metallib"
    driver.write(driver.build("examples/linear.tl"), str(path))
    assert path.stat().st_size <= 8 * 1024
