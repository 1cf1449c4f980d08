namespace Sals.Engine.Text.Jinja;

/// <summary>Expressions, loosest binding first: conditional, or, and, not, comparisons, + -, ~, * / // %, **, unary; what they bind is an <see cref="OperandParser"/>'s.</summary>
internal sealed class ExpressionParser
{
    private static readonly string[] Comparisons = ["==", "!=", "<", "<=", ">", ">="];

    private readonly TokenCursor _tokens;

    public ExpressionParser(TokenCursor tokens)
    {
        _tokens = tokens;
        Operands = new OperandParser(tokens, this);
    }

    public OperandParser Operands { get; }

    /// <summary>One expression, or a tuple without brackets where a comma follows.</summary>
    /// <param name="withCondition">Whether an item may be <c>a if b else c</c>; what a loop runs over may not, since its filter begins with if.</param>
    public Expression ParseTuple(bool withCondition = true)
    {
        var line = _tokens.Current.Line;
        var first = withCondition ? Parse() : Or();
        if (!_tokens.IsOperator(","))
        {
            return first;
        }

        var items = new List<Expression> { first };
        while (_tokens.Skip(","))
        {
            if (_tokens.Current.Kind is TokenKind.ClosePrint or TokenKind.CloseBlock || _tokens.IsOperator(")"))
            {
                break;
            }

            items.Add(withCondition ? Parse() : Or());
        }

        return new ListExpression(items, IsTuple: true, line);
    }

    public Expression Parse()
    {
        _tokens.Enter();
        var value = Or();
        while (_tokens.IsName("if"))
        {
            var line = _tokens.Take().Line;
            var condition = Or();
            var otherwise = _tokens.SkipName("else") ? Parse() : null;
            value = new ConditionalExpression(condition, value, otherwise, line);
        }

        _tokens.Leave();
        return value;
    }

    private Expression Or() => LeftToRight(TokenKind.Name, ["or"], And);

    private Expression And() => LeftToRight(TokenKind.Name, ["and"], Not);

    private Expression Not()
    {
        if (!_tokens.IsName("not"))
        {
            return Compare();
        }

        _tokens.Enter();
        var line = _tokens.Take().Line;
        var operand = Not();
        _tokens.Leave();
        return new UnaryExpression("not", operand, line);
    }

    private Expression Compare()
    {
        var line = _tokens.Current.Line;
        var first = Sum();
        var rest = new List<(string, Expression)>();
        while (true)
        {
            if (_tokens.Current.Kind == TokenKind.Operator && Comparisons.Contains(_tokens.Current.Text))
            {
                var name = _tokens.Take().Text;
                rest.Add((name, Sum()));
            }
            else if (_tokens.SkipName("in"))
            {
                rest.Add(("in", Sum()));
            }
            else if (_tokens.IsName("not") && _tokens.IsFollowedBy(TokenKind.Name, "in"))
            {
                _tokens.Take();
                _tokens.Take();
                rest.Add(("not in", Sum()));
            }
            else
            {
                return rest.Count == 0 ? first : new CompareExpression(first, rest, line);
            }
        }
    }

    private Expression Sum() => LeftToRight(TokenKind.Operator, ["+", "-"], Concatenation);

    private Expression Concatenation() => LeftToRight(TokenKind.Operator, ["~"], Product);

    private Expression Product() => LeftToRight(TokenKind.Operator, ["*", "/", "//", "%"], Power);

    private Expression Power() => LeftToRight(TokenKind.Operator, ["**"], () => Unary(withFilters: true));

    private Expression LeftToRight(TokenKind kind, string[] operators, Func<Expression> operand)
    {
        var left = operand();
        while (_tokens.Current.Kind == kind && operators.Contains(_tokens.Current.Text))
        {
            var token = _tokens.Take();
            left = new BinaryExpression(token.Text, left, operand(), token.Line);
        }

        return left;
    }

    private Expression Unary(bool withFilters)
    {
        Expression value;
        if (_tokens.IsOperator("-") || _tokens.IsOperator("+"))
        {
            _tokens.Enter();
            var token = _tokens.Take();
            value = new UnaryExpression(token.Text, Unary(withFilters: false), token.Line);
            _tokens.Leave();
        }
        else
        {
            value = Operands.Primary();
        }

        value = Operands.Postfix(value);
        return withFilters ? Operands.Filtered(value) : value;
    }
}
