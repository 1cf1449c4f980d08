using System.Collections;
using System.CommandLine;
using Sals.Server.Options;

namespace Sals.Server.Commands;

/// <summary>The table of settings as options of a verb, and what a command line says about them.</summary>
public sealed class SettingOptions
{
    private readonly Argument<string?> _model = new("MODEL")
    {
        Arity = ArgumentArity.ZeroOrOne,
        Description = Settings.Model.Sentence,
    };

    private readonly Option<string?> _config = new("--config")
    {
        HelpName = "FILE",
        Description = "File with settings, JSON or lines of 'key: value'; flags and SALS_ variables win over it. (SALS_CONFIG)",
    };

    private readonly Dictionary<Setting, Option> _options = [];
    private readonly Dictionary<Setting, Option> _negatives = [];

    public SettingOptions(Command command)
    {
        command.Arguments.Add(_model);
        foreach (var setting in Settings.All)
        {
            var standard = setting.DefaultText.Length > 0 ? $" [default: {setting.DefaultText}]" : "";
            Option option = setting.Form switch
            {
                SettingForm.Switch => new Option<bool>(setting.Flag) { Arity = ArgumentArity.Zero },
                SettingForm.List => new Option<string[]>(setting.Flag)
                {
                    HelpName = setting.ValueName,
                    Arity = ArgumentArity.OneOrMore,
                    AllowMultipleArgumentsPerToken = true,
                },
                _ => new Option<string>(setting.Flag) { HelpName = setting.ValueName, Arity = ArgumentArity.ExactlyOne },
            };
            option.Description = setting.Sentence + standard;
            command.Options.Add(option);
            _options.Add(setting, option);
            if (setting.Form == SettingForm.Switch)
            {
                var negative = new Option<bool>(setting.NegativeFlag) { Arity = ArgumentArity.Zero, Description = $"The opposite of {setting.Flag}." };
                command.Options.Add(negative);
                _negatives.Add(setting, negative);
            }
        }

        command.Options.Add(_config);
    }

    /// <summary>Reads all sources; prints every problem to <paramref name="errorOutput"/> and returns null when there is one.</summary>
    public SettingValues? Read(ParseResult parsed, IDictionary environment, string appSettings, TextWriter errorOutput)
    {
        var flags = new SettingSource(setting => setting == Settings.Model && parsed.GetValue(_model) is not null ? "MODEL" : setting.Flag);
        if (parsed.GetValue(_model) is { } model)
        {
            flags.Texts[Settings.Model.Name] = [model];
        }

        foreach (var (setting, option) in _options)
        {
            var given = parsed.GetResult(option) is { Implicit: false } result ? result : null;
            var off = _negatives.TryGetValue(setting, out var negative) && parsed.GetResult(negative) is { Implicit: false };
            if (off && given is not null)
            {
                flags.Errors.Add($"{setting.Flag}: expected either this or {setting.NegativeFlag}, found both");
            }

            if (given is not null && setting == Settings.Model && flags.Texts.ContainsKey(setting.Name))
            {
                flags.Errors.Add("--model: expected either this or MODEL, found both");
            }
            else if (off || given is not null)
            {
                flags.Texts[setting.Name] = setting.Form == SettingForm.Switch
                    ? [off ? "false" : "true"]
                    : [.. given!.Tokens.Select(token => token.Value)];
            }
        }

        var sources = new List<SettingSource> { flags, SettingSource.FromEnvironment(environment) };
        var config = parsed.GetValue(_config) ?? environment["SALS_CONFIG"] as string;
        if (!string.IsNullOrEmpty(config))
        {
            sources.Add(ConfigFile.Read(config));
        }

        sources.Add(ConfigFile.ReadAppSettings(appSettings));
        var values = SettingValues.Read(sources, out var errors);
        foreach (var error in errors)
        {
            errorOutput.WriteLine($"error: {error}");
        }

        return errors.Count == 0 ? values : null;
    }
}
