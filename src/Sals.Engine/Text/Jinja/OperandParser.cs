using System.Globalization;
using System.Text;

namespace Sals.Engine.Text.Jinja;

/// <summary>What operators stand between: literals, names, brackets; members, subscripts and calls behind them; filters and tests.</summary>
internal sealed class OperandParser(TokenCursor tokens, ExpressionParser expressions)
{
    /// <summary>A literal, a name or something in brackets.</summary>
    public Expression Primary()
    {
        var token = tokens.Take();
        switch (token.Kind)
        {
            case TokenKind.Name:
                return Constant(token.Text) is { } constant ? new LiteralExpression(constant, token.Line) : new NameExpression(token.Text, token.Line);
            case TokenKind.String:
                // neighbouring strings are one, as in Python
                var text = new StringBuilder(token.Text);
                while (tokens.Current.Kind == TokenKind.String)
                {
                    text.Append(tokens.Take().Text);
                }

                return new LiteralExpression(new JinjaString(text.ToString(), plain: false), token.Line);
            case TokenKind.Integer:
                return Integer(token);
            case TokenKind.Float:
                return new LiteralExpression(new JinjaFloat(double.Parse(token.Text, CultureInfo.InvariantCulture)), token.Line);
            case TokenKind.Operator when token.Text == "(":
                return Parenthesis(token.Line);
            case TokenKind.Operator when token.Text == "[":
                return new ListExpression(Items(), IsTuple: false, token.Line);
            case TokenKind.Operator when token.Text == "{":
                return Dict(token.Line);
            default:
                throw TokenCursor.Expected("an expression", token);
        }
    }

    /// <summary>The value with the members, subscripts and calls that follow it.</summary>
    public Expression Postfix(Expression value)
    {
        while (true)
        {
            var line = tokens.Current.Line;
            if (tokens.Skip("."))
            {
                if (tokens.Current.Kind == TokenKind.Integer)
                {
                    value = new ItemExpression(value, Integer(tokens.Take()), line);
                }
                else
                {
                    value = new AttributeExpression(value, tokens.Name("a member name"), line);
                }
            }
            else if (tokens.Skip("["))
            {
                value = Subscript(value, line);
            }
            else if (tokens.Skip("("))
            {
                value = new CallExpression(value, Arguments(), line);
            }
            else
            {
                return value;
            }
        }
    }

    /// <summary>The value with the filters and tests that follow it, and calls of what they give.</summary>
    public Expression Filtered(Expression value)
    {
        while (true)
        {
            if (tokens.Skip("|"))
            {
                value = Filter(value);
            }
            else if (tokens.IsName("is"))
            {
                value = Test(value);
            }
            else if (tokens.IsOperator("("))
            {
                var line = tokens.Take().Line;
                value = new CallExpression(value, Arguments(), line);
            }
            else
            {
                return value;
            }
        }
    }

    /// <summary>The name and arguments of a filter, behind its bar or its tag.</summary>
    /// <param name="value">What is filtered; null = the body of a block.</param>
    public FilterExpression Filter(Expression? value)
    {
        var line = tokens.Current.Line;
        var name = tokens.Name("a filter name");
        var arguments = tokens.Skip("(") ? Arguments() : ArgumentList.None;
        return Filters.All.ContainsKey(name)
            ? new FilterExpression(value, name, arguments, line)
            : throw new TemplateException($"unknown filter '{name}'", line);
    }

    private static JinjaValue? Constant(string name) => name switch
    {
        "true" or "True" => JinjaValue.True,
        "false" or "False" => JinjaValue.False,
        "none" or "None" => JinjaValue.None,
        _ => null,
    };

    private static LiteralExpression Integer(Token token) =>
        long.TryParse(token.Text, NumberStyles.None, CultureInfo.InvariantCulture, out var value)
            ? new LiteralExpression(new JinjaInt(value), token.Line)
            : throw new TemplateException($"{TokenCursor.Describe(token)} is larger than {long.MaxValue}", token.Line);

    private Expression Parenthesis(int line)
    {
        if (tokens.Skip(")"))
        {
            return new ListExpression([], IsTuple: true, line);
        }

        var value = expressions.ParseTuple();
        tokens.ExpectOperator(")");
        return value;
    }

    private List<Expression> Items()
    {
        var items = new List<Expression>();
        while (HasItem("]", isFirst: items.Count == 0))
        {
            items.Add(expressions.Parse());
        }

        return items;
    }

    private DictExpression Dict(int line)
    {
        var entries = new List<(Expression, Expression)>();
        while (HasItem("}", isFirst: entries.Count == 0))
        {
            var key = expressions.Parse();
            tokens.ExpectOperator(":");
            entries.Add((key, expressions.Parse()));
        }

        return new DictExpression(entries, line);
    }

    /// <summary>Steps to the next item of a bracket, past the comma before it, or past the closer, which a comma may precede.</summary>
    private bool HasItem(string closer, bool isFirst)
    {
        if (tokens.Skip(closer))
        {
            return false;
        }

        if (isFirst)
        {
            return true;
        }

        tokens.ExpectOperator(",");
        return !tokens.Skip(closer);
    }

    private Expression Subscript(Expression value, int line)
    {
        Expression? start = tokens.IsOperator(":") ? null : expressions.ParseTuple();
        if (start is not null && tokens.Skip("]"))
        {
            return new ItemExpression(value, start, line);
        }

        tokens.ExpectOperator(":");
        Expression? stop = tokens.IsOperator("]") || tokens.IsOperator(":") ? null : expressions.Parse();
        Expression? step = tokens.Skip(":") && !tokens.IsOperator("]") ? expressions.Parse() : null;
        tokens.ExpectOperator("]");
        return new SliceExpression(value, start, stop, step, line);
    }

    private ArgumentList Arguments()
    {
        var positional = new List<Expression>();
        var named = new List<(string, Expression)>();
        while (HasItem(")", isFirst: positional.Count + named.Count == 0))
        {
            if (tokens.Current.Kind == TokenKind.Name && tokens.IsFollowedBy(TokenKind.Operator, "="))
            {
                var name = tokens.Name("an argument name");
                tokens.Take();
                named.Add((name, expressions.Parse()));
            }
            else if (named.Count > 0)
            {
                throw new TemplateException("a positional argument follows a named one", tokens.Current.Line);
            }
            else
            {
                positional.Add(expressions.Parse());
            }
        }

        return new ArgumentList(positional, named);
    }

    private TestExpression Test(Expression value)
    {
        var line = tokens.Take().Line;
        var negated = tokens.SkipName("not");
        var name = tokens.Name("a test name");
        var arguments = ArgumentList.None;
        if (tokens.Skip("("))
        {
            arguments = Arguments();
        }
        else if (tokens.Current.Kind is TokenKind.String or TokenKind.Integer or TokenKind.Float || tokens.IsOperator("[") || tokens.IsOperator("{")
            || (tokens.Current.Kind == TokenKind.Name && tokens.Current.Text is not ("else" or "or" or "and" or "is" or "if" or "not" or "in" or "recursive")))
        {
            arguments = new ArgumentList([Postfix(Primary())], []);
        }

        return Tests.All.ContainsKey(name)
            ? new TestExpression(value, name, arguments, negated, line)
            : throw new TemplateException($"unknown test '{name}'", line);
    }
}
