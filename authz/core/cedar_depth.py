"""How deep the engine will have to go for one policy, told from its tokens.

Cedar's parser, validator and evaluator all call themselves once a level, and none of them bounds its input:
the parser ends the process (SIGSEGV), the validator *passes* what it did not reach, and the evaluator reports
`recursion limit reached`, upon which Cedar skips the policy, also a forbid. So the depth is bounded before.

Measured with cedarpy 4.12.2 on x86-64 (glibc), largest depth that still works, by size of the stack; a glibc
thread has what `ulimit -s` says (8 MiB; 2 MiB when unlimited), a musl thread 1 MiB unless set otherwise:

    =====================================================  ======  =====  =====
    what                                                    8 MiB  2 MiB  1 MiB
    =====================================================  ======  =====  =====
    parse and validate, brackets with a sign `!(!(…))`        605    150     74   then SIGSEGV
    parse and validate, `((…))`, `[[…]]`, `{a:{a:…}}`         654    163     80   then SIGSEGV
    parse and validate, pairs `!(if … !(if …`                 532    132     65   then SIGSEGV
    parse and validate, `if` without brackets                4375   1073    537   then SIGSEGV
    parse, chains (`||` `+` `.a` `["a"]` `.f()` `has a.a`)  128900  32200  16250   then SIGSEGV, on release
    validate, chains                                         4140    976    456   then passes what it did not see
    validate, `if … else if …`                               2390    573    263   then passes what it did not see
    validate, conditions `when {…} when {…}`                 2085    497    228   then passes what it did not see
    evaluate, chains, `else if` and conditions               1690    403    185   then the policy is skipped
    =====================================================  ======  =====  =====

    Validating `has a.a.a…` and then using it is cubic: 0.03 s at 50 links, 0.6 s at 350, over a minute at 1,700.
"""

from authz.core.cedar_lex import POLICY_TOKEN, SourceError, tokens

MAX_DEPTH = 50
"""Open brackets and `if`s at one place: a parser on the smallest stack above (1 MiB) takes 65 and more."""
MAX_CHAIN = 350
"""Levels of one expression: a fifth of what 8 MiB evaluate, and just within 2 MiB. Where policies are evaluated
on threads of 1 MiB, pass 150. (Verified Permissions' 10,000 bytes have room for some 450 short comparisons.)"""

_LEVELS = {"*": 0, "/": 0, "%": 0, "!": 0, "+": 1, "-": 1, "&&": 3, "||": 4}
_RELATION = 2
_LOOSEST = 5
_WORDS = frozenset({"in", "has", "like", "is"})
# What adds a level, once for each level.
_COUNTED = ("|", "&", "=", "<", ">", "!", "+", "-", "*", "/", "%", "if", "in", "has", "has", "like", "is")


def too_nested(offset: int, max_depth: int) -> SourceError:
    """Return the error for the bracket or `if` at `offset`."""
    return SourceError(offset, f"more than {max_depth} nested brackets and `if`s: split the policy into simpler ones")


def check_depth(policy: str, offset: int, max_depth: int, max_chain: int) -> None:
    """Refuse one policy, whose brackets are known to match, if it nests or chains more than is allowed.

    The measure is an upper bound of the syntax tree's height: chains count each operator (the engine nests
    them to the left), brackets, calls, accesses and conditions count one. It needs no tree and no recursion.

    Args:
        policy: Its text; everything in it is a token.
        offset: Where it begins in the text that errors speak of.
        max_depth: Open brackets and `if`s at one place, and attribute accesses in a row.
        max_chain: Levels of one expression.

    Raises:
        SourceError: a limit is passed.
    """
    if _surely_shallow(policy, max_depth, max_chain):
        return
    meter = _Meter(max_depth, max_chain)
    for kind, text, place in tokens(POLICY_TOKEN, policy):
        start = offset + place
        if kind == "word":
            meter.word(text, start)
        elif kind == "dot":
            meter.dot(start)
        elif kind == "op":
            meter.operator(text, start)
        elif kind == "comma":
            meter.comma(start)
        elif kind == "open":
            meter.open(text, start)
        elif kind == "close":
            meter.close(start)


def _surely_shallow(policy: str, max_depth: int, max_chain: int) -> bool:
    """Count what could nest, wherever it stands. True of nearly all policies, and thirty times as fast."""
    brackets = policy.count("(") + policy.count("[") + policy.count("{")
    dots = policy.count(".") + brackets
    if brackets + policy.count("if") > max_depth or dots > max_depth:
        return False
    return dots + sum(policy.count(sign) for sign in _COUNTED) <= max_chain


