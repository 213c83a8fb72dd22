"""What the vocabulary models share: symbols are merged into longer ones."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def merged(symbols: list[str], rank: Callable[[str, str], float | None]) -> list[str]:
    """The symbols after all merges: again and again the neighbours of the lowest rank become one,
    the leftmost of equal rank first, until no two have a rank.

    It is the loop of byte-pair encoding (Sennrich et al. 2016) and of SentencePiece, with a queue:
    n symbols take n log n steps. A pair in the queue is out of date when one of its symbols has
    grown or is gone; its length tells.
    """
    last = len(symbols) - 1
    if last < 1:
        return symbols
    before, behind = list(range(-1, last)), [*range(1, last + 1), -1]
    queue: list[tuple[float, int, int, int]] = []
    for at in range(last):
        found = rank(symbols[at], symbols[at + 1])
        if found is not None:
            queue.append((found, at, at + 1, len(symbols[at]) + len(symbols[at + 1])))
    heapify(queue)
    while queue:
        _, left, right, length = heappop(queue)
        one, other = symbols[left], symbols[right]
        if not one or not other or behind[left] != right or len(one) + len(other) != length:
            continue
        symbols[left], symbols[right] = one + other, ""
        following, previous = behind[right], before[left]
        behind[left] = following
        if following >= 0:
            before[following] = left
        for a, b in ((previous, left), (left, following)):
            if a >= 0 and b >= 0:
                found = rank(symbols[a], symbols[b])
                if found is not None:
                    heappush(queue, (found, a, b, len(symbols[a]) + len(symbols[b])))
    return [symbol for symbol in symbols if symbol]
