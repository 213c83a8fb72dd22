"""What a user reads who has got a program wrong: for each section of the language, a golden file of
wrong programs with their messages. `make golden` rewrites the files; read the diff as that user."""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.coreml.writer import MilModel, Name
from tlc.cli import run

Golden = Callable[[str, str], None]

MISTAKES = {
    "programs": [
        'import "layer.tl"\n',
        "fn f(x) { x }\nfn f(x, y) { x }\n",
        "print(total)\nlet total = 3\n",
        "fn f(n: int) -> int { f(n + 1) }\nprint(f(0))\n",
        "fn f(n: int) { if n > 0 { f(n - 1) } else { f(n + 1) } }\nf(argmax(ones([2])))\n",
        "let g = 1\nfn f(n: int) { if n > 0 { g = ones([n]) as float32\n f(n - 1) } }\n"
        "f(argmax(ones([2])))\n",
        "fn f(n: int, x: Tensor) { if n > 0 { return x as float32 }\n sum(f(n - 1, x)) }\n"
        "print(f(argmax(ones([2])), ones([2])))\n",
        "struct P { n: int }\nimpl P { fn up(self, k: int) { if k == 0 { return }\n"
        ' self.n = "one"\n self.up(k - 1) } }\nlet p = P { n: 0 }\np.up(argmax(ones([2])))\n',
        "fn f(x: float17[N]) { x }\n",
        "struct P { x: Q, y: [strng], z: T }\nstruct G<T> { a: T, b: [(int, T)], c: G<T> }\n",
        'let n = 3\nprint("n is " + n)\n',
        'let v = []\nfor i in range(argmax([0.0, 1.0])) { v.push("s") }\nprint(v[7])\n',
        "return 5\n",
        "fn f() { break }\nf()\n",
        "test sums { assert_eq(1 + 1, 2) }\ntest sums { assert(true) }\n",
        "struct P { x: float }\nlet p = P(1.0)\n",
        "struct P { x: float, y: float }\nlet p = P { x: 1.0 }\n",
        "struct P { x: float, y: float }\nlet p = P { x: 1.0, y: 2.0 }\nprint(p.z)\n",
        "struct P { x: float }\nimpl P { fn norm(self) -> float { self.x } }\n"
        "let p = P { x: 1.0 }\nprint(p.nrom())\nprint(P::norn())\n",
        "struct P { x: float }\nimpl P { fn twice(self) -> float { x * 2 } }\n"
        "print(P { x: 1.0 }.twice(), P.twice)\nprint(P.new())\n",
        "fn same<T>(a: T, b: T) -> T { a }\nprint(same(1, tensor([2.0])))\n",
        "fn same<T>(a: T) -> T { a }\nprint(same<int, int>(1))\n",
    ],
    "types": [
        "fn scaled(a: float16[N], b: float16[N]) { a * b }\nprint(scaled(ones([2]), ones([3])))\n",
        "fn f(a: float16[N, M]) { a }\nprint(f(ones([2])))\n",
        "fn f(a: float32[N]) { a }\nprint(f(ones([2])))\n",
        "fn f(a: float16[2*N]) { a }\nprint(f(ones([3])))\n",
        "fn f(a: float16[N]) -> float16[N] {\n    let b = a\n}\nprint(f(ones([2])))\n",
        "fn f(a: float16[N]) -> float32[N] { a }\nprint(f(ones([2])))\n",
        "let n: int = 1.5\n",
        "let x: float16[3] = ones([2])\n",
        "tensor w: float16[2, 3] = [1.0, 2.0]\n",
        "let x = tensor<float8>([1.0])\n",
        "let x: float16[1, 2] = [(1, ones([2]))]\n",
        'print("abc" as float16)\n',
    ],
    "statements": [
        "let a = ones([3])\nif a > 0.0 { print(a) }\n",
        "let (a, b) = (1, 2, 3)\n",
        "let (a, (b, c)) = (1, 2)\n",
        'let n = argmax(ones([2])) + 1\nlet v = []\nfor i in range(n) { v.push("a"); v.push(1) }\n',
        "struct P { x: int }\nlet n = argmax(ones([2])) + 1\nlet v = []\n"
        "for i in range(n) { v.push(P { x: i }) }\nv.push((1, 2))\n",
        "struct P { x: int }\nimpl Drop for P { fn drop(self) { print(self.x) } }\n"
        "let n = argmax(ones([2])) + 1\nlet v = []\nfor i in range(n) { v.push(P { x: i }) }\n",
        "let n = argmax(ones([2])) + 1\nlet v = [ones([2])]\n"
        "if n > 0 { v.push(ones([3])) }\n",
        "for i in 5 { print(i) }\n",
        "for i in range(2.5) { print(i) }\n",
        'while "x" { break }\n',
        "while true { let x = 1 }\n",
        "let a = [[1.0], [2.0]]\nlet n = argmax([0.0, 1.0])\nprint(a[:n])\nprint([1, 2][:0.5])\n",
        'let x = 3\nlet y = match x { 1 => "one", 2 => "two" }\n',
        "let h = ones([2])\nlet n = argmax(h)\nwhile n < 5 {\n    h = h as float32; n = n + 1\n}\n",
        "let x = zeros([2, 3])\nx[5, 0] = 1.0\n",
        "assert(ones([2]) > 0.0)\n",
        "learn { objective: 1.0, optimiser: sgd(lr: 0.1), epochs: 2 }\n",
    ],
    "expressions": [
        "let hidden = ones([2])\nprint(hiden)\n",
        "let x = ones([2])\nprint(x(1))\n",
        "let x = ones([4, 3])\nlet w = ones([5, 2])\nprint(x @ w)\n",
        "let a = ones([2, 3])\nprint(a + ones([2, 4]))\n",
        "print(tensor<int>([1, 2]) * 2.5)\n",
        "print(ones([2]) && true)\n",
        "print(-causal_mask(2))\n",
        'print("a" + ones([2]))\n',
        "let a = ones([3])\nprint(a[5], a[-4])\n",
        "let a = ones([3])\nprint(a[0, 1])\n",
        "let a = ones([3])\nprint(a[1.5])\n",
        "let a = ones([3])\nprint(a[2:7])\n",
        "let a = ones([3])\nprint(a.shap, a.relux())\n",
        "print(1 / 0)\n",
        "print((-8) ** 0.5)\n",
        'let a = if true then 1.0 else "x"\n',
        "fn f(a: float16[N]) { let b = a }\nprint(f(ones([2])))\n",
    ],
    "construction": [
        "print(zeros([2.5, 3]))\n",
        "print(zeros([-2, 3]))\n",
        "print(tensor([[1.0, 2.0], [3.0]]))\n",
        "print(tensor([70000.0]))\n",
        "print(ones([2], device: tpu))\n",
        "print(ones([2], dtype: float32))\n",
        "print(zeros<float32>([2]))\n",
    ],
    "models": [
        'let m = load_model("wieghts.safetensors")\n',
        'let m = load_model("nothing.safetensors")\n',
        "let name = 3\nlet m = load_model(name)\n",
        'let m = load_model("weights.safetensors")\nprint(m.get_tensor("layer.0.wieght"))\n',
        'let m = load_model("weights.safetensors")\nprint(m.layer[7].weight)\n',
        'let m = load_model("weights.safetensors")\nprint(m.layer[0] + 1.0)\n',
        'let m = load_model("weights.safetensors")\nprint(m.ids)\n',
        'let m = load_model("weights.safetensors")\nprint(m.metadata.formt)\n',
        'let m = load_model("weights.safetensors")\nprint(m)\n',
        'print(ones([2]).get_tensor("x"))\n',
        'save(ones([2]), "out.txt")\n',
        'save(ones([2]), "no/such/folder/out.safetensors")\n',
        'let m = load_model("lstm.mlpackage")\nprint(m.predict(ones([2, 2])))\n',
        'let m = load_model("packed.gguf")\nprint(m.w.T * 2.0)\n',
        'let t = load_tokenizer("packed.gguf")\n',
        "print(tokenize(ones([2]), 3))\n",
    ],
    "builtins": [
        'print("{:05} of {:.2}", 1, 2)\nprint("{:.2}", "text")\n',
        "print(sofmax(ones([2])))\n",
        "print(matmul(ones([2])))\n",
        "print(relu(ones([2]), 2, 3))\n",
        "print(softmax(ones([2]), dims: 0))\n",
        "print(softmax(ones([2]), 0, dim: 0))\n",
        "fn f(a: float16[N], b: float16[N]) { a + b }\nprint(f(ones([2])))\n",
        "print(sum(ones([2]), 3))\n",
        "print(sum(ones([2]), 0.5))\n",
        "print(reshape(ones([6]), [4, -1]))\n",
        "print(concat(ones([2, 3]), ones([3, 2]), 0))\n",
        "print(stack([ones([2]), ones([3])], 0))\n",
        "print(permute(ones([2, 3]), [0, 0]))\n",
        "print(unsqueeze(ones([2, 3]), 5))\n",
        'print(einsum("ij,jk->iz", ones([2, 3]), ones([3, 2])))\n',
        'print(einsum("ij,jk->ik", ones([2, 3]), ones([4, 2])))\n',
        'print(einsum("ij,jk->ik", ones([2, 3])))\n',
        "print(where(ones([3]), 1.0, 2.0))\n",
        'print(clamp(ones([2]), "low", 3.0))\n',
        "print(topk(ones([3]), 5))\n",
        "print(rms_norm(ones([2, 4]), ones([3])))\n",
        "print(linear(ones([2, 4]), ones([4, 3])))\n",
        "print(attention(ones([2, 3, 4]), ones([3, 2, 4]), ones([3, 2, 4])))\n",
        "print(rope(ones([2, 4]), 0))\n",
        "print(conv2d(ones([1, 1, 2, 2]), ones([1, 1, 3, 3])))\n",
        "print(embedding(ones([4, 2]), tensor([1.5, 0.0])))\n",
        'print("{} and {}", 1)\n',
        'print(to_int("three"))\n',
        "let v = FloatVec([1.0, 2.0])\nprint(v.get(5))\n",
        "print(dropout(ones([2]), 2.0))\n",
    ],
    "habits": [  # of NumPy, PyTorch and other languages
        'fn main() { print("hello") }\n',
        'let s = "abc"\nprint(s.upper(), s.size(), s.lne())\n',
        'let s = "abc"\nprint(s.substr(1, 2))\nprint(s.lenght)\n',
        "let x = 5\nx += 2\n",
        "for i in 0..=3 { print(i) }\n",
        "for i in range(1, 10, 3) { print(i) }\n",
        "let x = arange([6])\nprint(x[0:6:2])\n",
        "let x = arange([6])\nprint(x[::2])\n",
        "print(ones([2, 3])[..., 0])\n",
        "let [a, b] = [1, 2]\n",
        "print(conv2d(ones([1, 1, 4, 4]), ones([1, 1, 3, 3]), dilation: 2))\n",
        "print(1 << 3)\n",
        "let f = |x| x + 1\n",
        'let d = {"a": 1}\n',
        "fn f(x: int, k: int = 2) -> int { x * k }\nprint(f(1))\n",
        "const N = 4\n",
        "print(reshape(ones([6]), 3, 2))\n",
        "print(permute(ones([2, 3]), 1, 0))\n",
        "print(zeros(2, 3))\n",
        "print(std(ones([2])))\n",
        "print(any(ones([2]) > 0.0))\n",
        "print(tril(ones([2, 2])))\n",
        "print(eye(3))\n",
        "print(zeros_like(ones([2])))\n",
        "print(pi)\n",
        "let v = [1, 2]\nprint(v.pop())\n",
        "if 1 { print(2) }\n",
        "let s = match 7 { 0..5 => 1, _ => 2 }\n",
        "fn f(x: float16[N]): float16[N] { x }\n",
    ],
    "running": [
        "let i = argmax(tensor([0.0, 0.0, 1.0])) + 3\nprint(ones([5])[i])\n",
        "let n = argmax(tensor([0.0, 1.0]))\nprint(ones([3])[n:n + 4])\n",
        "let n = argmax(tensor([1.0, 0.0]))\nprint(10 / n)\n",
        "let rows = tensor<int>([0, 5])\nprint(ones([3, 2])[rows, :])\n",
        "print(to_int(input()))\n",
        "assert(1 + 1 == 3)\n",
        "assert_eq(ones([2]), zeros([2]))\n",
        'panic("{} layers are too many", 3)\n',
        "fn down(n: int) -> int { if n == 0 { return 0 } down(n + 1) + 1 }\n"
        "print(down(argmax(tensor([0.0, 1.0]))))\n",
    ],
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with model files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("three\n"))
    return tmp_path


