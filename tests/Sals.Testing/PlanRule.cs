using System.Runtime.CompilerServices;

namespace Sals.Testing;

/// <summary>A rule of the step contract that a plan must keep.</summary>
internal static class PlanRule
{
    // the message is built only when it is needed: these checks run for every token of every step
    public static void Require(bool condition, [InterpolatedStringHandlerArgument(nameof(condition))] ref BrokenPlan message)
    {
        if (!condition)
        {
            throw new InvalidOperationException("The plan breaks the contract: " + message.Text);
        }
    }

    [InterpolatedStringHandler]
    public ref struct BrokenPlan
    {
        private DefaultInterpolatedStringHandler _text;

        public BrokenPlan(int literals, int values, bool condition, out bool wanted)
        {
            wanted = !condition;
            _text = wanted ? new DefaultInterpolatedStringHandler(literals, values) : default;
        }

        public string Text => _text.ToStringAndClear();

        public void AppendLiteral(string text) => _text.AppendLiteral(text);

        public void AppendFormatted<T>(T value) => _text.AppendFormatted(value);
    }
}
