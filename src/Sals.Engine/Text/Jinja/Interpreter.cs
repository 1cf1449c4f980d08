namespace Sals.Engine.Text.Jinja;

/// <summary>
/// One rendering: walks the tree, counts steps, depth and text against the limits. There is nothing to reach from a template but the values
/// it is given and the functions listed here: no reflection, no files, no clock but strftime_now.
/// </summary>
internal sealed partial class Interpreter
{
    private readonly TemplateLimits _limits;
    private readonly TimeProvider _time;
    private JinjaTextBuilder _output;
    private long _steps;
    private int _depth;
    private int _line;

    public Interpreter(TemplateLimits limits, TimeProvider time)
    {
        _limits = limits;
        _time = time;
        _output = new JinjaTextBuilder(this);
    }

    private enum Flow
    {
        Next,
        Break,
        Continue,
    }

    public DateTimeOffset Now => _time.GetLocalNow();

    public TemplateLimits Limits => _limits;

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

    public TemplateException Error(string message) => new(message, _line);

    public void Charge(long steps = 1)
    {
        _steps += steps;
        if (_steps > _limits.Steps)
        {
            throw Error($"more than {_limits.Steps} steps");
        }
    }

    /// <summary>Called before text of <paramref name="added"/> characters joins <paramref name="present"/> ones.</summary>
    public void ChargeText(long added, long present = 0)
    {
        if (added + present > _limits.OutputLength)
        {
            throw Error($"more than {_limits.OutputLength} characters");
        }

        Charge(added / 32);
    }

    public void CheckValueDepth(int depth)
    {
        if (depth > _limits.ValueDepth)
        {
            throw Error($"a value is nested deeper than {_limits.ValueDepth}");
        }
    }

    public JinjaList List(List<JinjaValue> items)
    {
        Charge(items.Count / 8);
        return items.Count <= _limits.ListLength ? new JinjaList(items) : throw Error($"a list of more than {_limits.ListLength} elements");
    }

    /// <summary>Elements of a list, characters of a string, keys of a dictionary; nothing for an undefined value.</summary>
    public IReadOnlyList<JinjaValue> Iterate(JinjaValue value)
    {
        switch (value)
        {
            case JinjaList list:
                return list.Items;
            case JinjaDict dict:
                return [.. dict.Entries.Select(entry => (JinjaValue)dict.Key(entry.Key))];
            case JinjaString text:
                return Slices.Characters(this, text);
            case JinjaUndefined:
                return [];
            default:
                throw Error($"a {value.TypeName} cannot be iterated");
        }
    }

    private void Enter(int line)
    {
        _line = line;
        Charge();
        if (++_depth > _limits.Depth)
        {
            throw Error($"nested deeper than {_limits.Depth} while rendering");
        }
    }

    private Flow Run(Block block, Scope scope)
    {
        foreach (var statement in block.Statements)
        {
            Enter(statement.Line);
            var flow = Run(statement, scope);
            _depth--;
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
                _output.Append(PythonText.Str(this, Evaluate(print.Value, scope)));
                return Flow.Next;
            case IfStatement branches:
                return If(branches, scope);
            case ForStatement loop:
                For(loop, scope, Evaluate(loop.Items, scope), 0);
                return Flow.Next;
            case SetStatement set:
                Assign(set.Target, Evaluate(set.Value, scope), scope);
                return Flow.Next;
            case SetBlockStatement set:
                var body = Capture(set.Body, new Scope(scope));
                Assign(set.Target, set.Filter is null ? body : FilterBlock(set.Filter, scope, body), scope);
                return Flow.Next;
            case MacroStatement macro:
                scope.Set(macro.Name, Function(macro.Name, macro.Parameters, macro.Body, scope));
                return Flow.Next;
            case CallStatement call:
                _output.Append(PythonText.Str(this, Call(call.Call, scope, Function("caller", call.Parameters, call.Body, scope))));
                return Flow.Next;
            case FilterStatement filter:
                _output.Append(PythonText.Str(this, FilterBlock(filter.Filter, scope, Capture(filter.Body, new Scope(scope)))));
                return Flow.Next;
            case ScopeStatement block:
                var inner = block.OwnScope ? new Scope(scope) : scope;
                foreach (var (target, value) in block.Assignments)
                {
                    Assign(target, Evaluate(value, scope), inner);
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
            if (condition is null || Evaluate(condition, scope).IsTrue)
            {
                return Run(body, scope);
            }
        }

        return Flow.Next;
    }

    private void For(ForStatement statement, Scope scope, JinjaValue source, int depth)
    {
        var items = Iterate(source);
        if (statement.Filter is { } filter)
        {
            var kept = new List<JinjaValue>();
            foreach (var item in items)
            {
                Charge();
                var candidate = new Scope(scope);
                Assign(statement.Target, item, candidate);
                if (Evaluate(filter, candidate).IsTrue)
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
            ? new JinjaFunction("loop", (run, arguments) => run.Capture(() => run.For(statement, scope, arguments.Required(0, "iterable"), depth + 1)))
            : null;
        var loop = new JinjaLoop(state, recurse);
        for (var i = 0; i < items.Count; i++)
        {
            Charge();
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
                throw Error($"'{target.Names[0]}' is not a namespace: its members cannot be set");
            }

            names.Members[member] = value;
            return;
        }

        if (!target.IsTuple)
        {
            scope.Set(target.Names[0], value);
            return;
        }

        var parts = Iterate(value);
        if (parts.Count != target.Names.Count)
        {
            throw Error($"{target.Names.Count} names for {parts.Count} values");
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
        _output = new JinjaTextBuilder(this);
        write();
        var text = _output.Build();
        _output = outside;
        return text;
    }

    private static JinjaFunction Function(string name, IReadOnlyList<(string Name, Expression? Default)> parameters, Block body, Scope outer) =>
        new(name, (run, arguments) =>
        {
            if (arguments.Positional.Count > parameters.Count)
            {
                throw arguments.Error($"takes {parameters.Count} arguments, found {arguments.Positional.Count}");
            }

            var scope = new Scope(outer);
            for (var i = 0; i < parameters.Count; i++)
            {
                var (parameter, otherwise) = parameters[i];
                scope.Set(parameter, arguments.Find(i, parameter) ?? (otherwise is null ? new JinjaUndefined(parameter) : run.Evaluate(otherwise, scope)));
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

            return run.Capture(body, scope);
        });
}
