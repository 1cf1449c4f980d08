using System.Globalization;

namespace Sals.Engine.Text.Jinja;

/// <summary>Expressions, loosest binding first: conditional, or, and, not, comparisons, + -, ~, * / // %, **, unary, postfix, filters and tests.</summary>
internal sealed partial class Parser
{
    private static readonly string[] Comparisons = ["==", "!=", "<", "<=", ">", ">="];

    private Expression TupleOrExpression(bool withCondition = true)
    {
        var line = Current.Line;
        var first = withCondition ? Expression() : Or();
        if (!IsOperator(","))
        {
            return first;
        }

        var items = new List<Expression> { first };
        while (Skip(","))
        {
            if (Current.Kind is TokenKind.ClosePrint or TokenKind.CloseBlock || IsOperator(")"))
            {
                break;
            }

            items.Add(withCondition ? Expression() : Or());
        }

        return new ListExpression(items, IsTuple: true, line);
    }

    private Expression Expression()
    {
        Enter();
        var value = Or();
        while (IsName("if"))
        {
            var line = _tokens[_at++].Line;
            var condition = Or();
            var otherwise = SkipName("else") ? Expression() : null;
            value = new ConditionalExpression(condition, value, otherwise, line);
        }

        _depth--;
        return value;
    }

    private Expression Or()
    {
        var left = And();
        while (IsName("or"))
        {
            var line = _tokens[_at++].Line;
            left = new BinaryExpression("or", left, And(), line);
        }

        return left;
    }

    private Expression And()
    {
        var left = Not();
        while (IsName("and"))
        {
            var line = _tokens[_at++].Line;
            left = new BinaryExpression("and", left, Not(), line);
        }

        return left;
    }

    private Expression Not()
    {
        if (!IsName("not"))
        {
            return Compare();
        }

        Enter();
        var line = _tokens[_at++].Line;
        var operand = Not();
        _depth--;
        return new UnaryExpression("not", operand, line);
    }

    private Expression Compare()
    {
        var line = Current.Line;
        var first = Sum();
        var rest = new List<(string, Expression)>();
        while (true)
        {
            if (Current.Kind == TokenKind.Operator && Comparisons.Contains(Current.Text))
            {
                var name = _tokens[_at++].Text;
                rest.Add((name, Sum()));
            }
            else if (SkipName("in"))
            {
                rest.Add(("in", Sum()));
            }
            else if (IsName("not") && _tokens[_at + 1] is { Kind: TokenKind.Name, Text: "in" })
            {
                _at += 2;
                rest.Add(("not in", Sum()));
            }
            else
            {
                return rest.Count == 0 ? first : new CompareExpression(first, rest, line);
            }
        }
    }

    private Expression Sum() => LeftToRight(["+", "-"], Concatenation);

    private Expression Concatenation() => LeftToRight(["~"], Product);

    private Expression Product() => LeftToRight(["*", "/", "//", "%"], Power);

    private Expression LeftToRight(string[] operators, Func<Expression> operand)
    {
        var left = operand();
        while (Current.Kind == TokenKind.Operator && operators.Contains(Current.Text))
        {
            var token = _tokens[_at++];
            left = new BinaryExpression(token.Text, left, operand(), token.Line);
        }

        return left;
    }

    private Expression Power()
    {
        var left = Unary(withFilters: true);
        while (IsOperator("**"))
        {
            var line = _tokens[_at++].Line;
            left = new BinaryExpression("**", left, Unary(withFilters: true), line);
        }

        return left;
    }

    private Expression Unary(bool withFilters)
    {
        Expression value;
        if (IsOperator("-") || IsOperator("+"))
        {
            Enter();
            var token = _tokens[_at++];
            value = new UnaryExpression(token.Text, Unary(withFilters: false), token.Line);
            _depth--;
        }
        else
        {
            value = Primary();
        }

        value = Postfix(value);
        return withFilters ? Filters(value) : value;
    }

    private Expression Primary()
    {
        var token = Current;
        _at++;
        switch (token.Kind)
        {
            case TokenKind.Name:
                return Constant(token.Text) is { } constant ? new LiteralExpression(constant, token.Line) : new NameExpression(token.Text, token.Line);
            case TokenKind.String:
                var text = token.Text;
                while (Current.Kind == TokenKind.String)
                {
                    text += _tokens[_at++].Text;
                }

                return new LiteralExpression(new JinjaString(text, plain: false), token.Line);
            case TokenKind.Integer:
                return long.TryParse(token.Text, NumberStyles.None, CultureInfo.InvariantCulture, out var integer)
                    ? new LiteralExpression(new JinjaInt(integer), token.Line)
                    : throw Error($"{token.Text} is too large", token.Line);
            case TokenKind.Float:
                return new LiteralExpression(new JinjaFloat(double.Parse(token.Text, CultureInfo.InvariantCulture)), token.Line);
            case TokenKind.Operator when token.Text == "(":
                return Parenthesis(token.Line);
            case TokenKind.Operator when token.Text == "[":
                return new ListExpression(Items("]"), IsTuple: false, token.Line);
            case TokenKind.Operator when token.Text == "{":
                return Dict(token.Line);
            default:
                _at--;
                throw Expected("an expression");
        }
    }

