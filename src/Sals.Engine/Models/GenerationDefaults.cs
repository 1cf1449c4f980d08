namespace Sals.Engine.Models;

/// <summary>
/// Sampling settings a checkpoint recommends in <c>generation_config.json</c>, for requests that are silent about them; null = it says
/// nothing. Ranges are those of the request fields.
/// </summary>
public sealed record GenerationDefaults
{
    private const string FileName = "generation_config.json";

    /// <summary>A folder without generation_config.json, or --generation-config vllm.</summary>
    public static GenerationDefaults None { get; } = new();

    /// <summary>
    /// 0 to 100. An explicit <c>do_sample: false</c> asks for greedy decoding and gives 0, whatever the temperature beside it says;
    /// a missing <c>do_sample</c> asks for nothing.
    /// </summary>
    public float? Temperature { get; init; }

    /// <summary>(0, 1].</summary>
    public float? TopP { get; init; }

    /// <summary>At least 0; 0 = off.</summary>
    public int? TopK { get; init; }

    /// <summary>[0, 1].</summary>
    public float? MinP { get; init; }

    /// <summary>Greater than 0.</summary>
    public float? RepetitionPenalty { get; init; }

    /// <summary>The value of do_sample, for the record; its effect is in <see cref="Temperature"/>.</summary>
    public bool? DoSample { get; init; }

    /// <summary>At least 1: tokens to generate when the request sets no limit.</summary>
    public int? MaxNewTokens { get; init; }

    /// <summary>Reads the folder's file; <see cref="None"/> when there is none.</summary>
    /// <exception cref="ModelLoadException">The file is broken or a value is out of range.</exception>
    public static GenerationDefaults Read(string folder)
    {
        if (Find(folder) is not { } file)
        {
            return None;
        }

        var json = JsonField.Load(file);
        bool? doSample = json["do_sample"].Absent ? null : json["do_sample"].Flag(otherwise: false);
        float? temperature = Single(json["temperature"], 0, 100);
        return new GenerationDefaults
        {
            DoSample = doSample,
            Temperature = doSample == false ? 0 : temperature,
            TopP = Single(json["top_p"], 1e-6, 1),
            TopK = json["top_k"].Absent ? null : Math.Max(0, json["top_k"].Int(-1, int.MaxValue)),
            MinP = Single(json["min_p"], 0, 1),
            RepetitionPenalty = Single(json["repetition_penalty"], 1e-6, 1e6),
            MaxNewTokens = json["max_new_tokens"].Absent ? null : json["max_new_tokens"].Int(1, int.MaxValue),
        };
    }

    /// <summary>Path of the folder's file, null when there is none.</summary>
    internal static string? Find(string folder)
    {
        string path = Path.Combine(folder, FileName);
        return File.Exists(path) || new FileInfo(path).LinkTarget is not null ? path : null;
    }

    private static float? Single(JsonField field, double least, double most) => field.Absent ? null : (float)field.Number(least, most);
}