def models(folder: Path) -> None:
    import gguf

    weights = {f"layer.{i}.weight": np.ones((2, 2), np.float16) for i in range(2)}
    save_file({**weights, "ids": np.ones(3, np.int64)}, folder / "weights.safetensors")
    model = MilModel({"x": ("f32", (2, 2))})
    model.op("lstm", {"h": ("f32", (2, 2))}, output=True, x=Name("x"))
    model.write(folder / "lstm.mlpackage")
    writer = gguf.GGUFWriter(folder / "packed.gguf", "test")
    kind = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor("w", gguf.quants.quantize(np.ones((2, 32), np.float32), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def stderr(*arguments: str) -> str:
    """What a command writes to people."""
    with (
        contextlib.redirect_stderr(io.StringIO()) as text,
        contextlib.redirect_stdout(io.StringIO()),
    ):
        run([*arguments, "--color", "never"])
    return text.getvalue()


@pytest.mark.parametrize("section", MISTAKES)
def test_mistakes_of_a_section(section: str, folder: Path, golden: Golden) -> None:
    if section == "models":
        models(folder)
    shown = []
    for program in MISTAKES[section]:
        (folder / "p.tl").write_text(program)
        found = stderr("run", "p.tl", "--device", "reference")
        assert found, f"nothing is said about\n{program}"
        shown.append(f"{program}\n{found}")
    golden(f"diagnostics/mistakes_{section}.txt", ("-" * 60 + "\n").join(shown))


COMMANDS = [
    "run p.tl --entry layr --device reference",
    "run p.tl --entry layer --device reference",
    "run p.tl --entry layer --input x=gone.npy --device reference",
    "run p.tl --entry layer --input y=x.npy --device reference",
    "run p.tl --entry layer --input x=x.npy --device reference",
    "run p.tl --check-finite",
    "run p.metallib --store f32",
    "serve p.metallib --device reference",
    "build p.tl --min-macos 10.0",
    "build p.tl --min-macos new",
    "build p.tl --range --entry layr",
    "inspect p.metallib --kernel nope",
    "run nested.tl",
]


def test_mistakes_on_the_command_line(folder: Path, golden: Golden) -> None:
    (folder / "p.tl").write_text(
        "fn layer(x: float16[N, 2]) -> float16[N] { sum(x, 1) }\n"
        "let x = tensor([300.0, 0.0], device: gpu)\nprint(x * x)\n"
    )
    (folder / "nested.tl").write_text("print(" + "(\n" * 300 + "1" + ")" * 300 + ")\n")
    np.save("x.npy", np.ones((2, 3), np.float16))
    assert run(["build", "p.tl"]) == 0
    shown = [f"$ tlc {command}\n{stderr(*command.split())}" for command in COMMANDS]
    golden("diagnostics/mistakes_commands.txt", "\n".join(shown))


def test_every_code_is_shown_by_a_golden_text() -> None:
    from tlc.explain import all_codes

    # the words of compilers are not the same everywhere, nor are coremltools and servers
    elsewhere = {
        "E0510": "tests/test_serve.py",
        "E0608": "tests/test_chat_template.py",
        "E0611": "tests/coreml/test_export.py",
        "E0612": "tests/coreml/test_export.py",
        "E0613": "tests/test_serve.py",
        "E0614": "tests/test_serve.py",
        "E0615": "tests/coreml/test_engine.py",
        "E0703": "tests/runtime/test_toolchain.py",
        "E0704": "tests/msl/test_defects.py",
        "E0705": "tests/msl/test_lint.py",
        "E0706": "tests/metal/test_metal_objc.py",
    }
    texts = [p.read_text("utf-8") for p in Path(__file__).parent.glob("golden/**/*.txt")]
    shown = {code for code in all_codes() if any(f"[{code}]" in text for text in texts)}
    assert sorted(all_codes().keys() - shown - elsewhere.keys()) == []
    assert all((Path(__file__).parent.parent / path).exists() for path in elsewhere.values())
