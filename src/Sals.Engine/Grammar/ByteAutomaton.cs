namespace Sals.Engine.Grammar;

/// <summary>
/// An <see cref="Nfa"/> made deterministic as far as it is walked: a state is the set of places that a prefix leads to, each with its stack of
/// return states. Every live state can still reach an end within the depth limit, so no prefix that is let through is a dead end.
/// </summary>
/// <remarks>Not thread-safe: one owner at a time.</remarks>
internal sealed class ByteAutomaton
{
    private readonly Nfa _nfa;
    private readonly byte[] _classes = new byte[256];
    private readonly byte[] _firstOfClass;
    private readonly Dictionary<(int Back, Frame Parent), Frame> _frames = [];
    private readonly Dictionary<Place[], State> _states = new(new SamePlaces());
    private readonly HashSet<Place> _seen = [];
    private readonly Stack<Place> _open = new();
    private readonly List<Place> _places = [];
    private int _nextFrame = 2;

    public ByteAutomaton(Nfa nfa, int root)
    {
        _nfa = nfa;
        _firstOfClass = FindClasses();
        Dead = Intern([]);
        Initial = Intern([new Place(nfa.Start(root), Frame.Root)]);
    }

    public State Initial { get; }

    public State Dead { get; }

    /// <summary>Created so far, forgotten ones included.</summary>
    public int Created { get; private set; }

    /// <summary>Places looked at so far.</summary>
    public long Work { get; private set; }

    public int ClassOf(byte value) => _classes[value];

    public ReadOnlySpan<byte> Classes => _classes;

    /// <summary>The state after one more byte; <see cref="State.IsDead"/> when no continuation has it.</summary>
    /// <exception cref="GrammarException">The grammar is more ambiguous than the limits allow.</exception>
    public State Next(State state, byte value)
    {
        ref var next = ref state.Next[_classes[value]];
        return next ??= Step(state, _firstOfClass[_classes[value]]);
    }

    /// <summary>
    /// The same places, or others that behave alike for <see cref="GrammarLimits.Lookahead"/> bytes, with an unknown stack below: what they do is the same in every
    /// context until they return.
    /// </summary>
    public State Local(State state, Frame frame)
    {
        var places = state.Places.Where(place => place.State >= 0 && place.Frame == frame).Select(place => new Place(_nfa.AlikeOf(place.State), Frame.Hole)).ToArray();
        return Intern(places);
    }

    /// <summary>Some place stands for others, so that tokens longer than the lookahead must be looked at by themselves.</summary>
    public bool IsLikened(State state) => Array.Exists(state.Places, place => place.State >= 0 && _nfa.AlikeOf(place.State) != place.State);

    /// <summary>Where a return from <paramref name="frame"/> leads.</summary>
    public State Return(Frame frame) => Intern([new Place(frame.Back, frame.Parent!)]);

    /// <summary>Forgets what was found; states in use stay valid.</summary>
    public void Forget()
    {
        _states.Clear();
        _frames.Clear();
        // the initial state stays, and must not keep everything alive that was reached from it
        Array.Clear(Initial.Next);
    }

    public bool IsFull => _states.Count > GrammarLimits.States;

    private State Step(State state, byte value)
    {
        var next = new List<Place>();
        foreach (var place in state.Places)
        {
            if (place.State < 0)
            {
                continue;
            }

            foreach (var (low, high, to) in _nfa[place.State].Bytes)
            {
                if (low <= value && value <= high)
                {
                    next.Add(new Place(to, place.Frame));
                }
            }
        }

        return Intern(next);
    }

    private State Intern(IEnumerable<Place> from)
    {
        _seen.Clear();
        _places.Clear();
        _open.Clear();
        foreach (var place in from)
        {
            Open(place.State, place.Frame);
        }

        while (_open.TryPop(out var place))
        {
            Close(place);
        }

        Work += _seen.Count;
        _places.Sort((a, b) => a.State != b.State ? a.State.CompareTo(b.State) : a.Frame.Id.CompareTo(b.Frame.Id));
        var key = _places.ToArray();
        if (!_states.TryGetValue(key, out var state))
        {
            Created++;
            _states[key] = state = new State(key, _firstOfClass.Length);
        }

        return state;
    }

    private void Close(Place place)
    {
        var node = _nfa[place.State];
        if (node.IsEnd)
        {
            if (place.Frame.Parent is { } parent)
            {
                Open(place.Frame.Back, parent);
            }
            else
            {
                Keep(new Place(place.Frame == Frame.Root ? Place.Accept : Place.Escape, place.Frame));
            }
        }

        if (node.Bytes.Count > 0)
        {
            Keep(place);
        }

        foreach (var next in node.Skips)
        {
            Open(next, place.Frame);
        }

        foreach (var (rule, back) in node.Calls)
        {
            if (_nfa[back].IsTail)
            {
                // returns where this rule returns: lists written as recursion need no depth
                Open(_nfa.Start(rule), place.Frame);
            }
            else if (place.Frame.Depth + _nfa[back].Need <= GrammarLimits.StackDepth
                && place.Frame.Depth + 1 + _nfa[_nfa.Start(rule)].Need <= GrammarLimits.StackDepth)
            {
                Open(_nfa.Start(rule), Push(back, place.Frame));
            }
        }
    }