    private static JinjaValue? Constant(string name) => name switch
    {
        "true" or "True" => JinjaValue.True,
        "false" or "False" => JinjaValue.False,
        "none" or "None" => JinjaValue.None,
        _ => null,
    };

    private Expression Parenthesis(int line)
    {
        if (Skip(")"))
        {
            return new ListExpression([], IsTuple: true, line);
        }

        var value = TupleOrExpression();
        ExpectOperator(")");
        return value;
    }

    private List<Expression> Items(string closer)
    {
        var items = new List<Expression>();
        while (!Skip(closer))
        {
            if (items.Count > 0)
            {
                ExpectOperator(",");
                if (Skip(closer))
                {
                    break;
                }
            }

            items.Add(Expression());
        }

        return items;
    }

    private DictExpression Dict(int line)
    {
        var entries = new List<(Expression, Expression)>();
        while (!Skip("}"))
        {
            if (entries.Count > 0)
            {
                ExpectOperator(",");
                if (Skip("}"))
                {
                    break;
                }
            }

            var key = Expression();
            ExpectOperator(":");
            entries.Add((key, Expression()));
        }

        return new DictExpression(entries, line);
    }

    private Expression Postfix(Expression value)
    {
        while (true)
        {
            var line = Current.Line;
            if (Skip("."))
            {
                if (Current.Kind == TokenKind.Integer)
                {
                    var index = long.TryParse(_tokens[_at++].Text, CultureInfo.InvariantCulture, out var parsed) ? parsed : throw Expected("an index");
                    value = new ItemExpression(value, new LiteralExpression(new JinjaInt(index), line), line);
                }
                else
                {
                    value = new AttributeExpression(value, Name("a member name"), line);
                }
            }
            else if (Skip("["))
            {
                value = Subscript(value, line);
            }
            else if (Skip("("))
            {
                value = new CallExpression(value, Arguments(), line);
            }
            else
            {
                return value;
            }
        }
    }

    private Expression Subscript(Expression value, int line)
    {
        Expression? start = IsOperator(":") ? null : TupleOrExpression();
        if (start is not null && Skip("]"))
        {
            return new ItemExpression(value, start, line);
        }

        ExpectOperator(":");
        Expression? stop = IsOperator("]") || IsOperator(":") ? null : Expression();
        Expression? step = Skip(":") && !IsOperator("]") ? Expression() : null;
        ExpectOperator("]");
        return new SliceExpression(value, start, stop, step, line);
    }

    private ArgumentList Arguments()
    {
        var positional = new List<Expression>();
        var named = new List<(string, Expression)>();
        var first = true;
        while (!Skip(")"))
        {
            if (!first)
            {
                ExpectOperator(",");
                if (Skip(")"))
                {
                    break;
                }
            }

            first = false;
            if (Current.Kind == TokenKind.Name && _tokens[_at + 1] is { Kind: TokenKind.Operator, Text: "=" })
            {
                var name = Name("an argument name");
                _at++;
                named.Add((name, Expression()));
            }
            else if (named.Count > 0)
            {
                throw Error("a positional argument follows a named one", Current.Line);
            }
            else
            {
                positional.Add(Expression());
            }
        }

        return new ArgumentList(positional, named);
    }

    private Expression Filters(Expression value)
    {
        while (true)
        {
            if (Skip("|"))
            {
                value = OneFilter(value);
            }
            else if (IsName("is"))
            {
                value = Test(value);
            }
            else if (IsOperator("("))
            {
                var line = _tokens[_at++].Line;
                value = new CallExpression(value, Arguments(), line);
            }
            else
            {
                return value;
            }
        }
    }

    private FilterExpression OneFilter(Expression? value)
    {
        var line = Current.Line;
        var name = Name("a filter name");
        var arguments = Skip("(") ? Arguments() : ArgumentList.None;
        return Jinja.Filters.All.ContainsKey(name)
            ? new FilterExpression(value, name, arguments, line)
            : throw Error($"unknown filter '{name}'", line);
    }

    private TestExpression Test(Expression value)
    {
        var line = _tokens[_at++].Line;
        var negated = SkipName("not");
        var name = Name("a test name");
        var arguments = ArgumentList.None;
        if (Skip("("))
        {
            arguments = Arguments();
        }
        else if ((Current.Kind is TokenKind.String or TokenKind.Integer or TokenKind.Float || IsOperator("[") || IsOperator("{"))
            || (Current.Kind == TokenKind.Name && Current.Text is not ("else" or "or" or "and" or "is" or "if" or "not" or "in" or "recursive")))
        {
            arguments = new ArgumentList([Postfix(Primary())], []);
        }

        return Tests.All.ContainsKey(name)
            ? new TestExpression(value, name, arguments, negated, line)
            : throw Error($"unknown test '{name}'", line);
    }
}
