using System.Collections.Concurrent;
using Sals.Engine.Text;

namespace Sals.Engine.Evaluation.Tasks;

/// <summary>Fits tasks to lengths in tokens: as many units as fit, found once per task, length and seed, and fewer for a sample that came out longer.</summary>
/// <param name="tokenizer">Of the model; lengths are counted in its tokens.</param>
/// <param name="render">A user's message and the beginning of the answer → ids of the prompt.</param>
public sealed class TaskPrompts(Tokenizer tokenizer, Func<string, string, int[]> render)
{
    private readonly ConcurrentDictionary<(string Task, int Length, int Seed), Lazy<int>> _units = [];

    /// <summary>The same item for the same tokenizer, text, seed, length and number, on any machine and in any order.</summary>
    /// <param name="length">Tokens of prompt and longest answer: at most this many, and few less.</param>
    /// <exception cref="EvalException">The task has no room in that length.</exception>
    public EvalItem Draw(EvalTask task, int length, int seed, int number)
    {
        var units = _units.GetOrAdd((task.Name, length, seed), _ => new Lazy<int>(() => Search(task, length, seed))).Value;
        while (true)
        {
            var item = Make(task, length, seed, number, units);
            if (item.MaxLength <= length)
            {
                return Longer(task, item, length, seed, units);
            }

            if (units <= task.LeastUnits)
            {
                throw new EvalException($"A length of {length} tokens leaves no room for task {task.Name}.");
            }

            // in proportion, and a little less
            units = Math.Max(task.LeastUnits, Math.Min(units - 1, (int)((long)units * length / item.MaxLength) - 1));
        }
    }

    /// <summary>The same sample with more units where it came out clearly shorter than it may be, if that fits.</summary>
    private EvalItem Longer(EvalTask task, EvalItem item, int length, int seed, int units)
    {
        if (item.MaxLength * 100L >= length * 95L)
        {
            return item;
        }

        var longer = Make(task, length, seed, item.Number, (int)((long)units * length * 98 / (item.MaxLength * 100L)));
        return longer.MaxLength <= length && longer.MaxLength > item.MaxLength ? longer : item;
    }

    /// <summary>Most units that fit a sample that no run asks; the tokens of a text grow evenly with its units.</summary>
    private int Search(EvalTask task, int length, int seed)
    {
        const int unused = -1;
        var (low, high) = (task.LeastUnits, task.LeastUnits + 1);
        while (Make(task, length, seed, unused, high).MaxLength <= length)
        {
            if (high > 4 * length)
            {
                return high;
            }

            (low, high) = (high, high * 2);
        }

        while (high - low > 1 + (low / 200))
        {
            var middle = (low + high) / 2;
            (low, high) = Make(task, length, seed, unused, middle).MaxLength <= length ? (middle, high) : (low, middle);
        }

        return low;
    }

    private EvalItem Make(EvalTask task, int length, int seed, int number, int units)
    {
        var draft = task.Make(new Random(Hash(task.Name, length, seed, number)), units);
        int[] answer = [.. tokenizer.Encode(draft.Answers[0], addSpecialTokens: false, parseSpecialTokens: false)];
        return new EvalItem
        {
            Task = task.Name,
            Length = length,
            Number = number,
            Prompt = render(draft.Message, draft.AnswerPrefix),
            Message = draft.Message,
            AnswerPrefix = draft.AnswerPrefix,
            Answers = draft.Answers,
            AnswerIds = answer,
            Metric = task.Metric,
            MaxTokens = task.MostTokens ?? answer.Length + 1,
        };
    }

    /// <summary>FNV-1a of the name and the numbers; string.GetHashCode differs between runs.</summary>
    private static int Hash(string name, params ReadOnlySpan<int> numbers)
    {
        var hash = 2166136261u;
        foreach (var letter in name)
        {
            hash = unchecked((hash ^ letter) * 16777619u);
        }

        foreach (var number in numbers)
        {
            hash = unchecked((hash ^ (uint)number) * 16777619u);
            hash ^= hash >> 15;
        }

        return unchecked((int)hash);
    }
}
