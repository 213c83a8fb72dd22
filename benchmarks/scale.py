"""Build time against program size: it has to grow in proportion."""

from __future__ import annotations

import time

from tlc import driver

STATEMENTS = (250, 500, 1000, 2000)
LAYERS = (25, 50, 100, 200)
_STEPS = ("relu({} @ w + 1.0)", "{} * 0.5 + x", "tanh({})", "softmax({})")
_LAYER = """\
fn layer(x: float16[N, D], w: float16[D, D], b: float16[D]) -> float16[N, D] {
    x + relu(linear(rms_norm(x, b), w, b))
}
"""


def statements(count: int) -> str:
    """A function of so many statements, each on the one before."""
    lines = [f"let a{n + 1} = {_STEPS[n % 4].format(f'a{n}')}" for n in range(count)]
    body = "\n".join(["let a0 = x", *lines, f"a{count}"])
    return f"fn f(x: float16[N, 8], w: float16[8, 8]) -> float16[N, 8] {{\n{body}\n}}\n"


def layers(count: int) -> str:
    """A network of so many layers, written out without a loop."""
    body = "x = layer(x, w, b)\n" * count
    return f"{_LAYER}fn f(x: float16[N, 16], w: float16[16, 16], b: float16[16]) {{\n{body}x\n}}\n"


def table() -> list[str]:
    """CPU seconds of a build, per size, and milliseconds per statement or layer."""
    lines = [f"{'program':20} {'CPU s':>8} {'ms each':>8}"]
    driver.build("warm.tl", text=statements(4))
    for make, counts in ((statements, STATEMENTS), (layers, LAYERS)):
        for count in counts:
            start = time.process_time()
            driver.build("scale.tl", text=make(count))
            spent = time.process_time() - start
            name = f"{count} {make.__name__}"
            lines.append(f"{name:20} {spent:8.2f} {spent / count * 1e3:8.2f}")
    return lines
