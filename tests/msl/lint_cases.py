"""Small Metal texts that Apple's compiler refuses, each with the code of its rule, and others.

What it says was taken from its documentation and from public reports; nothing of it was run.
"""

from __future__ import annotations

HEAD = "#include <metal_stdlib>\nusing namespace metal;\n"


def kernel(body: str, before: str = "") -> str:
    """A kernel with this body, behind other declarations."""
    return (
        f"{HEAD}{before}kernel void k(device float* o [[buffer(0)]],"
        " device const float* a [[buffer(1)]],"
        " constant float& s [[buffer(2)]], threadgroup float* sh [[threadgroup(0)]],"
        f" uint i [[thread_position_in_grid]]) {{ {body} }}\n"
    )


def parameters(text: str, body: str = "o[0] = 1.0f;") -> str:
    """A kernel with these parameters."""
    return f"{HEAD}kernel void k({text}) {{ {body} }}\n"


OUT = "device float* o [[buffer(0)]]"
GRID = "uint i [[thread_position_in_grid]]"


def template(body: str, instances: str) -> str:
    """A template kernel of T, and its instances."""
    return (
        f"{HEAD}template <typename T> [[kernel]] void k(device const T* a [[buffer(0)]],"
        f" device T* o [[buffer(1)]], {GRID}) {{\n{body}\n}}\n{instances}\n"
    )


INSTANCE = "#define MAKE(T) template [[host_name(#T)]] [[kernel]] decltype(k<T>) k<T>;\n"
CONSTANTS = (
    "constant bool reversed [[function_constant(0)]];\n"
    "constant int factor [[function_constant(1)]];\n"
    "constant int scale = is_function_constant_defined(factor) ? factor : 10;\n"
)