class _Group:
    """What stands in one pair of brackets, and how deep its expressions are so far."""

    __slots__ = ("deepest", "ifs", "links", "operand", "peaks", "signs")

    def __init__(self) -> None:
        self.deepest = 0
        self.operand = 0  # levels of the operand being read
        self.links = 0  # attribute accesses in a row in that operand
        self.ifs = 0  # `if`s open; the grammar ends them with the expression
        self.signs = [0] * _LOOSEST  # by precedence: operators in the chain being read …
        self.peaks = [0] * _LOOSEST  # … and its deepest operand

    def settle(self, level: int) -> int:
        """End every chain that binds tighter than `level`; return the depth of what they make together."""
        depth = self.operand
        for tighter in range(level):
            if self.signs[tighter]:
                depth = max(depth, self.peaks[tighter]) + self.signs[tighter]
                self.signs[tighter] = self.peaks[tighter] = 0
        self.operand = self.links = 0
        return depth


class _Meter:
    __slots__ = ("_groups", "_ifs", "_max_chain", "_max_depth")

    def __init__(self, max_depth: int, max_chain: int) -> None:
        self._max_depth = max_depth
        self._max_chain = max_chain
        self._ifs = 0
        self._groups = [_Group()]

    def word(self, word: str, offset: int) -> None:
        """Take an identifier or keyword. Names that are spelled as keywords count too: an upper bound may."""
        if word == "if":
            self._groups[-1].ifs += 1
            self._ifs += 1
            self._check_nesting(offset)
        elif word in ("then", "else"):
            self._end_expression(offset)
        elif word in _WORDS:
            left = self._chain(_RELATION, offset)
            if word == "has":
                # `x has a.b` is read as `x has a && x.a has b`: the accesses stand upon what is on the left.
                self._groups[-1].operand = left + 1

    def operator(self, sign: str, offset: int) -> None:
        """Take an operator sign; what is none of arithmetic and logic compares."""
        self._chain(_LEVELS.get(sign, _RELATION), offset)

    def dot(self, offset: int) -> None:
        """Take an access `.a`, also the one of a method call."""
        group = self._groups[-1]
        group.operand += 1
        self._link(group, offset)

    def comma(self, offset: int) -> None:
        """Take what parts one expression from the next: `,` or `:`."""
        self._end_expression(offset)
        self._ifs -= self._groups[-1].ifs
        self._groups[-1].ifs = 0

    def open(self, bracket: str, offset: int) -> None:
        """Take an opening bracket."""
        if bracket == "[":
            self._link(self._groups[-1], offset)
        self._groups.append(_Group())
        self._check_nesting(offset)

    def close(self, offset: int) -> None:
        """Take the closing bracket of the innermost group."""
        self.comma(offset)
        inner = self._groups.pop()
        outer = self._groups[-1]
        outer.operand = max(outer.operand, inner.deepest) + 1
        self._check_levels(outer.operand, offset)

    def _chain(self, level: int, offset: int) -> int:
        """Take an operator; return the levels of what stands on its left, within its own chain."""
        group = self._groups[-1]
        depth = group.settle(level)
        group.peaks[level] = max(group.peaks[level], depth)
        group.signs[level] += 1
        self._check_levels(group.peaks[level] + group.signs[level], offset)
        return depth

    def _end_expression(self, offset: int) -> None:
        group = self._groups[-1]
        group.deepest = max(group.deepest, group.settle(_LOOSEST) + group.ifs)
        self._check_levels(group.deepest, offset)

    def _link(self, group: _Group, offset: int) -> None:
        group.links += 1
        if group.links > self._max_depth:
            text = f"more than {self._max_depth} attribute accesses in a row: split the policy"
            raise SourceError(offset, text)

    def _check_nesting(self, offset: int) -> None:
        if len(self._groups) - 1 + self._ifs > self._max_depth:
            raise too_nested(offset, self._max_depth)

    def _check_levels(self, levels: int, offset: int) -> None:
        if levels > self._max_chain:
            text = (
                f"more than {self._max_chain} operators in one expression: "
                "use a set, as in `[…].contains(…)` or `in […]`, or split the policy"
            )
            raise SourceError(offset, text)
