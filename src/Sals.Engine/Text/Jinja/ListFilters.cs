namespace Sals.Engine.Text.Jinja;

/// <summary>Filters over lists and dictionaries.</summary>
internal static class ListFilters
{
    public static void AddTo(Dictionary<string, Filters.Filter> all)
    {
        all["join"] = Join;
        all["list"] = (run, value, _) => new JinjaList(run.Iterate(value));
        all["first"] = (run, value, _) => Edge(run, value, items => items[0]);
        all["last"] = (run, value, _) => Edge(run, value, items => items[^1]);
        all["reverse"] = (run, value, _) => value is JinjaString ? Slices.Slice(run, value, null, null, -1) : run.List([.. run.Iterate(value).Reverse()]);
        all["map"] = Map;
        all["select"] = (run, value, arguments) => Select(run, value, arguments, attribute: false, keep: true);
        all["reject"] = (run, value, arguments) => Select(run, value, arguments, attribute: false, keep: false);
        all["selectattr"] = (run, value, arguments) => Select(run, value, arguments, attribute: true, keep: true);
        all["rejectattr"] = (run, value, arguments) => Select(run, value, arguments, attribute: true, keep: false);
        all["sort"] = Sort;
        all["dictsort"] = DictSort;
        all["unique"] = Unique;
        all["sum"] = Sum;
        all["min"] = (run, value, arguments) => Extreme(run, value, arguments, -1);
        all["max"] = (run, value, arguments) => Extreme(run, value, arguments, 1);
        all["batch"] = Batch;
        all["groupby"] = GroupBy;
    }

    /// <summary>a.b.0 looked up step by step.</summary>
    private static JinjaValue Path(Rendering run, JinjaValue value, string path)
    {
        foreach (var part in path.Split('.'))
        {
            run.Charge();
            value = Members.Item(run, value, long.TryParse(part, out var index) ? new JinjaInt(index) : new JinjaString(part, plain: false));
        }

        return value;
    }

    private static JinjaValue Key(Rendering run, JinjaValue item, Arguments arguments, int index) =>
        arguments.Find(index, "attribute") is { } attribute and not JinjaNone ? Path(run, item, PythonText.Str(run, attribute).Text) : item;

    private static JinjaString Join(Rendering run, JinjaValue value, Arguments arguments)
    {
        var items = run.Iterate(value);
        if (arguments.Find(1, "attribute") is not null)
        {
            items = [.. items.Select(item => Key(run, item, arguments, 1))];
        }

        return StringMethods.Join(run, arguments.Find(0, "d") is { } separator ? PythonText.Str(run, separator) : JinjaString.Empty, items);
    }

    private static JinjaValue Edge(Rendering run, JinjaValue value, Func<IReadOnlyList<JinjaValue>, JinjaValue> pick)
    {
        var items = run.Iterate(value);
        return items.Count > 0 ? pick(items) : new JinjaUndefined("an element of an empty list");
    }

    private static JinjaList Map(Rendering run, JinjaValue value, Arguments arguments)
    {
        var items = run.Iterate(value);
        var attribute = arguments.Positional.Count == 0 ? arguments.Find(0, "attribute") : null;
        var mapped = new List<JinjaValue>(items.Count);
        foreach (var item in items)
        {
            run.Charge();
            if (attribute is not null)
            {
                var found = Path(run, item, PythonText.Str(run, attribute).Text);
                mapped.Add(found is JinjaUndefined ? arguments.Find(1, "default") ?? found : found);
            }
            else
            {
                mapped.Add(Filters.Apply(run, arguments.RequiredString(0, "filter").Text, item, arguments.Tail()));
            }
        }

        return run.List(mapped);
    }

    private static JinjaList Select(Rendering run, JinjaValue value, Arguments arguments, bool attribute, bool keep)
    {
        var path = attribute ? arguments.RequiredString(0, "attribute").Text : null;
        var test = attribute ? arguments.Tail() : arguments;
        var kept = new List<JinjaValue>();
        foreach (var item in run.Iterate(value))
        {
            run.Charge();
            var tested = path is null ? item : Path(run, item, path);
            var holds = test.Positional.Count == 0 ? tested.IsTrue : Tests.Apply(run, test.RequiredString(0, "test").Text, tested, test.Tail());
            if (holds == keep)
            {
                kept.Add(item);
            }
        }

        return run.List(kept);
    }

