using State = Sals.Engine.Grammar.ByteAutomaton.State;

namespace Sals.Engine.Grammar;

/// <summary>
/// A compiled grammar over a vocabulary: which tokens may follow a prefix. Masks are found by walking the token trie along the automaton and kept for
/// each state. What a place in the automaton allows is found once for every stack below it; only tokens that reach past the end of their rule are looked
/// at again in each context.
/// </summary>
/// <remarks>Built by one thread, then used by the engine's thread only. Immutable for everybody else.</remarks>
public sealed class TokenGrammar
{
    private readonly ByteAutomaton _automaton;
    private readonly TokenTrie _trie;
    private readonly State[] _path;
    private readonly List<int> _escapes = [];
    private readonly List<TokenMask> _near = [];
    private readonly uint[] _mask;
    private readonly uint[] _local;
    private readonly uint[] _scratch;
    private int _kept;

    internal TokenGrammar(Nfa nfa, int root, TokenTrie trie)
    {
        _trie = trie;
        _path = new State[trie.MaxLength + 1];
        (_mask, _local, _scratch) = (new uint[trie.MaskWords], new uint[trie.MaskWords], new uint[trie.MaskWords]);
        nfa.Seal(root);
        _automaton = new ByteAutomaton(nfa, root);
        if (!Initial.Continues)
        {
            throw new GrammarException("", "it allows the empty text only");
        }

        Warm();
    }

    /// <summary>Words of a mask.</summary>
    public int MaskWords => _trie.MaskWords;

    /// <summary>Deterministic states found so far.</summary>
    public int StateCount => _automaton.Created;

    /// <summary>Masks computed so far, those of places in every context included.</summary>
    public int MaskCount { get; private set; }

    internal TokenTrie Trie => _trie;

    internal State Initial => _automaton.Initial;

    /// <summary>The state after the token's bytes; dead when the grammar does not allow the token.</summary>
    /// <exception cref="GrammarException">The grammar is more ambiguous than the limits allow.</exception>
    internal State After(State state, int token)
    {
        var bytes = _trie.BytesOf(token);
        foreach (var value in bytes)
        {
            state = _automaton.Next(state, value);
        }

        return bytes.Length > 0 ? state : _automaton.Dead;
    }

    /// <summary>Tokens that may follow. Those without text never may.</summary>
    /// <exception cref="GrammarException">The grammar is more ambiguous than the limits allow.</exception>
    internal TokenMask MaskOf(State state)
    {
        if (state.Mask is { } known)
        {
            return known;
        }

        MakeRoom();
        Array.Clear(_mask);
        _near.Clear();
        var likened = _automaton.IsLikened(state);
        for (var i = 0; i < state.Places.Length; i++)
        {
            var frame = state.Places[i].Frame;
            if (state.Places[i].State < 0 || !IsFirst(state, i))
            {
                continue;
            }

            if (frame.Depth > GrammarLimits.NeededDepth)
            {
                // too deep for the unknown stack to stand for this one
                Array.Clear(_mask);
                _near.Clear();
                Walk(state, -1, _mask, null);
                likened = false;
                break;
            }

            AddLocal(_automaton.Local(state, frame), frame);
        }

        if (likened)
        {
            LookAtLongTokens(state, _mask);
        }

        return state.Mask = Keep(TokenMask.Of(_mask, _near, _scratch));
    }

    private void LookAtLongTokens(State state, uint[] mask)
    {
        foreach (var token in _trie.LongTokens)
        {
            var bit = 1u << token;
            mask[token >> 5] = After(state, token).IsDead ? mask[token >> 5] & ~bit : mask[token >> 5] | bit;
        }
    }

    private static bool IsFirst(State state, int index)
    {
        for (var i = 0; i < index; i++)
        {
            if (state.Places[i].State >= 0 && state.Places[i].Frame == state.Places[index].Frame)
            {
                return false;
            }
        }

        return true;
    }

    private void AddLocal(State local, ByteAutomaton.Frame frame)
    {
        if (local.Mask is not { } mask)
        {
            _escapes.Clear();
            Array.Clear(_local);
            Walk(local, -1, _local, _escapes);
            local.EscapeNodes = [.. _escapes];
            local.Mask = mask = Keep(TokenMask.Of(_local, [], _scratch));
        }

        mask.Or(_mask);
        _near.Add(mask);
        if (frame.Parent is null || local.EscapeNodes!.Length == 0)
        {
            return;
        }

        var back = _automaton.Return(frame);
        foreach (var node in local.EscapeNodes)
        {
            Walk(back, node, _mask, null);
        }
    }

    private TokenMask Keep(TokenMask mask)
    {
        MaskCount++;
        _kept += mask.Cost;
        return mask;
    }

    /// <summary>Sets the bits of every token below <paramref name="root"/> (-1 = the whole trie) that <paramref name="from"/> lets through.</summary>
    /// <param name="escapes">Collects the nodes at which a local state returns; null when it cannot.</param>
    private void Walk(State from, int root, uint[] mask, List<int>? escapes)
    {
        var automaton = _automaton;
        var bytes = _trie.Bytes;
        var depths = _trie.Depths;
        var firstToken = _trie.FirstToken;
        var tokens = _trie.Tokens;
        var skip = _trie.SkipTo;
        var classes = automaton.Classes;
        var work = automaton.Work + GrammarLimits.WorkPerMask;
        var created = automaton.Created + GrammarLimits.StatesPerMask;
        var path = _path;
        var node = root + 1;
        var end = root < 0 ? bytes.Length : skip[root];
        path[root < 0 ? 0 : depths[root] + 1] = from;
        while (node < end)
        {
            var depth = depths[node];
            var state = path[depth].Next[classes[bytes[node]]] ?? automaton.Next(path[depth], bytes[node]);
            if (state.IsDead)
            {
                node = skip[node];
                continue;
            }

            for (var t = firstToken[node]; t < firstToken[node + 1]; t++)
            {
                mask[tokens[t] >> 5] |= 1u << tokens[t];
            }

            if (state.Escapes && skip[node] > node + 1)
            {
                escapes?.Add(node);
            }

            if (automaton.Work > work || automaton.Created > created)
            {
                throw new GrammarException("", "it is too ambiguous: one token may lead to too many places in it");
            }

            path[depth + 1] = state;
            node++;
        }
    }

    private void MakeRoom()
    {
        if (_kept > GrammarLimits.Masks * TokenMask.FullCost || _automaton.IsFull)
        {
            _automaton.Forget();
            _kept = 0;
        }
    }

    /// <summary>
    /// The costly masks, while nobody waits for them on the engine's thread: the first one, and those of the places that single bytes lead to.
    /// </summary>
    private void Warm()
    {
        var seen = new HashSet<State> { Initial };
        var open = new Queue<State>(seen);
        var until = Environment.TickCount64 + (long)GrammarLimits.WarmTime.TotalMilliseconds;
        while (open.TryDequeue(out var state) && _kept < GrammarLimits.Masks * TokenMask.FullCost / 4 && (state == Initial || Environment.TickCount64 < until))
        {
            MaskOf(state);
            for (var value = 0; value < 256; value++)
            {
                var next = _automaton.Next(state, (byte)value);
                if (!next.IsDead && next.Continues && seen.Count < 4096 && seen.Add(next))
                {
                    open.Enqueue(next);
                }
            }
        }
    }
}
