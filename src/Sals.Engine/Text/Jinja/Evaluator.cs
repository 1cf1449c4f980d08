namespace Sals.Engine.Text.Jinja;

/// <summary>Values of expressions. Every one is a step and a level of depth of its rendering.</summary>
internal sealed class Evaluator(Rendering run)
{
    public JinjaValue Evaluate(Expression expression, Scope scope)
    {
        run.Enter(expression.Line);
        var value = expression switch
        {
            LiteralExpression literal => literal.Value,
            NameExpression name => scope.Find(name.Name) ?? new JinjaUndefined(name.Name),
            AttributeExpression attribute => Members.Attribute(run, Evaluate(attribute.Object, scope), attribute.Name),
            ItemExpression item => Members.Item(run, Evaluate(item.Object, scope), Evaluate(item.Key, scope)),
            SliceExpression slice => Slice(slice, scope),
            CallExpression call => Call(call, scope, null),
            FilterExpression filter => Filter(filter, scope, Evaluate(filter.Value!, scope)),
            TestExpression test => Test(test, scope),
            UnaryExpression unary => Operators.Unary(run, unary.Operator, Evaluate(unary.Operand, scope)),
            BinaryExpression binary => Binary(binary, scope),
            CompareExpression compare => Compare(compare, scope),
            ConditionalExpression conditional => Evaluate(conditional.Condition, scope).IsTrue
                ? Evaluate(conditional.Then, scope)
                : conditional.Otherwise is null ? new JinjaUndefined("the else of an inline if") : Evaluate(conditional.Otherwise, scope),
            ListExpression list => new JinjaList(EvaluateAll(list.Items, scope), list.IsTuple),
            DictExpression dict => Dict(dict, scope),
            _ => throw new InvalidOperationException(expression.GetType().Name),
        };
        run.Leave();
        run.Line = expression.Line;
        return value;
    }

    private JinjaValue[] EvaluateAll(IReadOnlyList<Expression> expressions, Scope scope)
    {
        var values = new JinjaValue[expressions.Count];
        for (var i = 0; i < values.Length; i++)
        {
            values[i] = Evaluate(expressions[i], scope);
        }

        return values;
    }

    private Arguments EvaluateArguments(string callee, ArgumentList list, Scope scope, int line)
    {
        if (list.Positional.Count == 0 && list.Named.Count == 0)
        {
            return Arguments.Empty(callee, line);
        }

        var named = new (string, JinjaValue)[list.Named.Count];
        for (var i = 0; i < named.Length; i++)
        {
            named[i] = (list.Named[i].Name, Evaluate(list.Named[i].Value, scope));
        }

        return new Arguments(callee, EvaluateAll(list.Positional, scope), named, line);
    }

    private JinjaValue Filter(FilterExpression filter, Scope scope, JinjaValue value) =>
        Filters.Apply(run, filter.Name, value, EvaluateArguments(filter.Name, filter.Arguments, scope, filter.Line));

    /// <summary>Filters of a block: the innermost takes the block's text.</summary>
    public JinjaValue FilterBlock(FilterExpression filter, Scope scope, JinjaString text) =>
        Filter(filter, scope, filter.Value is FilterExpression inner ? FilterBlock(inner, scope, text) : text);

    private JinjaValue Test(TestExpression test, Scope scope)
    {
        var value = Evaluate(test.Value, scope);
        var holds = Tests.Apply(run, test.Name, value, EvaluateArguments(test.Name, test.Arguments, scope, test.Line));
        return JinjaValue.Of(holds != test.Negated);
    }

    /// <param name="caller">What a call block hands to the macro; null = none.</param>
    public JinjaValue Call(CallExpression call, Scope scope, JinjaFunction? caller)
    {
        var function = Evaluate(call.Function, scope);
        var name = call.Function switch
        {
            NameExpression named => named.Name,
            AttributeExpression attribute => attribute.Name,
            _ => "call",
        };
        var arguments = EvaluateArguments(name, call.Arguments, scope, call.Line);
        if (caller is not null)
        {
            arguments = new Arguments(name, arguments.Positional, [.. arguments.Named, ("caller", caller)], call.Line);
        }

        run.Line = call.Line;
        return function switch
        {
            JinjaFunction callable => callable.Call(run, arguments),
            JinjaLoop { Recurse: { } recurse } => recurse.Call(run, arguments),
            JinjaUndefined => throw run.Error($"'{name}' is undefined and cannot be called"),
            _ => throw run.Error($"'{name}' is a {function.TypeName} and cannot be called"),
        };
    }

    private JinjaValue Binary(BinaryExpression binary, Scope scope)
    {
        var left = Evaluate(binary.Left, scope);
        switch (binary.Operator)
        {
            case "and":
                return left.IsTrue ? Evaluate(binary.Right, scope) : left;
            case "or":
                return left.IsTrue ? left : Evaluate(binary.Right, scope);
            default:
                var right = Evaluate(binary.Right, scope);
                run.Line = binary.Line;
                return Operators.Binary(run, binary.Operator, left, right);
        }
    }

    private JinjaValue Compare(CompareExpression compare, Scope scope)
    {
        var left = Evaluate(compare.First, scope);
        foreach (var (name, operand) in compare.Rest)
        {
            var right = Evaluate(operand, scope);
            run.Line = compare.Line;
            if (!Comparison.Holds(run, name, left, right))
            {
                return JinjaValue.False;
            }

            left = right;
        }

        return JinjaValue.True;
    }

    private JinjaValue Slice(SliceExpression slice, Scope scope)
    {
        var value = Evaluate(slice.Object, scope);
        var start = Bound(slice.Start, scope);
        var stop = Bound(slice.Stop, scope);
        var step = Bound(slice.Step, scope) ?? 1;
        return Slices.Slice(run, value, start, stop, step);
    }

    private long? Bound(Expression? expression, Scope scope) => expression is null ? null : Evaluate(expression, scope) switch
    {
        JinjaInt number => number.Value,
        JinjaBool flag => flag.Value ? 1 : 0,
        JinjaNone => null,
        var other => throw run.Error($"a slice bound should be an integer, found {other.TypeName}"),
    };

    private JinjaDict Dict(DictExpression dict, Scope scope)
    {
        var entries = new JinjaDict.Builder(plainKeys: false);
        var plain = false;
        foreach (var (key, value) in dict.Entries)
        {
            var name = PythonText.Str(run, Evaluate(key, scope));
            plain |= name.Plain.Count > 0;
            entries.Set(name.Text, Evaluate(value, scope));
        }

        var built = entries.Build();
        if (!plain)
        {
            return built;
        }

        var untrusted = new JinjaDict.Builder(plainKeys: true);
        foreach (var (key, value) in built.Entries)
        {
            untrusted.Set(key, value);
        }

        return untrusted.Build();
    }
}
