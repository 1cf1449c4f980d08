namespace Sals.Engine.Text.Jinja;

/// <summary>
/// Runs the statements of a template once. There is nothing to reach from a template but the values it is given and what <see cref="Globals"/>,
/// <see cref="Filters"/>, <see cref="Tests"/> and <see cref="Members"/> list: no reflection, no files, no clock but strftime_now.
/// </summary>
internal sealed class Interpreter
{
    private readonly Rendering _run;
    private readonly Evaluator _expressions;
    private JinjaTextBuilder _output;

    public Interpreter(TemplateLimits limits, TimeProvider time)
    {
        _run = new Rendering(limits, time);
        _expressions = new Evaluator(_run);
        _output = new JinjaTextBuilder(_run);
    }

    private enum Flow
    {
        Next,
        Break,
        Continue,
    }

    public RenderedPrompt Render(Block template, IEnumerable<KeyValuePair<string, JinjaValue>> variables)
    {
        var globals = new Scope(null);
        Globals.Define(globals);
        foreach (var (name, value) in variables)
        {
            globals.Set(name, value);
        }

        Run(template, new Scope(globals));
        return _output.BuildPrompt();
    }

    private Flow Run(Block block, Scope scope)
    {
        foreach (var statement in block.Statements)
        {
            _run.Enter(statement.Line);
            var flow = Run(statement, scope);
            _run.Leave();
            if (flow != Flow.Next)
            {
                return flow;
            }
        }

        return Flow.Next;
    }

    private Flow Run(Statement statement, Scope scope)
    {
        switch (statement)
        {
            case TextStatement text:
                _output.Append(text.Text);
                return Flow.Next;
            case PrintStatement print:
                _output.Append(PythonText.Str(_run, _expressions.Evaluate(print.Value, scope)));
                return Flow.Next;
            case IfStatement branches:
                return If(branches, scope);
            case ForStatement loop:
                For(loop, scope, _expressions.Evaluate(loop.Items, scope), 0);
                return Flow.Next;
            case SetStatement set:
                Assign(set.Target, _expressions.Evaluate(set.Value, scope), scope);
                return Flow.Next;
            case SetBlockStatement set:
                var body = Capture(set.Body, new Scope(scope));
                Assign(set.Target, set.Filter is null ? body : _expressions.FilterBlock(set.Filter, scope, body), scope);
                return Flow.Next;
            case MacroStatement macro:
                scope.Set(macro.Name, Function(macro.Name, macro.Parameters, macro.Body, scope));
                return Flow.Next;
            case CallStatement call:
                _output.Append(PythonText.Str(_run, _expressions.Call(call.Call, scope, Function("caller", call.Parameters, call.Body, scope))));
                return Flow.Next;
            case FilterStatement filter:
                _output.Append(PythonText.Str(_run, _expressions.FilterBlock(filter.Filter, scope, Capture(filter.Body, new Scope(scope)))));
                return Flow.Next;
            case ScopeStatement block:
                var inner = block.OwnScope ? new Scope(scope) : scope;
                foreach (var (target, value) in block.Assignments)
                {
                    Assign(target, _expressions.Evaluate(value, scope), inner);
                }

                return Run(block.Body, inner);
            case BreakStatement:
                return Flow.Break;
            default:
                return Flow.Continue;
        }
    }

    private Flow If(IfStatement statement, Scope scope)
    {
        foreach (var (condition, body) in statement.Branches)
        {
            if (condition is null || _expressions.Evaluate(condition, scope).IsTrue)
            {
                return Run(body, scope);
            }
        }

        return Flow.Next;
    }

    private void For(ForStatement statement, Scope scope, JinjaValue source, int depth)
    {
        var items = _run.Iterate(source);
        if (statement.Filter is { } filter)
        {
            var kept = new List<JinjaValue>();
            foreach (var item in items)
            {
                _run.Charge();
                var candidate = new Scope(scope);
                Assign(statement.Target, item, candidate);
                if (_expressions.Evaluate(filter, candidate).IsTrue)
                {
                    kept.Add(item);
                }
            }

            items = kept;
        }

        if (items.Count == 0)
        {
            if (statement.Otherwise is { } otherwise)
            {
                Run(otherwise, new Scope(scope));
            }

            return;
        }

        var state = new LoopState(items, depth);
        var recurse = statement.Recursive
            ? new JinjaFunction("loop", (_, arguments) => Capture(() => For(statement, scope, arguments.Required(0, "iterable"), depth + 1)))
            : null;
        var loop = new JinjaLoop(state, recurse);
        for (var i = 0; i < items.Count; i++)
        {
            _run.Charge();
            state.Index = i;
            var body = new Scope(scope);
            body.Set("loop", loop);
            Assign(statement.Target, items[i], body);
            if (Run(statement.Body, body) == Flow.Break)
            {
                break;
            }
        }
    }

    private void Assign(Target target, JinjaValue value, Scope scope)
    {
        if (target.Member is { } member)
        {
            if (scope.Find(target.Names[0]) is not JinjaNamespace names)
            {
                throw _run.Error($"'{target.Names[0]}' is not a namespace: its members cannot be set");
            }

            names.Members[member] = value;
            return;
        }

        if (!target.IsTuple)
        {
            scope.Set(target.Names[0], value);
            return;
        }

        var parts = _run.Iterate(value);
        if (parts.Count != target.Names.Count)
        {
            throw _run.Error($"{target.Names.Count} names for {parts.Count} values");
        }

        for (var i = 0; i < parts.Count; i++)
        {
            scope.Set(target.Names[i], parts[i]);
        }
    }

    private JinjaString Capture(Block body, Scope scope) => Capture(() => Run(body, scope));

    private JinjaString Capture(Action write)
    {
        var outside = _output;
        _output = new JinjaTextBuilder(_run);
        write();
        var text = _output.Build();
        _output = outside;
        return text;
    }

    private JinjaFunction Function(string name, IReadOnlyList<(string Name, Expression? Default)> parameters, Block body, Scope outer) =>
        new(name, (_, arguments) =>
        {
            if (arguments.Positional.Count > parameters.Count)
            {
                throw arguments.Error($"takes {parameters.Count} arguments, found {arguments.Positional.Count}");
            }

            var scope = new Scope(outer);
            for (var i = 0; i < parameters.Count; i++)
            {
                var (parameter, otherwise) = parameters[i];
                scope.Set(parameter, arguments.Find(i, parameter) ?? (otherwise is null ? new JinjaUndefined(parameter) : _expressions.Evaluate(otherwise, scope)));
            }

            foreach (var (given, value) in arguments.Named)
            {
                if (given == "caller")
                {
                    scope.Set(given, value);
                }
                else if (!parameters.Any(parameter => parameter.Name == given))
                {
                    throw arguments.Error($"takes no argument '{given}'");
                }
            }

            return Capture(body, scope);
        });
}
