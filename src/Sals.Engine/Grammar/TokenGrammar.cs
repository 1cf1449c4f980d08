using Place = Sals.Engine.Grammar.ByteAutomaton.Place;
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
    private int _masks;

    internal TokenGrammar(Nfa nfa, int root, TokenTrie trie)
    {
        _trie = trie;
        _path = new State[trie.MaxLength + 1];
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

    /// <summary>Bit t % 32 of word t / 32: token t may follow. Tokens without text never may.</summary>
    /// <exception cref="GrammarException">The grammar is more ambiguous than the limits allow.</exception>
    internal uint[] MaskOf(State state)
    {
        if (state.Mask is { } known)
        {
            return known;
        }

        MakeRoom();
        var mask = new uint[_trie.MaskWords];
        var i = 0;
        while (i < state.Places.Length)
        {
            var frame = state.Places[i].Frame;
            if (state.Places[i].State >= 0 && IsFirst(state, i))
            {
                if (frame.Depth > GrammarLimits.NeededDepth)
                {
                    // too deep for the unknown stack to stand for this one
                    Array.Clear(mask);
                    Walk(state, -1, mask, null);
                    break;
                }

                AddLocal(_automaton.Local(state, frame), frame, mask);
            }

            i++;
        }

        MaskCount++;
        return state.Mask = mask;
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

    private void AddLocal(State local, ByteAutomaton.Frame frame, uint[] mask)
    {
        if (local.Mask is null)
        {
            _escapes.Clear();
            local.Mask = new uint[_trie.MaskWords];
            Walk(local, -1, local.Mask, _escapes);
            local.EscapeNodes = [.. _escapes];
            _masks++;
            MaskCount++;
        }

        for (var w = 0; w < mask.Length; w++)
        {
            mask[w] |= local.Mask[w];
        }

        if (frame.Parent is null || local.EscapeNodes!.Length == 0)
        {
            return;
        }

        var back = _automaton.Return(frame);
        foreach (var node in local.EscapeNodes)
        {
            Walk(back, node, mask, null);
        }
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
        if (++_masks > GrammarLimits.Masks || _automaton.IsFull)
        {
            _automaton.Forget();
            _masks = 0;
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
        while (open.TryDequeue(out var state) && _masks < GrammarLimits.Masks / 4 && (state == Initial || Environment.TickCount64 < until))
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