# name -> text, code, version of Metal
WRONG: dict[str, tuple[str, str, str]] = {
    # templates and macros
    "too many elements for what a template calls a vector": (
        template("o[i] = T(1.0f, 2.0f);", f"{INSTANCE}MAKE(float4)"),
        "M01",
        "2.3",
    ),
    "a cast to a vector of another size": (
        template("o[i] = (T)float2(1.0f);", f"{INSTANCE}MAKE(float4)"),
        "M01",
        "2.3",
    ),
    "another function in a template": (
        kernel(
            "o[i] = g<f>(a[i]);",
            "int f(thread float& x) { return 1; }\n"
            "template <float (*f)(float)> float g(float x) { return f(x); }\n",
        ),
        "M01",
        "2.3",
    ),
    "another space in a template": (
        template("threadgroup T* p = a; o[i] = p[0];", f"{INSTANCE}MAKE(float)"),
        "M01",
        "2.3",
    ),
    "ambiguous in one instance": (
        template("o[i] = max(a[i], 1.0f);", f"{INSTANCE}MAKE(float)\nMAKE(half)"),
        "M01",
        "2.3",
    ),
    "double in a macro": (
        f"{HEAD}#define K(n) kernel void n({OUT}, {GRID}) {{ double d = 1.0; o[i] = d; }}\nK(k)\n",
        "M04",
        "2.3",
    ),
    # address spaces
    "threadgroup to device": (kernel("device float* p = sh; p[0] = 1.0f;"), "M01", "2.3"),
    "constant to device": (kernel("device float* p = &s; o[0] = p[0];"), "M01", "2.3"),
    "constant to thread": (kernel("thread float* p = &s; o[0] = p[0];"), "M01", "2.3"),
    "write to constant": (kernel("s = 1.0f;"), "M01", "2.3"),
    "write to const": (kernel("a[i] = 1.0f;"), "M01", "2.3"),
    "cast to another space": (
        kernel("device float* p = (device float*)sh; p[0] = s;"),
        "M01",
        "2.3",
    ),
    "pointer without a space": (kernel("float x = a[i]; float* p = &x; o[i] = *p;"), "M07", "2.3"),
    "parameter without a space": (
        kernel("float x = a[i]; f(&x); o[i] = x;", "void f(float* p) { *p = 1.0f; }\n"),
        "M07",
        "2.3",
    ),
    "reference without a space": (
        kernel("float x = a[i]; f(x); o[i] = x;", "void f(float& p) { p = 1.0f; }\n"),
        "M07",
        "2.3",
    ),
    "device for thread": (
        kernel("f(o);", "void f(thread float* p) { *p = 1.0f; }\n"),
        "M01",
        "2.3",
    ),
    "member without a space": (
        kernel("B b; b.p = o; o[i] = b.p[0];", "struct B { float* p; };\n"),
        "M07",
        "2.3",
    ),
    # C++ that is not there
    "double": (kernel("double d = 1.0; o[i] = d;"), "M04", "2.3"),
    "long double": (kernel("long double d = 1.0f; o[i] = d;"), "M04", "2.3"),
    "long long": (kernel("long long n = 3; o[i] = float(n);"), "M04", "2.3"),
    "recursion": (
        kernel("o[i] = f(a[i]);", "float f(float x) { return x > 1.0f ? f(x - 1.0f) : x; }\n"),
        "M10",
        "2.3",
    ),
    "recursion of two": (
        kernel(
            "o[i] = f(a[i]);",
            "float g(float x);\nfloat f(float x) { return g(x); }\n"
            "float g(float x) { return x > 1.0f ? f(x - 1.0f) : x; }\n",
        ),
        "M10",
        "2.3",
    ),
    "virtual": (
        kernel("o[i] = a[i];", "struct B { virtual float f() { return 1.0f; } };\n"),
        "M04",
        "2.3",
    ),
    "a base": (
        kernel("o[i] = a[i];", "struct A { float x; }; struct B : A { float y; };\n"),
        "M11",
        "2.3",
    ),
    "function pointer": (
        kernel("float (*p)(float) = f; o[i] = p(a[i]);", "float f(float x) { return x; }\n"),
        "M04",
        "2.3",
    ),
    "throw": (kernel("throw 1;"), "M04", "2.3"),
    "try": (kernel("try { o[i] = 1.0f; } catch (...) {}"), "M04", "2.3"),
    "new": (kernel("thread float* p = new float[3]; o[i] = p[0];"), "M04", "2.3"),
    "goto": (kernel("goto L; L: o[i] = 0.0f;"), "M04", "2.3"),
    "asm": (kernel('asm("nop");'), "M04", "2.3"),
    "register": (kernel("register float x = a[i]; o[i] = x;"), "M04", "2.3"),
    "thread_local": (kernel("o[i] = g;", "thread_local float g;\n"), "M04", "2.3"),
    "printf": (kernel('printf("%f", a[i]);'), "M04", "2.3"),
    "std": (kernel("o[i] = std::max(a[i], 1.0f);"), "M04", "2.3"),
    "another header": ("#include <vector>\n" + kernel("o[i] = 0.0f;"), "M03", "2.3"),
    "typeid": (kernel("o[i] = float(sizeof(typeid(a[i])));"), "M04", "2.3"),
    "an array of run time": (kernel("float t[i]; o[i] = t[0];"), "M01", "2.3"),
    # variables
    "global variable": (kernel("o[i] = g;", "float g = 1.0f;\n"), "M01", "2.3"),
    "static variable": (kernel("static int n = 0; n++; o[i] = n;"), "M01", "2.3"),
    "constant of a call": (
        kernel("o[i] = g;", "float f();\nconstant float g = f();\n"),
        "M01",
        "2.3",
    ),
    "constant without a value": (kernel("const float z; o[i] = z;"), "M01", "2.3"),
    "threadgroup in a function": (
        kernel("f(i);", "void f(uint i) { threadgroup float t[4]; t[0] = 1.0f; }\n"),
        "M01",
        "2.3",
    ),
    "a name of the language": (kernel("float kernel = 1.0f; o[i] = kernel;"), "M01", "2.3"),
    "no such function": (kernel("o[i] = frobnicate(a[i]);"), "M01", "2.3"),
    "no such literal": (kernel("o[i] = 1f;"), "M05", "2.3"),
    # vectors and conversions
    "half4 to float4": (kernel("half4 h = half4(1.0h); float4 f = h; o[i] = f.x;"), "M01", "2.3"),
    "half4 times float4": (
        kernel("half4 h = half4(1.0h); float4 f = float4(1.0f) * h; o[i] = f.x;"),
        "M01",
        "2.3",
    ),
    "three of four": (kernel("float4 f = float4(1.0f, 2.0f, 3.0f); o[i] = f.x;"), "M01", "2.3"),
    "twice on the left": (
        kernel("float4 v = float4(0.0f); v.xx = float2(1.0f); o[i] = v.x;"),
        "M01",
        "2.3",
    ),
    "address of an element": (
        kernel("float4 v = float4(0.0f); thread float* p = &v.x; o[i] = *p;"),
        "M01",
        "2.3",
    ),
    "max of half and float": (kernel("half h = 1.0h; o[i] = max(h, a[i]);"), "M01", "2.3"),
    "max of int and uint": (kernel("o[i] = float(max(int(i), 3u));"), "M01", "2.3"),
    "min of uint and int": (kernel("o[i] = float(min(i, 3));"), "M01", "2.3"),
    "clamp of two types": (kernel("o[i] = clamp(a[i], 0.0h, 1.0f);"), "M01", "2.3"),
    "root of an int": (kernel("o[i] = sqrt(int(i));"), "M01", "2.3"),
    "sum of longs": (kernel("o[i] = float(simd_sum(long(i)));"), "M01", "2.3"),
    "load of another type": (kernel("simdgroup_half8x8 m; simdgroup_load(m, a, 8);"), "M01", "2.3"),
    # versions
    "bfloat too early": (kernel("bfloat b = bfloat(a[i]); o[i] = float(b);"), "M06", "3.0"),
    "to bfloat by itself": (kernel("bfloat b = a[i]; o[i] = float(b);"), "M12", "3.1"),
    "atomic_float too early": (
        parameters(
            f"device atomic_float* o [[buffer(0)]], {GRID}",
            "atomic_fetch_add_explicit(o, 1.0f, memory_order_relaxed);",
        ),
        "M06",
        "2.4",
    ),
    "acquire too early": (
        parameters(
            "device atomic_uint* o [[buffer(0)]]",
            "atomic_store_explicit(o, 1u, memory_order_release);",
        ),
        "M06",
        "3.1",
    ),
    # parameters of kernels
    "a result": (HEAD + "kernel int k(device float* o [[buffer(0)]]) { return 1; }", "M08", "2.3"),
    "no attribute": (parameters(f"{OUT}, constant float& s, uint n"), "M08", "2.3"),
    "no address space": (parameters(f"float* o [[buffer(0)]], {GRID}"), "M08", "2.3"),
    "a buffer by value": (parameters(f"{OUT}, uint n [[buffer(1)]]"), "M08", "2.3"),
    "a position by reference": (
        parameters(f"{OUT}, device uint& i [[thread_position_in_grid]]"),
        "M08",
        "2.3",
    ),
    "a position of another type": (
        parameters(f"{OUT}, int i [[thread_position_in_grid]]"),
        "M08",
        "2.3",
    ),
    "positions of two widths": (
        parameters(
            f"{OUT}, uint3 i [[threadgroup_position_in_grid]],"
            " uint l [[thread_position_in_threadgroup]]"
        ),
        "M08",
        "2.3",
    ),
    "an unknown attribute": (parameters(f"{OUT}, uint i [[thread_number]]"), "M08", "2.3"),
    "an index twice": (parameters(f"{OUT}, device float* p [[buffer(0)]]"), "M09", "2.3"),
    "an index too large": (parameters("device float* o [[buffer(31)]]"), "M09", "2.3"),
    # templates, methods, macros
    "in a template": (
        kernel("o[i] = f(a[i]);", "template <typename T> T f(T x) { return max(x, 1.0h); }\n"),
        "M01",
        "2.3",
    ),
    "in a method": (
        kernel(
            "B b; b.x = a[i]; o[i] = b.f();",
            "struct B { float x; float f() const thread { x = 1.0f; return x; } };\n",
        ),
        "M01",
        "2.3",
    ),
    "a method of another space": (
        kernel(
            "o[i] = b.f();".replace("b.f()", "((device B*)o)->f()"),
            "struct B { float x; float f() const thread { return x; } };\n",
        ),
        "M01",
        "2.3",
    ),
    "in a macro": (kernel("WRITE(a)", "#define WRITE(x) x[i] = 1.0f;\n"), "M01", "2.3"),
}