    private void Keep(Place place)
    {
        // Accept and Escape may be met on several ways
        if (place.State >= 0 || !_places.Contains(place))
        {
            _places.Add(place);
        }

        if (_places.Count > GrammarLimits.Configurations)
        {
            throw new GrammarException("", $"it is too ambiguous: one text leads to more than {GrammarLimits.Configurations} places in it");
        }
    }

    private void Open(int state, Frame frame)
    {
        if (frame.Depth + _nfa[state].Need <= GrammarLimits.StackDepth && _seen.Add(new Place(state, frame)))
        {
            if (_seen.Count > 64 * GrammarLimits.Configurations)
            {
                throw new GrammarException("", "it is too ambiguous");
            }

            _open.Push(new Place(state, frame));
        }
    }

    private Frame Push(int back, Frame parent)
    {
        if (!_frames.TryGetValue((back, parent), out var frame))
        {
            _frames[(back, parent)] = frame = new Frame(_nextFrame++, back, parent);
        }

        return frame;
    }

    /// <summary>Bytes that every edge treats alike share a class: tables have tens of entries instead of 256.</summary>
    private byte[] FindClasses()
    {
        var begins = new bool[257];
        for (var i = 0; i < _nfa.StateCount; i++)
        {
            foreach (var (low, high, _) in _nfa[i].Bytes)
            {
                begins[low] = begins[high + 1] = true;
            }
        }

        var first = new List<byte> { 0 };
        for (var value = 1; value < 256; value++)
        {
            if (begins[value])
            {
                first.Add((byte)value);
            }

            _classes[value] = (byte)(first.Count - 1);
        }

        return [.. first];
    }

    /// <summary>A return state above a parent. Equal frames are one object.</summary>
    internal sealed class Frame
    {
        public static readonly Frame Root = new(0, -1, null);
        public static readonly Frame Hole = new(1, -1, null);

        public Frame(int id, int back, Frame? parent)
        {
            Id = id;
            Back = back;
            Parent = parent;
            Depth = parent is null ? id * GrammarLimits.NeededDepth : parent.Depth + 1;
        }

        public int Id { get; }

        public int Back { get; }

        public Frame? Parent { get; }

        /// <summary>The unknown stack counts as the deepest one it stands for.</summary>
        public int Depth { get; }
    }

    /// <summary>A state of the automaton and the calls it is in.</summary>
    internal readonly record struct Place(int State, Frame Frame)
    {
        /// <summary>In place of a state: the whole text is complete.</summary>
        public const int Accept = -1;

        /// <summary>In place of a state: returned from the frame of a <see cref="Local"/> state.</summary>
        public const int Escape = -2;
    }

    /// <summary>Places that have byte edges, and the ends that were met; sorted.</summary>
    internal sealed class State
    {
        public State(Place[] places, int classes)
        {
            Places = places;
            Next = places.Length == 0 ? [] : new State?[classes];
            Accepts = places.Any(place => place.State == Place.Accept);
            Escapes = places.Any(place => place.State == Place.Escape);
            Continues = places.Any(place => place.State >= 0);
            if (places.Length == 0)
            {
                Next = new State?[classes];
                Array.Fill(Next, this);
            }
        }

        public Place[] Places { get; }

        /// <summary>By byte class; null = not known yet.</summary>
        public State?[] Next { get; }

        public bool IsDead => Places.Length == 0;

        /// <summary>The text may end here.</summary>
        public bool Accepts { get; }

        /// <summary>Of a local state: the frame returns here.</summary>
        public bool Escapes { get; }

        /// <summary>A byte may follow.</summary>
        public bool Continues { get; }

        /// <summary>Tokens that may follow, in this context (or, of a local state, in every one); null = not known yet.</summary>
        public TokenMask? Mask { get; set; }

        /// <summary>Of a local state: nodes of the trie at which the frame returns, whose tokens below depend on the context.</summary>
        public int[]? EscapeNodes { get; set; }
    }

    private sealed class SamePlaces : IEqualityComparer<Place[]>
    {
        public bool Equals(Place[]? a, Place[]? b) => a.AsSpan().SequenceEqual(b);

        public int GetHashCode(Place[] places)
        {
            var hash = default(HashCode);
            foreach (var place in places)
            {
                hash.Add(place.State);
                hash.Add(place.Frame.Id);
            }

            return hash.ToHashCode();
        }
    }
}
