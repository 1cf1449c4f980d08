namespace Sals.Engine.Models;

/// <summary>
/// Rotary settings of a config.json: <c>rope_parameters</c> (transformers 5), or <c>rope_theta</c> and <c>rope_scaling</c> before it,
/// where <c>type</c> was an older name of <c>rope_type</c>. When both forms are there, the new one counts.
/// </summary>
internal static class RopeSettingsReader
{
    private const double DefaultTheta = 10_000;
    private const double LargestFactor = 1_000_000;

    /// <param name="config">config.json.</param>
    /// <param name="maxPositions">max_position_embeddings.</param>
    /// <exception cref="ModelLoadException">An unknown kind of scaling, or a value missing or out of range.</exception>
    public static RopeSettings Read(JsonField config, int maxPositions)
    {
        var rope = config["rope_parameters"];
        if (rope.Absent)
        {
            rope = config["rope_scaling"];
        }
        else if (rope["full_attention"].Present)
        {
            // settings per kind of layer: this server runs every layer with full attention
            rope = rope["full_attention"];
        }

        var thetaField = rope["rope_theta"].Present ? rope["rope_theta"] : config["rope_theta"];
        double theta = thetaField.Number(1.0001, 1e12, DefaultTheta);
        CheckPartial(config["partial_rotary_factor"]);
        CheckPartial(rope["partial_rotary_factor"]);

        var kind = rope["rope_type"].Present ? rope["rope_type"] : rope["type"];
        return (kind.Absent ? "default" : kind.Text()) switch
        {
            "default" => new RopeSettings { Theta = theta },
            "linear" => new RopeSettings { Theta = theta, Scaling = RopeScaling.Linear, Factor = rope["factor"].Number(1, LargestFactor) },
            "llama3" => Llama3(rope, theta, maxPositions),
            "yarn" => Yarn(rope, theta, maxPositions),
            _ => throw kind.Error("one of default, linear, llama3, yarn"),
        };
    }

    private static RopeSettings Llama3(JsonField rope, double theta, int maxPositions)
    {
        double low = rope["low_freq_factor"].Number(1e-6, LargestFactor);
        double high = rope["high_freq_factor"].Number(1e-6, LargestFactor);
        if (high <= low)
        {
            throw rope["high_freq_factor"].Error($"more than low_freq_factor, {low}");
        }

        return new RopeSettings
        {
            Theta = theta,
            Scaling = RopeScaling.Llama3,
            Factor = rope["factor"].Number(1, LargestFactor),
            LowFrequencyFactor = low,
            HighFrequencyFactor = high,
            OriginalMaxPositions = rope["original_max_position_embeddings"].Int(1, ModelConfigReader.MostPositions, maxPositions),
        };
    }

    private static RopeSettings Yarn(JsonField rope, double theta, int maxPositions)
    {
        int original = rope["original_max_position_embeddings"].Int(1, ModelConfigReader.MostPositions, maxPositions);
        double factor = rope["factor"].Number(1, LargestFactor, Math.Max(1, (double)maxPositions / original));
        double slow = rope["beta_slow"].Number(1e-6, LargestFactor, 1);
        double fast = rope["beta_fast"].Number(1e-6, LargestFactor, 32);
        if (fast <= slow)
        {
            throw rope["beta_fast"].Error($"more than beta_slow, {slow}");
        }

        double? attention = rope["attention_factor"].Present ? rope["attention_factor"].Number(1e-6, LargestFactor) : null;
        if (attention is null && rope["mscale"].Present && rope["mscale_all_dim"].Present)
        {
            double scale = rope["mscale"].Number(0, LargestFactor);
            double allScale = rope["mscale_all_dim"].Number(0, LargestFactor);

            // 0 means "not set", as in Python
            attention = scale > 0 && allScale > 0 ? RopeTable.YarnScale(factor, scale) / RopeTable.YarnScale(factor, allScale) : null;
        }

        return new RopeSettings
        {
            Theta = theta,
            Scaling = RopeScaling.Yarn,
            Factor = factor,
            OriginalMaxPositions = original,
            BetaFast = fast,
            BetaSlow = slow,
            AttentionFactor = attention,
            Truncate = rope["truncate"].Flag(otherwise: true),
        };
    }

    private static void CheckPartial(JsonField share)
    {
        if (share.Present && share.Number(0, 1) != 1)
        {
            throw share.Error("1: rotary embeddings over the whole head");
        }
    }
}
