using System.Net;
using System.Text;

namespace Sals.Engine.Evaluation.Reports;

/// <summary>A report as one HTML file: headings, paragraphs, tables and plots.</summary>
public sealed class HtmlReport
{
    private const string Style =
        """
        body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; margin: 2rem auto; max-width: 1180px; padding: 0 1rem }
        h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.2rem } p { max-width: 60rem }
        table { border-collapse: collapse; margin: .8rem 0; font-size: 13px; font-variant-numeric: tabular-nums }
        th, td { border: 1px solid #ccc; padding: .25rem .5rem; text-align: right; vertical-align: top } th { background: #f2f2f2 }
        th:first-child, td:first-child { text-align: left } .plots { display: flex; flex-wrap: wrap; gap: 1rem } svg { border: 1px solid #eee; max-width: 100%; height: auto }
        .scroll { overflow-x: auto } .better { color: #00603f } .worse { color: #a03000 }
        """;

    private readonly StringBuilder _body = new();
    private readonly string _title;

    public HtmlReport(string title)
    {
        _title = title;
        _body.Append("<h1>").Append(Escape(title)).Append("</h1>\n");
    }

    public HtmlReport Heading(string text) => Append($"<h2>{Escape(text)}</h2>\n");

    public HtmlReport Paragraph(string text) => Append($"<p>{Escape(text)}</p>\n");

    /// <param name="cells">Plain text; a cell that begins with + or − and whose interval leaves out 0 may be marked by <paramref name="mark"/>.</param>
    /// <param name="mark">Row, column → CSS class or null.</param>
    public HtmlReport Table(IReadOnlyList<string> header, IEnumerable<IReadOnlyList<string>> cells, Func<int, int, string?>? mark = null)
    {
        _body.Append("<div class=\"scroll\"><table><thead><tr>");
        foreach (var name in header)
        {
            _body.Append("<th>").Append(Escape(name)).Append("</th>");
        }

        _body.Append("</tr></thead><tbody>\n");
        var r = 0;
        foreach (var row in cells)
        {
            _body.Append("<tr>");
            for (var c = 0; c < row.Count; c++)
            {
                _body.Append(mark?.Invoke(r, c) is { } name ? $"<td class=\"{name}\">" : "<td>").Append(Escape(row[c])).Append("</td>");
            }

            _body.Append("</tr>\n");
            r++;
        }

        return Append("</tbody></table></div>\n");
    }

    public HtmlReport Plots(params IEnumerable<SvgPlot> plots)
    {
        _body.Append("<div class=\"plots\">\n");
        foreach (var plot in plots)
        {
            _body.Append(plot);
        }

        return Append("</div>\n");
    }

    public override string ToString() =>
        $"<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{Escape(_title)}</title><style>\n{Style}\n</style></head><body>\n{_body}</body></html>\n";

    private HtmlReport Append(string html)
    {
        _body.Append(html);
        return this;
    }

    private static string Escape(string text) => WebUtility.HtmlEncode(text);
}
