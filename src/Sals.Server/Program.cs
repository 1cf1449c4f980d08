using System.CommandLine;
using Sals.Server.Commands;

// a verb is one file in Commands/ and one line here
var verbs = new[]
{
    ServeCommand.Create(),
    DoctorCommand.Create(),
    BenchCommand.Create(),
    CalibrateCommand.Create(),
    EvalCommand.Create(),
    AnalyzeCommand.Create(),
    LoadCommand.Create(),
};

var root = new RootCommand("Sals: an OpenAI-compatible inference server for long contexts. Without a verb: serve.");
foreach (var verb in verbs)
{
    root.Subcommands.Add(verb);
}

var isServe = args.Length == 0
    || (!verbs.Any(verb => verb.Name == args[0]) && args[0] is not ("--help" or "-h" or "-?" or "/?" or "--version"));
return await root.Parse(isServe ? ["serve", .. args] : args).InvokeAsync();
