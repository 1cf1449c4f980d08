namespace Sals.Engine.Text.Jinja;

/// <summary>Statements: text, prints and tags, with an <see cref="ExpressionParser"/> for what stands in them.</summary>
internal sealed class Parser
{
    private readonly TokenCursor _tokens;
    private readonly ExpressionParser _expressions;
    private int _loops;

    private Parser(TokenCursor tokens)
    {
        _tokens = tokens;
        _expressions = new ExpressionParser(tokens);
    }

    /// <exception cref="TemplateException">With the line.</exception>
    public static Block Parse(string source, TemplateLimits limits)
    {
        if (source.Length > limits.SourceLength)
        {
            throw new TemplateException($"{source.Length} characters of source, at most {limits.SourceLength}", 0);
        }

        var parser = new Parser(new TokenCursor(Lexer.Read(source), limits.SourceDepth));
        return parser.Body([]);
    }

    /// <summary>Statements up to one of the closing tags, whose name is the current token afterwards.</summary>
    private Block Body(string[] closers)
    {
        _tokens.Enter();
        var statements = new List<Statement>();
        while (true)
        {
            var token = _tokens.Take();
            switch (token.Kind)
            {
                case TokenKind.Data:
                    statements.Add(new TextStatement(new JinjaString(token.Text, plain: false), token.Line));
                    break;
                case TokenKind.OpenPrint:
                    statements.Add(new PrintStatement(_expressions.ParseTuple(), token.Line));
                    _tokens.Expect(TokenKind.ClosePrint, "}}");
                    break;
                case TokenKind.OpenBlock:
                    if (_tokens.Current.Kind == TokenKind.Name && closers.Contains(_tokens.Current.Text))
                    {
                        _tokens.Leave();
                        return new Block(statements);
                    }

                    statements.Add(Tag());
                    break;
                default:
                    if (closers.Length > 0)
                    {
                        throw new TemplateException($"the template ends, expected {{% {string.Join(" %} or {% ", closers)} %}}", token.Line);
                    }

                    _tokens.Leave();
                    return new Block(statements);
            }
        }
    }

