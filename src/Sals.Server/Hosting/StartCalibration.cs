using System.Globalization;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Text;

namespace Sals.Server.Hosting;

/// <summary>
/// Makes the basis of a model that brings none, once, from bundled text; the next start finds the file. Capped in tokens and time: all of it is done within
/// the caps or nothing is, so that a basis never depends on how busy the machine was.
/// </summary>
/// <param name="TextFile">Text, form feeds between documents.</param>
/// <param name="Folder">Where bases lie, one file a model fingerprint.</param>
/// <param name="Limit">Longest calibration.</param>
public sealed record StartCalibration(string TextFile, string Folder, TimeSpan Limit, TimeProvider Time)
{
    /// <summary>Tokens for each channel of the joint keys: enough that the second moment is settled in every direction that is kept.</summary>
    private const int TokensPerChannel = 64;

    private const int SequenceLength = 1024;

    public static StartCalibration ForThisProcess { get; } = new(
        Path.Combine(AppContext.BaseDirectory, "CalibrationText", "calibration.txt"),
        FolderOf(Environment.GetEnvironmentVariable),
        TimeSpan.FromMinutes(2),
        TimeProvider.System);

    /// <summary>What it runs on.</summary>
    public DevicePlan Device { get; init; } = new(Gpu: null);

    /// <summary>sals/bases under XDG_CACHE_HOME, else under ~/.cache.</summary>
    public static string FolderOf(Func<string, string?> variable)
    {
        var home = variable("HOME") is { Length: > 0 } user ? user : Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
        var root = variable("XDG_CACHE_HOME") is { Length: > 0 } cache ? cache : Path.Combine(home, ".cache");
        return Path.Combine(root, "sals", "bases");
    }

    /// <summary>Where the basis of these weights is, once it has been made.</summary>
    /// <param name="groups">Groups of KV heads with a basis of their own.</param>
    public string FileOf(string modelFingerprint, int groups) => Path.Combine(Folder, $"{modelFingerprint}{(groups == 1 ? "" : $"-groups-{groups}")}.safetensors");

    /// <summary>Writes <see cref="FileOf"/>, atomically.</summary>
    /// <param name="rank">Vectors kept per layer.</param>
    /// <param name="groups">Groups of KV heads with a basis of their own.</param>
    /// <param name="command">What to run instead, for the refusal.</param>
    /// <param name="say">Told in one line before the work begins.</param>
    /// <exception cref="SettingException">It would take longer than the limit, or the text is too short.</exception>
    public void Run(ModelFolder model, string modelFingerprint, Tokenizer tokenizer, int rank, int groups, string command, Action<string> say)
    {
        var file = FileOf(modelFingerprint, groups);
        var config = model.Config;
        var length = Math.Min(SequenceLength, config.MaxModelLength);
        CalibrationText text;
        try
        {
            text = CalibrationText.Cut([File.ReadAllText(TextFile)], tokenizer, Math.Max(1, TokensPerChannel * config.KeyWidth / length), length);
            Directory.CreateDirectory(Folder);
        }
        catch (Exception e) when (e is ArgumentException or IOException or UnauthorizedAccessException)
        {
            throw new SettingException($"--kv-cache: there is no basis, and none can be made now: {e.Message} Make one with: {command}");
        }

        say(string.Create(CultureInfo.InvariantCulture,
            $"No basis for this model: calibrating once on {text.TokenCount:#,0} tokens of bundled text, at most {Limit.TotalSeconds:0} s, into {file}; better for your own text: {command}"));
        using var backend = CalibrationBackend.Open(model, Device, length);
        using var stop = new CancellationTokenSource();
        var state = $"{file}.{Environment.ProcessId}.state";
        var started = Time.GetTimestamp();
        var begun = started;
        try
        {
            new Calibrator(backend, config, modelFingerprint, text, rank, state, groups) { Progress = Watch, SaveInterval = Timeout.InfiniteTimeSpan }.Run(file, Time, stop.Token);
        }
        catch (OperationCanceledException)
        {
            throw new SettingException(string.Create(CultureInfo.InvariantCulture,
                $"--kv-cache: there is no basis, and calibrating this model takes longer than the {Limit.TotalSeconds:0} s that a start may; make one with: {command}"));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new SettingException($"--kv-cache: there is no basis, and it cannot be written: {e.Message} Make one with: {command}");
        }
        finally
        {
            if (Directory.Exists(state))
            {
                Directory.Delete(state, recursive: true);
            }
        }

        // stops as soon as the stage's pace says that the limit will be passed; the first item alone, with cold code, says little
        void Watch(CalibrationProgress progress)
        {
            var expected = Time.GetElapsedTime(started, begun) + (Time.GetElapsedTime(begun) / progress.Done * progress.Total);
            if (Time.GetElapsedTime(started) > Limit || (progress.Done > 1 && expected > Limit))
            {
                stop.Cancel();
            }

            if (progress.Done == progress.Total)
            {
                begun = Time.GetTimestamp();
            }
        }
    }
}
