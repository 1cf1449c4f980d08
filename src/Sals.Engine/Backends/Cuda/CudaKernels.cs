using Sals.Engine.Models;
using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Kernels.BandQueries;
using Sals.Kernels.Cuda.Kernels.DenseAttend;
using Sals.Kernels.Cuda.Kernels.EmbedTokens;
using Sals.Kernels.Cuda.Kernels.FlushPages;
using Sals.Kernels.Cuda.Kernels.PlanStep;
using Sals.Kernels.Cuda.Kernels.PrefillAttend;
using Sals.Kernels.Cuda.Kernels.PrefillStore;
using Sals.Kernels.Cuda.Kernels.ReconstructPages;
using Sals.Kernels.Cuda.Kernels.RmsNorm;
using Sals.Kernels.Cuda.Kernels.Rope;
using Sals.Kernels.Cuda.Kernels.SampleToken;
using Sals.Kernels.Cuda.Kernels.ScatterWords;
using Sals.Kernels.Cuda.Kernels.ScoreSelect;
using Sals.Kernels.Cuda.Kernels.ScoringQuery;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Kernels.SiluMul;
using Sals.Kernels.Cuda.Kernels.SkinnyGemm;
using Sals.Kernels.Cuda.Kernels.SparseAttend;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Engine.Backends.Cuda;

/// <summary>Every kernel of a model, compiled side by side (or found on disk) and loaded.</summary>
internal sealed class CudaKernels : IDisposable
{
    private readonly KernelModule[] _modules;

    /// <param name="maxPages">Entries of a page-table row.</param>
    /// <param name="codes">Dense pages hold int8 codes.</param>
    /// <param name="latent">Of the compressed layers; null when there are none.</param>
    public CudaKernels(CudaDevice device, KernelCache cache, ModelConfig model, int slots, int maxPages, int sampleable, bool codes, LatentShape? latent)
    {
        List<KernelProgram> programs =
        [
            EmbedTokensKernel.Program(model.HiddenSize, model.VocabularySize),
            RmsNormKernel.Program(model.HiddenSize),
            SiluMulKernel.Program(model.IntermediateSize),
            RopeKernel.Program(model.HeadSize, model.HeadCount, model.KeyValueHeadCount, maxPages),
            PrefillStoreKernel.Program(model.HeadSize, model.KeyValueHeadCount),
            PlanStepKernel.Program(slots, model.VocabularySize, latent),
            SkinnyGemmKernel.Program(),
            DenseAttendKernel.Program(model.HeadSize, model.HeadCount, model.KeyValueHeadCount, maxPages, codes),
            PrefillAttendKernel.Program(model.HeadSize, model.HeadCount, model.KeyValueHeadCount),
            SampleTokenKernel.Program(slots, model.VocabularySize, sampleable),
            ScatterWordsKernel.Program(),
        ];
        if (latent is not null)
        {
            programs.AddRange(
                [ScoreSelectKernel.Program(latent), SparseAttendKernel.Program(latent), FlushPagesKernel.Program(latent), ReconstructPagesKernel.Program(latent), ScoringQueryKernel.Program(latent)]);
        }

        if (latent is { ScoreBands: > 0 })
        {
            programs.Add(BandQueriesKernel.Program(latent));
        }

        var apart = latent is not null && codes;
        if (apart)
        {
            programs.Add(DenseAttendKernel.Program(model.HeadSize, model.HeadCount, model.KeyValueHeadCount, maxPages));
        }

        _modules = [.. cache.Get(programs, device.Architecture).Select(c => new KernelModule(c))];
        EmbedTokens = new EmbedTokensKernel(_modules[0]);
        RmsNorm = new RmsNormKernel(_modules[1]);
        SiluMul = new SiluMulKernel(_modules[2], model.IntermediateSize);
        Rope = new RopeKernel(_modules[3], model.HeadCount + (2 * model.KeyValueHeadCount), model.HeadSize);
        PrefillStore = new PrefillStoreKernel(_modules[4]);
        PlanStep = new PlanStepKernel(_modules[5]);
        SkinnyGemm = new SkinnyGemmKernel(_modules[6], device.Multiprocessors);
        DenseAttend = new DenseAttendKernel(_modules[7], model.HeadSize, model.HeadCount, model.KeyValueHeadCount, device.Multiprocessors, codes);
        HotAttend = apart ? new DenseAttendKernel(_modules[^1], model.HeadSize, model.HeadCount, model.KeyValueHeadCount, device.Multiprocessors) : DenseAttend;
        PrefillAttend = new PrefillAttendKernel(_modules[8], model.HeadSize, model.HeadCount);
        SampleToken = new SampleTokenKernel(_modules[9]);
        ScatterWords = new ScatterWordsKernel(_modules[10]);
        if (latent is not null)
        {
            ScoreSelect = new ScoreSelectKernel(_modules[11]);
            SparseAttend = new SparseAttendKernel(
                _modules[12], latent, device.Multiprocessors, RopeTable.Frequencies(model.Rope, model.HeadSize), RopeTable.AttentionFactorOf(model.Rope));
            FlushPages = new FlushPagesKernel(_modules[13], latent);
            ReconstructPages = new ReconstructPagesKernel(_modules[14], latent, device.Multiprocessors);
            ScoringQuery = new ScoringQueryKernel(_modules[15], latent);
            BandQueries = latent.ScoreBands > 0 ? new BandQueriesKernel(_modules[16], latent) : null;
        }
    }

    public EmbedTokensKernel EmbedTokens { get; }

    public RmsNormKernel RmsNorm { get; }

    public SiluMulKernel SiluMul { get; }

    public RopeKernel Rope { get; }

    public PrefillStoreKernel PrefillStore { get; }

    public PlanStepKernel PlanStep { get; }

    public SkinnyGemmKernel SkinnyGemm { get; }

    /// <summary>Of dense pages.</summary>
    public DenseAttendKernel DenseAttend { get; }

    /// <summary>Of hot pages, which are exact whatever dense ones are.</summary>
    public DenseAttendKernel HotAttend { get; }

    public PrefillAttendKernel PrefillAttend { get; }

    public SampleTokenKernel SampleToken { get; }

    public ScatterWordsKernel ScatterWords { get; }

    /// <summary>Null without compressed layers, as the following.</summary>
    public ScoreSelectKernel? ScoreSelect { get; }

    public SparseAttendKernel? SparseAttend { get; }

    public FlushPagesKernel? FlushPages { get; }

    public ReconstructPagesKernel? ReconstructPages { get; }

    public ScoringQueryKernel? ScoringQuery { get; }

    /// <summary>Null without bands.</summary>
    public BandQueriesKernel? BandQueries { get; }

    public void Dispose()
    {
        foreach (var module in _modules)
        {
            module.Dispose();
        }
    }
}
