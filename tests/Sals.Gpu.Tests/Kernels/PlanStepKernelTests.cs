using Sals.Kernels.Cuda.Kernels.PlanStep;
using Sals.Kernels.Cuda.Kernels.SampleToken;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Testing;
using Xunit;

namespace Sals.Gpu.Tests.Kernels;

public class PlanStepKernelTests
{
    private static readonly LatentShape Latent = SampleShape.Latent with { MaxPages = 320, DenseBelow = 500 };

    [GpuTheory]
    [InlineData(1, false)]
    [InlineData(33, false)]
    [InlineData(256, false)]
    [InlineData(1, true)]
    [InlineData(33, true)]
    [InlineData(64, true)]
    [InlineData(66, true)]
    [InlineData(256, true)]
    public void Inputs_and_work_lists_match_a_loop(int rowCount, bool compressed)
    {
        const int slots = 256, vocabulary = 50, blocks = 132;
        using var gpu = Gpu.Open();
        var inputs = new Inputs();
        var slotOrder = Enumerable.Range(0, slots).ToArray();
        new Random(inputs.Seed).Shuffle(slotOrder);
        var length = Enumerable.Range(0, slots + 1).Select(s => s == slots ? 0 : inputs.Next(5) == 0 ? inputs.Next(20000) : inputs.Next(600)).ToArray();
        var last = Enumerable.Range(0, slots + 1).Select(_ => inputs.Next(vocabulary)).ToArray();
        var sampling = Enumerable.Range(0, slots).Select(s => new SlotSampling { Counts = s % 2 }).ToArray();
        var counts = new ushort[slots * vocabulary];
        counts.AsSpan(vocabulary).Fill(65535);
        var rows = new StepRow[rowCount];
        for (var b = 0; b < rowCount; b++)
        {
            // every fifth row is padding, every third forced
            rows[b] = new StepRow(b % 5 == 4 ? slots : slotOrder[b], b % 3 == 0 ? inputs.Next(vocabulary) : -1, -1, b);
        }

        var deviceLength = gpu.Upload<int>(length);
        var deviceCounts = gpu.Upload<ushort>(counts);
        const int capacity = slots * 80;
        var step = new StepInputs(gpu.Poisoned<int>(rowCount), gpu.Poisoned<int>(rowCount), gpu.Poisoned<int>(rowCount), gpu.PoisonedList(rowCount, capacity))
        {
            ExactRuns = gpu.PoisonedList(rowCount, capacity),
            Items = gpu.PoisonedList(rowCount, capacity),
            Parts = new ScoreParts(gpu.Poisoned<ScorePart>(blocks), blocks),
        };
        new PlanStepKernel(gpu.Load(PlanStepKernel.Program(slots, vocabulary, compressed ? Latent : null)))
            .Launch(gpu.Stream, gpu.Upload<StepRow>(rows), gpu.Upload<int>(last), deviceLength, deviceCounts, gpu.Upload<SlotSampling>(sampling), step, rowCount);

        int[] token = new int[rowCount], position = new int[rowCount], runs = new int[rowCount], exact = new int[rowCount], items = new int[rowCount], units = new int[rowCount];
        for (var b = 0; b < rowCount; b++)
        {
            var slot = rows[b].Slot;
            token[b] = rows[b].Forced >= 0 ? rows[b].Forced : last[slot];
            position[b] = length[slot];
            runs[b] = DenseRuns.Of(position[b] + 1);
            items[b] = AttendItems.Of(Latent, position[b] + 1);

            // compressed from the first length that is over dense_below and has a page outside the window
            exact[b] = position[b] + 1 <= Latent.DenseBelow || position[b] + 1 < Latent.RecentTokens + 64 ? runs[b] : 0;
            Assert.Equal(exact[b] == 0, items[b] > 0);
            units[b] = exact[b] > 0 ? 0 : Units(position[b] + 1);
            if (slot < slots)
            {
                length[slot]++;
                if (slot % 2 == 1 && counts[(slot * vocabulary) + token[b]] < 65535)
                {
                    counts[(slot * vocabulary) + token[b]]++;
                }
            }
        }

        Assert.Equal(token, gpu.Download(step.Token, rowCount));
        Assert.Equal(position, gpu.Download(step.Position, rowCount));
        Assert.Equal(rows.Select(r => r.Slot), gpu.Download(step.Slot, rowCount));
        Lists(runs, step.Runs);
        if (compressed)
        {
            Lists(exact, step.ExactRuns);
            Lists(items, step.Items);

            // more than 64 rows: none are written
            var parts = rowCount <= 64
                ? ScorePartsOracle.Of(units, [.. position.Select(p => p + 1)], [.. rows.Select(r => r.Slot)], blocks)
                : [.. Enumerable.Repeat(new ScorePart(-1, -1, -1, -1, -1, -1, -1, -1), blocks)];
            Assert.Equal(parts, gpu.Download(step.Parts.Entries, blocks));
        }

        Assert.Equal(length, gpu.Download(deviceLength, slots + 1));
        Assert.Equal(counts, gpu.Download(deviceCounts, counts.Length));

        // of 32 tokens, where more of them are behind the sinks than the row selects
        static int Units(int length)
        {
            var tokens = (length - Latent.RecentTokens) / 64 * 64;
            return tokens - Latent.SinkTokens > Math.Clamp(length / Latent.Sparsity, Latent.CriticalMin, Latent.CriticalMax) ? tokens / 32 : 0;
        }

        void Lists(int[] pieces, WorkList list)
        {
            var (entries, count, first, _) = gpu.UploadList(pieces, [.. position.Select(p => p + 1)], [.. rows.Select(r => r.Slot)]);
            var total = pieces.Sum();
            Assert.Equal(total, gpu.Download(list.Count, 1)[0]);
            Assert.Equal(gpu.Download(count, 1), gpu.Download(list.Count, 1));
            Assert.Equal(gpu.Download(first, rowCount), gpu.Download(list.First, rowCount));
            Assert.Equal(gpu.Download(entries, total), gpu.Download(list.Entries, total));
        }
    }
}
