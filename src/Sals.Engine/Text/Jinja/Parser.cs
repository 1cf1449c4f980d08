namespace Sals.Engine.Text.Jinja;

/// <summary>Tokens to statements. The expression grammar is in the other half of the class.</summary>
internal sealed partial class Parser
{
    private readonly List<Token> _tokens;
    private readonly int _maxDepth;
    private int _at;
    private int _depth;
    private int _loops;

    private Parser(List<Token> tokens, int maxDepth)
    {
        _tokens = tokens;
        _maxDepth = maxDepth;
    }

    /// <exception cref="TemplateException">With the line.</exception>
    public static Block Parse(string source, TemplateLimits limits)
    {
        if (source.Length > limits.SourceLength)
        {
            throw new TemplateException($"{source.Length} characters of source, at most {limits.SourceLength}", 0);
        }

        var parser = new Parser(Lexer.Read(source), limits.SourceDepth);
        return parser.Body([]);
    }

    private Token Current => _tokens[_at];

    /// <summary>Statements up to one of the closing tags, whose name is the current token afterwards.</summary>
    private Block Body(string[] closers)
    {
        Enter();
        var statements = new List<Statement>();
        while (true)
        {
            var token = Current;
            _at++;
            switch (token.Kind)
            {
                case TokenKind.Data:
                    statements.Add(new TextStatement(new JinjaString(token.Text, plain: false), token.Line));
                    break;
                case TokenKind.OpenPrint:
                    statements.Add(new PrintStatement(TupleOrExpression(), token.Line));
                    Expect(TokenKind.ClosePrint, "}}");
                    break;
                case TokenKind.OpenBlock:
                    if (Current.Kind == TokenKind.Name && closers.Contains(Current.Text))
                    {
                        _depth--;
                        return new Block(statements);
                    }

                    statements.Add(Tag());
                    break;
                default:
                    if (closers.Length > 0)
                    {
                        throw Error($"the template ends, expected {{% {string.Join(" %} or {% ", closers)} %}}", token.Line);
                    }

                    _depth--;
                    return new Block(statements);
            }
        }
    }

    private Statement Tag()
    {
        var line = Current.Line;
        var name = Name("a tag name");
        Statement statement = name switch
        {
            "if" => If(line),
            "for" => For(line),
            "set" => Set(line),
            "macro" => Macro(line),
            "call" => Call(line),
            "filter" => Filter(line),
            "with" => With(line),
            "generation" => Generation(line),
            "break" => _loops > 0 ? new BreakStatement(line) : throw Error("break outside of a loop", line),
            "continue" => _loops > 0 ? new ContinueStatement(line) : throw Error("continue outside of a loop", line),
            _ => throw Error($"unknown tag '{name}'", line),
        };
        Expect(TokenKind.CloseBlock, "%}");
        return statement;
    }

    private IfStatement If(int line)
    {
        var branches = new List<(Expression?, Block)>();
        Expression? condition = TupleOrExpression();
        while (true)
        {
            Expect(TokenKind.CloseBlock, "%}");
            var body = Body(condition is null ? ["endif"] : ["elif", "else", "endif"]);
            branches.Add((condition, body));
            var closer = Name("endif");
            if (closer == "endif")
            {
                return new IfStatement(branches, line);
            }

            condition = closer == "elif" ? TupleOrExpression() : null;
        }
    }

    private ForStatement For(int line)
    {
        var target = ParseTarget(allowMember: false);
        ExpectName("in");
        var items = TupleOrExpression(withCondition: false);
        Expression? filter = SkipName("if") ? Expression() : null;
        var recursive = SkipName("recursive");
        Expect(TokenKind.CloseBlock, "%}");
        _loops++;
        var body = Body(["else", "endfor"]);
        _loops--;
        Block? otherwise = null;
        if (Name("endfor") == "else")
        {
            Expect(TokenKind.CloseBlock, "%}");
            otherwise = Body(["endfor"]);
            Name("endfor");
        }

        return new ForStatement(target, items, filter, body, otherwise, recursive, line);
    }

    private Statement Set(int line)
    {
        var target = ParseTarget(allowMember: true);
        if (Skip("="))
        {
            return new SetStatement(target, TupleOrExpression(), line);
        }

        FilterExpression? filter = null;
        while (Skip("|"))
        {
            filter = OneFilter(filter);
        }

        Expect(TokenKind.CloseBlock, "%}");
        return new SetBlockStatement(target, filter, Closed("endset"), line);
    }

    private MacroStatement Macro(int line)
    {
        var name = Name("a macro name");
        var parameters = Parameters();
        Expect(TokenKind.CloseBlock, "%}");
        var loops = _loops;
        _loops = 0;
        var body = Closed("endmacro");
        _loops = loops;
        return new MacroStatement(name, parameters, body, line);
    }

