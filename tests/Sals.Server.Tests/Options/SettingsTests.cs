using System.Collections;
using System.CommandLine;
using Sals.Server.Commands;
using Sals.Server.Options;
using Xunit;

namespace Sals.Server.Tests.Options;

public class SettingsTests
{
    [Fact]
    public void Every_setting_has_a_flag_a_variable_a_default_that_parses_and_a_sentence()
    {
        Assert.Equal(Settings.All.Count, Settings.All.Select(setting => setting.Name).Distinct().Count());
        foreach (var setting in Settings.All)
        {
            Assert.Matches("^[a-z]+(-[a-z]+)*$", setting.Name);
            Assert.Matches("^SALS_[A-Z_]+$", setting.EnvironmentName);
            Assert.True(setting.Sentence.Length > 20 && setting.Sentence.EndsWith('.'), setting.Name);
            setting.ParseBoxed(setting.DefaultText.Length == 0 && setting.Form == SettingForm.List ? [] : [setting.DefaultText]);
        }
    }

    [Fact]
    public void Appsettings_lists_every_setting_with_its_default()
    {
        var source = ConfigFile.ReadAppSettings(Path.Combine(AppContext.BaseDirectory, "appsettings.json"));
        Assert.Empty(source.Errors);
        foreach (var setting in Settings.All.Where(setting => setting.DefaultText.Length > 0))
        {
            Assert.True(source.Texts.TryGetValue(setting.Name, out var texts), $"appsettings.json lacks {setting.Name}");
            Assert.Equal(setting.DefaultText, Assert.Single(texts));
        }

        SettingValues.Read([source], out var errors);
        Assert.Empty(errors);
    }

