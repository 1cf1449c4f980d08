using System.Diagnostics;

namespace Sals.Server.Telemetry;

/// <summary>The process's own families, under the names that every Prometheus client library uses.</summary>
public static class ProcessFamilies
{
    private const string Descriptors = "/proc/self/fd";

    public static IEnumerable<MetricFamily> All()
    {
        yield return Family("process_cpu_seconds_total", "counter", "User and system CPU time.", process => process.TotalProcessorTime.TotalSeconds);
        yield return Family("process_resident_memory_bytes", "gauge", "Resident memory.", process => process.WorkingSet64);
        yield return Family("process_virtual_memory_bytes", "gauge", "Virtual memory.", process => process.VirtualMemorySize64);
        yield return Family("process_start_time_seconds", "gauge", "Start of the process, Unix time.",
            process => new DateTimeOffset(process.StartTime).ToUnixTimeMilliseconds() / 1000.0);
        if (Directory.Exists(Descriptors))
        {
            yield return Family("process_open_fds", "gauge", "Open file descriptors.", _ => Directory.EnumerateFileSystemEntries(Descriptors).Count());
        }
    }

    private static ReadFamily Family(string name, string type, string help, Func<Process, double> read) => new(name, type, help, ("", () =>
    {
        using var process = Process.GetCurrentProcess();
        return read(process);
    }
    ));
}