    private CallStatement Call(int line)
    {
        IReadOnlyList<(string, Expression?)> parameters = Current is { Kind: TokenKind.Operator, Text: "(" } ? Parameters() : [];
        if (Expression() is not CallExpression call)
        {
            throw Error("expected a macro call", line);
        }

        Expect(TokenKind.CloseBlock, "%}");
        var loops = _loops;
        _loops = 0;
        var body = Closed("endcall");
        _loops = loops;
        return new CallStatement(call, parameters, body, line);
    }

    private FilterStatement Filter(int line)
    {
        var filter = OneFilter(null);
        while (Skip("|"))
        {
            filter = OneFilter(filter);
        }

        Expect(TokenKind.CloseBlock, "%}");
        return new FilterStatement(filter, Closed("endfilter"), line);
    }

    private ScopeStatement With(int line)
    {
        var assignments = new List<(Target, Expression)>();
        while (Current.Kind != TokenKind.CloseBlock)
        {
            if (assignments.Count > 0)
            {
                ExpectOperator(",");
            }

            var target = ParseTarget(allowMember: false);
            ExpectOperator("=");
            assignments.Add((target, Expression()));
        }

        Expect(TokenKind.CloseBlock, "%}");
        return new ScopeStatement(assignments, Closed("endwith"), OwnScope: true, line);
    }

    private ScopeStatement Generation(int line)
    {
        Expect(TokenKind.CloseBlock, "%}");
        return new ScopeStatement([], Closed("endgeneration"), OwnScope: false, line);
    }

    private Block Closed(string closer)
    {
        var body = Body([closer]);
        Name(closer);
        return body;
    }

    private List<(string Name, Expression? Default)> Parameters()
    {
        var parameters = new List<(string, Expression?)>();
        ExpectOperator("(");
        while (!Skip(")"))
        {
            if (parameters.Count > 0)
            {
                ExpectOperator(",");
            }

            var name = Name("a parameter name");
            parameters.Add((name, Skip("=") ? Expression() : null));
        }

        return parameters;
    }

    private Target ParseTarget(bool allowMember)
    {
        var bracket = Skip("(");
        var names = new List<string> { Name("a variable name") };
        if (allowMember && Skip("."))
        {
            return new Target(names, Name("a member name"), IsTuple: false);
        }

        var tuple = false;
        while (Skip(","))
        {
            tuple = true;
            if (Current.Kind == TokenKind.Name && Current.Text != "in")
            {
                names.Add(Name("a variable name"));
            }
        }

        if (bracket)
        {
            ExpectOperator(")");
        }

        return new Target(names, null, tuple);
    }

    private void Enter()
    {
        if (++_depth > _maxDepth)
        {
            throw Error($"nested deeper than {_maxDepth}", Current.Line);
        }
    }

    private bool IsOperator(string text) => Current.Kind == TokenKind.Operator && Current.Text == text;

    private bool IsName(string text) => Current.Kind == TokenKind.Name && Current.Text == text;

    private bool Skip(string text)
    {
        if (!IsOperator(text))
        {
            return false;
        }

        _at++;
        return true;
    }

    private bool SkipName(string text)
    {
        if (!IsName(text))
        {
            return false;
        }

        _at++;
        return true;
    }

    private string Name(string expected)
    {
        if (Current.Kind != TokenKind.Name)
        {
            throw Expected(expected);
        }

        return _tokens[_at++].Text;
    }

    private void ExpectName(string name)
    {
        if (!SkipName(name))
        {
            throw Expected($"'{name}'");
        }
    }

    private void ExpectOperator(string text)
    {
        if (!Skip(text))
        {
            throw Expected($"'{text}'");
        }
    }

    private void Expect(TokenKind kind, string shown)
    {
        if (Current.Kind != kind)
        {
            throw Expected($"'{shown}'");
        }

        _at++;
    }

    private TemplateException Expected(string expected) => Error($"expected {expected}, found {Describe(Current)}", Current.Line);

    private static string Describe(Token token) => token.Kind switch
    {
        TokenKind.End => "the end of the template",
        TokenKind.Data => "text",
        TokenKind.CloseBlock => "'%}'",
        TokenKind.ClosePrint => "'}}'",
        TokenKind.OpenBlock => "'{%'",
        TokenKind.OpenPrint => "'{{'",
        _ => $"'{(token.Text.Length > 40 ? token.Text[..40] + "…" : token.Text)}'",
    };

    private static TemplateException Error(string message, int line) => new(message, line);
}
