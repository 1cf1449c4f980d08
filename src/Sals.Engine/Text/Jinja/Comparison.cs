namespace Sals.Engine.Text.Jinja;

/// <summary>Equality, order and membership as in Python.</summary>
internal static class Comparison
{
    public static bool Holds(Rendering run, string name, JinjaValue left, JinjaValue right) => name switch
    {
        "==" => AreEqual(run, left, right),
        "!=" => !AreEqual(run, left, right),
        "in" => Contains(run, right, left),
        "not in" => !Contains(run, right, left),
        "<" => Order(run, left, right) < 0,
        "<=" => Order(run, left, right) <= 0,
        ">" => Order(run, left, right) > 0,
        _ => Order(run, left, right) >= 0,
    };

    public static bool AreEqual(Rendering run, JinjaValue left, JinjaValue right) => AreEqual(run, left, right, 0);

    public static bool Contains(Rendering run, JinjaValue container, JinjaValue item)
    {
        switch (container)
        {
            case JinjaString text:
                if (item is not JinjaString part)
                {
                    throw run.Error($"'in <string>' needs a string, found {item.TypeName}");
                }

                run.ChargeText(text.Text.Length);
                return text.Text.Contains(part.Text, StringComparison.Ordinal);
            case JinjaDict dict:
                return item is JinjaString key && dict.Find(key.Text) is not null;
            case JinjaList list:
                return list.Items.Any(element => AreEqual(run, element, item, 0));
            case JinjaUndefined:
                return false;
            default:
                throw run.Error($"a {container.TypeName} has no members to look in");
        }
    }

    /// <summary>Negative, zero, positive; numbers with numbers, strings with strings, lists with lists.</summary>
    public static int Order(Rendering run, JinjaValue left, JinjaValue right, bool ignoreCase = false, int depth = 0)
    {
        run.Charge();
        run.CheckValueDepth(depth);
        if (left is JinjaString a && right is JinjaString b)
        {
            run.ChargeText(Math.Min(a.Text.Length, b.Text.Length));
            return ignoreCase
                ? string.CompareOrdinal(a.Text.ToLowerInvariant(), b.Text.ToLowerInvariant())
                : string.CompareOrdinal(a.Text, b.Text);
        }

        if (left is JinjaList x && right is JinjaList y)
        {
            for (var i = 0; i < Math.Min(x.Items.Count, y.Items.Count); i++)
            {
                var order = Order(run, x.Items[i], y.Items[i], ignoreCase, depth + 1);
                if (order != 0)
                {
                    return order;
                }
            }

            return x.Items.Count.CompareTo(y.Items.Count);
        }

        if (Integer(left) is { } i1 && Integer(right) is { } i2)
        {
            return i1.CompareTo(i2);
        }

        return Number(left) is { } n1 && Number(right) is { } n2
            ? n1.CompareTo(n2)
            : throw run.Error($"{Described(left)} and {Described(right)} have no order");
    }

    public static double? Number(JinjaValue value) => value switch
    {
        JinjaFloat number => number.Value,
        _ => Integer(value),
    };

    public static long? Integer(JinjaValue value) => value switch
    {
        JinjaInt number => number.Value,
        JinjaBool flag => flag.Value ? 1 : 0,
        _ => null,
    };

    private static string Described(JinjaValue value) => value is JinjaUndefined undefined ? $"undefined '{undefined.What}'" : value.TypeName;

    private static bool AreEqual(Rendering run, JinjaValue left, JinjaValue right, int depth)
    {
        run.Charge();
        run.CheckValueDepth(depth);
        switch (left, right)
        {
            case (JinjaString a, JinjaString b):
                run.Charge(a.Text.Length == b.Text.Length ? a.Text.Length / 32 : 0);
                return string.Equals(a.Text, b.Text, StringComparison.Ordinal);
            case (JinjaNone, JinjaNone) or (JinjaUndefined, JinjaUndefined):
                return true;
            case (JinjaList a, JinjaList b):
                return a.Items.Count == b.Items.Count && a.IsTuple == b.IsTuple
                    && a.Items.Zip(b.Items).All(pair => AreEqual(run, pair.First, pair.Second, depth + 1));
            case (JinjaDict a, JinjaDict b):
                return a.Entries.Count == b.Entries.Count
                    && a.Entries.All(entry => b.Find(entry.Key) is { } other && AreEqual(run, entry.Value, other, depth + 1));
            default:
                return Number(left) is { } x && Number(right) is { } y ? x == y : ReferenceEquals(left, right);
        }
    }
}
