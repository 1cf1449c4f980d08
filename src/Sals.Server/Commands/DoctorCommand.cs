using System.CommandLine;
using System.Globalization;
using System.Numerics;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using Sals.Engine.Models;
using Sals.Engine.Text;
using Sals.Engine.Text.Jinja;
using Sals.Kernels.Cuda.Interop;
using Sals.Server.Api;
using Sals.Server.Hosting;
using Sals.Server.Options;
using Spectre.Console;

namespace Sals.Server.Commands;

/// <summary>sals doctor [MODEL]: what this machine has, what would be served on it, what is missing and why that matters.</summary>
public static class DoctorCommand
{
    /// <summary>Something that the settings ask for is missing.</summary>
    private const int MissingExitCode = 1;

    public static Command Create()
    {
        var command = new Command("doctor", "Look at this machine: backend, libraries, model, memory, and what is missing.");
        command.SetAction(new SettingOptions(command), (values, _, _) => Task.FromResult(Run(new SalsOptions(values), AnsiConsole.Console)));
        return command;
    }

    public static int Run(SalsOptions options, IAnsiConsole console)
    {
        var cuda = NativeLibraries.Probe();
        var problems = new List<string>();
        var table = new Table().Border(TableBorder.Simple).HideHeaders().AddColumns("what", "found");
        void Row(string what, string found) => table.AddRow(Markup.Escape(what), Markup.Escape(found));

        Row("sals", StateRoutes.Version);
        Row("system", $"{RuntimeInformation.OSDescription}, {RuntimeInformation.ProcessArchitecture}, {RuntimeInformation.FrameworkDescription}");
        Row("CPU", $"{Environment.ProcessorCount} cores, vectors of {Vector<byte>.Count * 8} bits{(Avx512F.IsSupported ? ", AVX-512" : Fma.IsSupported ? ", FMA" : "")}");
        Row("memory", MemoryBudget.Bytes(GC.GetGCMemoryInfo().TotalAvailableMemoryBytes) + " available to this process");
        foreach (var library in cuda.Libraries)
        {
            Row(library.Name, library.Path is null ? "not found" : $"{library.Path}{(library.Version is null ? "" : $", version {library.Version}")}");
            AddProblem(problems, library.Problem);
        }

        foreach (var device in cuda.Devices)
        {
            Row($"GPU {device.Ordinal}", $"{device.Name}, {device.Architecture}, {MemoryBudget.Bytes(device.MemoryBytes)}, {device.Multiprocessors} multiprocessors");
            AddProblem(problems, device.Problem);
        }

        AddProblem(problems, cuda.Problem);
        var served = Model(options, Row, problems);
        console.Write(table);
        foreach (var problem in problems)
        {
            // where it was looked for is long, and rarely the question
            var list = problem.IndexOf(" Tried:", StringComparison.Ordinal);
            console.WriteLine($"- {(list > 0 && options.LogLevel != "debug" ? problem[..list] : problem)}");
        }

        if (!cuda.Usable)
        {
            console.WriteLine("Without a usable GPU models run on the CPU: right for small ones, slow for the rest. --log-level debug lists where libraries were looked for.");
        }

        console.WriteLine(served ? "This machine can serve the model above." : "The model above cannot be served with these settings.");
        return served ? 0 : MissingExitCode;
    }

    private static bool Model(SalsOptions options, Action<string, string> row, List<string> problems)
    {
        try
        {
            using var model = ModelOpener.Open(options, Console.Error.WriteLine);
            foreach (var fact in model.Facts)
            {
                var colon = fact.IndexOf(": ", StringComparison.Ordinal);
                row(fact[..colon].ToLowerInvariant(), fact[(colon + 2)..]);
            }

            row("tokenizer", model.Tokenizer is { } tokenizer ? string.Create(CultureInfo.InvariantCulture, $"{tokenizer.VocabularySize:#,0} tokens") : "none");
            row("chat template", model.Template is null ? "none: chat requests will be refused" : "found");
            row("memory budget", model.Budget);
            problems.AddRange(model.Warnings);
            return true;
        }
        catch (Exception exception) when (exception is ModelLoadException or TokenizerException or TemplateException or SettingException)
        {
            problems.Add(exception.Message);
            return false;
        }
    }

    private static void AddProblem(List<string> problems, string? problem)
    {
        if (problem is not null)
        {
            problems.Add(problem);
        }
    }
}
