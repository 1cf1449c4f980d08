using System.Collections;
using System.Net;

namespace Sals.Server.Options;

/// <summary>
/// The value of every setting and where it came from. Precedence: flag, environment, --config file, appsettings.json, default.
/// All problems are collected, so that one start shows them all.
/// </summary>
public sealed class SettingValues
{
    private readonly Dictionary<Setting, object?> _values = [];
    private readonly Dictionary<Setting, (string Origin, IReadOnlyList<string> Texts)> _origins = [];

    private SettingValues()
    {
    }

    public static SettingValues Defaults => Read([], out _);

    public T Get<T>(Setting<T> setting) => (T)_values[setting]!;

    /// <summary>"default", "--port", "SALS_PORT", or the name of a file.</summary>
    public string Origin(Setting setting) => _origins[setting].Origin;

    /// <summary>The value as it was written, secrets hidden; empty = not set.</summary>
    public string Shown(Setting setting)
    {
        var texts = _origins[setting].Texts;
        return setting.Secret && texts.Any(text => text.Length > 0) ? "***" : string.Join(", ", texts);
    }

    /// <param name="sources">Strongest first.</param>
    /// <param name="errors">One sentence for each invalid or unknown setting; the values are usable only when it is empty.</param>
    public static SettingValues Read(IReadOnlyList<SettingSource> sources, out List<string> errors)
    {
        errors = [];
        var result = new SettingValues();
        foreach (var source in sources)
        {
            errors.AddRange(source.Errors);
        }

        foreach (var setting in Settings.All)
        {
            var source = sources.FirstOrDefault(candidate => candidate.Texts.ContainsKey(setting.Name));
            IReadOnlyList<string> fallback = setting.Form == SettingForm.List && setting.DefaultText.Length == 0 ? [] : [setting.DefaultText];
            var texts = source?.Texts[setting.Name] ?? fallback;
            var origin = source?.Describe(setting) ?? "default";
            result._origins[setting] = (origin, texts);
            try
            {
                result._values[setting] = setting.ParseBoxed(texts);
            }
            catch (FormatException exception)
            {
                var found = setting.Secret ? "something else" : $"'{string.Join(", ", texts)}'";
                errors.Add($"{setting.Flag}: expected {exception.Message}, found {found} ({origin})");
                result._values[setting] = setting.ParseBoxed(fallback);
            }
        }

        result.CheckTogether(errors);
        return result;
    }

    /// <summary>Rules that span settings.</summary>
    private void CheckTogether(List<string> errors)
    {
        if (Get(Settings.SslCertfile) is null != Get(Settings.SslKeyfile) is null)
        {
            errors.Add("--ssl-certfile and --ssl-keyfile: expected both or neither");
        }

        if (Get(Settings.Uds) is not null && Get(Settings.SslCertfile) is not null)
        {
            errors.Add("--uds: expected no --ssl-certfile with a Unix socket");
        }

        if (Get(Settings.Device) == DeviceChoice.Cpu && Get(Settings.Dtype) == DataType.Bfloat16)
        {
            errors.Add("--dtype: expected auto or float32 with --device cpu, found 'bfloat16'");
        }

        var host = Get(Settings.Host);
        if (host != "localhost" && host != "*" && !IPAddress.TryParse(host, out _))
        {
            errors.Add($"--host: expected an IP address, localhost or *, found '{host}' ({Origin(Settings.Host)})");
        }
    }
}

/// <summary>Texts of settings from one place.</summary>
public sealed class SettingSource
{
    private readonly Func<Setting, string> _describe;

    public SettingSource(Func<Setting, string> describe) => _describe = describe;

    /// <summary>By setting name.</summary>
    public Dictionary<string, IReadOnlyList<string>> Texts { get; } = new(StringComparer.Ordinal);

    public List<string> Errors { get; } = [];

    public string Describe(Setting setting) => _describe(setting);

    /// <summary>The SALS_ variables. Ones that name no setting are left alone: other tools may share the prefix.</summary>
    public static SettingSource FromEnvironment(IDictionary variables)
    {
        var source = new SettingSource(setting => setting.EnvironmentName);
        foreach (var setting in Settings.All)
        {
            if (variables[setting.EnvironmentName] is string text)
            {
                source.Texts[setting.Name] = setting.Form == SettingForm.List ? ConfigFile.SplitList(text) : [text];
            }
        }

        return source;
    }
}
