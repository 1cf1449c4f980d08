using System.Text.Json;
using Sals.Engine.Text;
using Sals.Engine.Text.Jinja;
using Xunit;

namespace Sals.Engine.Tests.Text.Jinja;

/// <summary>The language, one construct a row; expected texts are what Python's Jinja2 prints with trim_blocks and lstrip_blocks.</summary>
public class LanguageTests
{
    private const string Data = """{"a": [1, 2, 3], "d": {"x": 1, "y": "z", "items": 5}, "s": "  Héllo 🙂 ", "n": null, "f": 1.5, "t": true, "name": "it's"}""";

    [Theory]
    [InlineData("{{ 1 + 2 * 3 - 4 // 3 % 2 }}", "6")]
    [InlineData("{{ 7 / 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 1.0 }} {{ 1e20 }} {{ 1.5e-7 }} {{ 100000.0 * 10 }}", "3.5 -4 2 1024 1.0 1e+20 1.5e-07 1000000.0")]
    [InlineData("{{ 'a' ~ 1 ~ none ~ true }}", "a1NoneTrue")]
    [InlineData("{{ 'a' 'b' \"c\\n\\t\\x41\\u00e9\\\\\" }}", "abc\n\tAé\\")]
    [InlineData("{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'a' in 'abc' }} {{ 4 not in v.a }} {{ not 1 == 2 }}", "True False True True True")]
    [InlineData("{{ v.a }} {{ v.d }} {{ [none, 'it\\'s', 1.0] }} {{ (1,) }}", "[1, 2, 3] {'x': 1, 'y': 'z', 'items': 5} [None, \"it's\", 1.0] (1,)")]
    [InlineData("{{ v.a[0] }}{{ v.a[-1] }}{{ v.a[5] }}{{ v['d']['y'] }}{{ v.a[1:] }}{{ v.a[::-1] }}{{ v.a[:-1] }}", "13z[2, 3][3, 2, 1][1, 2]")]
    [InlineData("{{ v.s[2:4] }}{{ v.s.strip()[-1] }}{{ v.s | length }}", "Hé🙂10")]
    [InlineData("{{ v.d['items'] }} {{ v.d.items() | list }}", "5 [('x', 1), ('y', 'z'), ('items', 5)]")]
    [InlineData("{{ 'yes' if v.t else 'no' }}{{ 'x' if false }}{{ 1 if 0 else 2 if 0 else 3 }}", "yes3")]
    [InlineData("{{ missing }}{{ missing is defined }}{{ v.nope is undefined }}{{ v.n is none }}{{ missing | default('d') }}{{ '' | default('e', true) }}", "FalseTrueTruede")]
    [InlineData("{% for x in v.a %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.first }}{{ loop.last }}{{ loop.length }};{% endfor %}", "103TrueFalse3;212FalseFalse3;321FalseTrue3;")]
    [InlineData("{% for x in v.a %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }}{{ loop.cycle('a', 'b') }} {% endfor %}", "<1>2a 1<2>3b 2<3>a ")]
    [InlineData("{% for x in [] %}x{% else %}none{% endfor %}{% for x in v.a if x != 2 %}{{ x }}{{ loop.length }}{% endfor %}", "none1232")]
    [InlineData("{% for x in v.a %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% if x == 3 %}{% break %}{% endif %}-{% endfor %}", "1-3")]
    [InlineData("{% for k, w in v.d.items() %}{{ k }}={{ w }} {% endfor %}", "x=1 y=z items=5 ")]
    [InlineData("{% for k in v.d %}{{ k }}{% endfor %}{% for c in 'a🙂' %}[{{ c }}]{% endfor %}", "xyitems[a][🙂]")]
    [InlineData("{% for x in [1, [2, [3]]] recursive %}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}@{{ loop.depth }}{% endif %}{% endfor %}", "1@1(2@2(3@3))")]
    [InlineData("{% set x = 1 %}{% for i in v.a %}{% set x = i %}{% endfor %}{{ x }}{% if true %}{% set x = 9 %}{% endif %}{{ x }}", "19")]
    [InlineData("{% set ns = namespace(n=0, l=[]) %}{% for i in v.a %}{% set ns.n = ns.n + i %}{% set ns.l = ns.l + [i * 2] %}{% endfor %}{{ ns.n }}{{ ns.l }}", "6[2, 4, 6]")]
    [InlineData("{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set t %}x{{ a }}{% endset %}{{ t }}{% set u | upper %}q{% endset %}{{ u }}", "12x1Q")]
    [InlineData("{% macro m(a, b='d', c=none) %}[{{ a }}{{ b }}{{ c is none }}]{% endmacro %}{{ m(1) }}{{ m(1, c=2, b=3) }}{{ m('x') | upper }}", "[1dTrue][13False][XDTRUE]")]
    [InlineData("{% macro fact(n) %}{{ 1 if n < 2 else n * (fact(n - 1) | int) }}{% endmacro %}{{ fact(5) }}", "120")]
    [InlineData("{% macro w() %}<{{ caller() }}>{% endmacro %}{% call w() %}in{% endcall %}{% filter upper | replace('A', 'b') %}xay{% endfilter %}", "<in>XbY")]
    [InlineData("{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}{% generation %}g{% endgeneration %}{% raw %}{{ x }}{% endraw %}", "3g{{ x }}")]
    [InlineData("a  \n  {%- if true -%}  b  {%- endif %}  c", "ab  c")]
    [InlineData("  {% if true %}\n  x\n  {% endif %}\n  {# c #}\n\n y {{ 1 }}\n", "  x\n\n y 1")]
    [InlineData("x {% if true %}y{% endif %}\n{{ 1 }}  {% if true %}z{% endif %}\n", "x y1  z")]
    [InlineData("  {%+ if true %}\n x{% endif +%}\n\n", "   x\n")]
    [InlineData("{{ ' a ' | trim }}|{{ 'ab' | upper | lower | capitalize }}|{{ 'a b' | title }}|{{ 'xx' | replace('x', 'yy', 1) }}", "a|Ab|A B|yyx")]
    [InlineData("{{ v.a | join(', ') }}|{{ v.a | first }}|{{ v.a | last }}|{{ v.a | length }}|{{ v.a | sum }}|{{ v.a | max }}|{{ [3, 1] | sort }}|{{ v.a | reverse | list }}", "1, 2, 3|1|3|3|6|3|[1, 3]|[3, 2, 1]")]
    [InlineData("{{ [{'r': 'u', 'n': 1}, {'r': 's'}] | selectattr('r', 'equalto', 'u') | map(attribute='n') | list }}{{ [{'r': 1}, {}] | rejectattr('r', 'defined') | list | length }}", "[1]1")]
    [InlineData("{{ ['a', 'b'] | map('upper') | join }}{{ [1, 2, 3, 4] | select('even') | list }}{{ [0, 1] | reject | list }}{{ [1, 1, 2] | unique | list }}", "AB[2, 4][0][1, 2]")]
    [InlineData("{{ {'b': 1, 'A': 2} | dictsort }}{{ {'b': 1} | items | list }}{{ 'a\nb\n\nc' | indent(2) }}{{ '3' | int + 1 }}{{ '<&' | e }}{{ 2.567 | round(1) }}{{ -3 | abs }}", "[('A', 2), ('b', 1)][('b', 1)]a\n  b\n\n  c4&lt;&amp;2.63")]
    [InlineData("{{ 'a,b,,c'.split(',') }}{{ ' a  b '.split() }}{{ 'a,b,c'.split(',', 1) }}{{ 'a,b,c'.rsplit(',', 1) }}{{ 'x</t>y'.split('</t>')[-1] }}", "['a', 'b', '', 'c']['a', 'b']['a', 'b,c']['a,b', 'c']y")]
    [InlineData("{{ '<<a>>'.strip('<>') }}{{ '\\n\\nx'.lstrip('\\n') }}{{ 'abc'.startswith(('x', 'a')) }}{{ 'abc'.endswith('c') }}{{ 'abc'.find('c') }}{{ 'aXb'.replace('X', '-') }}{{ v.d.get('q', 7) }}{{ v.d.keys() | list }}", "axTrueTrue2a-b7['x', 'y', 'items']")]
    [InlineData("{{ 3 is odd }}{{ 'a' is string }}{{ {} is mapping }}{{ 1 is number }}{{ true is boolean }}{{ [] is sequence }}{{ 4 is divisibleby 2 }}{{ 1 is in [1] }}{{ 2 is not none }}{{ 1.0 is float }}", "TrueTrueTrueTrueTrueTrueTrueTrueTrueTrue")]
    [InlineData("{{ range(3) | list }}{{ range(1, 6, 2) | list }}{{ range(3, 0, -1) | list }}{{ dict(a=1) }}", "[0, 1, 2][1, 3, 5][3, 2, 1]{'a': 1}")]
    [InlineData("{{ v | tojson }}", "{\"a\": [1, 2, 3], \"d\": {\"x\": 1, \"y\": \"z\", \"items\": 5}, \"s\": \"  Héllo 🙂 \", \"n\": null, \"f\": 1.5, \"t\": true, \"name\": \"it's\"}")]
    [InlineData("{{ {'a': [1, {}], 'b': []} | tojson(indent=2) }}", "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}")]
    [InlineData("{{ '<\\u2028\\x7f\\x01\"\\\\/é' | tojson }}", "\"<\u2028\u007f\\u0001\\\"\\\\/é\"")]
    [InlineData("{{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }}{{ {'a': 1, 'b': 2} | tojson(separators=(',', ':')) }}", "{\"a\": 2, \"b\": 1}{\"a\":1,\"b\":2}")]
    [InlineData("{{ -3 | abs }}{{ (0 - 3) | abs }}{{ true | abs }}{{ (0 - 2.5) | abs }}", "3312.5")]
    [InlineData("{{ 'abc'[::-9223372036854775807 - 1] }}{{ [1, 2][9223372036854775807:] }}", "c[]")]
    [InlineData("{{ 'Straße ﬁ'.upper() }}{{ 'İ' | lower | length }}", "STRASSE FI2")]
    [InlineData("{{ strftime_now('%d %b %Y, %-d %H:%M') }}", "05 Mar 2026, 5 07:08")]
    [InlineData("{% raw %}{%}{% end raw %}{%- endraw -%} x", "{%}{% end raw %}x")]
    [InlineData("{{ 'a' \"b\"\n'c' }}", "abc")]
    public void Renders(string template, string expected) => Assert.Equal(expected, Render(template));

