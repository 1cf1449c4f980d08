namespace Sals.Engine.Grammar;

/// <summary>
/// A pushdown automaton over bytes: states with byte edges, empty edges, and calls of rules, which return to a state. Built first, then
/// <see cref="Seal"/>ed and never changed.
/// </summary>
internal sealed class Nfa
{
    private const int Never = int.MaxValue / 2;

    private readonly List<Node> _nodes = [];
    private readonly List<(int Start, int End)> _rules = [];
    private readonly Dictionary<int, string> _names = [];
    private readonly long _deadline;
    private int _parts;

    /// <param name="deadline"><see cref="Environment.TickCount64"/> at which compiling is given up.</param>
    public Nfa(long deadline) => _deadline = deadline;

    public int Start(int rule) => _rules[rule].Start;

    public int End(int rule) => _rules[rule].End;

    public int RuleCount => _rules.Count;

    public int StateCount => _nodes.Count;

    /// <summary>A state that behaves alike for the next <see cref="GrammarLimits.Lookahead"/> bytes; many have the same.</summary>
    public int AlikeOf(int state) => _nodes[state].Alike is var alike and >= 0 ? alike : state;

    public Node this[int state] => _nodes[state];

    /// <summary>As the source calls it; null for a rule that no source names.</summary>
    public string? NameOf(int rule) => _names.GetValueOrDefault(rule);

    /// <summary>A number for a rule whose states come later.</summary>
    /// <param name="name">For messages; null for a rule that no source names.</param>
    public int NewRule(string? name = null)
    {
        if (name is not null)
        {
            _names[_rules.Count] = name;
        }

        _rules.Add((NewState(), NewState()));
        _nodes[_rules[^1].End].IsEnd = true;
        return _rules.Count - 1;
    }

    public int NewRule(Expression expression)
    {
        var rule = NewRule();
        Define(rule, expression);
        return rule;
    }

    public void Define(int rule, Expression expression) => Skip(Emit(expression, Start(rule)), End(rule));

    public int NewState()
    {
        Count();
        _nodes.Add(new Node());
        return _nodes.Count - 1;
    }

    public void Skip(int from, int to)
    {
        Count();
        _nodes[from].Skips.Add(to);
    }

    /// <summary>Adds the expression behind a state; gives the state where it ends.</summary>
    public int Emit(Expression expression, int from)
    {
        Count();
        switch (expression)
        {
            case Expression.Bytes bytes:
                var next = NewState();
                _nodes[from].Bytes.Add((bytes.Low, bytes.High, next));
                return next;
            case Expression.Call call:
                var back = NewState();
                _nodes[from].Calls.Add((call.Rule, back));
                return back;
            case Expression.Sequence sequence:
                return sequence.Items.Aggregate(from, (at, item) => Emit(item, at));
            case Expression.Choice choice when ByteTexts.Of(choice) is { } texts:
                var end = NewState();
                EmitTexts(texts, from, end, []);
                return end;
            case Expression.Choice choice:
                var join = NewState();
                foreach (var item in choice.Items)
                {
                    Skip(Emit(item, from), join);
                }

                return join;
            case Expression.Repeat repeat:
                return EmitRepeat(repeat, from);
            default:
                throw new ArgumentException($"Unknown expression {expression}.", nameof(expression));
        }
    }

    /// <summary>Bytes of a text that ends where <paramref name="mark"/> is first met, FF (a special token) left out; gives the state behind the mark.</summary>
    public int EmitUntil(byte[] mark, int from)
    {
        var states = new int[mark.Length + 1];
        states[0] = from;
        for (var i = 1; i < states.Length; i++)
        {
            states[i] = NewState();
        }

        for (var matched = 0; matched < mark.Length; matched++)
        {
            var targets = new int[255];
            for (var value = 0; value < targets.Length; value++)
            {
                targets[value] = Longest(mark, matched, (byte)value);
            }

            for (int low = 0, high; low < targets.Length; low = high)
            {
                for (high = low + 1; high < targets.Length && targets[high] == targets[low]; high++)
                {
                }

                Count();
                _nodes[states[matched]].Bytes.Add(((byte)low, (byte)(high - 1), states[targets[low]]));
            }
        }

        return states[^1];
    }

    /// <summary>How much of the mark the text ends with, after so much of it and one more byte.</summary>
    private static int Longest(byte[] mark, int matched, byte next)
    {
        ReadOnlySpan<byte> text = [.. mark.AsSpan(0, matched), next];
        var length = text.Length;
        while (!text.EndsWith(mark.AsSpan(0, length)))
        {
            length--;
        }

        return length;
    }

    /// <summary>Checks that something matches and that no rule calls itself before a byte, and finds the depth every state needs.</summary>
    public void Seal(int root)
    {
        LeftRecursion.Refuse(this);
        foreach (var node in _nodes)
        {
            node.IsTail = EndsOnly(node);
        }

        for (var changed = true; changed;)
        {
            changed = false;
            CheckTime();
            for (var i = _nodes.Count - 1; i >= 0; i--)
            {
                var need = NeedOf(_nodes[i]);
                changed |= need < _nodes[i].Need;
                _nodes[i].Need = Math.Min(need, _nodes[i].Need);
            }
        }

        if (_nodes[Start(root)].Need >= Never)
        {
            throw new GrammarException("", $"nothing can match it, or only texts that are nested too deeply (values: more than {GrammarLimits.NeededDepth / 3} deep)");
        }
    }

