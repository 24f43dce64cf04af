"""A slow decoder of GDeflate: DEFLATE whose bits are dealt out to 32 lanes."""

from __future__ import annotations

import struct

__all__ = ["GdeflateOracleError", "gdeflate_decompress", "gdeflate_store"]

LANES = 32
LENGTH_BASE = [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59]
LENGTH_BASE += [67, 83, 99, 115, 131, 163, 195, 227, 3]
LENGTH_EXTRA = [0] * 8 + [bits for bits in range(1, 6) for _ in range(4)] + [16]
DISTANCE_EXTRA = [0, 0, 0, 0] + [bits for bits in range(1, 15) for _ in range(2)]
DISTANCE_BASE = [1 + sum(1 << bits for bits in DISTANCE_EXTRA[:n]) for n in range(32)]
CODE_LENGTH_ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]
FIXED_LITERALS = [8] * 144 + [9] * 112 + [7] * 24 + [8] * 8
FIXED_DISTANCES = [5] * 32

Tree = dict[tuple[int, int], int]


class GdeflateOracleError(ValueError):
    """The chunk is no GDeflate stream of the expected length."""


class _Lanes:
    """32 bit buffers that refill from one shared run of words; zeros follow its end."""

    def __init__(self, chunk: bytes) -> None:
        padded = chunk + bytes(-len(chunk) % 4)
        self.words = struct.unpack(f"<{len(padded) // 4}I", padded)
        self.next = 0
        self.bits = [self._word() for _ in range(LANES)]
        self.have = [32] * LANES

    def _word(self) -> int:
        word = self.words[self.next] if self.next < len(self.words) else 0
        self.next += 1
        if self.next > len(self.words) + 4 * LANES:
            raise GdeflateOracleError("ran past the end")
        return word

    def take(self, lane: int, count: int) -> int:
        value = self.bits[lane] & ((1 << count) - 1)
        self.bits[lane] >>= count
        self.have[lane] -= count
        if self.have[lane] < 32:
            self.bits[lane] |= self._word() << self.have[lane]
            self.have[lane] += 32
        return value

    def symbol(self, lane: int, tree: Tree, extra: list[int], offset: int = 0) -> tuple[int, int]:
        """A symbol and its extra bits, consumed together."""
        for length in range(1, 16):
            symbol = tree.get((length, self.bits[lane] & ((1 << length) - 1)))
            if symbol is not None:
                count = extra[symbol - offset] if symbol >= offset else 0
                return symbol, self.take(lane, length + count) >> length
        raise GdeflateOracleError("code not in the tree")


def _tree(lengths: list[int]) -> Tree:
    tree: Tree = {}
    code = 0
    for length in range(1, 16):
        for symbol, own in enumerate(lengths):
            if own == length:
                reversed_code = int(format(code, f"0{length}b")[::-1], 2)
                tree[length, reversed_code] = symbol
                code += 1
        code <<= 1
    return tree


def _dynamic_trees(lanes: _Lanes) -> tuple[Tree, Tree]:
    literal_count = lanes.take(0, 5) + 257
    distance_count = lanes.take(0, 5) + 1
    code_lengths = [0] * 19
    for number in range(lanes.take(0, 4) + 4):
        code_lengths[CODE_LENGTH_ORDER[number]] = lanes.take(number, 3)
    tree = _tree(code_lengths)
    lengths: list[int] = []
    lane = 0
    while len(lengths) < literal_count + distance_count:
        symbol, extra = lanes.symbol(lane, tree, [2, 3, 7], offset=16)
        if symbol < 16:
            lengths.append(symbol)
        elif symbol == 16:
            if not lengths:
                raise GdeflateOracleError("nothing to repeat")
            lengths += [lengths[-1]] * (3 + extra)
        else:
            lengths += [0] * ((3 if symbol == 17 else 11) + extra)
        lane = (lane + 1) % LANES
    end = literal_count + distance_count
    return _tree(lengths[:literal_count]), _tree(lengths[literal_count:end])


def _copy(plain: bytearray, length: int, distance: int) -> None:
    if distance > len(plain):
        raise GdeflateOracleError("distance too far")
    for _ in range(length):
        plain.append(plain[-distance])


def _block(lanes: _Lanes, literals: Tree, distances: Tree, plain: bytearray, size: int) -> None:
    # One round behind: a match of this round learns its distance in the next.
    waiting: list[tuple[int, int | None, int]] = []
    ended = False
    while waiting or not ended:
        pending = {lane for lane, literal, _ in waiting if literal is None}
        found: dict[int, int] = {}
        fresh: list[tuple[int, int | None, int]] = []
        for lane in range(LANES):
            if lane in pending:
                symbol, extra = lanes.symbol(lane, distances, DISTANCE_EXTRA)
                found[lane] = DISTANCE_BASE[symbol] + extra
            elif not ended:
                symbol, extra = lanes.symbol(lane, literals, LENGTH_EXTRA, offset=257)
                if symbol == 256:
                    ended = True
                elif symbol < 256:
                    fresh.append((lane, symbol, 0))
                else:
                    fresh.append((lane, None, LENGTH_BASE[symbol - 257] + extra))
        for lane, literal, length in waiting:
            if literal is None:
                _copy(plain, length, found[lane])
            else:
                plain.append(literal)
        if len(plain) > size:
            raise GdeflateOracleError("more output than expected")
        waiting = fresh


def gdeflate_decompress(chunk: bytes, size: int) -> bytes:
    """Decode one chunk; more than ``size`` bytes of output are refused."""
    lanes = _Lanes(chunk)
    plain = bytearray()
    last = 0
    while not last:
        last = lanes.take(0, 1)
        kind = lanes.take(0, 2)
        if kind == 0:
            for number in range(lanes.take(0, 16)):
                plain.append(lanes.take(number % LANES, 8))
        elif kind == 1:
            _block(lanes, _tree(FIXED_LITERALS), _tree(FIXED_DISTANCES), plain, size)
        elif kind == 2:
            _block(lanes, *_dynamic_trees(lanes), plain, size)
        else:
            raise GdeflateOracleError("block type 3")
        if len(plain) > size:
            raise GdeflateOracleError("more output than expected")
    return bytes(plain)


def gdeflate_store(plain: bytes) -> bytes:
    """One stored block of up to 65,535 bytes: enough to make test inputs."""
    fields: list[list[tuple[int, int]]] = [[] for _ in range(LANES)]
    order: list[tuple[int, int, int]] = [(0, 1, 1), (0, 0, 2), (0, len(plain), 16)]
    order += [(number % LANES, byte, 8) for number, byte in enumerate(plain)]
    for lane, value, count in order:
        fields[lane].append((value, count))
    streams = []
    for lane in range(LANES):
        bits = length = 0
        for value, count in fields[lane]:
            bits |= value << length
            length += count
        streams.append((bits, length))
    # A decoder refills lane by lane in the order of use, so the words are dealt in that order.
    words = [streams[lane][0] & 0xFFFFFFFF for lane in range(LANES)]
    taken, used = [1] * LANES, [0] * LANES
    for lane, _value, count in order:
        used[lane] += count
        while 32 * taken[lane] - used[lane] < 32:
            words.append(streams[lane][0] >> (32 * taken[lane]) & 0xFFFFFFFF)
            taken[lane] += 1
    return struct.pack(f"<{len(words)}I", *words)