    [Theory]
    [InlineData("a\n{{ 1 + }}", 2, "expected an expression")]
    [InlineData("{% if x %}", 1, "the template ends, expected {% elif %} or {% else %} or {% endif %}")]
    [InlineData("\n\n{% foo %}", 3, "unknown tag 'foo'")]
    [InlineData("{{ x | nosuch }}", 1, "unknown filter 'nosuch'")]
    [InlineData("\n{{ 9223372036854775808 }}", 2, "'9223372036854775808' is larger than 9223372036854775807")]
    [InlineData("{{ x.9223372036854775808 }}", 1, "'9223372036854775808' is larger than 9223372036854775807")]
    [InlineData("{{ x is nosuch }}", 1, "unknown test 'nosuch'")]
    [InlineData("{{ 'abc }}", 1, "a string is not closed")]
    [InlineData("{# open", 1, "a comment is not closed")]
    [InlineData("{% raw %}{%}", 1, "{% raw %} is not closed")]
    [InlineData("{{ (1 }}", 1, "unexpected '}'")]
    [InlineData("{{ (1 2) }}", 1, "expected ')', found '2'")]
    [InlineData("{% break %}", 1, "break outside of a loop")]
    [InlineData("\n{{ missing.member }}", 2, "'missing' is undefined")]
    [InlineData("{{ missing() }}", 1, "cannot be called")]
    [InlineData("{{ 'a' + 1 }}", 1, "str + int is not defined")]
    [InlineData("{{ 1 // 0 }}", 1, "division by zero")]
    [InlineData("{{ 9223372036854775807 + 1 }}", 1, "leaves the 64-bit integers")]
    [InlineData("{{ [] | tojson | first | tojson }}{{ missing | tojson }}", 1, "'missing' is undefined")]
    [InlineData("{{ (-9223372036854775807 - 1) | abs }}", 1, "leaves the 64-bit integers")]
    [InlineData("{{ -(-9223372036854775807 - 1) }}", 1, "leaves the 64-bit integers")]
    [InlineData("{% set x.y = 1 %}", 1, "is not a namespace")]
    [InlineData("{% set l = [] %}{{ l.append(1) }}", 1, "lists cannot be changed")]
    [InlineData("{{ ''.__class__.__mro__ }}", 1, "'__class__' is undefined")]
    [InlineData("{% include 'x' %}", 1, "unknown tag 'include'")]
    public void Errors_name_the_line(string template, int line, string message)
    {
        var error = Assert.Throws<TemplateException>(() => Render(template));
        Assert.Equal(line, error.Line);
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Raise_exception_carries_the_templates_own_words()
    {
        var error = Assert.Throws<TemplateException>(() => Render("{{ raise_exception('roles must alternate') }}"));
        Assert.True(error.RaisedByTemplate);
        Assert.Equal("roles must alternate", error.Message);
    }

    [Theory]
    [InlineData("{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}", "steps")]
    [InlineData("{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}", "characters")]
    [InlineData("{{ 'x' * 99999999999 }}", "steps")]
    [InlineData("{{ range(99999999999) }}", "more than 100000 numbers")]
    [InlineData("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "nested deeper than 600 while rendering")]
    [InlineData("{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l | tojson }}", "a value is nested deeper")]
    [InlineData("{% set ns = namespace(l=[1]) %}{% for i in range(64) %}{% set ns.l = ns.l + ns.l %}{% endfor %}", "a list of more than")]
    [InlineData("{{ 'a'.rjust(99999999999) }}", "characters")]
    [InlineData("{{ 3 ** 99999999999 }}", "leaves the 64-bit integers")]
    [InlineData("{% set ns = namespace(s='ab') %}{% for i in range(22) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{% for i in range(99999) %}{{ ns.s[-1] }}{% endfor %}", "steps")]
    [InlineData("{% set ns = namespace(s='ab') %}{% for i in range(22) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{% for i in range(99999) %}{{ ns.s | length }}{% endfor %}", "steps")]
    [InlineData("{% set ns = namespace(s='ab') %}{% for i in range(22) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{% for i in range(99999) %}{{ ns.s is lower }}{% endfor %}", "steps")]
    [InlineData("{% set ns = namespace(s='ab') %}{% for i in range(22) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{% for i in range(99999) %}{{ [ns.s] | map('trim') | list | length }}{% endfor %}", "steps")]
    [InlineData("{% set ns = namespace(s='ab') %}{% for i in range(22) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{% for i in range(99999) %}{{ ns.s == ns.s[:1] ~ ns.s[1:] }}{% endfor %}", "steps")]
    [InlineData("{% set l = range(99999) | list %}{% for i in l %}{% set x = l | reverse | list %}{% endfor %}", "steps")]
    public void Hostile_templates_end_at_a_limit(string template, string limit)
    {
        var error = Assert.Throws<TemplateException>(() => Render(template));
        Assert.Contains(limit, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Deeply_nested_source_is_refused()
    {
        foreach (var source in new[] { "{{ " + new string('(', 50_000) + "1" + new string(')', 50_000) + " }}", "{{ " + new string('[', 50_000) + new string(']', 50_000) + " }}", "{{ " + string.Concat(Enumerable.Repeat("not ", 40_000)) + "1 }}", "{{ " + new string('-', 50_000) + "1 }}", string.Concat(Enumerable.Repeat("{% if 1 %}", 10_000)) })
        {
            var error = Assert.Throws<TemplateException>(() => Render(source));
            Assert.Contains("nested deeper than", error.Message, StringComparison.Ordinal);
        }

        Assert.Throws<TemplateException>(() => Render("{{ 1" + string.Concat(Enumerable.Repeat(" + 1", 20_000)) + " }}"));
        Assert.Throws<TemplateException>(() => Render(new string(' ', 300_000)));
    }

    [Fact]
    public void Random_source_never_does_anything_but_render_or_complain()
    {
        var seed = Environment.TickCount;
        var random = new Random(seed);
        string[] parts = ["{{", "}}", "{%", "%}", "{#", "#}", "-", "+", " ", "\n", "if", "for", "in", "set", "endif", "endfor", "else", "x", "v.a", "1", "'s'", "|", "upper", "is", "not", "(", ")", "[", "]", "{", "}", ":", ",", "=", "==", "~", "macro", "endmacro", "loop", ".", "namespace", "tojson", "raw", "endraw", "é", "🙂", "\\"];
        for (var round = 0; round < 20_000; round++)
        {
            var source = string.Concat(Enumerable.Range(0, random.Next(1, 16)).Select(_ => parts[random.Next(parts.Length)] + (random.Next(3) == 0 ? " " : "")));
            try
            {
                Render(source);
            }
            catch (TemplateException)
            {
            }
            catch (Exception e)
            {
                Assert.Fail($"seed {seed}: {source}: {e}");
            }
        }
    }

    private static string Render(string template)
    {
        using var document = JsonDocument.Parse(Data);
        var variables = new Dictionary<string, JinjaValue> { ["v"] = JinjaValue.FromJson(document.RootElement) };
        return ChatTemplate.Parse(template, time: new FixedTime()).Render(new JinjaList([]), addGenerationPrompt: false, variables: variables).Text;
    }

    private sealed class FixedTime : TimeProvider
    {
        public override TimeZoneInfo LocalTimeZone => TimeZoneInfo.Utc;

        public override DateTimeOffset GetUtcNow() => new(2026, 3, 5, 7, 8, 9, TimeSpan.Zero);
    }
}