    /// <summary>Nothing but the rule's end follows: a call that returns here need not be remembered.</summary>
    private bool EndsOnly(Node node)
    {
        for (var steps = 0; steps < 16 && node.Bytes.Count == 0 && node.Calls.Count == 0; steps++)
        {
            if (node.IsEnd || node.Skips.Count != 1)
            {
                return node.IsEnd && node.Skips.Count == 0;
            }

            node = _nodes[node.Skips[0]];
        }

        return false;
    }

    public void CheckTime()
    {
        if (Environment.TickCount64 > _deadline)
        {
            throw new GrammarException("", $"compiling it takes longer than {GrammarLimits.CompileTime.TotalSeconds:0} s");
        }
    }

    /// <summary>Short texts as a graph that shares beginnings and ends: a character of any kind takes a third of what its alternatives side by side would.</summary>
    private void EmitTexts(IReadOnlyList<Expression.Bytes[]> texts, int from, int end, Dictionary<string, int> known)
    {
        foreach (var group in texts.GroupBy(text => text[0]))
        {
            var rest = group.Select(text => text[1..]).Where(text => text.Length > 0).ToArray();
            var to = end;
            if (rest.Length > 0)
            {
                var ends = group.Any(text => text.Length == 1);
                var key = (ends ? "." : "") + string.Join(';', rest.Select(text => string.Join(',', text.Select(bytes => (bytes.Low << 8) | bytes.High))));
                if (!known.TryGetValue(key, out to))
                {
                    known[key] = to = NewState();
                    EmitTexts(rest, to, end, known);
                    if (ends)
                    {
                        Skip(to, end);
                    }
                }
            }

            Count();
            _nodes[from].Bytes.Add((group.Key.Low, group.Key.High, to));
        }
    }

    private int EmitRepeat(Expression.Repeat repeat, int from)
    {
        var at = from;
        var first = _nodes.Count;
        for (var i = 0; i < repeat.Min; i++)
        {
            var begin = _nodes.Count;
            at = Emit(repeat.Item, at);
            if (i > 0 && repeat.Min - i > GrammarLimits.Lookahead)
            {
                Liken(begin, first);
            }
        }

        var end = NewState();
        Skip(at, end);
        if (repeat.Max < 0)
        {
            Skip(Emit(repeat.Item, end), end);
            return end;
        }

        first = _nodes.Count;
        for (var i = repeat.Min; i < repeat.Max; i++)
        {
            var begin = _nodes.Count;
            at = Emit(repeat.Item, at);
            Skip(at, end);
            if (i > repeat.Min && repeat.Max - i > GrammarLimits.Lookahead)
            {
                Liken(begin, first);
            }
        }

        return end;
    }

    /// <summary>The newest states are a copy of those from <paramref name="first"/> on, and so is what follows them for as far as any token reaches.</summary>
    private void Liken(int begin, int first)
    {
        for (var i = begin; i < _nodes.Count; i++)
        {
            _nodes[i].Alike = AlikeOf(first + i - begin);
        }
    }

    private int NeedOf(Node node)
    {
        var need = node.IsEnd ? 0 : Never;
        foreach (var (_, _, next) in node.Bytes)
        {
            need = Math.Min(need, _nodes[next].Need);
        }

        foreach (var next in node.Skips)
        {
            need = Math.Min(need, _nodes[next].Need);
        }

        foreach (var (rule, back) in node.Calls)
        {
            need = Math.Min(need, Math.Max(_nodes[Start(rule)].Need + (_nodes[back].IsTail ? 0 : 1), _nodes[back].Need));
        }

        // deeper needs count as unreachable everywhere, so that what a place can do does not depend on the depth of its stack
        return need > GrammarLimits.NeededDepth ? Never : need;
    }

    private void Count()
    {
        if (++_parts > GrammarLimits.Parts)
        {
            throw new GrammarException("", $"it is too large: its automaton has more than {GrammarLimits.Parts} states and edges");
        }

        if (_parts % 1024 == 0)
        {
            CheckTime();
        }
    }

    internal sealed class Node
    {
        public List<(byte Low, byte High, int Next)> Bytes { get; } = [];

        public List<int> Skips { get; } = [];

        public List<(int Rule, int Back)> Calls { get; } = [];

        /// <summary>The rule returns here.</summary>
        public bool IsEnd { get; set; }

        /// <summary>See <see cref="AlikeOf"/>; -1 = itself.</summary>
        public int Alike { get; set; } = -1;

        /// <summary>Only the rule's end follows; known once sealed.</summary>
        public bool IsTail { get; set; }

        /// <summary>Least depth of calls on a way to the rule's end.</summary>
        public int Need { get; set; } = Never;
    }
}
