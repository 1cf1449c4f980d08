namespace Sals.Engine.Text.Jinja;

/// <summary>Arithmetic and concatenation.</summary>
internal static class Operators
{
    public static JinjaValue Unary(Rendering run, string name, JinjaValue operand)
    {
        if (name == "not")
        {
            return JinjaValue.Of(!operand.IsTrue);
        }

        if (Comparison.Integer(operand) is { } integer)
        {
            return new JinjaInt(name == "+" ? integer : integer > long.MinValue ? -integer : throw run.Error($"-({integer}) leaves the 64-bit integers"));
        }

        return operand is JinjaFloat number
            ? new JinjaFloat(name == "-" ? -number.Value : number.Value)
            : throw run.Error($"{name} of a {operand.TypeName}");
    }

    public static JinjaValue Binary(Rendering run, string name, JinjaValue left, JinjaValue right)
    {
        if (name == "~")
        {
            return Concatenate(run, PythonText.Str(run, left), PythonText.Str(run, right));
        }

        switch (left, right)
        {
            case (JinjaString a, JinjaString b) when name == "+":
                return Concatenate(run, a, b);
            case (JinjaList a, JinjaList b) when name == "+" && a.IsTuple == b.IsTuple:
                return new JinjaList(run.List([.. a.Items, .. b.Items]).Items, a.IsTuple);
            case (JinjaString a, _) when name == "*" && Comparison.Integer(right) is { } times:
                return Repeat(run, a, times);
            case (_, JinjaString b) when name == "*" && Comparison.Integer(left) is { } times:
                return Repeat(run, b, times);
        }

        if (Comparison.Integer(left) is { } x && Comparison.Integer(right) is { } y && name != "/" && !(name == "**" && y < 0))
        {
            return new JinjaInt(Integers(run, name, x, y));
        }

        if (Comparison.Number(left) is { } u && Comparison.Number(right) is { } v)
        {
            return new JinjaFloat(Floats(run, name, u, v));
        }

        var undefined = left as JinjaUndefined ?? right as JinjaUndefined;
        throw run.Error(undefined is not null ? $"'{undefined.What}' is undefined" : $"{left.TypeName} {name} {right.TypeName} is not defined");
    }

    public static JinjaString Concatenate(Rendering run, JinjaString left, JinjaString right)
    {
        if (left.Text.Length == 0 || right.Text.Length == 0)
        {
            return left.Text.Length == 0 ? right : left;
        }

        var builder = new JinjaTextBuilder(run);
        builder.Append(left);
        builder.Append(right);
        return builder.Build();
    }

    private static JinjaString Repeat(Rendering run, JinjaString text, long times)
    {
        var builder = new JinjaTextBuilder(run);
        for (long i = 0; i < times && text.Text.Length > 0; i++)
        {
            run.Charge();
            builder.Append(text);
        }

        return builder.Build();
    }

    private static long Integers(Rendering run, string name, long x, long y)
    {
        try
        {
            switch (name)
            {
                case "+":
                    return checked(x + y);
                case "-":
                    return checked(x - y);
                case "*":
                    return checked(x * y);
                case "**":
                    return Power(run, x, y);
                default:
                    if (y == 0)
                    {
                        throw run.Error("division by zero");
                    }

                    var quotient = checked(x / y);
                    var remainder = x - (quotient * y);
                    var floor = remainder != 0 && (remainder < 0) != (y < 0) ? 1 : 0;
                    return name == "//" ? quotient - floor : remainder + (floor * y);
            }
        }
        catch (OverflowException)
        {
            throw run.Error($"{x} {name} {y} leaves the 64-bit integers");
        }
    }

    private static long Power(Rendering run, long x, long y)
    {
        long result = 1;
        for (long i = 0; i < y && x != 1 && !(x == 0 && i > 0); i++)
        {
            run.Charge();
            result = checked(result * x);
        }

        return result;
    }

    private static double Floats(Rendering run, string name, double x, double y)
    {
        if (y == 0 && name is "/" or "//" or "%")
        {
            throw run.Error("division by zero");
        }

        return name switch
        {
            "+" => x + y,
            "-" => x - y,
            "*" => x * y,
            "/" => x / y,
            "//" => Math.Floor(x / y),
            "%" => x - (Math.Floor(x / y) * y),
            _ => Math.Pow(x, y),
        };
    }
}
