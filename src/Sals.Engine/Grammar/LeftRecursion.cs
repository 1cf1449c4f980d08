namespace Sals.Engine.Grammar;

/// <summary>Rules that would call themselves before they have matched a byte.</summary>
internal static class LeftRecursion
{
    /// <summary>States reachable from a rule's start without a byte, calls included: meeting the rule itself there would never end.</summary>
    public static void Refuse(Nfa nfa)
    {
        var nullable = new bool[nfa.RuleCount];
        var left = new HashSet<int>[nfa.RuleCount];
        for (var changed = true; changed;)
        {
            changed = false;
            nfa.CheckTime();
            for (var rule = 0; rule < nfa.RuleCount; rule++)
            {
                var (ends, called) = Leftmost(nfa, rule, nullable);
                changed |= ends != nullable[rule];
                nullable[rule] = ends;
                left[rule] = called;
            }
        }

        // 0 = new, 1 = being followed, 2 = done
        var marks = new byte[nfa.RuleCount];
        for (var rule = 0; rule < nfa.RuleCount; rule++)
        {
            Follow(nfa, rule, left, marks, 0);
        }
    }

    private static void Follow(Nfa nfa, int rule, HashSet<int>[] left, byte[] marks, int depth)
    {
        if (marks[rule] == 1 || depth > 4 * GrammarLimits.StackDepth)
        {
            throw new GrammarException("", nfa.NameOf(rule) is { } name
                ? $"the rule '{name}' calls itself before it has matched a character (left recursion)"
                : "a $ref leads back to itself without an object or a list between");
        }

        if (marks[rule] == 2)
        {
            return;
        }

        marks[rule] = 1;
        foreach (var called in left[rule])
        {
            Follow(nfa, called, left, marks, depth + 1);
        }

        marks[rule] = 2;
    }

    private static (bool Ends, HashSet<int> Called) Leftmost(Nfa nfa, int rule, bool[] nullable)
    {
        var called = new HashSet<int>();
        var seen = new HashSet<int> { nfa.Start(rule) };
        var open = new Stack<int>(seen);
        while (open.TryPop(out var state))
        {
            foreach (var next in nfa[state].Skips)
            {
                if (seen.Add(next))
                {
                    open.Push(next);
                }
            }

            foreach (var (callee, back) in nfa[state].Calls)
            {
                called.Add(callee);
                if (nullable[callee] && seen.Add(back))
                {
                    open.Push(back);
                }
            }
        }

        return (seen.Contains(nfa.End(rule)), called);
    }
}
