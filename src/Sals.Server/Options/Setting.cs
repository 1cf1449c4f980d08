namespace Sals.Server.Options;

/// <summary>
/// One setting: its flag (<c>--name</c>), environment variable (<c>SALS_NAME</c>), configuration key (<c>name</c>), default and sentence.
/// Values are text wherever they come from, and are parsed in one place.
/// </summary>
public abstract class Setting
{
    protected Setting(string name, SettingForm form, string defaultText, string valueName, string sentence)
    {
        Name = name;
        Form = form;
        DefaultText = defaultText;
        ValueName = valueName;
        Sentence = sentence;
    }

    /// <summary>Lower case words joined by dashes, as in vLLM where it has the setting.</summary>
    public string Name { get; }

    public SettingForm Form { get; }

    /// <summary>What the setting is when nobody says anything; empty = not set.</summary>
    public string DefaultText { get; }

    /// <summary>Placeholder of the value in help.</summary>
    public string ValueName { get; }

    /// <summary>What a value means, for help and documentation.</summary>
    public string Sentence { get; }

    /// <summary>Shown as *** when the configuration is printed.</summary>
    public bool Secret { get; init; }

    public string Flag => "--" + Name;

    public string NegativeFlag => "--no-" + Name;

    public string EnvironmentName => "SALS_" + Name.Replace('-', '_').ToUpperInvariant();

    /// <exception cref="FormatException">The message says what was expected.</exception>
    public abstract object? ParseBoxed(IReadOnlyList<string> texts);
}

public enum SettingForm
{
    /// <summary>One value.</summary>
    Value,

    /// <summary>On or off: <c>--name</c> and <c>--no-name</c>, no value.</summary>
    Switch,

    /// <summary>Any number of values.</summary>
    List,
}

public sealed class Setting<T> : Setting
{
    private readonly Func<IReadOnlyList<string>, T> _parse;

    public Setting(
        string name, SettingForm form, string defaultText, string valueName, string sentence, Func<IReadOnlyList<string>, T> parse)
        : base(name, form, defaultText, valueName, sentence) => _parse = parse;

    public override object? ParseBoxed(IReadOnlyList<string> texts) => _parse(texts);
}
