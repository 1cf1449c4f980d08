using System.Text;

namespace Sals.Engine.Text;

/// <summary>One step of a compiled split pattern; the program is a graph of them that ends in <see cref="Accept"/>.</summary>
internal abstract class SplitNode
{
    public SplitNode? Next { get; set; }

    /// <summary>A run of a class, greedy: as many as possible up to <c>Max</c>, at least <c>Min</c>.</summary>
    internal sealed class Run(CharClass set, int min, int max) : SplitNode
    {
        public CharClass Set => set;

        public int Min => min;

        public int Max => max;
    }

    /// <summary>Tries each branch in order; every branch leads on to what follows the group.</summary>
    internal sealed class Choice(IReadOnlyList<SplitNode> branches) : SplitNode
    {
        public IReadOnlyList<SplitNode> Branches => branches;
    }

    /// <summary>(?=x) or (?!x) with one class.</summary>
    internal sealed class Look(CharClass set, bool wanted) : SplitNode
    {
        public CharClass Set => set;

        public bool Wanted => wanted;
    }

    /// <summary>The pattern has matched.</summary>
    internal sealed class Accept : SplitNode
    {
    }
}

/// <summary>
/// Matches a split pattern over code points (.NET's Regex sees UTF-16 halves, so its \p{L} misses letters above U+FFFF).
/// Backtracks as the original engines do, which for the known families costs a constant number of visits a character; a step budget
/// turns a pattern for which it does not into an error instead of a stall.
/// </summary>
internal sealed class SplitRegex(SplitNode program) : SplitPattern
{
    private const int StepsPerCharacter = 256;

    public override void FindAll(ReadOnlySpan<char> text, List<(int Start, int Length)> matches)
    {
        var steps = ((long)text.Length * StepsPerCharacter) + 4096;
        for (var start = 0; start < text.Length;)
        {
            var end = Match(program, text, start, ref steps);
            if (end > start)
            {
                matches.Add((start, end - start));
                start = end;
            }
            else
            {
                start += Rune.DecodeFromUtf16(text[start..], out _, out var units) == System.Buffers.OperationStatus.Done ? units : 1;
            }
        }
    }

    /// <summary>End of the match that starts at <paramref name="position"/>; -1 when there is none. Recursion is bounded by the program.</summary>
    private static int Match(SplitNode? node, ReadOnlySpan<char> text, int position, ref long steps)
    {
        while (true)
        {
            if (--steps < 0)
            {
                throw new TokenizerException("the split pattern of tokenizer.json needs more than 256 steps a character on this text");
            }

            switch (node)
            {
                case SplitNode.Accept:
                    return position;
                case SplitNode.Look look:
                    if (look.Set.Match(text, position) > 0 != look.Wanted)
                    {
                        return -1;
                    }

                    node = look.Next;
                    break;
                case SplitNode.Choice choice:
                    foreach (var branch in choice.Branches)
                    {
                        var end = Match(branch, text, position, ref steps);
                        if (end >= 0)
                        {
                            return end;
                        }
                    }

                    return -1;
                case SplitNode.Run run:
                    var (count, stop) = Longest(run, text, position, ref steps);
                    if (count < run.Min)
                    {
                        return -1;
                    }

                    if (run.Next is not SplitNode.Accept)
                    {
                        return Backtrack(run, text, stop, count, ref steps);
                    }

                    return stop;
                default:
                    return -1;
            }
        }
    }

    private static (int Count, int Stop) Longest(SplitNode.Run run, ReadOnlySpan<char> text, int position, ref long steps)
    {
        var count = 0;
        while (count < run.Max)
        {
            var units = run.Set.Match(text, position);
            if (units == 0)
            {
                break;
            }

            position += units;
            count++;
        }

        steps -= count;
        return (count, position);
    }

    private static int Backtrack(SplitNode.Run run, ReadOnlySpan<char> text, int stop, int count, ref long steps)
    {
        while (true)
        {
            var end = Match(run.Next, text, stop, ref steps);
            if (end >= 0 || count == run.Min)
            {
                return end;
            }

            count--;
            stop -= stop >= 2 && char.IsLowSurrogate(text[stop - 1]) && char.IsHighSurrogate(text[stop - 2]) ? 2 : 1;
        }
    }
}
