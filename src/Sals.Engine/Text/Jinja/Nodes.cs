namespace Sals.Engine.Text.Jinja;

/// <summary>An expression; <c>Line</c> is 1-based.</summary>
internal abstract record Expression(int Line);

internal sealed record LiteralExpression(JinjaValue Value, int Line) : Expression(Line);

internal sealed record NameExpression(string Name, int Line) : Expression(Line);

internal sealed record ListExpression(IReadOnlyList<Expression> Items, bool IsTuple, int Line) : Expression(Line);

internal sealed record DictExpression(IReadOnlyList<(Expression Key, Expression Value)> Entries, int Line) : Expression(Line);

/// <summary>object.name</summary>
internal sealed record AttributeExpression(Expression Object, string Name, int Line) : Expression(Line);

/// <summary>object[key]</summary>
internal sealed record ItemExpression(Expression Object, Expression Key, int Line) : Expression(Line);

/// <summary>object[start:stop:step]; parts may be absent.</summary>
internal sealed record SliceExpression(Expression Object, Expression? Start, Expression? Stop, Expression? Step, int Line) : Expression(Line);

internal sealed record CallExpression(Expression Function, ArgumentList Arguments, int Line) : Expression(Line);

/// <summary>value|name(arguments); a null value is the body of a filter block.</summary>
internal sealed record FilterExpression(Expression? Value, string Name, ArgumentList Arguments, int Line) : Expression(Line);

internal sealed record TestExpression(Expression Value, string Name, ArgumentList Arguments, bool Negated, int Line) : Expression(Line);

/// <summary>Operator is "-", "+" or "not".</summary>
internal sealed record UnaryExpression(string Operator, Expression Operand, int Line) : Expression(Line);

/// <summary>Arithmetic, ~, and, or.</summary>
internal sealed record BinaryExpression(string Operator, Expression Left, Expression Right, int Line) : Expression(Line);

/// <summary>a &lt; b &lt; c and the like: every neighbouring pair has to hold.</summary>
internal sealed record CompareExpression(Expression First, IReadOnlyList<(string Operator, Expression Operand)> Rest, int Line) : Expression(Line);

/// <summary>Then if Condition else Otherwise; without else it is undefined.</summary>
internal sealed record ConditionalExpression(Expression Condition, Expression Then, Expression? Otherwise, int Line) : Expression(Line);

internal sealed record ArgumentList(IReadOnlyList<Expression> Positional, IReadOnlyList<(string Name, Expression Value)> Named)
{
    public static ArgumentList None { get; } = new([], []);
}

internal abstract record Statement(int Line);

internal sealed record TextStatement(JinjaString Text, int Line) : Statement(Line);

internal sealed record PrintStatement(Expression Value, int Line) : Statement(Line);

/// <summary>Branches in order; a null condition is else.</summary>
internal sealed record IfStatement(IReadOnlyList<(Expression? Condition, Block Body)> Branches, int Line) : Statement(Line);

internal sealed record ForStatement(
    Target Target, Expression Items, Expression? Filter, Block Body, Block? Otherwise, bool Recursive, int Line) : Statement(Line);

internal sealed record SetStatement(Target Target, Expression Value, int Line) : Statement(Line);

/// <summary>{% set x %}..{% endset %}, with filters applied to the body.</summary>
internal sealed record SetBlockStatement(Target Target, FilterExpression? Filter, Block Body, int Line) : Statement(Line);

internal sealed record MacroStatement(string Name, IReadOnlyList<(string Name, Expression? Default)> Parameters, Block Body, int Line) : Statement(Line);

/// <summary>{% call(parameters) macro(..) %}: the body is what caller() gives inside the macro.</summary>
internal sealed record CallStatement(CallExpression Call, IReadOnlyList<(string Name, Expression? Default)> Parameters, Block Body, int Line) : Statement(Line);

internal sealed record FilterStatement(FilterExpression Filter, Block Body, int Line) : Statement(Line);

/// <summary>{% with %} opens a scope; {% generation %} has no effect of its own here.</summary>
internal sealed record ScopeStatement(IReadOnlyList<(Target Target, Expression Value)> Assignments, Block Body, bool OwnScope, int Line) : Statement(Line);

internal sealed record BreakStatement(int Line) : Statement(Line);

internal sealed record ContinueStatement(int Line) : Statement(Line);

internal sealed record Block(IReadOnlyList<Statement> Statements);

/// <summary>What set and for assign to: names, or one member of a namespace.</summary>
internal sealed record Target(IReadOnlyList<string> Names, string? Member, bool IsTuple);