RIGHT: dict[str, tuple[str, str]] = {
    "instances of a template": (
        template("o[i] = max(a[i], T(1));", f"{INSTANCE}MAKE(float)\nMAKE(half)"),
        "2.3",
    ),
    "an instance made of the name of a vector": (
        template(
            "using T2 = vec<float, 2>; o[i] = T(float4(a[i]) * 2.0f) + T(vec<half, 4>(a[i]).y);"
            " o[i].xy += vec<half, 2>(T2(a[i].xy)).x; threadgroup T (*rows)[2];",
            f"{INSTANCE}MAKE(float4)\nMAKE(half4)",
        ),
        "2.3",
    ),
    "casts of vectors as C writes them": (
        template(
            "half4 h = (half4)float4(a[i]); T t = (T)h * -(T)h; o[i] = 2.0f * (T)(half4)(t + h.x);"
            " o[i].xy = float2(((uint4)o[i]).zw); float4 f = {1.0f}; o[i] += f * half(1);",
            f"{INSTANCE}MAKE(float4)",
        ),
        "2.3",
    ),
    "memory of a threadgroup in a template": (
        template("threadgroup T t[4]; t[i & 3] = a[i]; o[i] = t[0];", f"{INSTANCE}MAKE(float)"),
        "2.3",
    ),
    "properties of types": (
        template(
            "if constexpr (is_same_v<T, half>) o[i] = conditional_t<true, T, float>(2);"
            " else if (is_floating_point<T>::value && !is_integral_v<T>) o[i] = f(a[i]);",
            f"{INSTANCE}MAKE(float)\nMAKE(half)",
        ).replace(
            "template",
            "template <typename U, enable_if_t<sizeof(U) < 8, int> = 1> U f(U x) { return x; }\n"
            "template",
            1,
        ),
        "2.3",
    ),
    "functions as arguments of templates": (
        kernel(
            "o[i] = g<f>(a[i]) + g<h>(a[i]);",
            "float f(float x) { return x; }\ntemplate <typename T> T h(T x) { return x; }\n"
            "template <float (*f)(float)> float g(float x) { return f(x); }\n",
        ),
        "2.3",
    ),
    "buffers without an index": (
        parameters(f"device float* o, constant float& s, threadgroup float* t, {GRID}"),
        "2.3",
    ),
    "text for another version": (
        kernel("o[i] = 1.0f;", "#if __METAL_VERSION__ >= 310\ntypedef bfloat late;\n#endif\n"),
        "2.3",
    ),
    "kernels of a macro": (
        f"{HEAD}#define K(n, f) kernel void n({OUT}, {GRID}) {{ o[i] = f(o[i]); }}\n"
        "K(a, exp)\nK(b, sqrt)\n",
        "2.3",
    ),
    "function constants": (
        kernel("o[i] = (reversed ? a[i] : 1.0f) * float(scale % factor);", CONSTANTS),
        "2.3",
    ),
    "words of OpenCL": (
        kernel(
            "float local = a[i]; threadgroup float global[4]; global[0] = local; o[i] = global[0];"
        ),
        "2.3",
    ),
    "packed vectors and matrices": (
        kernel(
            "packed_float3 p = float3(a[i]); float4x4 m = float4x4(s); float3 v = p;"
            " o[i] = (m * transpose(m) * float4(v, 1.0f)).x;"
        ),
        "2.3",
    ),
    "elements of a matrix": (
        kernel("half2x4 m = half2x4(0.0h); m[i & 1][i] = 2.0h; m[0].xy = 1.0h; o[i] = m[0].x;"),
        "2.3",
    ),
    "votes": (
        kernel(
            "simd_vote v = simd_ballot(a[i] > s); if (v.any() && !v.all())"
            " o[i] = float(popcount(uint((simd_vote::vote_t)v)));"
        ),
        "2.3",
    ),
    "atomics by the type that they hold": (
        parameters(
            f"device atomic<uint>* o, device metal::atomic_int* p, {GRID}",
            "atomic_fetch_or_explicit(o, 1u, memory_order_relaxed);"
            " atomic_fetch_min_explicit(&p[i], 1, memory_order_relaxed);",
        ),
        "2.3",
    ),
    "the usual": (kernel("threadgroup float t[8]; t[i & 7] = a[i]; o[i] = t[0] * s + 1.0;"), "2.3"),
    "constants": (
        kernel(
            "o[i] = f(g, 0) + f(&s, 0);",
            "constexpr constant static float g[2] = {1.0f, 2.0f};\n"
            "float f(constant float* x, int i) { constant float* y = x + 1; return y[i - 1]; }\n",
        ),
        "2.3",
    ),
    "float4 of half4": (kernel("half4 h = half4(1.0h); float4 f = float4(h); o[i] = f.x;"), "2.3"),
    "float of half": (kernel("half h = 1.0h; o[i] = max(float(h), a[i]);"), "2.3"),
    "bfloat": (kernel("bfloat b = bfloat(a[i]); o[i] = exp(float(b));"), "3.1"),
    "atomic_float": (
        parameters(
            f"device atomic_float* o [[buffer(0)]], {GRID}",
            "atomic_fetch_add_explicit(o, 1.0f, memory_order_relaxed);",
        ),
        "3.0",
    ),
    "a sum of bools": (kernel("o[i] = float(simd_sum(i > 3));"), "2.3"),
    "8x8 matrices": (
        kernel(
            "simdgroup_float8x8 m = make_filled_simdgroup_matrix<float, 8, 8>(0.0f), b;"
            " simdgroup_load(b, a, 8); simdgroup_multiply_accumulate(m, b, b, m);"
            " simdgroup_store(m, o, 8);"
        ),
        "2.3",
    ),
    "a template": (
        kernel("o[i] = f(a[i]);", "template <typename T> T f(T x) { return max(x, T(1)); }\n"),
        "2.3",
    ),
    "a method": (
        kernel(
            "B b; b.x = a[i]; b.add(1.0f); o[i] = b.x;",
            "struct B { float x; void add(float y) thread { x += y; } };\n",
        ),
        "2.3",
    ),
}
