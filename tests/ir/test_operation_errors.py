"""What the compiler says of operations called with what they cannot work on."""

from __future__ import annotations

import pytest

from tests.ir.programs import errors, marked, only_error

BEFORE = """let x = zeros([2, 3])
let q = zeros([2, 4, 8])
let image = zeros([1, 2, 5, 5])
let ids = tensor<int>([0, 1])
"""


@pytest.mark.parametrize(
    ("call", "code", "message"),
    [
        ("fused_add_relu(x, zeros([4]))", "E0301", "do not broadcast"),
        ("fused_add_relu(x)", "E0203", "needs `b`"),
        ("fused_mul_relu(ids, x)", "E0302", "a floating-point tensor is needed"),
        ("fused_gelu_linear(x, zeros([4, 2]))", "E0301", "3 input features and 2 differ"),
        ("causal_mask(x)", "E0304", "`n` of `causal_mask` is a size, known at build"),
        ("causal_mask(2.5)", "E0303", "`n` of `causal_mask` is a size"),
        ("apply_attention_mask(x, ids)", "E0302", "a mask is needed, and this is i32[2]"),
        ("apply_attention_mask(x, causal_mask(2))", "E0301", "3 and 2 differ"),
        ("padding_mask(x, 4)", "E0302", "lengths are whole numbers, and this is f16[2, 3]"),
        ("combine_masks(x, ids)", "E0302", "a mask is needed, and this is i32[2]"),
        ("rope(x)", "E0301", "`rope` turns [seq, heads, hd], and this is [2, 3]"),
        ("rope(zeros([2, 1, 3]))", "E0301", "turned in pairs, and its size is 3"),
        ("rope(q, 1.5)", "E0302", "a position is a whole number, and this is float"),
        ("rope(q, zeros([2]))", "E0302", "a position is a whole number, and this is f16[2]"),
        ("rope(q, tensor<int>([1, 2, 3]))", "E0301", "here [2], and this is i32[3]"),
        ("rope(q, base: -1.0)", "E0303", "the base of rotary positions is positive"),
        ("rope(q, layout: halves)", "E0303", "a layout is interleaved or half, and this is"),
        ('rope(q, layout: "split")', "E0303", "a layout is interleaved or half, and this is"),
        ("rope(q, 0, 1.0, half, 2)", "E0203", "this one is too many"),
        ("precompute_rope_cos(2, 3)", "E0301", "turned in pairs, and its size is 3"),
        ("attention(x, q, q)", "E0301", "`attention` works on [seq, heads, hd]"),
        ("attention(q, zeros([2, 4, 6]), q)", "E0301", "size 8 and keys of size 6"),
        ("attention(q, q, zeros([3, 4, 8]))", "E0301", "the first two dimensions differ"),
        ("attention(q, zeros([2, 3, 8]), zeros([2, 3, 8]))", "E0301", "4 heads of queries"),
        ("attention(q, q, q, zeros([3, 3]))", "E0301", "do not broadcast"),
        ("attention(q, q, q, zeros([3, 2, 2]))", "E0301", "for 3 heads, and there are 4"),
        ("attention(q, q, q, zeros([5, 1, 1, 1, 1]))", "E0301", "the scores are [4, 2, 2]"),
        ("batch_norm(x, x, x, x, x)", "E0301", "a number for each of 3 channels"),
        ("batch_norm(zeros([3]), x, x, x, x)", "E0301", "[batch, channels, ...]"),
        ("dropout(x, 1.5)", "E0303", "a probability lies between 0 and 1"),
        ("one_hot(x, 3)", "E0302", "an index tensor is needed, and this is f16[2, 3]"),
        ("one_hot(ids, -1)", "E0303", "the number of classes is -1"),
        ("max_pool2d(x, 2)", "E0301", "`max_pool2d` works on [batch, channels, height, width]"),
        ("max_pool2d(image, 6)", "E0303", "a window of [6, 6] does not fit"),
        ("max_pool2d(image, 2, padding: 2)", "E0303", "at most half the kernel [2, 2]"),
        ("max_pool2d(image, [2, 2, 2])", "E0302", "is a whole number or two, and this is array"),
        ("avg_pool2d(image, 0)", "E0303", "the kernel is at least 1"),
        ("avg_pool2d(image, 2, 0)", "E0303", "the stride is at least 1"),
        ("avg_pool2d(image, 2, padding: -1)", "E0303", "the padding is at least 0"),
        ("conv2d(image, x)", "E0301", "[out, in / groups, height, width]"),
        ("conv2d(image, zeros([4, 3, 2, 2]))", "E0301", "2 channels in 1 groups do not meet"),
        ("conv2d(image, zeros([3, 1, 2, 2]), groups: 2)", "E0301", "2 channels in 2 groups"),
        ("conv2d(image, zeros([4, 2, 2, 2]), zeros([3]))", "E0301", "the bias is [4]"),
        ("conv2d(image, zeros([4, 2, 3, 3]), dilation: 3)", "E0303", "a window of [3, 3]"),
        ("conv2d(image, zeros([4, 2, 2, 2]), stride: 0)", "E0303", "the stride is at least 1"),
        ("cumsum(ids)", "E0302", "a floating-point tensor is needed, and this is i32[2]"),
        ("cumsum(x, 2)", "E0303", "axis 2 is out of range for a tensor of rank 2"),
        ("sort(ids)", "E0302", "a floating-point tensor is needed, and this is i32[2]"),
        ("sort(x, -3)", "E0303", "axis -3 is out of range for a tensor of rank 2"),
        ("sort(sum(x))", "E0303", "a tensor with an axis is needed, and this is f16[]"),
        ("topk(x, 4)", "E0303", "3 elements have no 4 largest"),
        ("topk(x, 1.5)", "E0303", "`k` of `topk` is a whole number, and this is float"),
        ("topk(x, -1)", "E0303", "`k` of `topk` is a whole number"),
        ("scatter(x, ids, zeros([3, 3]))", "E0301", "need a list of rows [2, 3]"),
        ("scatter(x, x, x)", "E0302", "an index tensor is needed, and this is f16[2, 3]"),
        ("scatter(x, ids, f32::zeros([2, 3]))", "E0302", "rows for f16[2, 3] are needed"),
        ("index_select(x, tensor<int>([[0]]))", "E0301", "`index_select` needs a list"),
        ("index_select(x, ids, 2)", "E0303", "axis 2 is out of range"),
        ("rand([-1])", "E0303", "a shape is a list of sizes, and this has -1"),
        ("randn([2], mean: x)", "E0302", "the mean is a number known at build"),
        ("random_normal([2], 0.0, x)", "E0302", "`std` is a number known at build"),
        ("rand([2], device: tpu)", "E0203", "a device is one of gpu, cpu"),
    ],
)
def test_a_wrong_call_is_an_error(call: str, code: str, message: str) -> None:
    problem = only_error(f"{BEFORE}print({call})")
    assert problem.code == code
    assert message in f"{problem.message} {problem.label}"


def test_operands_that_disagree_are_shown() -> None:
    problem = only_error("let q = zeros([2, 4, 8])\nlet k = zeros([2, 4, 6])\nattention(q, k, q)")
    assert marked(problem) == "attention(q, k, q)"
    assert [label.span.text for label in problem.others] == ["q", "k"]


def test_layouts_are_words_only_where_a_layout_is_wanted() -> None:
    assert not errors("let half = 2\nprint(rope(zeros([2, 1, 4]), half, layout: half))")
    assert only_error("print(half)").code == "E0201"
    assert errors("print(rope(zeros([2, 1, 4]), half))")