    [Fact]
    public void A_flag_wins_over_environment_over_config_file_over_appsettings_over_default()
    {
        var folder = Directory.CreateTempSubdirectory("sals");
        try
        {
            var config = Path.Combine(folder.FullName, "sals.yaml");
            var app = Path.Combine(folder.FullName, "appsettings.json");
            File.WriteAllText(config, "port: 3\nmax-num-seqs: 3\nseed: 3\n");
            File.WriteAllText(app, """{"Sals":{"port":4,"max-num-seqs":4,"seed":4,"max-logprobs":4}}""");
            var environment = new Hashtable { ["SALS_PORT"] = "2", ["SALS_MAX_NUM_SEQS"] = "2" };
            var values = Read(["--port", "1", "--config", config], environment, app, out var errors)!;
            Assert.Equal("", errors);
            Assert.Equal(1, values.Get(Settings.Port));
            Assert.Equal("--port", values.Origin(Settings.Port));
            Assert.Equal(2, values.Get(Settings.MaxNumSeqs));
            Assert.Equal("SALS_MAX_NUM_SEQS", values.Origin(Settings.MaxNumSeqs));
            Assert.Equal(3UL, values.Get(Settings.Seed));
            Assert.Equal("sals.yaml", values.Origin(Settings.Seed));
            Assert.Equal(4, values.Get(Settings.MaxLogprobs));
            Assert.Equal("default", values.Origin(Settings.Host));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Fact]
    public void All_invalid_settings_are_reported_at_once_each_with_its_flag_and_origin()
    {
        var environment = new Hashtable { ["SALS_PORT"] = "tcp://10.0.0.1:80", ["SALS_API_KEY"] = "secret" };
        var values = Read(["--max-num-seqs", "0", "--device", "tpu", "--ssl-certfile", "/none"], environment, "", out var errors);
        Assert.Null(values);
        var lines = errors.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(4, lines.Length);
        Assert.Contains(lines, line => line.StartsWith("error: --port: expected a whole number from 0 to 65535, found 'tcp://10.0.0.1:80' (SALS_PORT)"));
        Assert.Contains(lines, line => line.StartsWith("error: --max-num-seqs: expected a whole number from 1 to 1024, found '0'"));
        Assert.Contains(lines, line => line.StartsWith("error: --device: expected one of auto, cpu, cuda, found 'tpu'"));
        Assert.Contains(lines, line => line.StartsWith("error: --ssl-certfile: expected a file that exists"));
        Assert.DoesNotContain("secret", errors);
    }

    [Fact]
    public void Secrets_are_not_shown()
    {
        var values = Read(["--api-key", "a", "b"], new Hashtable(), "", out _)!;
        Assert.Equal(["a", "b"], values.Get(Settings.ApiKey));
        Assert.Equal("***", values.Shown(Settings.ApiKey));
    }

    [Theory]
    [InlineData("--enable-prefix-caching", true)]
    [InlineData("--no-enable-prefix-caching", false)]
    public void Switches_have_two_flags_and_take_no_value(string flag, bool expected)
    {
        var values = Read([flag, "folder"], new Hashtable(), "", out _)!;
        Assert.Equal(expected, values.Get(Settings.EnablePrefixCaching));
        Assert.Equal("folder", values.Get(Settings.Model));
    }

    [Theory]
    [InlineData("8192", 8192)]
    [InlineData("32k", 32000)]
    [InlineData("32K", 32768)]
    [InlineData("1.5k", 1500)]
    [InlineData("auto", null)]
    [InlineData("-1", null)]
    public void Lengths_are_read_as_vLLM_reads_them(string text, int? expected) => Assert.Equal(expected, SettingParsers.TokensOrAuto(text));

    [Theory]
    [InlineData("512MiB", 512L << 20)]
    [InlineData("4GB", 4_000_000_000L)]
    [InlineData("4G", 4L << 30)]
    [InlineData("1000", 1000L)]
    public void Bytes_are_read_with_units(string text, long expected) => Assert.Equal(expected, SettingParsers.Bytes(text));

    [Theory]
    [InlineData("")]
    [InlineData("x")]
    [InlineData("-5")]
    [InlineData("0")]
    [InlineData("99999999999999999999999999999999GB")]
    [InlineData("1e9")]
    [InlineData("4QB")]
    public void Broken_sizes_are_refused(string text)
    {
        Assert.Throws<FormatException>(() => SettingParsers.Bytes(text));
        Assert.Throws<FormatException>(() => SettingParsers.Tokens(text));
    }

    [Theory]
    [InlineData("a, b ,,c", "a|b|c")]
    [InlineData("[a, 'b c']", "a|b c")]
    [InlineData("\"dense_layers=0,1,last\", critical=48", "dense_layers=0,1,last|critical=48")]
    [InlineData("['layer_ranks=48,64']", "layer_ranks=48,64")]
    [InlineData("it's, so", "it's|so")]
    [InlineData("'left open, b", "'left open, b")]
    [InlineData("", "")]
    public void Lists_are_separated_by_commas_outside_of_quotes(string text, string items) => Assert.Equal(items, string.Join('|', ConfigFile.SplitList(text)));

    [Fact]
    public void A_flat_yaml_file_has_comments_quotes_and_lists()
    {
        var source = new SettingSource(_ => "f");
        ConfigFile.Add(source, "f", """
            # how we serve
            port: 9000        # not 8000
            served_model_name: [a, 'b c']
            api-key:
              - "k#1"
              - k2
            host: "0.0.0.0"
            seed: null
            """);
        Assert.Empty(source.Errors);
        Assert.Equal(["9000"], source.Texts["port"]);
        Assert.Equal(["a", "b c"], source.Texts["served-model-name"]);
        Assert.Equal(["k#1", "k2"], source.Texts["api-key"]);
        Assert.Equal(["0.0.0.0"], source.Texts["host"]);
        Assert.False(source.Texts.ContainsKey("seed"));
    }

    [Theory]
    [InlineData("prot: 1", "f line 1: expected the name of a setting, found 'prot'")]
    [InlineData("port 1", "f line 1: expected 'key: value', found 'port 1'")]
    [InlineData("{\"prot\":1}", "f: expected the name of a setting, found 'prot'")]
    [InlineData("{\"port\":[1]}", "f: port: expected one value")]
    public void Broken_config_files_say_where(string text, string expected)
    {
        var source = new SettingSource(_ => "f");
        ConfigFile.Add(source, "f", text);
        Assert.Equal(expected, Assert.Single(source.Errors));
    }

    private static SettingValues? Read(string[] arguments, Hashtable environment, string appSettings, out string errors)
    {
        var command = new RootCommand();
        var options = new SettingOptions(command);
        var output = new StringWriter();
        var parsed = command.Parse(arguments);
        Assert.Empty(parsed.Errors);
        var values = options.Read(parsed, environment, appSettings, output);
        errors = output.ToString().ReplaceLineEndings("\n");
        return values;
    }
}