    private Statement Tag()
    {
        var line = _tokens.Current.Line;
        var name = _tokens.Name("a tag name");
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
            "break" => _loops > 0 ? new BreakStatement(line) : throw new TemplateException("break outside of a loop", line),
            "continue" => _loops > 0 ? new ContinueStatement(line) : throw new TemplateException("continue outside of a loop", line),
            _ => throw new TemplateException($"unknown tag '{name}'", line),
        };
        _tokens.Expect(TokenKind.CloseBlock, "%}");
        return statement;
    }

    private IfStatement If(int line)
    {
        var branches = new List<(Expression?, Block)>();
        Expression? condition = _expressions.ParseTuple();
        while (true)
        {
            _tokens.Expect(TokenKind.CloseBlock, "%}");
            var body = Body(condition is null ? ["endif"] : ["elif", "else", "endif"]);
            branches.Add((condition, body));
            var closer = _tokens.Name("endif");
            if (closer == "endif")
            {
                return new IfStatement(branches, line);
            }

            condition = closer == "elif" ? _expressions.ParseTuple() : null;
        }
    }

    private ForStatement For(int line)
    {
        var target = ParseTarget(allowMember: false);
        _tokens.ExpectName("in");
        var items = _expressions.ParseTuple(withCondition: false);
        Expression? filter = _tokens.SkipName("if") ? _expressions.Parse() : null;
        var recursive = _tokens.SkipName("recursive");
        _tokens.Expect(TokenKind.CloseBlock, "%}");
        _loops++;
        var body = Body(["else", "endfor"]);
        _loops--;
        Block? otherwise = null;
        if (_tokens.Name("endfor") == "else")
        {
            _tokens.Expect(TokenKind.CloseBlock, "%}");
            otherwise = Body(["endfor"]);
            _tokens.Name("endfor");
        }

        return new ForStatement(target, items, filter, body, otherwise, recursive, line);
    }

    private Statement Set(int line)
    {
        var target = ParseTarget(allowMember: true);
        if (_tokens.Skip("="))
        {
            return new SetStatement(target, _expressions.ParseTuple(), line);
        }

        FilterExpression? filter = null;
        while (_tokens.Skip("|"))
        {
            filter = _expressions.Operands.Filter(filter);
        }

        _tokens.Expect(TokenKind.CloseBlock, "%}");
        return new SetBlockStatement(target, filter, Closed("endset"), line);
    }

    private MacroStatement Macro(int line)
    {
        var name = _tokens.Name("a macro name");
        var parameters = Parameters();
        _tokens.Expect(TokenKind.CloseBlock, "%}");
        return new MacroStatement(name, parameters, MacroBody("endmacro"), line);
    }

    private CallStatement Call(int line)
    {
        IReadOnlyList<(string, Expression?)> parameters = _tokens.IsOperator("(") ? Parameters() : [];
        if (_expressions.Parse() is not CallExpression call)
        {
            throw new TemplateException("expected a macro call", line);
        }

        _tokens.Expect(TokenKind.CloseBlock, "%}");
        return new CallStatement(call, parameters, MacroBody("endcall"), line);
    }

    private FilterStatement Filter(int line)
    {
        var filter = _expressions.Operands.Filter(null);
        while (_tokens.Skip("|"))
        {
            filter = _expressions.Operands.Filter(filter);
        }

        _tokens.Expect(TokenKind.CloseBlock, "%}");
        return new FilterStatement(filter, Closed("endfilter"), line);
    }

    private ScopeStatement With(int line)
    {
        var assignments = new List<(Target, Expression)>();
        while (_tokens.Current.Kind != TokenKind.CloseBlock)
        {
            if (assignments.Count > 0)
            {
                _tokens.ExpectOperator(",");
            }

            var target = ParseTarget(allowMember: false);
            _tokens.ExpectOperator("=");
            assignments.Add((target, _expressions.Parse()));
        }

        _tokens.Expect(TokenKind.CloseBlock, "%}");
        return new ScopeStatement(assignments, Closed("endwith"), OwnScope: true, line);
    }

    private ScopeStatement Generation(int line)
    {
        _tokens.Expect(TokenKind.CloseBlock, "%}");
        return new ScopeStatement([], Closed("endgeneration"), OwnScope: false, line);
    }

    private Block Closed(string closer)
    {
        var body = Body([closer]);
        _tokens.Name(closer);
        return body;
    }

    /// <summary>A body that runs where it is called: break and continue mean no loop around it.</summary>
    private Block MacroBody(string closer)
    {
        var loops = _loops;
        _loops = 0;
        var body = Closed(closer);
        _loops = loops;
        return body;
    }

    private List<(string Name, Expression? Default)> Parameters()
    {
        var parameters = new List<(string, Expression?)>();
        _tokens.ExpectOperator("(");
        while (!_tokens.Skip(")"))
        {
            if (parameters.Count > 0)
            {
                _tokens.ExpectOperator(",");
            }

            var name = _tokens.Name("a parameter name");
            parameters.Add((name, _tokens.Skip("=") ? _expressions.Parse() : null));
        }

        return parameters;
    }

    private Target ParseTarget(bool allowMember)
    {
        var bracket = _tokens.Skip("(");
        var names = new List<string> { _tokens.Name("a variable name") };
        if (allowMember && _tokens.Skip("."))
        {
            return new Target(names, _tokens.Name("a member name"), IsTuple: false);
        }

        var tuple = false;
        while (_tokens.Skip(","))
        {
            tuple = true;
            if (_tokens.Current.Kind == TokenKind.Name && _tokens.Current.Text != "in")
            {
                names.Add(_tokens.Name("a variable name"));
            }
        }

        if (bracket)
        {
            _tokens.ExpectOperator(")");
        }

        return new Target(names, null, tuple);
    }
}