    private static JinjaList Sort(Rendering run, JinjaValue value, Arguments arguments)
    {
        var ignoreCase = !arguments.Bool(1, "case_sensitive", otherwise: false);
        var order = Comparer<JinjaValue>.Create((a, b) => Comparison.Order(run, Key(run, a, arguments, 2), Key(run, b, arguments, 2), ignoreCase));
        var items = run.Iterate(value);
        return run.List([.. arguments.Bool(0, "reverse", otherwise: false) ? items.OrderDescending(order) : items.Order(order)]);
    }

    private static JinjaList DictSort(Rendering run, JinjaValue value, Arguments arguments)
    {
        if (value is not JinjaDict dict)
        {
            throw run.Error($"dictsort: a {value.TypeName} is not a mapping");
        }

        var ignoreCase = !arguments.Bool(0, "case_sensitive", otherwise: false);
        var index = arguments.String(1, "by")?.Text == "value" ? 1 : 0;
        var order = Comparer<JinjaValue>.Create((a, b) => Comparison.Order(run, ((JinjaList)a).Items[index], ((JinjaList)b).Items[index], ignoreCase));
        var pairs = Members.Items(run, dict).Items;
        return run.List([.. arguments.Bool(2, "reverse", otherwise: false) ? pairs.OrderDescending(order) : pairs.Order(order)]);
    }

    private static JinjaList Unique(Rendering run, JinjaValue value, Arguments arguments)
    {
        var ignoreCase = !arguments.Bool(0, "case_sensitive", otherwise: false);
        var seen = new HashSet<string>(StringComparer.Ordinal);
        var kept = new List<JinjaValue>();
        foreach (var item in run.Iterate(value))
        {
            run.Charge();
            var key = Key(run, item, arguments, 1);
            var text = PythonText.Str(run, key).Text;
            if (seen.Add($"{key.TypeName}:{(ignoreCase ? text.ToLowerInvariant() : text)}"))
            {
                kept.Add(item);
            }
        }

        return run.List(kept);
    }

    private static JinjaValue Sum(Rendering run, JinjaValue value, Arguments arguments)
    {
        var total = arguments.Find(1, "start") ?? new JinjaInt(0);
        foreach (var item in run.Iterate(value))
        {
            run.Charge();
            total = Operators.Binary(run, "+", total, Key(run, item, arguments, 0));
        }

        return total;
    }

    private static JinjaValue Extreme(Rendering run, JinjaValue value, Arguments arguments, int sign)
    {
        JinjaValue? best = null;
        var ignoreCase = !arguments.Bool(0, "case_sensitive", otherwise: false);
        foreach (var item in run.Iterate(value))
        {
            if (best is null || Comparison.Order(run, Key(run, item, arguments, 1), Key(run, best, arguments, 1), ignoreCase) * sign > 0)
            {
                best = item;
            }
        }

        return best ?? new JinjaUndefined("the extreme of an empty list");
    }

    private static JinjaList Batch(Rendering run, JinjaValue value, Arguments arguments)
    {
        var size = (int)Math.Clamp(arguments.Int(0, "linecount", 1), 1, run.Limits.ListLength);
        var fill = arguments.Find(1, "fill_with");
        var batches = new List<JinjaValue>();
        foreach (var chunk in run.Iterate(value).Chunk(size))
        {
            run.Charge();
            var missing = fill is null ? 0 : size - chunk.Length;
            batches.Add(run.List([.. chunk, .. Enumerable.Repeat(fill!, missing)]));
        }

        return run.List(batches);
    }

    /// <summary>(grouper, list) pairs in order of the grouper.</summary>
    private static JinjaList GroupBy(Rendering run, JinjaValue value, Arguments arguments)
    {
        var groups = new List<(JinjaValue Key, List<JinjaValue> Items)>();
        var order = Comparer<JinjaValue>.Create((a, b) => Comparison.Order(run, a, b, ignoreCase: true));
        foreach (var item in run.Iterate(value).OrderBy(item => Key(run, item, arguments, 0), order))
        {
            run.Charge();
            var key = Key(run, item, arguments, 0);
            if (groups.Count == 0 || Comparison.Order(run, groups[^1].Key, key, ignoreCase: true) != 0)
            {
                groups.Add((key, []));
            }

            groups[^1].Items.Add(item);
        }

        return run.List([.. groups.Select(group => new JinjaList([group.Key, new JinjaList(group.Items)], isTuple: true))]);
    }
}
